#!/usr/bin/env bash
# One global batch, five layouts, the same losses; and a checkpoint of any layout goes on in any other.
. "$(dirname "$0")/lib.sh"
make_data "$scratch/data"

train() { # train NAME WORKERS TP KEY=VALUE...
    local name=$1 workers=$2 tp=$3
    shift 3
    muster run "$scratch/model.yml" --workers "$workers" --run-dir "$scratch/$name" model_parallel_size="$tp" "$@" \
        >"$scratch/$name.out" 2>&1 || { cat "$scratch/$name.out" >&2; fail "$name"; }
    losses "$scratch/$name" >"$scratch/$name.losses"
}

train 1x1 1 1
train 2x1 2 2
train 1x2 2 1
train 2x2 4 2
train 4x1 4 4
[ "$(wc -l <"$scratch/1x1.losses")" -eq 12 ] || fail "12 lines wanted: $(cat "$scratch/1x1.losses")"
if grep missing "$scratch/1x1.losses"; then fail "a step has no line"; fi
for other in 2x1 1x2 2x2 4x1; do
    same_losses "$scratch/1x1.losses" "$scratch/$other.losses" 1e-4 || fail "1x1 and $other differ"
done
first=$(awk 'NR == 1 { print $2 }' "$scratch/1x1.losses") last=$(awk 'END { print $2 }' "$scratch/1x1.losses")
awk -v a="$first" -v b="$last" 'BEGIN { exit !(b < a - 0.3) }' || fail "nothing was learned: $first to $last"

# tp 2 x dp 2 to step 8, then tp 1 x dp 1: the losses of a run that never stopped
train mixed 4 2 lr_decay_iters=12 exit_interval=8
train mixed 1 1 lr_decay_iters=12
same_losses "$scratch/1x1.losses" "$scratch/mixed.losses" 1e-4 || fail "resumed in another layout, the losses differ"
grep -q 'resuming .*step-00000008' "$scratch/mixed.out" || fail "it does not say what it resumes: $(cat "$scratch/mixed.out")"
