#!/usr/bin/env bash
# Training on GPUs through NCCL gives the losses of training on CPUs: one worker, two replicas, tp 2 x dp 2 with divided
# optimizer state, in fp32, in bf16, and in fp16 with its loss scale, whose skipped steps all workers agree on; a
# checkpoint of GPUs goes on on CPUs. All workers share one card (MUSTER_SHARE_GPU).
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
# a Llama whose one key/value head both workers hold
llama=(norm=rmsnorm activation=swiglu num_kv_heads=1 intermediate_size=96 use_bias_in_norms=false use_bias_in_attn_linear=false
    use_bias_in_mlp=false use_qk_layernorm=true gpt_j_residual=false)
train llama-cpu 1 1 "${llama[@]}" muster.device=cpu
train llama 2 2 "${llama[@]}"
same_losses "$scratch/llama-cpu.losses" "$scratch/llama.losses" 1e-4 || fail "a Llama: GPUs and the CPU differ"
for name in dp2 both; do
    same_losses "$scratch/cpu.losses" "$scratch/$name.losses" 1e-4 || fail "$name and the CPU differ"
done
# fine-tuning: adapters, dropout and borders of documents; layouts and devices draw the same
tune=(load="$scratch/cpu" muster.lora_rank=4 "muster.lora_targets=[all-linear]" muster.lora_dropout=0.2 hidden_dropout=0.1
    attention_dropout=0.1 reset_attention_mask=true reset_position_ids=true optimizer.params.lr=1.0e-2)
train tuned-cpu 1 1 "${tune[@]}" muster.device=cpu
train tuned 4 2 "${tune[@]}" zero_optimization.stage=1
on_card tuned 'cuda'
same_losses "$scratch/tuned-cpu.losses" "$scratch/tuned.losses" 1e-4 || fail "adapters with dropout: GPUs and the CPU differ"
train half 4 2 zero_optimization.stage=1 precision=bfloat16
grep -qE 'numbers .*bf16' "$scratch/half.out" || { cat "$scratch/half.out" >&2; fail "not in bf16"; }
same_losses "$scratch/cpu.losses" "$scratch/half.losses" 1e-2 || fail "bf16 on GPUs is not near fp32 on the CPU"
train after 4 2 zero_optimization.stage=1 muster.overlap=false muster.async_checkpoint=on
cmp "$scratch/both.losses" "$scratch/after.losses" || fail "overlap changes the bits"
slices() { grep -hoE '^\[[0-9,]+,"[0-9a-f]{32}"\]' "$scratch/$1/checkpoints/step-00000003/manifest.json" | sort; }
grep -q 'checkpoint step 3 saved: .*beside the steps' "$scratch/after.out" || { cat "$scratch/after.out" >&2; fail "not beside the steps"; }
diff <(slices both) <(slices after) || fail "a checkpoint written beside the steps has other bytes"

# an NCCL without an order of launches: sums of two groups are never in flight at once, which the stand-in checks
if grep -q 'layout .*Stand-in' "$scratch/card.out"; then
    NCCL_STAND_IN_VERSION=22503 train old 4 2 zero_optimization.stage=1 lr_decay_iters=6 exit_interval=2
    grep -q 'NCCL 2.25 .*2.26 or later' "$scratch/old.out" || { cat "$scratch/old.out" >&2; fail "nothing said of NCCL 2.25"; }
    head -n "$(wc -l <"$scratch/old.losses")" "$scratch/both.losses" | cmp - "$scratch/old.losses" || fail "an older NCCL changes the bits"
fi

# the first scales overflow: no update, and the schedule waits
scaling=(precision=fp16 fp16.initial_scale_power=25 fp16.hysteresis=1 train_iters=8)
values() { sed -n "s/.*\"$2\": \([^,}]*\).*/\1/p" "$scratch/$1/metrics.jsonl" | tr '\n' ' '; }
train scaled 4 2 zero_optimization.stage=1 "${scaling[@]}"
train alone 1 1 "${scaling[@]}"
for key in loss_scale skipped lr; do
    [ "$(values scaled $key)" = "$(values alone $key)" ] || fail "$key: $(values scaled $key), and alone $(values alone $key)"
done
grep -q '^33554432 16777216 ' <<<"$(values scaled loss_scale)" || fail "the scales: $(values scaled loss_scale)"
grep -q '^true .*false ' <<<"$(values scaled skipped)" || fail "skipped: $(values scaled skipped)"
same_losses "$scratch/alone.losses" "$scratch/scaled.losses" 1e-2 || fail "fp16: one GPU and four differ"

# three steps on GPUs with divided optimizer state, three on CPUs
train mixed 2 1 zero_optimization.stage=1 lr_decay_iters=6 exit_interval=3
train mixed 1 1 muster.device=cpu lr_decay_iters=6
same_losses "$scratch/cpu.losses" "$scratch/mixed.losses" 1e-4 || fail "a checkpoint of GPUs does not go on on CPUs"

# eval and generate: the checkpoint's own precision, on the card unless the command says otherwise
head -c 1000 "$scratch/data.txt" >"$scratch/short.txt"
muster prepare "$scratch/model.yml" --input "$scratch/short.txt" --output "$scratch/short" split=0,1,0 >/dev/null 2>&1
loss() { # loss NAME ARGUMENT...: the loss, and in NAME.log what it was computed on
    muster eval "$scratch/card" --data "$scratch/short" --json "${@:2}" 2>"$scratch/$1.log" | sed -nE 's/.*"loss": ([^,]+),.*/\1/p'
}
text() { muster generate "$scratch/card" --prompt 'static int ' --max-new-tokens 4 "$@" 2>"$scratch/text.log" | tr '\0' '0'; }
said() { grep -qE "computing in $2" "$scratch/$1.log" || { cat "$scratch/$1.log" >&2; fail "$1: not in $2"; }; }
near() { awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = (a - b) / b; exit !(d < t && d > -t) }' || fail "loss $1 and $2"; }
want=$(loss eval-cpu muster.device=cpu)
said eval-cpu 'fp32 on cpu'
near "$(loss eval-card)" "$want" 1e-5
said eval-card 'fp32 on cuda'
near "$(loss eval-many --workers 2 model_parallel_size=2 precision=bfloat16)" "$want" 1e-3
said eval-many 'bf16 on cuda.*NCCL 2'
want=$(text muster.device=cpu)
[ "$(text)" = "$want" ] || fail "the card writes $(text), the CPU $want"
said text 'fp32 on cuda'
[ "$(text --workers 2)" = "$want" ] || fail "two cards write $(text --workers 2), the CPU $want"
said text 'fp32 on cuda.*NCCL 2'
