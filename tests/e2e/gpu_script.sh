#!/usr/bin/env bash
# tests/gpu.sh without a GPU: programs that only write down how they were called stand for the archive's, for
# nvidia-smi, compute-sanitizer, ncu and PyTorch. The stages come in their order, each with its tools and variables; one
# that fails keeps no other from running; --quick is shorter; nothing is begun that the call has no time for.
. "$MUSTER_SOURCE/tests/e2e/lib.sh"
fakes=$scratch/fakes calls=$scratch/calls
mkdir -p "$fakes" "$scratch/pack/bin"
export CALLS=$calls MUSTER_PACK=$scratch/pack.tar.gz OUT=$scratch/results MUSTER_NCCL_LIBRARY=$scratch/nccl.so MUSTER_CUDNN_LIBRARY=$scratch/cudnn.so
fake() { # fake FOLDER NAME: what it does besides is read from here
    {
        echo '#!/bin/bash'
        echo 'echo "${0##*/} $*${NCCL_MAX_CTAS:+ ctas=$NCCL_MAX_CTAS}${CUBLASLT_LOG_LEVEL:+ log=$CUBLASLT_LOG_LEVEL}" \
            "device=${MUSTER_TEST_DEVICE:-}" >>"$CALLS"'
        cat
    } >"$1/$2"
    chmod +x "$1/$2"
}
fake "$fakes" nvidia-smi <<<'[ -z "${NO_CARD:-}" ] || exit 9; echo "NVIDIA H200, 1, 2"'
fake "$fakes" compute-sanitizer <<<''
fake "$fakes" ncu <<<''
fake "$fakes" python3 <<<'case $* in *torch_step*) echo "step 10 ms, 1000 tokens/s, peak 3.0 GiB" ;; esac'
for name in unit_golden standin_case cuda_attention cuda_decode; do fake "$scratch/pack/bin" $name <<<''; done
fake "$scratch/pack/bin" bench_step <<'END'
echo "attention_forward by cuDNN 9"
echo "1.4b: 10 ms, 2000 tokens/s, 100 model GFLOP, peak 2.0 GiB"
END
fake "$scratch/pack/bin" cuda_kernels <<<'[ -z "${HOLD:-}" ] || sleep "$HOLD"; exit ${ORACLES:-0}'
fake "$scratch/pack/bin" mpirun <<<''
fake "$scratch/pack/bin" muster <<'END'
[ "$1" = run ] || exit 0
while [ "$1" != --run-dir ]; do shift; done
mkdir -p "$2"
for i in 1 2 3; do echo "{\"step\": $i, \"loss\": 5.$i, \"lr\": 0.1, \"grad_norm\": 1.0, \"end\": 0}"; done >"$2/metrics.jsonl"
END
touch "$scratch/pack/bin/libmuster-cuda.so"
echo "a pack of fakes" >"$scratch/pack/ABOUT"
tar -C "$scratch/pack" -czf "$MUSTER_PACK" .
gpu() { # gpu WANTED ARGUMENT...
    rm -f "$calls"
    PATH=$fakes:$PATH expect_exit "$1" bash "$MUSTER_SOURCE/tests/gpu.sh" "${@:2}" >"$scratch/out" 2>&1
}
ended() { sed -nE 's/^([a-z]+): exit [0-9]+ after.*/\1/p' "$scratch/out" | xargs; }
called() { grep -qE -- "$1" "$calls" || { cat "$calls" >&2; fail "no call like: $1"; }; }

gpu 0 all
[ "$(ended)" = "oracles step attention golden decode sanitizer profile ranks peers" ] || { cat "$scratch/out" >&2; fail "stages: $(ended)"; }
called '^cuda_kernels .*device=cuda'
called '^bench_step 1.4b 8 1 2048 cuda bf16 log=2'
called '^bench_step 1.4b 8 1 2048 cuda bf16 tune'
called '^bench_step 1.4b 8 1 2048 cuda bf16 cudnn'
called '^cuda_attention .*device=cuda'
called '^unit_golden .*device=cuda'
called '^cuda_decode .*device=cuda'
called '^bench_step 1.4b 64 1 2048 cuda bf16 decode'
called '^muster run .*muster.device=auto .*precision=bfloat16'
for tool in memcheck racecheck; do
    for case in attention grouped_queries layer_norms embeddings; do
        # a case asks CUDA for what it must refuse: that ends no faultless card with 1
        called "^compute-sanitizer --tool $tool --report-api-errors no --error-exitcode 1 standin_case $case "
    done
done
called '^ncu --kernel-name'
called '^mpirun .*-n(p)? 3 .*cuda_nccl.* ctas=1' # the ranks share a card: their kernels must fit side by side
grep -q '^| 1.4b | 8 | muster | 2000 ' "$OUT/peers.txt" || { cat "$OUT/peers.txt" >&2; fail "no table beside PyTorch"; }
grep -q '^a pack of fakes' "$OUT/oracles.txt" || fail "a stage's file has no head"

gpu 0 all 410m --quick
[ "$(ended)" = "oracles step attention golden decode sanitizer ranks" ] || fail "--quick: $(ended)"
! grep -qE '^ncu|torch_step' "$calls" || fail "--quick runs ncu or PyTorch"
called '^bench_step 410m 16 '

ORACLES=1 gpu 1 all --quick
[ "$(ended)" = "oracles step attention golden decode sanitizer ranks" ] || fail "after a stage that fails: $(ended)"

HOLD=2 LIMIT=46 gpu 0 all --quick
[ "$(ended)" = oracles ] && grep -q '^step: not begun' "$scratch/out" || { cat "$scratch/out" >&2; fail "begun without time"; }
HOLD=20 LIMIT=16 gpu 0 all --quick # no stage is begun
[ -z "$(ended)" ] || fail "begun without time"
NO_CARD=1 gpu 77 all
