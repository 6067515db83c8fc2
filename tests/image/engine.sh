# Builds and runs images with Debian's podman, without a registry. Sourced after hosts/lab.sh and lab_begin, with $kept,
# a folder for base and layers: the next run starts from them.
#
#     apart "${podman[@]}" ...             podman, in PID and mount namespaces of its own, on the machine's network
#     image_build TAG DOCKERFILE CONTEXT   on a base of this machine's Debian release, which debootstrap makes
#     image_size TAG                       in MB
for tool in podman runc debootstrap; do
    command -v $tool >/dev/null || lab_skip "$tool is not installed (scripts/install-dependencies podman runc debootstrap)"
done
base=localhost/muster-base:$(. /etc/os-release && echo "$VERSION_CODENAME")
case $kept/ in /tmp/*) lab_skip "the build lies under /tmp, which hosts of the lab have for themselves" ;; esac
[ ! -e "$kept/unfinished" ] || rm -rf --one-file-system "$kept" # a build was killed
mkdir -p "$kept/root" "$kept/run"
driver=overlay
mkdir -p "$LAB/o/"{lower,upper,work,merged}
unshare --mount mount -t overlay overlay -o "lowerdir=$LAB/o/lower,upperdir=$LAB/o/upper,workdir=$LAB/o/work" "$LAB/o/merged" \
    2>/dev/null || driver=vfs
cat >"$LAB/containers.conf" <<END
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "$kept/run/tmp"
[containers]
# no more than this shell may have, wherever root may not raise it
default_ulimits = ["nofile=$(ulimit -Hn):$(ulimit -Hn)", "nproc=$(ulimit -Hu):$(ulimit -Hu)"]
END
sed -i 's/unlimited/-1/g' "$LAB/containers.conf"
podman=(env CONTAINERS_CONF="$LAB/containers.conf" TMPDIR="$LAB" podman --root "$kept/root" --runroot "$kept/run/root" --storage-driver $driver)

apart() {
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child=KILL --mount-proc bash -c '
        mount -t tmpfs tmpfs /dev/shm && mount -t tmpfs tmpfs "$1" && shift && exec "$@"' apart "$kept/run" "$@"
}

image_base() {
    local began=$SECONDS release=${base##*:} mirror
    apart "${podman[@]}" rm -af >/dev/null 2>&1 || true # containers of a run that was ended in the middle
    ! apart "${podman[@]}" image exists "$base" || return 0
    : >"$kept/unfinished"
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
        awk -v r="$release" '$2 == r && $3 == "main" && !n++ { print $1 }')
    # in memory: dpkg syncs every file
    apart bash -c '
        debootstrap --variant=minbase "$1" /dev/shm/base "$2" >"$3/debootstrap.log" 2>&1 && rm -rf /dev/shm/base/var/{cache/apt,lib/apt/lists}/* &&
            tar -C /dev/shm/base -c . >"$3/base.tar"' base "$release" "$mirror" "$LAB" ||
        lab_fail "debootstrap: $(tail -n 5 "$LAB/debootstrap.log")"
    apart "${podman[@]}" import -q "$LAB/base.tar" "$base" >/dev/null 2>"$LAB/import.err" || lab_fail "import"
    rm "$LAB/base.tar"
    echo "base: $((SECONDS - began)) s"
}

image_size() {
    echo $(($(apart "${podman[@]}" image inspect -f '{{.Size}}' "$1") / 1000000))
}

image_build() {
    local began
    image_base
    began=$SECONDS
    : >"$kept/unfinished"
    apart "${podman[@]}" build --layers --isolation chroot --network host --build-arg BASE="$base" -t "$1" -f "$2" "$3" \
        >"$LAB/build.log" 2>&1 || lab_fail "the image is not built: $(tail -n 20 "$LAB/build.log")"
    apart "${podman[@]}" image prune -f >/dev/null 2>&1 || true
    rm "$kept/unfinished"
    echo "image: $(image_size "$1") MB, of which the base is $(image_size "$base") MB; built in $((SECONDS - began)) s"
}
