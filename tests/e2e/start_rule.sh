#!/usr/bin/env bash
# Where a run starts, and what it refuses: resume, load, finetune, damaged and foreign checkpoints. Then what the
# trained model is good for: eval and generate.
. "$(dirname "$0")/lib.sh"
sed -i 's/^train_iters: 12/train_iters: 8/; s/^eval_interval: 6/eval_interval: 4/' "$scratch/model.yml"
make_data "$scratch/data"

# run CODE NAME KEY=VALUE...: muster run in RUN DIRECTORY NAME, with the exit code wanted; its talk is in NAME.out
run() {
    local code=$1 name=$2 got=0
    shift 2
    muster run "$scratch/model.yml" --workers 2 --run-dir "$scratch/$name" "$@" >"$scratch/$name.out" 2>&1 || got=$?
    [ "$got" -eq "$code" ] || { cat "$scratch/$name.out" >&2; fail "$name: exit $got, wanted $code"; }
}
says() { grep -qE -- "$2" "$scratch/$1.out" || { cat "$scratch/$1.out" >&2; fail "$1 does not say: $2"; }; }
last() { losses "$scratch/$1" | tail -n 1; }

run 0 first
says first 'start +random weights'
run 0 first # finished already: nothing to do, and nothing is done
says first 'resuming .*step-00000008'
says first 'done: step 8 .*nothing to do.*train_iters'
[ "$(wc -l <"$scratch/first/metrics.jsonl")" -eq 8 ] || fail "a finished run trained on"

grep -qE '"environment":\{"threads":[0-9]+,"device":"cpu, .*","instruction_set":"[a-z0-9, ]+","libraries":".*HDF5' \
    "$scratch/first/checkpoints/step-00000008/manifest.json" || fail "the manifest does not say what the bits depend on"

# a damaged newest checkpoint: the one before it, said
cp -r "$scratch/first" "$scratch/damaged"
for shard in "$scratch"/damaged/checkpoints/step-00000008/*.h5; do
    printf 'x' | dd of="$shard" bs=1 seek=$(($(stat -c %s "$shard") - 300)) conv=notrunc 2>/dev/null
done
run 0 damaged
says damaged 'step-00000008.*(digest|damaged)'
says damaged 'resuming .*step-00000004'
[ "$(last damaged)" = "$(last first)" ] || fail "after the fall back another end: $(last damaged), not $(last first)"

# none is valid: never random weights
cp -r "$scratch/first" "$scratch/ruined"
for manifest in "$scratch"/ruined/checkpoints/*/manifest.json; do truncate -s -10 "$manifest"; done
run 86 ruined

# load: nothing there is 66; weights only with finetune; the whole state without
mkdir "$scratch/empty"
run 66 lost load="$scratch/empty"
run 66 lost2 load="$scratch/nowhere"
run 0 tuned load="$scratch/first" finetune=true
says tuned 'weights from .*step-00000008'
[ "$(losses "$scratch/tuned" | head -n 1 | cut -d' ' -f1,3)" = "$(losses "$scratch/first" | head -n 1 | cut -d' ' -f1,3)" ] ||
    fail "finetune does not begin at step 1 with the first learning rate"
awk -v a="$(last tuned | cut -d' ' -f2)" -v b="$(last first | cut -d' ' -f2)" 'BEGIN { exit !(a < b) }' ||
    fail "finetune did not begin from the weights"
run 0 on load="$scratch/first/checkpoints/step-00000004"
says on 'going on from .*step-00000004'
[ "$(last on)" = "$(last first)" ] || fail "going on from step 4 came to another end"

# the batch that grows with the workers, with fewer of them: both numbers, and how to keep it
muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/fewer" load="$scratch/first/checkpoints/step-00000004" train_batch_size=null \
    train_micro_batch_size_per_gpu=4 gradient_accumulation_steps=2 >"$scratch/fewer.out" 2>&1 || { cat "$scratch/fewer.out" >&2; fail "with one worker"; }
says fewer 'warning: .*batch is 8 .*step-00000004 .*with 16.*train_batch_size=16'
[ "$(grep -c 'made with 16' "$scratch/fewer.out")" -eq 1 ] || fail "said twice"
! grep -q 'made with' "$scratch/on.out" || fail "the same batch is named"

# what does not fit the workers: keys, workers, what to do; no tracker is started for it
run 78 wide model_parallel_size=4 tensorboard_dir="$scratch/board"
says wide 'model_parallel_size.* 2 workers.*--workers.*fits: tp 1 x dp 2, tp 2 x dp 1'
[ ! -e "$scratch/board" ] && [ ! -e "$scratch/wide/logs/track.log" ] && ! grep -q 'tracker:' "$scratch/wide.out" || fail "a tracker of a run that is refused"

# what must agree does not
cp -r "$scratch/first" "$scratch/other"
run 78 other num_attention_heads=8
says other 'num_attention_heads'
cp -r "$scratch/first" "$scratch/other2"
run 78 other2 optimizer.params.lr=2.0e-3
says other2 'optimizer.params.lr'
sed 's/a/b/g' "$scratch/data.txt" >"$scratch/text2"
muster prepare "$scratch/model.yml" --input "$scratch/text2" --output "$scratch/data2" 2>/dev/null >&2
cp -r "$scratch/first" "$scratch/other3"
run 78 other3 data_path="$scratch/data2"
says other3 'data version'

# the checkpoint's schedule, and not the configuration's, when that is asked for
cp -r "$scratch/first" "$scratch/kept"
rm -r "$scratch/kept/checkpoints/step-00000008"
run 0 kept optimizer.params.lr=2.0e-3 warmup=0.5 lr_decay_style=linear use_checkpoint_lr_scheduler=true
[ "$(last kept)" = "$(last first)" ] || fail "with the checkpoint's schedule another end: $(last kept), not $(last first)"

# moments that were not saved: reported, and with no_load_optim begun anew
run 0 bare no_save_optim=true exit_interval=4
run 78 bare
says bare 'no_load_optim'
rm "$scratch/bare/verdict.json"
run 0 bare no_load_optim=true
says bare 'resuming .*step-00000004 with an empty optimizer'

# piece by piece; what was saved before the first step is not the best
run 0 pieces exit_interval=4 extra_save_iters=[0]
[ "$(cat "$scratch/pieces/checkpoints/best")" = step-00000004 ] || fail "the best is $(cat "$scratch/pieces/checkpoints/best")"
run 0 pieces exit_interval=4 extra_save_iters=[0]
[ "$(last pieces)" = "$(last first)" ] || fail "in two pieces another end: $(last pieces), not $(last first)"

# a run of epochs goes on as the run of steps that it is
sed '/^train_iters/d' "$scratch/model.yml" >"$scratch/epochs.yml"
epochs() { muster run "$scratch/epochs.yml" --workers 2 --run-dir "$scratch/epochs" train_epochs=1 train_batch_size=512 "$@" >"$scratch/epochs.out" 2>&1; }
epochs exit_interval=1 || { cat "$scratch/epochs.out" >&2; fail "a run of one epoch"; }
epochs || { cat "$scratch/epochs.out" >&2; fail "a run of one epoch does not go on"; }
says epochs 'resuming .*step-00000001'

# eval and generate
muster eval "$scratch/first" --data "$scratch/data" --split test --json >"$scratch/eval"
grep -qE '^\{"loss": [0-9.]+, "ppl": [0-9.]+, "bits_per_byte": [0-9.]+, "tokens": [0-9]+' "$scratch/eval" || fail "$(cat "$scratch/eval")"
muster eval "$scratch/first/checkpoints/step-00000004" --data "$scratch/data" --split test --json >"$scratch/eval4"
awk -F'[:,]' 'NR == FNR { a = $2; next } { exit !($2 > a) }' "$scratch/eval" "$scratch/eval4" || fail "step 4 is no worse than step 8"
expect_exit 66 muster eval "$scratch/empty" --data "$scratch/data" 2>/dev/null
expect_exit 66 muster eval "$scratch/first" --data "$scratch/nowhere" 2>/dev/null
expect_exit 0 muster eval "$scratch/epochs" --data "$scratch/data" >/dev/null 2>&1
expect_exit 2 muster eval "$scratch/first" 2>/dev/null
greedy() { muster generate "$scratch/first" --prompt 'static int ' --max-new-tokens 12 "$@" | tr '\0' '0'; }
[ "$(greedy)" = "$(greedy)" ] && [[ $(greedy) == 'static int '* ]] || fail "greedy text: $(greedy)"
[ "$(greedy --temperature 1 --seed 1)" = "$(greedy --temperature 1 --seed 1)" ] || fail "the same seed, another text"
[ "$(greedy --temperature 1 --seed 1)" != "$(greedy --temperature 1 --seed 2)" ] || fail "another seed, the same text"
expect_exit 2 muster generate "$scratch/first" --prompt x --top-p 2 2>/dev/null

# the same tokenizer in another spelling loads; another one does not
sed 's/"merges":/ "merges" :/' "$scratch/data.json" >"$scratch/respelled.json"
cmp -s "$scratch/data.json" "$scratch/respelled.json" && fail "the respelled tokenizer is the same file"
muster prepare "$scratch/model.yml" --input "$scratch/data.txt" --output "$scratch/data3" vocab_file="$scratch/respelled.json" 2>/dev/null >&2
run 0 respelled load="$scratch/first" finetune=true data_path="$scratch/data3"
muster tokenizer train --input "$scratch/text2" --vocab-size 500 --output "$scratch/foreign.json" 2>/dev/null
muster prepare "$scratch/model.yml" --input "$scratch/text2" --output "$scratch/data4" vocab_file="$scratch/foreign.json" 2>/dev/null >&2
run 78 foreign load="$scratch/first" finetune=true data_path="$scratch/data4"
says foreign 'another tokenizer'
