#!/usr/bin/env bash
# New special tokens: in the data's tokenizer, in the model that is tuned on it in two layouts, in what becomes of that.
. "$(dirname "$0")/lib.sh"
sed -i "s/padded_vocab_size: .*/make_vocab_size_divisible_by: 4/" "$scratch/model.yml"
make_data "$scratch/data"

run() { # run NAME KEY=VALUE...
    local name=$1
    shift
    muster run "$scratch/model.yml" --run-dir "$scratch/$name" "$@" >"$scratch/$name.out" 2>&1 ||
        { cat "$scratch/$name.out" >&2; fail "$name"; }
}
field() { sed -nE "s/.*\"$1\": ([^,}]+).*/\\1/p"; } # field NAME: of JSON on one line

run first --workers 2 train_iters=4

# three names, of which the tokenizer has one; the text uses the others
sed -E 's/^(static .*)/<|quest|>\1<|answer|>/' "$scratch/data.txt" >"$scratch/asked.txt"
asked=(--special '<|quest|>' --special '<|endoftext|>' --special '<|answer|>')
muster prepare "$scratch/model.yml" --input "$scratch/asked.txt" --output "$scratch/asked" "${asked[@]}" 2>"$scratch/log" ||
    { cat "$scratch/log"; fail "prepare"; }
grep -q "2 special tokens added: the tokenizer has 514 ids" "$scratch/log" || fail "$(cat "$scratch/log")"
printf '<|answer|>x<|quest|>' >"$scratch/few"
[ "$(muster tokenizer encode --tokenizer "$scratch/asked/tokenizer.json" --input "$scratch/few" --json)" = "[513,89,512]" ] ||
    fail "$(muster tokenizer encode --tokenizer "$scratch/asked/tokenizer.json" --input "$scratch/few" --json)"
expect_exit 2 muster prepare "$scratch/model.yml" --input "$scratch/few" --output "$scratch/x" --special x 2>"$scratch/log"
grep -q "'x': the tokenizer has a plain token of this text" "$scratch/log" || fail "$(cat "$scratch/log")"

# the same losses whether the new rows lie with one worker or with the second of two; near those of the old text
tune=(data_path="$scratch/asked" load="$scratch/first" finetune=true train_iters=3)
run tuned "${tune[@]}"
grep -q "2 new tokens, ids 512 to 513: .* the embedding has 516 rows, grown" "$scratch/tuned.out" || fail "$(cat "$scratch/tuned.out")"
run tuned2 --workers 2 model_parallel_size=2 "${tune[@]}"
for name in tuned tuned2; do losses "$scratch/$name" >"$scratch/$name.losses"; done
same_losses "$scratch/tuned.losses" "$scratch/tuned2.losses" 1e-4 || fail "layouts differ"
awk '$2 > 6.3 { exit 1 }' "$scratch/tuned.losses" || fail "not the trained weights: $(cat "$scratch/tuned.losses")"

# a run goes on with what it grew to; others get the reason why they cannot
run tuned "${tune[@]}" train_iters=4 lr_decay_iters=3
grep -q "resuming" "$scratch/tuned.out" || fail "$(cat "$scratch/tuned.out")"
expect_exit 78 muster run "$scratch/model.yml" --run-dir "$scratch/odd" "${tune[@]}" finetune=false no_load_optim=true \
    override_lr_scheduler=true >"$scratch/odd.out" 2>&1
grep -qE "data version|2 tokens that the checkpoint does not know" "$scratch/odd.out" || fail "$(cat "$scratch/odd.out")"
expect_exit 78 muster run "$scratch/model.yml" --run-dir "$scratch/odd" "${tune[@]}" padded_vocab_size=512 >"$scratch/odd.out" 2>&1
expect_exit 78 muster run "$scratch/model.yml" --run-dir "$scratch/odd" data_path="$scratch/data" load="$scratch/tuned" \
    finetune=true >"$scratch/odd.out" 2>&1
grep -q "another tokenizer" "$scratch/odd.out" || fail "$(cat "$scratch/odd.out")"

# what becomes of it
muster eval "$scratch/tuned" --data "$scratch/asked" --json >"$scratch/a" || fail "eval"
muster generate "$scratch/tuned" --prompt '<|quest|>int' --max-new-tokens 4 >"$scratch/text" || fail "generate"
grep -q '^<|quest|>int' "$scratch/text" || fail "$(cat "$scratch/text")"
muster export "$scratch/tuned" --output "$scratch/hf" || fail "export"
[ "$(field vocab_size <"$scratch/hf/config.json")" = 516 ] || fail "$(cat "$scratch/hf/config.json")"
cmp "$scratch/hf/tokenizer.json" "$scratch/asked/tokenizer.json" || fail "the export's tokenizer"
muster import "$scratch/hf" --output "$scratch/back" || fail "import"
muster eval "$scratch/back" --data "$scratch/asked" --seq-length 64 --json >"$scratch/b" || fail "eval of the import"
[ "$(field loss <"$scratch/a")" = "$(field loss <"$scratch/b")" ] || fail "$(cat "$scratch/a" "$scratch/b")"

# grown by the import: the same model as the one that a run grows, before its first step
muster export "$scratch/first" --output "$scratch/hf-first"
muster import "$scratch/hf-first" --output "$scratch/grown" "${asked[@]}" 2>"$scratch/log" || { cat "$scratch/log"; fail "import --special"; }
muster inspect "$scratch/grown" --verify >"$scratch/log" || { cat "$scratch/log"; fail "inspect"; }
cmp "$scratch/grown/step-00000000/tokenizer.json" "$scratch/asked/tokenizer.json" || fail "the import's tokenizer"
run tuned3 "${tune[@]}" load="$scratch/grown" make_vocab_size_divisible_by=1
losses "$scratch/tuned3" >"$scratch/tuned3.losses"
# 640 rows, since its configuration says nothing of how to pad: the first loss counts more rows in its sum
paste "$scratch/tuned.losses" "$scratch/tuned3.losses" | head -n 1 | awk '{ d = $7 - $2; exit !(d > -0.05 && d < 0.3) }' ||
    fail "$(cat "$scratch/tuned.losses" "$scratch/tuned3.losses")"
expect_exit 2 muster import "$scratch/hf-first" --output "$scratch/x" --special '' 2>/dev/null
