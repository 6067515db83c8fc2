#!/usr/bin/env bash
# muster.attention: cudnn. Runs of two workers are near the CPU's, say what computes attention, and have the same bits
# after a restart. What cuDNN cannot do, a host without it and two versions of it end the start with 78, before a step.
# The environment names the stand-ins: MUSTER_CUDA_LIBRARY, MUSTER_NCCL_LIBRARY, MUSTER_CUDNN_LIBRARY.
. "$MUSTER_SOURCE/tests/e2e/lib.sh"
export MUSTER_SHARE_GPU=1
sed -i -e 's/^hidden_size: 64/hidden_size: 32/' -e 's/^num_attention_heads: 4/num_attention_heads: 2/' \
    -e 's/^seq_length: 64/seq_length: 16/' -e 's/^train_batch_size: 16/train_batch_size: 4/' \
    -e 's/^train_iters: 12/train_iters: 4/' -e 's/^eval_interval: 6/eval_interval: 4/' \
    -e 's/^checkpoint_factor: 4/checkpoint_factor: 2/' -e 's/^eval_iters: 2/eval_iters: 1/' "$scratch/model.yml"
make_data "$scratch/data" >/dev/null

run() { # run NAME KEY=VALUE...: its exit status
    muster run "$scratch/model.yml" --workers 2 --run-dir "$scratch/$1" precision=bfloat16 lr_decay_iters=4 "${@:2}" \
        >"$scratch/$1.out" 2>&1
}
train() {
    run "$@" || { cat "$scratch/$1.out" >&2; fail "$1"; }
    losses "$scratch/$1" >"$scratch/$1.losses"
}
said() { grep -qE "$2" "$scratch/$1.out" || { cat "$scratch/$1.out" >&2; fail "$1 does not say '$2'"; }; }
refused() { # refused NAME WORDS KEY=VALUE...
    local code=0
    run "$1" muster.attention=cudnn "${@:3}" || code=$?
    [ "$code" = 78 ] || { cat "$scratch/$1.out" >&2; fail "$1: exit $code"; }
    said "$1" "$2"
    [ ! -s "$scratch/$1/metrics.jsonl" ] || ! losses "$scratch/$1" | grep -q . || fail "$1: a step was made"
}

train cpu precision=fp32 muster.device=cpu
train own
said own "attention  muster's own kernels"
train fused muster.attention=cudnn
said fused 'attention  cuDNN 9\.19\.0'
for name in own fused; do
    same_losses "$scratch/cpu.losses" "$scratch/$name.losses" 1e-2 || fail "$name and the CPU differ"
done
cmp -s "$scratch/own.losses" "$scratch/fused.losses" && fail "cuDNN was not taken"
train twice muster.attention=cudnn exit_interval=2
train twice muster.attention=cudnn
cmp "$scratch/fused.losses" "$scratch/twice.losses" || fail "a restart changes the bits"

refused single "muster.attention is cudnn.*fp32" precision=fp32
refused dropped "muster.attention is cudnn.*attention_dropout" attention_dropout=0.1
MUSTER_CUDNN_LIBRARY=/nowhere/libcudnn.so.9 refused absent 'cannot open cuDNN: /nowhere/libcudnn.so.9'
CUDNN_STAND_IN=nondeterministic refused noisy 'cuDNN 9.19.0 does not compute .*same bits'
CUDNN_STAND_IN=odd=91800 refused mixed 'by cuDNN 9.19.0 and others by cuDNN 9.18.0|by cuDNN 9.18.0 and others by cuDNN 9.19.0'
