#!/usr/bin/env bash
# From an exported directory alone one walks back to every input; a byte that changes shows which models no longer
# follow.
. "$(dirname "$0")/lib.sh"
make_data "$scratch/data"
export IMAGE_DIGEST=sha256:0123abcd
mkdir "$scratch/tree"
cp "$scratch/model.yml" "$scratch/tree/config.yml"
revision=
if command -v git >/dev/null; then
    git -C "$scratch/tree" init -q && git -C "$scratch/tree" add config.yml
    git -C "$scratch/tree" -c user.name=x -c user.email=x@x.example commit -qm x
    revision=$(git -C "$scratch/tree" rev-parse HEAD)
fi
run() { # run NAME KEY=VALUE...
    local name=$1
    shift
    muster run "$scratch/tree/$config" --run-dir "$scratch/$name" eval_interval=2 checkpoint_factor=2 keep_last_n_checkpoints=9 "$@" \
        >"$scratch/$name.out" 2>&1 || { cat "$scratch/$name.out"; fail "$name"; }
}
lineage() { # lineage CODE PATH ARGUMENT...
    local code=$1
    shift
    expect_exit "$code" muster inspect "$@" --lineage >"$scratch/tree.txt" 2>"$scratch/tree.err"
}
has() { # has PATTERN...: lines of the tree
    for pattern in "$@"; do grep -qE -- "$pattern" "$scratch/tree.txt" || fail "no '$pattern' in $(cat "$scratch/tree.txt" "$scratch/tree.err")"; done
}

# a base model, its export, that imported, a run from it that is stopped and goes on, and the export of that
config=config.yml
run base train_iters=2
muster export "$scratch/base" --output "$scratch/hf" 2>/dev/null
muster import "$scratch/hf" --output "$scratch/ckpt" 2>/dev/null
config=other.yml # no part of the revision
cp "$scratch/model.yml" "$scratch/tree/$config"
run tuned load="$scratch/ckpt" finetune=true train_iters=2 lr_decay_iters=6
run tuned load="$scratch/ckpt" finetune=true train_iters=4 lr_decay_iters=6
run tuned load="$scratch/ckpt" finetune=true train_iters=6 lr_decay_iters=6
muster eval "$scratch/tuned" --data "$scratch/data" --split test >/dev/null 2>&1
muster export "$scratch/tuned" --output "$scratch/out/" 2>/dev/null

mv "$scratch/out" "$scratch/elsewhere" # nothing but the directory is needed
lineage 0 "$scratch/elsewhere"
version=$(sed -nE 's/.*"data_version": ?"([0-9a-f]{32})".*/\1/p' "$scratch/tuned/run.json" | head -n 1)
weights=$(muster inspect "$scratch/ckpt" --lineage --json | sed -nE 's/.*"digest": "([0-9a-f]{32})".*/\1/p' | head -n 9)
has '^export ' 'model .*step 6 .*tuned/checkpoints/step-00000006$' "image +sha256:0123abcd" "data +$version  $scratch/data" \
    'parent .* step 4 ' 'parent .* run import step 0 ' 'parent .* step 2  .*base/checkpoints/step-00000002' 'input .*hf/model.safetensors' "build +muster "
[ "$(grep -c 'parent .*tuned/checkpoints' "$scratch/tree.txt")" = 1 ] || fail "a resumed run is there more than once: $(cat "$scratch/tree.txt")"
[ -n "$weights" ] || fail "no digests of an import"
[ -z "$revision" ] || has "source +revision $revision \(changed\)" "source +revision $revision$"
for line in '^library_name: transformers$' '^base_model: "hf"$' '^- "data"$' '^- perplexity$' '^      split: "test"$' '^\| 6 \| [0-9.]+ \|' "$version"; do
    grep -qE -- "$line" "$scratch/elsewhere/README.md" || fail "no '$line' in $(cat "$scratch/elsewhere/README.md")"
done
[ -s "$scratch/elsewhere/generation_config.json" ] || fail "no generation_config.json"

# all that can be reached is as it was
lineage 0 "$scratch/elsewhere" --verify
[ "$(grep -c '\[same\]' "$scratch/tree.txt")" -ge 12 ] && ! grep -qE '\[(changed|no longer follows|not reachable)\]' "$scratch/tree.txt" ||
    fail "$(cat "$scratch/tree.txt")"

# one byte of what the import was made from: the import and what was trained from it no longer follow; the base does
flip() { # flip FILE: its byte in the middle
    local at=$(($(stat -c %s "$1") / 2))
    local byte=$(od -An -tu1 -j "$at" -N 1 "$1")
    printf "\\x$(printf %02x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$at" conv=notrunc 2>/dev/null
}
flip "$scratch/hf/model.safetensors"
lineage 65 "$scratch/elsewhere" --verify
has 'input .*hf/model.safetensors  \[changed\]' 'parent .* run import .*\[same\]  \[no longer follows\]' 'model .*step 6 .*\[same\]  \[no longer follows\]' \
    '^export .*\[no longer follows\]' 'file .* model.safetensors  \[same\]'
lineage 0 "$scratch/base" --verify || fail "the base does not depend on its export"
flip "$scratch/hf/model.safetensors"

# one byte of the text: the data set and every model after it
flip "$scratch/data.txt"
lineage 65 "$scratch/base" --verify --json
grep -q '"follows": false' "$scratch/tree.txt" && grep -q '"state": "changed"' "$scratch/tree.txt" || fail "$(cat "$scratch/tree.txt")"
lineage 65 "$scratch/data" --verify
has '^data .*\[same\]  \[no longer follows\]' 'input .*data.txt  \[changed\]'
flip "$scratch/data.txt"

# what is gone is not reachable, which is no change; nothing that has a lineage is 66
rm -r "$scratch/ckpt" "$scratch/hf" "$scratch/data"
lineage 0 "$scratch/elsewhere" --verify
has 'input .*hf/model.safetensors  \[not reachable\]' 'data .*\[not reachable\]'
lineage 66 "$scratch/tree"
lineage 2 "$scratch/elsewhere" --vocab-size 9

# damage of the export itself: a file that is gone or was changed is no finished export, and no [not reachable]
mv "$scratch/elsewhere/model.safetensors" "$scratch/kept"
lineage 65 "$scratch/elsewhere" --verify
has 'file .* model.safetensors  \[changed\]'
expect_exit 73 muster export "$scratch/tuned" --output "$scratch/elsewhere" 2>"$scratch/gone"
grep -q "model.safetensors.* is not what was written" "$scratch/gone" || fail "$(cat "$scratch/gone")"
mv "$scratch/kept" "$scratch/elsewhere/model.safetensors"
flip "$scratch/elsewhere/model.safetensors"
expect_exit 73 muster export "$scratch/tuned" --output "$scratch/elsewhere" 2>"$scratch/gone"
flip "$scratch/elsewhere/model.safetensors"
mkdir "$scratch/empty"
printf '{"format": "muster-export", "files": [], "model": {"run_id": "a\\u001b[2J"}}' >"$scratch/empty/muster.json"
lineage 65 "$scratch/empty" --verify
has '^export .*\[changed\]' 'run a\\x1b\[2J'

# the same export again is there; another model at that place is 73
expect_exit 0 muster export "$scratch/tuned" --output "$scratch/elsewhere" 2>/dev/null
expect_exit 73 muster export "$scratch/tuned@2" --output "$scratch/elsewhere" 2>/dev/null
