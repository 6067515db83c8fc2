#!/usr/bin/env bash
# `muster eval` by many workers is `muster eval` by one, in every layout; and it leaves nothing behind.
. "$(dirname "$0")/lib.sh"
make_data "$scratch/data"
run=$scratch/run
muster run "$scratch/model.yml" --workers 2 --run-dir "$run" >/dev/null 2>"$scratch/log" || { cat "$scratch/log"; exit 1; }
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
expect_exit 2 muster eval "$run" --data "$scratch/data" muster.lookahead=2 2>/dev/null
expect_exit 2 muster eval --data "$scratch/data" --workers 2 2>/dev/null
ls -R "$run/checkpoints" | diff "$scratch/before" - || fail "something is left beside the checkpoints"
