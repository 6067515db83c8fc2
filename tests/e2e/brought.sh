#!/usr/bin/env bash
# Configurations, models and checkpoints as people bring them: they work, or the launcher says why before a rank starts.
. "$(dirname "$0")/lib.sh"
sed -i 's/^train_iters: 12/train_iters: 2/; s/^train_batch_size: 16/train_batch_size: 2/; s/^eval_iters: 2/eval_iters: 1/' "$scratch/model.yml"
make_data "$scratch/data"

# run CODE NAME KEY=VALUE...: muster run in RUN DIRECTORY NAME, with the exit code wanted; its talk is in NAME.out
run() {
    local code=$1 name=$2 got=0
    shift 2
    muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/$name" "$@" >"$scratch/$name.out" 2>&1 || got=$?
    [ "$got" -eq "$code" ] || { cat "$scratch/$name.out" >&2; fail "$name: exit $got, wanted $code"; }
}
says() { grep -qE -- "$2" "$scratch/$1.out" || { cat "$scratch/$1.out" >&2; fail "$1 does not say: $2"; }; }

# no validation is wanted: a split without one, or no interval
muster prepare "$scratch/model.yml" --input "$scratch/data.txt" --output "$scratch/whole" split=1,0,0 2>/dev/null
run 0 whole data_path="$scratch/whole" eval_interval=1
says whole 'does not evaluate'
run 0 interval eval_interval=0
! grep -q valid_loss "$scratch/whole/metrics.jsonl" "$scratch/interval/metrics.jsonl" || fail "a run without validation evaluated"
