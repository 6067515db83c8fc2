#!/usr/bin/env bash
# Data blended from several paths: the same in every layout, the same after a stop, and refused where it is unclear.
. "$(dirname "$0")/lib.sh"
make_data "$scratch/data"
for part in common worker; do
    find "$MUSTER_SOURCE/$part" -maxdepth 1 -name '*.c' | LC_ALL=C sort | while read -r file; do cat "$file"; echo; done >"$scratch/$part.txt"
    muster prepare "$scratch/model.yml" --input "$scratch/$part.txt" --output "$scratch/$part" split=1,0,0 2>"$scratch/log" >&2 ||
        { cat "$scratch/log"; fail "prepare $part"; }
done
sed -i '/^data_path/d' "$scratch/model.yml"
cat >>"$scratch/model.yml" <<EOF
train_data_paths: ["$scratch/common", "$scratch/worker"]
train_data_weights: [3, 1]
valid_data_paths: ["$scratch/worker"]
test_data_paths: []
EOF

run() { # run NAME KEY=VALUE...
    local name=$1
    shift
    muster run "$scratch/model.yml" --run-dir "$scratch/$name" "$@" >"$scratch/$name.out" 2>&1 ||
        { cat "$scratch/$name.out" >&2; fail "$name"; }
    losses "$scratch/$name" >"$scratch/$name.losses"
}
run one
run four --workers 4 model_parallel_size=2
same_losses "$scratch/one.losses" "$scratch/four.losses" 1e-4 || fail "layouts differ"

# other weights, and weights by documents, are other samples
run even train_data_weights=null train_iters=2
! same_losses <(head -n 2 "$scratch/one.losses") "$scratch/even.losses" 1e-6 >/dev/null || fail "weights have no effect"
run documents weight_by_num_documents=true train_iters=2
! same_losses <(head -n 2 "$scratch/one.losses") "$scratch/documents.losses" 1e-6 >/dev/null || fail "documents have no effect"

# a run goes on with the very samples; not with others
run halves exit_interval=4
[ "$(wc -l <"$scratch/halves.losses")" = 4 ] || fail "$(cat "$scratch/halves.losses")"
run halves
cmp "$scratch/one.losses" "$scratch/halves.losses" || fail "a resumed run differs"
expect_exit 78 muster run "$scratch/model.yml" --run-dir "$scratch/four" 'train_data_weights=[1, 1]' train_iters=14 \
    override_lr_scheduler=true >"$scratch/log" 2>&1
grep -q "was made with data version" "$scratch/log" || fail "$(cat "$scratch/log")"

# what is cut already could train and validate on the same text
expect_exit 78 muster run "$scratch/model.yml" --run-dir "$scratch/odd" "train_data_paths=[$scratch/data]" train_data_weights=null >"$scratch/log" 2>&1
grep -q "is cut into training, validation and test data.*split=1,0,0" "$scratch/log" || fail "$(cat "$scratch/log")"
muster tokenizer train --input "$scratch/common.txt" --vocab-size 400 --output "$scratch/other.json" 2>/dev/null
muster prepare "$scratch/model.yml" --input "$scratch/common.txt" --output "$scratch/other" split=1,0,0 vocab_file="$scratch/other.json" 2>/dev/null >&2
expect_exit 78 muster run "$scratch/model.yml" --run-dir "$scratch/odd" "train_data_paths=[$scratch/common, $scratch/other]" >"$scratch/log" 2>&1
grep -q "were prepared with different tokenizers" "$scratch/log" || fail "$(cat "$scratch/log")"
expect_exit 66 muster run "$scratch/model.yml" --run-dir "$scratch/odd" "valid_data_paths=[$scratch/gone]" >"$scratch/log" 2>&1
