#!/usr/bin/env bash
# A small Llama: the same losses in every layout, with recomputation and divided optimizer state; a checkpoint goes on
# in another layout; it is exported, imported, and fine-tuned with more tokens in its vocabulary.
. "$(dirname "$0")/lib.sh"
cat >>"$scratch/model.yml" <<MODEL
norm: rmsnorm
rms_norm_epsilon: 1.0e-5
activation: swiglu
num_kv_heads: 2
intermediate_size: 192
use_bias_in_norms: false
use_bias_in_attn_linear: false
use_bias_in_mlp: false
use_qk_layernorm: true
MODEL
sed -i '/^rotary_pct/d; /^gpt_j_residual/d; /^bias_gelu_fusion/d; /^no_weight_tying/d' "$scratch/model.yml"
grep -q '^muster:' "$scratch/model.yml" || echo 'muster: {}' >>"$scratch/model.yml"
keys="muster.head_dim=24 muster.rope_scaling.type=llama3 muster.rope_scaling.factor=4.0
      muster.rope_scaling.original_max_position_embeddings=32"
make_data "$scratch/data"

train() { # train NAME WORKERS TP KEY=VALUE...
    local name=$1 workers=$2 tp=$3
    shift 3
    # shellcheck disable=SC2086
    muster run "$scratch/model.yml" --workers "$workers" --run-dir "$scratch/$name" model_parallel_size="$tp" $keys "$@" \
        >"$scratch/$name.out" 2>&1 || { cat "$scratch/$name.out" >&2; fail "$name"; }
    losses "$scratch/$name" >"$scratch/$name.losses"
}

train 1x1 1 1
train 2x1 2 2 checkpoint_activations=true
train 1x2 2 1 zero_optimization.stage=1
for other in 2x1 1x2; do
    same_losses "$scratch/1x1.losses" "$scratch/$other.losses" 1e-4 || fail "1x1 and $other differ"
done
awk 'NR == 1 { a = $2 } END { exit !($2 < a - 0.15) }' "$scratch/1x1.losses" || fail "nothing was learned: $(cat "$scratch/1x1.losses")"
train mixed 2 2 lr_decay_iters=12 exit_interval=8
train mixed 1 1 lr_decay_iters=12
same_losses "$scratch/1x1.losses" "$scratch/mixed.losses" 1e-4 || fail "resumed in another layout, the losses differ"
# four workers for two key/value heads: each is held twice, stored once, and goes on where it is held once
train wide 4 4 lr_decay_iters=12 exit_interval=8
train wide 4 2 lr_decay_iters=12 zero_optimization.stage=1
same_losses "$scratch/1x1.losses" "$scratch/wide.losses" 1e-4 || fail "with copied key/value heads the losses differ"
train back 2 1 lr_decay_iters=12 exit_interval=8 zero_optimization.stage=1
train back 4 4 lr_decay_iters=12
same_losses "$scratch/1x1.losses" "$scratch/back.losses" 1e-4 || fail "resumed with copied key/value heads, the losses differ"
text() { muster generate "$scratch/1x1" --prompt 'static int ' --max-new-tokens 8 "$@" 2>"$scratch/log" | tr '\0' '0'; }
[ "$(text)" = "$(text --workers 4 model_parallel_size=4)" ] || fail "four workers write another text: $(cat "$scratch/log")"
train half 2 2 precision=bfloat16
same_losses "$scratch/1x1.losses" "$scratch/half.losses" 2e-2 || fail "bf16 is too far: $(cat "$scratch/half.losses")"

# what divides nothing is refused before anything starts
expect_exit 78 muster run "$scratch/model.yml" --workers 3 --run-dir "$scratch/three" hidden_size=48 num_attention_heads=6 model_parallel_size=3 \
    2>"$scratch/three"
grep -q "num_kv_heads 2" "$scratch/three" || fail "not named: $(cat "$scratch/three")"
expect_exit 78 muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/window" sliding_window_width=63 2>"$scratch/window"
grep -q "sliding_window_width 63" "$scratch/window" || fail "not named: $(cat "$scratch/window")"

# out, in with a new token, and on
muster export "$scratch/1x1" --output "$scratch/hf" 2>"$scratch/log" || { cat "$scratch/log"; fail "export"; }
grep -q '"model_type": "qwen3"' "$scratch/hf/config.json" || fail "the class: $(cat "$scratch/hf/config.json")"
muster import "$scratch/hf" --output "$scratch/ckpt" 2>"$scratch/log" || { cat "$scratch/log"; fail "import"; }
muster eval "$scratch/1x1" --data "$scratch/data" --json precision=fp32 >"$scratch/a" || fail "eval of the run"
muster eval "$scratch/ckpt" --data "$scratch/data" --seq-length 64 --json precision=fp32 >"$scratch/b" || fail "eval of the import"
[ "$(sed 's/, "step".*//' "$scratch/a")" = "$(sed 's/, "step".*//' "$scratch/b")" ] || fail "$(cat "$scratch/a" "$scratch/b")"
muster import "$scratch/hf" --output "$scratch/more" --special '<|chat|>' 2>"$scratch/log" || { cat "$scratch/log"; fail "import with a token"; }
muster prepare "$scratch/model.yml" --input "$scratch/data.txt" --output "$scratch/data2" \
    vocab_file="$scratch/more/step-00000000/tokenizer.json" padded_vocab_size=null 2>"$scratch/log" || { cat "$scratch/log"; fail "prepare"; }
train tuned 2 2 load="$scratch/more" finetune=true train_iters=2 data_path="$scratch/data2" padded_vocab_size=null \
    vocab_file="$scratch/more/step-00000000/tokenizer.json"
awk '{ if ($2 > 6.2) exit 1 } END { exit NR != 2 }' "$scratch/tuned.losses" || fail "not the trained weights: $(cat "$scratch/tuned.losses")"
muster generate "$scratch/tuned" --prompt "static int" --max-new-tokens 8 --temperature 0 >"$scratch/text" || fail "generate"
muster generate "$scratch/tuned" --prompt "static int" --max-new-tokens 8 --temperature 0 --workers 2 model_parallel_size=2 \
    >"$scratch/text2" || fail "generate by two"
cmp "$scratch/text" "$scratch/text2" || fail "two workers write another text: $(cat "$scratch/text" "$scratch/text2")"
