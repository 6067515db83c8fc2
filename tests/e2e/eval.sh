#!/usr/bin/env bash
# `muster eval` and `muster generate` by many workers are those by one, in every layout; in bf16 they are near fp32; and
# they leave nothing.
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
while read -r words; do # what the launcher refuses, and what the worker's own check does: one line
    expect_exit 2 muster generate "$run" --prompt x --workers 2 $words 2>"$scratch/log"
    [ "$(wc -l <"$scratch/log")" -eq 1 ] && grep -q -- "error:.*${words%% *}" "$scratch/log" || fail "$words: $(cat "$scratch/log")"
done <<<$'--top-p 2\n--json'
expect_exit 78 muster generate "$run" --prompt x --workers 3 --run-dir "$scratch/wide" 2>"$scratch/log"
grep -q 'tp 2' "$scratch/log" || fail "$(cat "$scratch/log")"
ls -R "$run/checkpoints" | diff "$scratch/before" - || fail "something is left beside the checkpoints"

# how fast it generates
muster generate "$run" --prompt x --max-new-tokens 8 --bench 5 --json >"$scratch/bench" 2>/dev/null
for f in load_ms cold_first_token_ms tokens_per_s p50 p95 max; do grep -q "\"$f\": [0-9]" "$scratch/bench" || fail "$f: $(cat "$scratch/bench")"; done
grep -q '"requests": 5, "prompt_tokens": 1, "new_tokens": 8' "$scratch/bench" || fail "$(cat "$scratch/bench")"
muster generate "$run" --prompt x --max-new-tokens 8 --bench 5 2>/dev/null | grep -q '^each token   p50 [0-9.]* ms, p95 [0-9.]* ms, max [0-9.]* ms$'
expect_exit 2 muster generate "$run" --prompt x --bench 5 --workers 2 2>/dev/null
expect_exit 2 muster generate "$run" --prompt x --bench 0 2>/dev/null
expect_exit 2 muster generate "$run" --prompt x --max-new-tokens 0 --bench 1 2>/dev/null

# gates, by one process and by many: what is met and what is not, and what is no gate
for many in "" "--workers 2"; do
    gated() { # CODE ARGUMENT...
        local code=$1
        shift
        expect_exit "$code" muster eval "$run" --data "$scratch/data" $many "$@" >"$scratch/out" 2>"$scratch/log"
    }
    gated 0 --gate 'loss<=100' --gate 'tokens >= 1' --gate 'bits_per_byte>0'
    grep -qE '^loss [0-9.]+, perplexity [0-9.]+, [0-9.]+ bits per byte, [0-9]+ tokens$' "$scratch/out" ||
        fail "no result with gates $many: $(cat "$scratch/out")"
    gated 87 --gate 'loss<=100' --gate 'ppl<=1.0001' --gate 'tokens<1' --json
    [ "$(grep -c 'gate not met' "$scratch/log")" = 2 ] || fail "not both gates are named $many: $(cat "$scratch/log")"
    grep -q 'ppl: found [0-9.]*, wanted <= 1.0001' "$scratch/log" || fail "$(cat "$scratch/log")"
    grep -q '"loss": [0-9]' "$scratch/out" || fail "no result where a gate is not met $many"
    gated 2 --gate 'accuracy>0.5'
    gated 2 --gate 'acc>0.5' # without --labelled
    gated 2 --gate 'ppl=3'
done
ls -R "$run/checkpoints" | diff "$scratch/before" - || fail "a gate leaves something beside the checkpoints"
# each result is kept with the run, by the data's version
version=$(sed -nE 's/.*"data_version": ?"([0-9a-f]{32})".*/\1/p' "$run/run.json" | head -n 1)
kept=$run/eval/valid-$version.json
[ -s "$kept" ] || fail "no $kept: $(ls "$run/eval")"
for f in model config data_version; do grep -qE "\"$f\": \"[0-9a-f]{32}\"" "$kept" || fail "no $f in $(cat "$kept")"; done

# labelled examples: one process and many count the same, alone and with a data set; gates on them; what is no example
for i in 1 2 3 4 5 6 7; do
    printf '{"prompt": "int %s = ", "choices": ["0;", "return value;", "#include"], "answer": %d}\n' "$i" $((i % 3))
done >"$scratch/labelled.jsonl"
muster eval "$run" --labelled "$scratch/labelled.jsonl" --json >"$scratch/one"
grep -qE '^\{"acc": [0-9.]+, "acc_norm": [0-9.]+, "examples": 7, "step": 12\}$' "$scratch/one" || fail "labelled: $(cat "$scratch/one")"
for many in "--workers 2" "--workers 2 model_parallel_size=2"; do
    muster eval "$run" --labelled "$scratch/labelled.jsonl" --json $many 2>/dev/null | diff - "$scratch/one" || fail "labelled by many: $many"
done
muster eval "$run" --labelled "$scratch/labelled.jsonl" --data "$scratch/data" --json --gate 'loss<=100' --gate 'acc>=0' >"$scratch/both" 2>/dev/null
[ "$(field acc_norm "$scratch/both")" = "$(field acc_norm "$scratch/one")" ] && [ "$(field tokens "$scratch/both")" -gt 0 ] ||
    fail "data and examples: $(cat "$scratch/both")"
for many in "" "--workers 2"; do
    expect_exit 87 muster eval "$run" --labelled "$scratch/labelled.jsonl" --gate 'acc_norm>1' $many >/dev/null 2>"$scratch/log"
    grep -q 'acc_norm: found [0-9.]*, wanted > 1' "$scratch/log" || fail "$(cat "$scratch/log")"
    expect_exit 2 muster eval "$run" --labelled "$scratch/labelled.jsonl" --gate 'ppl<9' $many 2>/dev/null
done
ls "$run"/eval/labelled-*.json >/dev/null || fail "no result of labelled examples is kept"
echo '{"prompt": "x"}' >"$scratch/bad.jsonl"
expect_exit 65 muster eval "$run" --labelled "$scratch/bad.jsonl" 2>"$scratch/log"
grep -q 'bad.jsonl:1:' "$scratch/log" || fail "$(cat "$scratch/log")"
expect_exit 66 muster eval "$run" --labelled "$scratch/nothing" --workers 2 2>/dev/null

# several models: each result, the best, by how much; the gate is the best one's
for many in "" "--workers 2"; do
    expect_exit 0 muster eval "$run@4" "$run@12" --data "$scratch/data" --best --json --gate 'loss<6' $many >"$scratch/best" 2>/dev/null
    grep -q "\"best\": {\"model\": \"$run@12\", \"metric\": \"loss\", .*\"second\": \"$run@4\", \"margin\": 0.[0-9]*}" "$scratch/best" ||
        fail "best $many: $(cat "$scratch/best")"
done
muster eval "$run@4" "$run@12" --data "$scratch/data" --best >"$scratch/out" 2>/dev/null
grep -q "^best: $run@12, loss [0-9.]*, by 0.[0-9]* before $run@4$" "$scratch/out" || fail "$(cat "$scratch/out")"
expect_exit 87 muster eval "$run@4" "$run@12" --data "$scratch/data" --gate 'loss<6' >"$scratch/out" 2>"$scratch/log"
[ "$(grep -c '^loss' "$scratch/out")" = 2 ] || fail "the first gate ends it: $(cat "$scratch/out")"
# a split without tokens
muster prepare "$scratch/model.yml" --input "$scratch/data.txt" --output "$scratch/train-only" split=1,0,0 2>/dev/null >&2
expect_exit 65 muster eval "$run" --data "$scratch/train-only" --split test --gate 'ppl<=1e9' 2>"$scratch/log"
grep -q 'split test' "$scratch/log" || fail "$(cat "$scratch/log")"
