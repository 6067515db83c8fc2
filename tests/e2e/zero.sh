#!/usr/bin/env bash
# Optimizer state divided over the replicas gives the numbers of whole state, in every layout; exchanges after the
# computation give the bits of those beside it; a run changes stage and layout at a checkpoint; each stage resumes bit
# for bit.
. "$(dirname "$0")/lib.sh"
# three replicas divide neither the vocabulary of 512 nor the width of 64 evenly
sed -i 's/^train_batch_size: 16/train_batch_size: 12/' "$scratch/model.yml"
make_data "$scratch/data"

train() { # train NAME WORKERS TP STAGE KEY=VALUE...
    local name=$1 workers=$2 tp=$3 stage=$4
    shift 4
    muster run "$scratch/model.yml" --workers "$workers" --run-dir "$scratch/$name" model_parallel_size="$tp" \
        zero_optimization.stage="$stage" "$@" >"$scratch/$name.out" 2>&1 || { cat "$scratch/$name.out" >&2; fail "$name"; }
    losses "$scratch/$name" >"$scratch/$name.losses"
}

for layout in "2 1" "3 1" "4 2"; do
    read -r workers tp <<<"$layout"
    train "$workers-$tp-0" "$workers" "$tp" 0
    train "$workers-$tp-1" "$workers" "$tp" 1
    muster inspect "$scratch/$workers-$tp-1/checkpoints/step-00000012" --verify >/dev/null || fail "a checkpoint is not whole"
    same_losses "$scratch/$workers-$tp-0.losses" "$scratch/$workers-$tp-1.losses" 1e-6 ||
        fail "$workers workers, tp $tp: stage 0 and 1 differ"
done

for run in "2 1 0" "2 1 1" "4 2 1"; do
    read -r workers tp stage <<<"$run"
    train after "$workers" "$tp" "$stage" muster.overlap=false
    cmp "$scratch/$workers-$tp-$stage.losses" "$scratch/after.losses" || fail "$run: overlap changes the bits"
    rm -r "$scratch/after"
done

# to step 8 one way, on another way
train again 2 1 1 lr_decay_iters=12 exit_interval=8
train again 2 1 1 lr_decay_iters=12
cmp "$scratch/2-1-1.losses" "$scratch/again.losses" || fail "stage 1 does not resume bit for bit"
train up 2 1 0 lr_decay_iters=12 exit_interval=8
train up 3 1 1 lr_decay_iters=12
same_losses "$scratch/2-1-0.losses" "$scratch/up.losses" 1e-5 || fail "stage 0 does not go on as stage 1"
train down 4 2 1 lr_decay_iters=12 exit_interval=8
train down 1 1 0 lr_decay_iters=12
same_losses "$scratch/2-1-0.losses" "$scratch/down.losses" 1e-5 || fail "stage 1 does not go on as stage 0"
