#!/usr/bin/env bash
# tests/gpu.sh STAGE [MODEL]: the checks that need a GPU, in stages of at most eight minutes.
#
#   oracles     every operation of the CUDA device against fp64
#   golden      the golden tables on the GPU; 50 steps on CPU and GPU, fp32 and bf16, beside each other
#   ranks       two and three ranks on one card over NCCL, and training so: dp 2, tp 2 x dp 2 with ZeRO stage 1
#   sanitizer   compute-sanitizer over the oracles
#   bench MODEL a step in bf16 of 160m, 410m, 1.4b or 2.8b on 2,048 tokens beside PyTorch's, eager and compiled
#
# The machine needs a driver, CUDA's libraries, and for bench Python with PyTorch and Transformers. All else comes in the
# archive of scripts/pack-gpu (MUSTER_PACK, default build/muster-gpu.tar.gz). Results go to $OUT (default
# build/gpu-results), a file a stage, with versions, date and command. 77: there is no GPU. Where time on a card is short: oracles and golden
# in one call, then bench, then ranks and sanitizer.
set -euo pipefail
cd "$(dirname "$0")/.."
stage=${1:?usage: tests/gpu.sh oracles|golden|ranks|sanitizer|bench [MODEL]} model=${2:-}
pack=${MUSTER_PACK:-build/muster-gpu.tar.gz} out=${OUT:-build/gpu-results}
[ -r "$pack" ] || { echo "$pack: not there: scripts/pack-gpu makes it where muster was built" >&2; exit 66; }
nvidia-smi >/dev/null 2>&1 || { echo "no GPU here (nvidia-smi)"; exit 77; }
here=$(mktemp -d "${TMPDIR:-/tmp}/muster-gpu-XXXXXX")
trap 'rm -rf "$here"' EXIT
tar -C "$here" -xzf "$pack"
mkdir -p "$out"

# The first file of a name in CUDA's folders, else among Python's packages.
places=(/usr/local/cuda/lib64 /usr/local/cuda/targets/x86_64-linux/lib /usr/lib/x86_64-linux-gnu)
places+=("$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["purelib"] + "/nvidia")' 2>/dev/null || echo /nonexistent)")
find_library() {
    find -L "${places[@]}" -name "$1" -print -quit 2>/dev/null || true # some places may not exist
}
libraries=$here/lib
for name in $(ldd "$here/bin/libmuster-cuda.so" | awk '/not found/ { print $1 }'); do
    path=$(find_library "$name")
    [ -n "$path" ] || { echo "no $name in ${places[*]}: it is part of CUDA" >&2; exit 66; }
    libraries=$libraries:$(dirname "$path")
done
nccl=${MUSTER_NCCL_LIBRARY:-$(find_library 'libnccl.so.2')}
theirs=${LD_LIBRARY_PATH-} # Python and its packages must not meet the libraries of the archive
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} OPAL_PREFIX=$here PATH=$here/bin:$PATH
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 MUSTER_BIN=$here/bin MUSTER_SOURCE=$PWD
export MUSTER_CUDA_LIBRARY=${MUSTER_CUDA_LIBRARY:-$here/bin/libmuster-cuda.so}
[ -z "$nccl" ] || export MUSTER_NCCL_LIBRARY=$nccl

python() { LD_LIBRARY_PATH=$theirs command python3 "$@"; }

head_lines() {
    echo "# tests/gpu.sh $stage $model"
    date -u +%Y-%m-%dT%H:%MZ
    cat "$here/ABOUT"
    nvidia-smi --query-gpu=name,driver_version,memory.total,power.limit,clocks.max.sm --format=csv,noheader || true
    python -c 'import torch; print("PyTorch", torch.__version__, "CUDA", torch.version.cuda)' 2>/dev/null || echo "no PyTorch"
}

curve() { # curve PRECISION TOLERANCE: 50 steps (STEPS) on CPU in fp32 and on the GPU
    . tests/e2e/lib.sh
    make_data "$scratch/data" >/dev/null || return 1
    sed -i -e 's/^train_iters: .*/train_iters: '"${STEPS:-50}"'/' -e 's/^eval_iters: .*/eval_iters: 0/' "$scratch/model.yml"
    for run in "cpu fp32" "auto $1"; do # auto: without NVML, which preflight asks when a GPU is demanded
        read -r device precision <<<"$run"
        timeout 100 muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/$device" muster.device="$device" \
            precision="${precision/bf16/bfloat16}" >"$scratch/$device.out" 2>&1 || { cat "$scratch/$device.out"; return 1; }
        losses "$scratch/$device" >"$scratch/$device.losses"
    done
    if grep -E 'layout .* cpu' "$scratch/auto.out"; then return 1; fi # no GPU was taken
    paste "$scratch/cpu.losses" "$scratch/auto.losses" | awk -v p="$1" '
        { d = ($2 - $7) / $2; d = d < 0 ? -d : d; if (d > most) most = d }
        END { printf "%s: the largest relative difference of %d losses is %.3g; the last ones are %s and %s\n", p, NR, most, $2, $7 }'
    same_losses "$scratch/cpu.losses" "$scratch/auto.losses" "$2"
}

peak_of() { # dense bf16 TFLOP/s of the makers' data sheets
    case $1 in
    *H200* | *H100*SXM* | *"H100 80GB HBM3"*) echo 989 ;;
    *H100*) echo 756 ;;
    *A100*) echo 312 ;;
    *) echo 0 ;;
    esac
}

peer() { # peer SECONDS [compile]: PyTorch's line, or why there is none
    local limit=$1
    shift
    LD_LIBRARY_PATH=$theirs timeout "$limit" python3 tests/bench/torch_step.py "$model" "$m" 4 2048 cuda bf16 "$@" 2>"$here/peer.err" ||
        { echo "none, exit $?: $(tail -n 1 "$here/peer.err")"; }
}

bench() {
    declare -A micro=([160m]=16 [410m]=16 [1.4b]=8 [2.8b]=4)
    local m=${MICRO:-${micro[$model]:?MODEL is one of 160m 410m 1.4b 2.8b}} card peak ours=() eager=() compiled=() round line
    card=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1)
    peak=$(peak_of "$card")
    # each line is written when it is known: a call that is cut off keeps what it measured
    say() { printf '%s: %s\n' "$1" "$2"; }
    for round in 1 2; do
        timeout 100 bench_step "$model" "$m" 1 2048 cuda bf16 >"$here/ours" 2>&1 || { cat "$here/ours"; return 1; }
        ours+=("$(tail -n 1 "$here/ours")")
        if [ "$round" = 1 ]; then
            cat "$here/ours"
            eager=("$(peer 100)")
            say eager "${eager[0]}"
        else
            say muster "${ours[1]}"
        fi
        compiled+=("$(peer 200 compile)")
        say compiled "${compiled[-1]}"
    done
    echo
    rate() { printf '%s\n' "$@" | sed -nE 's/.* ([0-9]+) tokens\/s.*/\1/p' | sort -n | tail -n 1; }
    memory() { printf '%s\n' "$@" | sed -nE 's/.*peak ([0-9.]+) GiB.*/\1/p' | sort -n | tail -n 1; }
    line=${ours[0]}
    awk -v model="$model" -v m="$m" -v peak="$peak" -v a="$(rate "${ours[@]}")" -v b="$(rate "${eager[@]}")" \
        -v c="$(rate "${compiled[@]}")" -v am="$(memory "${ours[@]}")" -v bm="$(memory "${eager[@]}")" \
        -v cm="$(memory "${compiled[@]}")" -v gflops="$(sed -nE 's/.* ([0-9.]+) model GFLOP.*/\1/p' <<<"$line")" \
        -v one="$(rate "$line")" '
        function mfu(r) { return peak && one ? sprintf("%.1f %%", 100 * r * gflops / one / peak / 1000) : "?" }
        BEGIN {
            print "| model | micro batch | program | tokens/s | MFU (neox) | peak GiB | ratio |"
            print "| --- | --- | --- | --- | --- | --- | --- |"
            printf "| %s | %s | muster | %s | %s | %s | |\n", model, m, a, mfu(a), am
            printf "| | | PyTorch eager | %s | %s | %s | %.2f |\n", b, mfu(b), bm, b ? a / b : 0
            printf "| | | PyTorch compiled | %s | %s | %s | %.2f |\n", c, mfu(c), cm, c ? a / c : 0
        }'
}

run_stage() { # called where a failed command ends nothing, so each says what follows it
    export MUSTER_TEST_DEVICE=cuda
    case $stage in
    oracles) timeout 460 cuda_kernels ;;
    golden)
        timeout 200 unit_golden && (curve fp32 1e-4) && (curve bf16 1e-2)
        ;;
    ranks)
        [ -n "$nccl" ] || { echo "no libnccl.so.2 here"; return 77; }
        timeout 100 tests/mpi/run 2 "$here/bin/cuda_nccl" && timeout 100 tests/mpi/run 3 "$here/bin/cuda_nccl" &&
            timeout 240 bash tests/cuda/train.sh
        ;;
    sanitizer)
        sanitizer=$(command -v compute-sanitizer || find -L /usr/local/cuda /opt/nvidia -name compute-sanitizer -type f -print -quit 2>/dev/null || true)
        [ -n "$sanitizer" ] || { echo "no compute-sanitizer here"; return 77; }
        timeout 300 "$sanitizer" --tool memcheck --error-exitcode 1 cuda_kernels &&
            timeout 170 "$sanitizer" --tool synccheck --error-exitcode 1 cuda_kernels
        ;;
    bench) bench ;;
    *) echo "no stage '$stage'" >&2 && return 2 ;;
    esac
}

head_lines | tee "$out/$stage$model.txt"
code=0
run_stage 2>&1 | tee -a "$out/$stage$model.txt" || code=$? # at once: a call that is cut off keeps what it wrote
echo "$stage $model: exit $code"
exit $code
