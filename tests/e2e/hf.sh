#!/usr/bin/env bash
# A run becomes a Hugging Face directory, that a checkpoint, and that the start of another run: the same numbers all
# along.
. "$(dirname "$0")/lib.sh"
make_data "$scratch/data"

run() { # run NAME KEY=VALUE...
    local name=$1
    shift
    muster run "$scratch/model.yml" --run-dir "$scratch/$name" "$@" >"$scratch/$name.out" 2>&1 ||
        { cat "$scratch/$name.out" >&2; fail "$name"; }
}

run first --workers 2 model_parallel_size=2 train_iters=4
muster export "$scratch/first" --output "$scratch/hf" || fail "export"
for file in config.json model.safetensors tokenizer.json tokenizer_config.json; do
    [ -s "$scratch/hf/$file" ] || fail "the export has no $file"
done
cmp "$scratch/hf/tokenizer.json" "$scratch/data.json" || fail "the tokenizer has changed"
muster import "$scratch/hf" --output "$scratch/ckpt" || fail "import"
muster inspect "$scratch/ckpt" --verify >"$scratch/inspect" || { cat "$scratch/inspect"; fail "inspect"; }

# the very same weights; config.json knows one length, max_position_embeddings, which is not that of training
muster eval "$scratch/first" --data "$scratch/data" --json >"$scratch/a" || fail "eval of the run"
muster eval "$scratch/ckpt" --data "$scratch/data" --seq-length 64 --json >"$scratch/b" || fail "eval of the import"
[ "$(sed 's/, "step".*//' "$scratch/a")" = "$(sed 's/, "step".*//' "$scratch/b")" ] || fail "$(cat "$scratch/a" "$scratch/b")"
# an import knows nothing of training; many workers take it all the same
muster eval "$scratch/ckpt" --data "$scratch/data" --seq-length 64 --json --workers 2 >"$scratch/many" || fail "eval of the import by two"
[ "$(cut -c1-15 "$scratch/many")" = "$(cut -c1-15 "$scratch/b")" ] || fail "$(cat "$scratch/many" "$scratch/b")"
muster export "$scratch/ckpt" --output "$scratch/hf2"
cmp "$scratch/hf/model.safetensors" "$scratch/hf2/model.safetensors" || fail "a second export differs"

# the tensors of a checkpoint in another layout
run tuned load="$scratch/ckpt" finetune=true train_iters=2
grep -q "weights from .*ckpt/step-00000000" "$scratch/tuned.out" || fail "it does not say what it loads"
losses "$scratch/tuned" >"$scratch/tuned.losses"
awk '{ if ($2 > 6.2) exit 1 } END { exit NR != 2 }' "$scratch/tuned.losses" || fail "not the trained weights: $(cat "$scratch/tuned.losses")"

# another model than the configuration's
expect_exit 78 muster run "$scratch/model.yml" --run-dir "$scratch/odd" load="$scratch/ckpt" finetune=true train_iters=2 \
    bias_gelu_fusion=false >"$scratch/odd.out" 2>&1
grep -q "bias_gelu_fusion" "$scratch/odd.out" || fail "the difference is not named: $(cat "$scratch/odd.out")"
expect_exit 0 muster import "$scratch/hf" --output "$scratch/ckpt" 2>"$scratch/again" # the same again: there already
expect_exit 0 muster export "$scratch/ckpt" --output "$scratch/hf2" 2>"$scratch/again"
expect_exit 73 muster import "$scratch/hf" --output "$scratch/ckpt" --special '<|other|>' 2>"$scratch/again"
expect_exit 73 muster export "$scratch/ckpt" --output "$scratch/hf" 2>"$scratch/again"
expect_exit 66 muster import "$scratch/nowhere" --output "$scratch/x" 2>"$scratch/again"
expect_exit 2 muster import 2>"$scratch/again"

# what a kill leaves is no export and no checkpoint, and does not stand in the way
mkdir -p "$scratch/ckpt3/step-00000000.tmp-0"
muster import "$scratch/hf" --output "$scratch/ckpt3" 2>"$scratch/again" || { cat "$scratch/again"; fail "an earlier import's rest is in the way"; }
mkdir "$scratch/hf3.tmp-1" "$scratch/hf3.tmp-2"
echo half >"$scratch/hf3.tmp-1/model.safetensors"
flock "$scratch/hf3.tmp-2" muster export "$scratch/ckpt" --output "$scratch/hf3" 2>"$scratch/again" || { cat "$scratch/again"; fail "export beside others"; }
[ ! -e "$scratch/hf3.tmp-1" ] || fail "what a killed export left is there still"
[ -d "$scratch/hf3.tmp-2" ] || fail "the place of an export that runs is removed"
