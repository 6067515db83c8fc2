#!/usr/bin/env bash
# tests/gpu.sh all [MODEL] [--quick]: the checks that need a GPU, in the order of what is learned, in one call of at
# most eight minutes (LIMIT, seconds); a stage that fails does not keep the next ones from running, and one that time
# runs out for is ended. --quick leaves out profile and peers.
# tests/gpu.sh STAGE [MODEL]: one of them.
#
#   oracles     every operation of the CUDA device against fp64
#   step        a step in bf16 of MODEL (160m, 410m, 1.4b, 2.8b; default 1.4b) on 2,048 tokens, with a line for each operation;
#               what cuBLASLt chose for each product (file `products`); the same with timed products
#   attention   cuDNN's attention against fp64 and beside muster's own; the step of MODEL with it
#   golden      the golden tables on the GPU, all tensors; 50 steps on CPU and GPU, fp32 and bf16, beside each other
#   decode      steps of generation as CUDA graphs: the bits of launches; tokens/s of MODEL with and without, for 1, 8 and
#               64 sequences
#   sanitizer   compute-sanitizer's memcheck and racecheck over attention, norms and embeddings
#   profile     ncu over the kernels of attention and two products
#   ranks       two and three ranks on one card over NCCL
#   peers       the step of MODEL beside PyTorch's, eager and compiled
#   train       training on one card by two and four workers, in every precision (a call of its own)
#
# The machine needs a driver, CUDA's libraries, and for peers Python with PyTorch and Transformers. All else comes in
# the archive of scripts/pack-gpu (MUSTER_PACK, default build/muster-gpu.tar.gz). Results go to $OUT (default
# build/gpu-results), a file a stage, with versions, date and command. 77: there is no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
stages="oracles step attention golden decode sanitizer profile ranks peers train"
stage=${1:?usage: tests/gpu.sh all|STAGE [MODEL] [--quick]; stages: $stages} model=1.4b quick=
shift
for word in "$@"; do
    case $word in
    --quick) quick=yes ;;
    *) model=$word ;;
    esac
done
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
cudnn=${MUSTER_CUDNN_LIBRARY:-$(find_library 'libcudnn.so.9')}
[ -z "$cudnn" ] || libraries=$libraries:$(dirname "$cudnn") # it opens its other parts by name
theirs=${LD_LIBRARY_PATH-} # Python and its packages must not meet the libraries of the archive
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} OPAL_PREFIX=$here PATH=$here/bin:$PATH
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 MUSTER_BIN=$here/bin MUSTER_SOURCE=$PWD
export MUSTER_CUDA_LIBRARY=${MUSTER_CUDA_LIBRARY:-$here/bin/libmuster-cuda.so}
[ -z "$nccl" ] || export MUSTER_NCCL_LIBRARY=$nccl
[ -z "$cudnn" ] || export MUSTER_CUDNN_LIBRARY=$cudnn

python() { LD_LIBRARY_PATH=$theirs command python3 "$@"; }

# within SECONDS COMMAND...: at most so long, and with `all` no longer than the call has left
deadline=$((SECONDS + 36000))
[ "$stage" != all ] || deadline=$((SECONDS + ${LIMIT:-480} - 15))
within() {
    local limit=$1 left=$((deadline - SECONDS))
    shift
    [ $left -gt 0 ] || { echo "no time is left for: $*"; return 124; }
    timeout -k 5 $((limit < left ? limit : left)) "$@"
}

head_lines() {
    echo "# tests/gpu.sh $stage $model${quick:+ --quick}"
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
        within 100 muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/$device" muster.device="$device" \
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
    LD_LIBRARY_PATH=$theirs within "$limit" python3 tests/bench/torch_step.py "$model" "$m" 4 2048 cuda bf16 "$@" 2>"$here/peer.err" ||
        { echo "none, exit $?: $(tail -n 1 "$here/peer.err")"; }
}

declare -A micro_of=([160m]=16 [410m]=16 [1.4b]=8 [2.8b]=4)
micro() { echo "${MICRO:-${micro_of[$model]:?MODEL is one of 160m 410m 1.4b 2.8b}}"; }

step() { # SECONDS [tune]: our step, the ways of its products, and the lines of its operations
    within "$1" bench_step "$model" "$(micro)" 1 2048 cuda bf16 "${@:2}"
}

peers() {
    local m peak ours=() eager=() compiled=() line
    m=$(micro)
    peak=$(peak_of "$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1)")
    # each line is written when it is known: a call that is cut off keeps what it measured
    say() { printf '%s: %s\n' "$1" "$2"; }
    ours=("$(step 60 2>&1 | tail -n 1)")
    say muster "${ours[0]}"
    compiled=("$(peer 150 compile)")
    say compiled "${compiled[0]}"
    eager=("$(peer 60)")
    say eager "${eager[0]}"
    ours+=("$(step 60 2>&1 | tail -n 1)")
    say muster "${ours[1]}"
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

sanitize() { # TOOL CASE...
    local tool=$1 sanitizer
    shift
    sanitizer=$(command -v compute-sanitizer || find -L /usr/local/cuda /opt/nvidia -name compute-sanitizer -type f -print -quit 2>/dev/null || true)
    [ -n "$sanitizer" ] || { echo "no compute-sanitizer here"; return 77; }
    for case in "$@"; do # a case may ask CUDA for what it refuses: that is no finding
        within 60 "$sanitizer" --tool "$tool" --report-api-errors no --error-exitcode 1 standin_case "$case" || return
    done
}

run_stage() { # called where a failed command ends nothing, so each says what follows it
    export MUSTER_TEST_DEVICE=cuda
    case $1 in
    oracles) within 60 cuda_kernels ;;
    step) CUBLASLT_LOG_LEVEL=2 CUBLASLT_LOG_FILE=$out/products step 60 && echo "with timed products:" && step 60 tune ;;
    attention)
        [ -n "$cudnn" ] || { echo "no libcudnn.so.9 here"; return 77; }
        within 60 cuda_attention && step 60 cudnn | tee "$here/with-cudnn" && grep -q '^attention_forward .*cuDNN 9' "$here/with-cudnn"
        ;;
    golden)
        within 60 unit_golden && (curve fp32 1e-4) && (curve bf16 1e-2)
        ;;
    decode)
        within 60 cuda_decode || return
        for sequences in 1 8 64; do
            within 30 bench_step "$model" $sequences 1 2048 cuda bf16 decode || return
        done
        ;;
    sanitizer)
        sanitize memcheck attention grouped_queries layer_norms embeddings && sanitize racecheck attention grouped_queries layer_norms embeddings
        ;;
    profile)
        ncu=$(command -v ncu || find -L /usr/local/cuda /opt/nvidia -name ncu -type f -print -quit 2>/dev/null || true)
        [ -n "$ncu" ] || { echo "no ncu here"; return 77; }
        within 60 "$ncu" --kernel-name 'regex:forward|backward_q|backward_kv|gemm' --launch-count 12 --section SpeedOfLight \
            --section Occupancy bench_step "$model" 1 1 2048 cuda bf16
        ;;
    ranks)
        [ -n "$nccl" ] || { echo "no libnccl.so.2 here"; return 77; }
        export NCCL_MAX_CTAS=1 # the processes share a card: their kernels must all be there at once
        within 60 tests/mpi/run 2 "$here/bin/cuda_nccl" && within 60 tests/mpi/run 3 "$here/bin/cuda_nccl"
        ;;
    peers) peers ;;
    train)
        [ -n "$nccl" ] || { echo "no libnccl.so.2 here"; return 77; }
        NCCL_MAX_CTAS=1 within 460 bash tests/cuda/train.sh
        ;;
    *) echo "no stage '$1'; there are: all $stages" >&2 && return 2 ;;
    esac
}

# one STAGE: its lines at once to the terminal and its file, since a call that is cut off keeps what it wrote
one() {
    local code=0 began=$SECONDS
    head_lines >"$out/$1.txt"
    run_stage "$1" 2>&1 | tee -a "$out/$1.txt" || code=$?
    echo "$1: exit $code after $((SECONDS - began)) s" | tee -a "$out/$1.txt"
    return $code
}

head_lines
if [ "$stage" != all ]; then
    one "$stage"
    exit
fi
worst=0
for stage in oracles step attention golden decode sanitizer ${quick:-profile} ranks ${quick:-peers}; do
    [ "$stage" = yes ] && continue
    [ $((deadline - SECONDS)) -ge 30 ] || { echo "$stage: not begun, $SECONDS s have gone"; continue; }
    one "$stage" || worst=$?
done
exit $worst
