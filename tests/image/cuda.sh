#!/usr/bin/env bash
# tests/image/cuda.sh LIBRARIES: image/Dockerfile.cuda built from programs of MUSTER_BIN (a build with CUDA) and the
# libraries in the folder LIBRARIES (lib/ of scripts/cuda-toolkit, with nccl), as tests/image/image.sh builds the one
# for CPUs; its size; and what its programs say where there is no card. By hand: no test of ctest runs it. Needs root
# and MUSTER_SOURCE. Base and layers are kept beside MUSTER_BIN.
. "$(dirname "$0")/../hosts/lab.sh"
libraries=${1:?the folder with libcublasLt and libnccl}
[ "$(id -u)" -eq 0 ] || lab_skip "needs root"
lab_begin
kept=$(dirname "$MUSTER_BIN")/image
. "$(dirname "$0")/engine.sh"

mkdir "$LAB/context"
cp -r "$MUSTER_SOURCE/image" "$LAB/context/"
rm -rf "$LAB/context/image/out"
"$MUSTER_SOURCE/image/collect" --cuda "$libraries" "$MUSTER_BIN" "$LAB/context/image/out" || lab_fail "collect"
image_build localhost/muster:cuda "$LAB/context/image/Dockerfile.cuda" "$LAB/context"
du -chL --apparent-size "$LAB/context/image/out/lib/"*.so* "$LAB/context/image/out/lib/muster/"*.so | sed "s,$LAB/context/image/out,," >&2

# Control groups are the machine's, and what ends leaves them.
groups=/muster-image-$$
no_groups() {
    find /sys/fs/cgroup -depth -type d -path "*$groups*" -exec rmdir {} + 2>/dev/null || true
    [ -z "$(find /sys/fs/cgroup -type d -path "*$groups*")" ]
}
# in_image WANTED COMMAND...: as user 1000 without network; its exit code must be WANTED
in_image() {
    local wanted=$1 got=0
    shift
    echo "$ $*"
    apart "${podman[@]}" run --rm --network none --cgroup-parent "$groups" --user 1000:1000 --cap-drop all \
        --security-opt no-new-privileges -v "$MUSTER_SOURCE/configs/quickstart.yml:/quickstart.yml:ro" localhost/muster:cuda "$@" \
        2>&1 || got=$?
    lab_wait_for "the end of the container's groups" no_groups
    [ $got -eq "$wanted" ] || lab_fail "$*: exit $got, wanted $wanted"
}
in_image 0 muster --version | tee "$LAB/version"
grep -qE 'CUDA +1[23]\.' "$LAB/version" || lab_fail "programs without CUDA"
in_image 0 sh -c '! command -v python3 && ! command -v gcc && [ "$(id -u)" = 1000 ] && ! ls /etc/ssh/ssh_host_* 2>/dev/null'
in_image 80 muster check /quickstart.yml muster.device=cuda | tee "$LAB/check"
grep -q 'gpu.driver' "$LAB/check" || lab_fail "check says nothing of the driver"
