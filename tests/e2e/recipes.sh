#!/usr/bin/env bash
# configs/recipes on one machine, very small: from nothing to an export; a step that is killed, then `make` again: the
# same result bit for bit; a second `make` has nothing to do; a gate that is not met ends it before the export.
. "$(dirname "$0")/lib.sh"
command -v make >/dev/null || fail "make is needed: scripts/install-dependencies"
cp -r "$MUSTER_SOURCE/configs/recipes" "$scratch/recipes"
cd "$scratch/recipes/textgame"
arguments=(LINES=300 GATE='ppl<=1e6' KEYS="train_epochs=null train_iters=60 lr_decay_iters=60 checkpoint_factor=10 eval_interval=30 hidden_size=32 num_attention_heads=2 train_batch_size=16")
build() { make "${arguments[@]}" "$@"; }

build OUT=whole -j2 >"$scratch/whole.log" 2>&1 || { cat "$scratch/whole.log"; fail "make"; }
build OUT=whole -q || fail "a second make has something to do: $(build OUT=whole -n)"
for file in hf/config.json hf/model.safetensors hf/muster.json hf/README.md bench.json dev.json test.json; do
    [ -s "whole/$file" ] || fail "no $file"
done
muster inspect whole/hf --lineage --verify >"$scratch/tree" 2>&1 || fail "$(cat "$scratch/tree")"
grep -q 'input .*whole/quests.txt  \[same\]' "$scratch/tree" || fail "$(cat "$scratch/tree")"

# killed FILE...: all processes of a make are killed once a checkpoint is there, and it is called again: each FILE and
# each step's numbers are those of `whole`. What is left of the ranks goes when the run begins again.
killed() {
    local group i file
    setsid make "${arguments[@]}" OUT=killed >"$scratch/killed.log" 2>&1 &
    group=$!
    for ((i = 0; i < 1200; i++)); do
        [ ! -d killed/run/checkpoints/step-00000010 ] || break
        kill -0 "$group" 2>/dev/null || fail "it ended by itself: $(cat "$scratch/killed.log")"
        sleep 0.05
    done
    kill -KILL -- "-$group"
    wait "$group" || true
    [ ! -e killed/trained ] || fail "killed too late: $(cat "$scratch/killed.log")"
    build OUT=killed >"$scratch/again.log" 2>&1 || { cat "$scratch/again.log"; fail "make after a kill"; }
    grep -q 'resuming .*killed/run/checkpoints/step-' "$scratch/again.log" || fail "it begins anew: $(cat "$scratch/again.log")"
    for file; do cmp "whole/$file" "killed/$file" || fail "$file differs after a kill"; done
    cmp <(losses whole/run) <(losses killed/run) || fail "a step's numbers differ after a kill"
    build OUT=killed -q || fail "a second make after a kill has something to do: $(build OUT=killed -n)"
}
killed data/train-00000.h5 data/tokenizer.json hf/model.safetensors hf/config.json test.json dev.json

# make and all that it started are killed in a gate: no half of its result is one, the gate is asked again
cat >"$scratch/muster" <<'END'
#!/bin/bash
[ "$1" != eval ] || kill -KILL -- "-$(ps -o pgid= $$ | tr -d ' ')"
exec "$MUSTER_BIN/muster" "$@"
END
chmod +x "$scratch/muster"
rm killed/test.json
expect_exit 137 env PATH="$scratch:$PATH" setsid -w make "${arguments[@]}" OUT=killed killed/test.json >"$scratch/killed.log" 2>&1
[ ! -e killed/test.json ] || fail "a gate that was killed left a result"
build OUT=killed killed/test.json >"$scratch/again.log" 2>&1 && cmp whole/test.json killed/test.json || fail "the gate again: $(cat "$scratch/again.log")"
! grep -nE '>\$@( |$)' "$scratch"/recipes/*/Makefile || fail "a result is written in its place"

# a gate that is not met
code=0
build OUT=whole GATE='ppl<=1' -W whole/trained >"$scratch/gate.log" 2>&1 || code=$?
[ "$code" -eq 2 ] && grep -q 'Error 87' "$scratch/gate.log" && [ ! -e whole/test.json ] || fail "$(cat "$scratch/gate.log")"

# the recipes of two runs and of two workers that share each layer, with the tree's own text in place of the dictionary
gzip -c <"$MUSTER_SOURCE/docs/faults.md" >"$scratch/words.gz"
cat "$MUSTER_SOURCE"/docs/[a-k]*.md >"$scratch/text.txt"
small="train_iters=50 lr_decay_iters=50 checkpoint_factor=10 eval_interval=50 eval_iters=1 hidden_size=32 num_layers=1 train_batch_size=4"
for recipe in shakespeare neox-20b; do
    cd "$scratch/recipes/$recipe"
    arguments=(GCIDE="$scratch/words.gz" TEXT="$scratch/text.txt" HN="$scratch/text.txt" GATE='ppl<=1e6' KEYS="$small")
    build OUT=whole -j2 >"$scratch/whole.log" 2>&1 || { cat "$scratch/whole.log"; fail "make in $recipe"; }
    build OUT=whole -q || fail "a second make in $recipe has something to do: $(build OUT=whole -n)"
    killed data/train-00000.h5 hf/model.safetensors hf/config.json gate.json
done

# conversations of one's own, of several turns
cd "$scratch/recipes/answers"
awk -v n=200 -f text.awk >"$scratch/chats.jsonl"
arguments=(CHATS="$scratch/chats.jsonl" GATE='ppl<=1e6' KEYS="$small")
build OUT=whole -j2 >"$scratch/whole.log" 2>&1 || { cat "$scratch/whole.log"; fail "make in answers"; }
build OUT=whole -q || fail "a second make in answers has something to do: $(build OUT=whole -n)"
killed data/train-00000.h5 data/tokenizer.json hf/model.safetensors hf/config.json gate.json

# labels as text; MLflow takes the run and the model, where it is asked for
cd "$scratch/recipes/reviews"
python3 "$MUSTER_SOURCE/tests/e2e/mlflow_server.py" "$scratch/mlflow" &
server=$!
at_end kill $server
for ((i = 0; i < 200; i++)); do [ ! -s "$scratch/mlflow" ] || break; sleep 0.05; done
arguments=(LINES=300 GATE='acc>=0' KEYS="$small" MLFLOW="http://127.0.0.1:$(cat "$scratch/mlflow")" MODEL=sentiment)
build OUT=whole registered >"$scratch/whole.log" 2>&1 || { cat "$scratch/whole.log"; fail "make in reviews"; }
build OUT=whole -q || fail "a second make in reviews has something to do: $(build OUT=whole -n)"
grep -q '"sentiment": {"aliases": {"candidate": "1"}' "$scratch/mlflow.models" || fail "the registry has: $(cat "$scratch/mlflow.models")"
build OUT=whole registered >"$scratch/whole.log" 2>&1 && ! grep -q '"2"' "$scratch/mlflow.models" || fail "a second version: $(cat "$scratch/mlflow.models")"
killed data/train-00000.h5 data/tokenizer.json test.jsonl hf/model.safetensors hf/config.json gate.json

# all of them as they are shipped are read by make, and their configurations by muster
for recipe in "$scratch"/recipes/*/; do
    make -C "$recipe" -n >"$scratch/n" 2>&1 || fail "$recipe: $(cat "$scratch/n")"
    grep -q 'muster export' "$scratch/n" || fail "$recipe: $(cat "$scratch/n")"
done
for config in shakespeare/config.yml answers/config.yml reviews/config.yml "neox-20b/form.yml $scratch/recipes/neox-20b/small.yml" \
    "neox-20b/form.yml $scratch/recipes/neox-20b/large.yml train_micro_batch_size_per_gpu=8 gradient_accumulation_steps=96"; do
    muster config $scratch/recipes/$config >"$scratch/n" 2>&1 || fail "$config: $(cat "$scratch/n")"
done
