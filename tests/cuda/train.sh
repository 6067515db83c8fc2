#!/usr/bin/env bash
# Training on GPUs through NCCL gives the losses of training on CPUs: one worker, two replicas, tp 2 x dp 2 with divided
# optimizer state, in fp32 and in bf16; a checkpoint of GPUs goes on on CPUs. All workers share one card (MUSTER_SHARE_GPU).
# Where no card is, the environment names the stand-ins: MUSTER_CUDA_LIBRARY, MUSTER_NCCL_LIBRARY.
. "$MUSTER_SOURCE/tests/e2e/lib.sh"
export MUSTER_SHARE_GPU=1
sed -i -e 's/^hidden_size: 64/hidden_size: 32/' -e 's/^num_attention_heads: 4/num_attention_heads: 2/' \
    -e 's/^seq_length: 64/seq_length: 16/' -e 's/^train_batch_size: 16/train_batch_size: 4/' \
    -e 's/^train_iters: 12/train_iters: 6/' -e 's/^eval_interval: 6/eval_interval: 3/' \
    -e 's/^checkpoint_factor: 4/checkpoint_factor: 3/' -e 's/^eval_iters: 2/eval_iters: 1/' "$scratch/model.yml"
make_data "$scratch/data" >/dev/null

train() { # train NAME WORKERS TP KEY=VALUE...
    local name=$1 workers=$2 tp=$3
    shift 3
    muster run "$scratch/model.yml" --workers "$workers" --run-dir "$scratch/$name" model_parallel_size="$tp" "$@" \
        >"$scratch/$name.out" 2>&1 || { cat "$scratch/$name.out" >&2; fail "$name"; }
    losses "$scratch/$name" >"$scratch/$name.losses"
}

on_card() { # the first lines say what computes, and with what the workers talk
    grep -qE "layout .*$2" "$scratch/$1.out" || { cat "$scratch/$1.out" >&2; fail "$1: not on $2"; }
}

train cpu 1 1 muster.device=cpu
train card 1 1
same_losses "$scratch/cpu.losses" "$scratch/card.losses" 1e-4 || fail "one GPU and the CPU differ"
[ -z "${MUSTER_NCCL_LIBRARY:-}${WITH_NCCL:-}" ] && exit 0
train dp2 2 1
on_card dp2 'NCCL 2'
train both 4 2 zero_optimization.stage=1
for name in dp2 both; do
    same_losses "$scratch/cpu.losses" "$scratch/$name.losses" 1e-4 || fail "$name and the CPU differ"
done
train half 4 2 zero_optimization.stage=1 precision=bfloat16
grep -qE 'numbers .*bf16' "$scratch/half.out" || { cat "$scratch/half.out" >&2; fail "not in bf16"; }
same_losses "$scratch/cpu.losses" "$scratch/half.losses" 1e-2 || fail "bf16 on GPUs is not near fp32 on the CPU"
train behind 2 1 muster.overlap=false
cmp "$scratch/dp2.losses" "$scratch/behind.losses" || fail "overlap changes the bits"

# three steps on GPUs with divided optimizer state, three on CPUs
train mixed 2 1 zero_optimization.stage=1 lr_decay_iters=6 exit_interval=3
train mixed 1 1 muster.device=cpu lr_decay_iters=6
same_losses "$scratch/cpu.losses" "$scratch/mixed.losses" 1e-4 || fail "a checkpoint of GPUs does not go on on CPUs"
