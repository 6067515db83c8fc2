# The image, built by the distribution's container engine on a base that debootstrap makes, and run: two worker
# containers and a launcher, with the commands, user and mounts of a rendered MPIJob, train the quick-start model over
# ssh.
#
# Base and layers are kept in the build folder (image/): the next run starts from them. Everything that runs, runs in
# PID and mount namespaces that end with this shell.
. "$(dirname "$0")/../hosts/lab.sh"
[ "$(id -u)" -eq 0 ] || lab_skip "needs root"
python=
for p in /usr/bin/python3 python3; do
    ! "$p" -c 'import yaml' 2>/dev/null || { python=$p && break; }
done
[ -n "$python" ] || lab_skip "no Python with yaml (Debian: python3-yaml)"
lab_begin
kept=$(dirname "$MUSTER_BIN")/image
. "$(dirname "$0")/engine.sh"

mkdir "$LAB/context"
cp -r "$MUSTER_SOURCE/image" "$LAB/context/"
rm -rf "$LAB/context/image/out"
"$MUSTER_SOURCE/image/collect" "$MUSTER_BIN" "$LAB/context/image/out" || lab_fail "collect"
image_build localhost/muster:test "$LAB/context/image/Dockerfile" "$LAB/context"
size=$(image_size localhost/muster:test)

# ---- a node with three pods ----

pods=(job-launcher job-worker-0.job.ml.svc job-worker-1.job.ml.svc)
lab_host node
lab_in node bash -c '
    mount -t tmpfs tmpfs "$1"
    ip link add pods type bridge && ip link set pods up
    i=0
    for pod in "${@:2}"; do
        i=$((i + 1))
        ip netns add "$pod"
        ip link add "p$i" type veth peer name eth0 netns "$pod"
        ip link set "p$i" master pods up
        ip -n "$pod" link set lo up
        ip -n "$pod" address add "10.8.0.$i/24" dev eth0
        ip -n "$pod" link set eth0 up
    done' net "$kept/run" "${pods[@]}" || lab_fail "no network for the pods"
# Control groups are the machine's, and what ends with the node leaves them.
groups=/muster-image-$$
no_groups() {
    find /sys/fs/cgroup -depth -type d -path "*$groups*" -exec rmdir {} + 2>/dev/null || true
    [ -z "$(find /sys/fs/cgroup -type d -path "*$groups*")" ]
}
end() {
    local status=$?
    trap - EXIT
    { kill -KILL "${LAB_HOLDER[node]}" && wait "${LAB_HOLDER[node]}" || true; } 2>/dev/null
    lab_wait_for "the end of the containers' groups" no_groups
    (exit $status)
    lab_end
}
trap end EXIT
# podman_run POD OPTION... -- COMMAND...: the container of a pod, as the kubelet would start it
podman_run() {
    local pod=$1 options=()
    shift
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    local i address=()
    for i in 1 2 3; do address+=(--add-host "${pods[i - 1]}:10.8.0.$i"); done
    lab_in node "${podman[@]}" run --rm --name "$pod" --hostname "${pod%%.*}" --network "ns:/run/netns/$pod" "${address[@]}" \
        --cgroup-parent "$groups" --user 1000:1000 --cap-drop all --security-opt no-new-privileges \
        -v "$LAB/volume:/runs" "${options[@]}" localhost/muster:test "$@"
}

chown 1000:1000 "$LAB/volume"
find "$MUSTER_SOURCE/common" "$MUSTER_SOURCE/worker" -name '*.[ch]' | LC_ALL=C sort | xargs cat >"$LAB/volume/text.txt"
cp "$MUSTER_SOURCE/configs/quickstart.yml" "$LAB/volume/model.yml"
in_image() { podman_run job-launcher -- "$@" >>"$LAB/tools.log" 2>&1 || lab_fail "$*: $(tail -n 5 "$LAB/tools.log")"; }
in_image sh -c '! command -v python3 && ! command -v gcc && [ "$(id -u)" = 1000 ] && ! ls /etc/ssh/ssh_host_*'
in_image muster tokenizer train --input /runs/text.txt --vocab-size 4096 --output /runs/tokenizer.json
in_image muster prepare /runs/model.yml vocab_file=/runs/tokenizer.json --input /runs/text.txt --output /runs/data

# what the operator and the kubelet give them
"$LAB/bin/muster" render mpijob "$LAB/volume/model.yml" name=job image=localhost/muster:test workers=2 volumes=claim:/runs \
    vocab_file=/runs/tokenizer.json data_path=/runs/data save=/runs/one train_iters=6 lr_decay_iters=6 eval_interval=100 \
    eval_iters=1 muster.threads_per_worker=1 muster.ready_timeout=60 >"$LAB/job.yaml" || lab_fail "not rendered"
"$python" - "$LAB/job.yaml" "$LAB" <<'END'
import sys, yaml
objects = list(yaml.safe_load_all(open(sys.argv[1])))
job = next(o for o in objects if o["kind"] == "MPIJob")
for role, replica in job["spec"]["mpiReplicaSpecs"].items():
    c = replica["template"]["spec"]["containers"][0]
    with open(f"{sys.argv[2]}/command.{role}", "w") as f:
        f.writelines(str(w) + "\0" for w in c["command"] + c.get("args", []))
with open(f"{sys.argv[2]}/hook", "w") as f:
    f.writelines(w + "\0" for w in c["lifecycle"]["preStop"]["exec"]["command"])
with open(f"{sys.argv[2]}/config.yml", "w") as f:
    f.write(next(o for o in objects if o["kind"] == "ConfigMap")["data"]["config.yml"])
END
mkdir "$LAB/secret"
ssh-keygen -q -t ecdsa -b 521 -m PEM -N '' -f "$LAB/secret/id_rsa"
cp "$LAB/secret/id_rsa.pub" "$LAB/secret/authorized_keys"
chmod 644 "$LAB"/secret/*
printf '%s slots=1\n' "${pods[@]:1}" >"$LAB/hostfile"
secret=(-v "$LAB/secret:/var/lib/muster/.ssh:ro")

mapfile -d '' words <"$LAB/command.Worker"
for pod in "${pods[@]:1}"; do
    podman_run "$pod" "${secret[@]}" -e K_MPI_JOB_ROLE=worker -- "${words[@]}" >"$LAB/sshd.${pod%%.*}.log" 2>&1 &
done
mapfile -d '' words <"$LAB/command.Launcher"
status=0
podman_run "${pods[0]}" "${secret[@]}" -v "$LAB/config.yml:/etc/muster/config.yml:ro" -v "$LAB/hostfile:/etc/mpi/hostfile:ro" \
    -e K_MPI_JOB_ROLE=launcher -e OMPI_MCA_orte_keep_fqdn_hostnames=true -e OMPI_MCA_orte_default_hostfile=/etc/mpi/hostfile \
    -e "OMPI_MCA_plm_rsh_args=-o ConnectionAttempts=10" -- "${words[@]}" >"$LAB/launcher.err" 2>&1 || status=$?
[ $status -eq 0 ] || lab_fail "the launcher ends with $status: $(tail -n 3 "$LAB"/sshd.*.log)"
[ -d "$LAB/volume/one/checkpoints/step-00000006" ] || lab_fail "no checkpoint of the last step"
grep -q "tp 1 x dp 2 = 2 workers" "$LAB/launcher.err" || lab_fail "not two workers"
[ "$(stat -c %u "$LAB/volume/one/run.json")" = 1000 ] || lab_fail "written by another user"
# the hook of a pod whose job has ended
mapfile -d '' words <"$LAB/hook"
lab_in node "${podman[@]}" exec "${pods[1]}" "${words[@]}" >"$LAB/hook.log" 2>&1 || lab_fail "the hook fails: $(cat "$LAB/hook.log")"
echo "two worker containers and a launcher: trained as user 1000"

# ---- the same image serves what was trained: from the container's start to the first answer that it is ready ----

podman_run "${pods[0]}" -- muster serve /runs/one --listen 127.0.0.1:8080 --threads 1 >"$LAB/serve.log" 2>&1 &
serving=$!
began=$(date +%s%N)
ready() { lab_in node ip netns exec "${pods[0]}" curl -sf -o /dev/null http://127.0.0.1:8080/v2/health/ready; }
until ready; do
    kill -0 $serving 2>/dev/null || lab_fail "the server ended: $(tail -n 5 "$LAB/serve.log")"
    sleep 0.02
done
echo "image: $size MB, start to ready: $(awk -v a="$began" -v b="$(date +%s%N)" 'BEGIN { printf "%.2f", (b - a) / 1e9 }') s"
lab_in node "${podman[@]}" stop -t 20 "${pods[0]}" >/dev/null 2>&1 || lab_fail "the server does not stop"
wait $serving || lab_fail "the server ends with $?: $(tail -n 3 "$LAB/serve.log")"
