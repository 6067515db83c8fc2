#!/usr/bin/env bash
# `muster eval` and `muster generate` by many workers are those by one, in every layout; in bf16 they are near fp32; and
# they leave nothing behind.
. "$(dirname "$0")/lib.sh"
make_data "$scratch/data"
run=$scratch/run
export MUSTER_CUDA_LIBRARY=$scratch/none # CPUs, also where there is a card
# what it says about its machines holds for the training alone
muster run "$scratch/model.yml" --workers 2 --run-dir "$run" muster.device=cpu muster.threads_per_worker=1 muster.min_hosts=1 \
    >/dev/null 2>"$scratch/log" || { cat "$scratch/log"; exit 1; }
ls -R "$run/checkpoints" >"$scratch/before"

field() { sed -nE "s/.*\"$1\": ([^,}]+).*/\1/p" "$2"; }

# same_as_one NAME ARGUMENT...: the evaluation's JSON has the loss of one process, and its other fields exactly
same_as_one() {
    local name=$1
    shift
    muster eval "$run" --data "$scratch/data" --json "$@" >"$scratch/$name" 2>"$scratch/log" || { cat "$scratch/log"; fail "$name"; }
    for f in tokens split step; do
        [ "$(field $f "$scratch/$name")" = "$(field $f "$scratch/one")" ] || fail "$name: $f: $(cat "$scratch/$name")"
    done
    awk -v a="$(field loss "$scratch/$name")" -v b="$(field loss "$scratch/one")" \
        'BEGIN { d = a - b; exit !(d < 1e-6 && d > -1e-6 && b > 0) }' || fail "$name: $(cat "$scratch/$name" "$scratch/one")"
}
muster eval "$run" --data "$scratch/data" --json >"$scratch/one"
same_as_one w1 --workers 1
same_as_one w3 --workers 3
same_as_one tp2 --workers 4 model_parallel_size=2
same_as_one hosts --hosts "$(hostname):2"
muster eval "$run" --data "$scratch/data" --workers 2 2>/dev/null | grep -qE '^loss [0-9.]+, perplexity [0-9.]+, [0-9.]+ bits per byte, [0-9]+ tokens$'

# the configuration's precision, or another; an explicit device
near() { # near A B: two results are not the same, but within 1e-3
    awk -v a="$(field loss "$1")" -v b="$(field loss "$2")" 'BEGIN { d = (a - b) / b; exit !(a != b && d < 1e-3 && d > -1e-3) }' ||
        fail "fp32 and bf16: $(cat "$1" "$2")"
}
muster eval "$run" --data "$scratch/data" --json precision=bfloat16 muster.device=cpu >"$scratch/half" 2>"$scratch/log"
grep -q 'computing in bf16 on cpu' "$scratch/log" || fail "$(cat "$scratch/log")"
near "$scratch/half" "$scratch/one"
muster eval "$run" --data "$scratch/data" --json --workers 2 precision=bfloat16 model_parallel_size=2 >"$scratch/half" 2>"$scratch/log"
grep -q 'computing in bf16 on cpu' "$scratch/log" || fail "$(cat "$scratch/log")"
near "$scratch/half" "$scratch/one"
expect_exit 84 muster eval "$run" --data "$scratch/data" muster.device=cuda 2>"$scratch/log"

# another split; a run directory that was asked for stays
muster eval "$run" --data "$scratch/data" --split test --json >"$scratch/one"
same_as_one test --split test --workers 2 --run-dir "$scratch/kept"
[ -s "$scratch/kept/logs/rank-00001.log" ] || [ -e "$scratch/kept/run.json" ] || fail "no run directory is kept"

muster eval "$run" --data "$scratch/data" --seq-length 32 --json >"$scratch/one"
same_as_one short --workers 2 --seq-length 32
expect_exit 78 muster eval "$run" --data "$scratch/data" --seq-length 129 2>"$scratch/log"
grep -q "129 tokens are more than the model's 128 positions" "$scratch/log"
expect_exit 78 muster eval "$run" --data "$scratch/data" --seq-length 129 --workers 2 --run-dir "$scratch/long" 2>/dev/null
expect_exit 2 muster eval "$run" --data "$scratch/data" --seq-length none 2>/dev/null

expect_exit 66 muster eval "$run" --data "$scratch/nothing" --workers 2 2>/dev/null
expect_exit 66 muster eval "$scratch/nothing" --data "$scratch/data" --workers 2 2>/dev/null
expect_exit 2 muster eval "$run" --data "$scratch/data" --split bad --workers 2 2>/dev/null
expect_exit 2 muster eval "$run" "$run" --data "$scratch/data" 2>/dev/null
expect_exit 78 muster eval "$run" --data "$scratch/data" no_such_key=2 2>/dev/null
expect_exit 2 muster eval --data "$scratch/data" --workers 2 2>/dev/null
# generate: greedy, and drawn; tp 2 chooses the same
text() { # text ARGUMENT...: with a prompt that no shell and no mpirun may touch
    muster generate "$run" --prompt $'static "int"\n: $x \'y\' ' --max-new-tokens 24 "$@" 2>"$scratch/log" | tr '\0' '0'
}
one=$(text)
[ "$(text --threads 1)" = "$one" ] || fail "$(text --threads 1) $one"
[ "$(text --workers 2)" = "$one" ] || { cat "$scratch/log"; fail "tp 2: $(text --workers 2) $one"; }
grep -q 'tp 2 x dp 1' "$scratch/log" || fail "not tp 2: $(cat "$scratch/log")"
[ "$(text --hosts "$(hostname):2" --temperature 0.8 --seed 5)" = "$(text --temperature 0.8 --seed 5)" ] || fail "drawn by many"
[[ $(text precision=bfloat16) == 'static "int"'* ]] && grep -q 'computing in bf16 on cpu' "$scratch/log" || fail "$(cat "$scratch/log")"
expect_exit 2 muster generate "$run" --workers 2 2>/dev/null
expect_exit 2 muster generate "$run" --prompt x --top-p 2 --workers 2 2>"$scratch/log"
[ "$(cat "$scratch/log")" = 'muster: error: top-p 2: wanted 0 to 1' ] || fail "more than one line: $(cat "$scratch/log")"
expect_exit 78 muster generate "$run" --prompt x --workers 3 --run-dir "$scratch/wide" 2>"$scratch/log"
grep -q 'tp 2' "$scratch/log" || fail "$(cat "$scratch/log")"
ls -R "$run/checkpoints" | diff "$scratch/before" - || fail "something is left beside the checkpoints"

# gates, by one process and by many: what is met and what is not, and what is no gate
for many in "" "--workers 2"; do
    gated() { # CODE ARGUMENT...
        local code=$1
        shift
        expect_exit "$code" muster eval "$run" --data "$scratch/data" $many "$@" >"$scratch/out" 2>"$scratch/log"
    }
    gated 0 --gate 'loss<=100' --gate 'tokens >= 1' --gate 'bits_per_byte>0'
    grep -q '^loss [0-9.]*, perplexity' "$scratch/out" || fail "no result with gates $many: $(cat "$scratch/out")"
    gated 87 --gate 'loss<=100' --gate 'ppl<=1.0001' --gate 'tokens<1' --json
    [ "$(grep -c 'gate not met' "$scratch/log")" = 2 ] || fail "not both gates are named $many: $(cat "$scratch/log")"
    grep -q 'ppl: found [0-9.]*, wanted <= 1.0001' "$scratch/log" || fail "$(cat "$scratch/log")"
    grep -q '"loss": [0-9]' "$scratch/out" || fail "no result where a gate is not met $many"
    gated 2 --gate 'accuracy>0.5'
    gated 2 --gate 'ppl=3'
done
ls -R "$run/checkpoints" | diff "$scratch/before" - || fail "a gate leaves something beside the checkpoints"
# each result is kept with the run, by the data's version
version=$(sed -nE 's/.*"data_version": ?"([0-9a-f]{32})".*/\1/p' "$run/run.json" | head -n 1)
kept=$run/eval/valid-$version.json
[ -s "$kept" ] || fail "no $kept: $(ls "$run/eval")"
for f in model config data_version; do grep -qE "\"$f\": \"[0-9a-f]{32}\"" "$kept" || fail "no $f in $(cat "$kept")"; done
