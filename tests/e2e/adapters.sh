#!/usr/bin/env bash
# Adapters on a trained model: the base keeps its bits, checkpoints name it and are small, a stop changes no number,
# layouts agree, and what is exported, merged and imported again computes the same.
. "$(dirname "$0")/lib.sh"
make_data "$scratch/data"

run() { # run NAME KEY=VALUE...
    local name=$1
    shift
    muster run "$scratch/model.yml" --run-dir "$scratch/$name" "$@" >"$scratch/$name.out" 2>&1 ||
        { cat "$scratch/$name.out" >&2; fail "$name"; }
}
refused() { # refused CODE WORD COMMAND...
    local code=$1 word=$2
    shift 2
    expect_exit "$code" "$@" >"$scratch/refused" 2>&1
    grep -q -- "$word" "$scratch/refused" || fail "no '$word' in: $(cat "$scratch/refused")"
}
loss_of() { # loss_of MODEL [ARG...]
    muster eval "$@" --data "$scratch/data" --json | sed 's/, "step".*//'
}

run base train_iters=8
on=(load="$scratch/base" muster.lora_rank=4 muster.lora_alpha=8 "muster.lora_targets=[all-linear]" train_iters=16
    optimizer.params.lr=3.0e-2 checkpoint_factor=8)
find "$scratch/base" -name '*.h5' -exec sha256sum {} + >"$scratch/before"
run whole "${on[@]}"
sha256sum --quiet -c "$scratch/before" || fail "the base has changed"
grep -q "new adapters of rank 4 on .*base/checkpoints/step-00000008" "$scratch/whole.out" || fail "$(cat "$scratch/whole.out")"
losses "$scratch/whole" >"$scratch/whole.losses"
[ "$(du -sk "$scratch/whole/checkpoints/step-00000016" | cut -f1)" -lt "$(du -sk "$scratch/base/checkpoints/step-00000008" | cut -f1)" ] ||
    fail "a checkpoint of adapters is as large as one of the model"
muster inspect "$scratch/whole" --verify >"$scratch/inspect" || { cat "$scratch/inspect"; fail "inspect"; }

# a stop in the middle, and another layout with divided optimizer state
run cut "${on[@]}" exit_interval=8
run cut "${on[@]}"
losses "$scratch/cut" | cmp - "$scratch/whole.losses" || fail "a stop changes the losses"
run four "${on[@]}" --workers 4 model_parallel_size=2 zero_optimization.stage=1
losses "$scratch/four" >"$scratch/four.losses"
same_losses "$scratch/four.losses" "$scratch/whole.losses" 1e-4 || fail "tp 2 x dp 2 differs"

# PEFT's files and the merged model are the same model; so is an import of the former
muster export "$scratch/whole" --output "$scratch/peft" 2>"$scratch/log" || { cat "$scratch/log"; fail "export"; }
for file in adapter_config.json adapter_model.safetensors; do
    [ -s "$scratch/peft/$file" ] || fail "the export has no $file"
done
muster export "$scratch/whole" --merge --output "$scratch/merged" 2>"$scratch/log" || { cat "$scratch/log"; fail "export --merge"; }
muster import "$scratch/merged" --output "$scratch/merged-ckpt" 2>"$scratch/log" || { cat "$scratch/log"; fail "import"; }
muster import "$scratch/peft" --base "$scratch/base" --output "$scratch/again" 2>"$scratch/log" ||
    { cat "$scratch/log"; fail "import of the adapter"; }
muster export "$scratch/again" --output "$scratch/peft2" 2>"$scratch/log"
cmp "$scratch/peft/adapter_model.safetensors" "$scratch/peft2/adapter_model.safetensors" || fail "an import changes the adapter"
own=$(loss_of "$scratch/whole") again=$(loss_of "$scratch/again") merged=$(loss_of "$scratch/merged-ckpt" --seq-length 64)
[ "$own" = "$again" ] || fail "$own, imported $again"
[ "$(cut -c1-15 <<<"$own")" = "$(cut -c1-15 <<<"$merged")" ] || fail "$own, merged $merged"
of_base=$(loss_of "$scratch/base")
awk -v a="${own#*: }" -v b="${of_base#*: }" 'BEGIN { exit !(a + 0 < b - 0.03) }' || fail "no better than the base: $own, base $of_base"
muster generate "$scratch/whole" --prompt "static " --max-new-tokens 8 >"$scratch/text" || fail "generate"
[ "$(cut -c1-12 <<<"$own")" = "$(loss_of "$scratch/whole" --workers 2 model_parallel_size=2 | cut -c1-12)" ] || fail "eval of an adapter by two"

# serve takes an adapter on its base, trained here or imported: the text of generate
for model in whole again; do
    muster serve "$scratch/$model" --listen 127.0.0.1:0 --threads 1 2>"$scratch/serve.$model.log" &
    server=$!
    at_end kill $server
    until grep -q 'ready: ' "$scratch/serve.$model.log"; do
        kill -0 $server 2>/dev/null || fail "serve of $model: $(cat "$scratch/serve.$model.log")"
        sleep 0.05
    done
    curl -sS "$(sed -nE 's/.*listening on (http[^ ]+).*/\1/p' "$scratch/serve.$model.log")/predict" \
        -d '{"data":{"ndarray":["static "]},"parameters":{"max_tokens":8,"temperature":0}}' >"$scratch/served"
    kill $server
    wait $server || fail "serve of $model ends with $?"
    served=$(sed -nE 's/.*"ndarray":\["(([^"\\]|\\.)*)"\].*/\1/p' "$scratch/served")
    printable() { LC_ALL=C tr -dc '\41-\176' | tr -d '"\\'; }
    [ -n "$served" ] && [ "static$(printf '%b' "$served" | printable)" = "$(printable <"$scratch/text")" ] ||
        fail "serve of $model: $(cat "$scratch/served"), generate: $(cat "$scratch/text")"
done

# a base that is elsewhere, gone, or another; adapters without a model; a model that is none
mv "$scratch/base" "$scratch/moved"
refused 66 "muster.lora_base" muster generate "$scratch/whole" --prompt x --max-new-tokens 1
muster generate "$scratch/whole" --prompt "static " --max-new-tokens 8 muster.lora_base="$scratch/moved" |
    cmp - "$scratch/text" || fail "a base at another place gives another text"
refused 78 digest muster generate "$scratch/whole" --prompt x muster.lora_base="$scratch/merged-ckpt"
# by several workers too: what the command line says of the model counts there as in one process
two=(--workers 2 muster.lora_base="$scratch/moved")
refused 66 "muster.lora_base" muster eval "$scratch/whole" --data "$scratch/data" --workers 2
[ "$(cut -c1-12 <<<"$own")" = "$(loss_of "$scratch/whole" "${two[@]}" model_parallel_size=2 | cut -c1-12)" ] || fail "eval by two of a moved base"
muster generate "$scratch/whole" --prompt "static " --max-new-tokens 8 "${two[@]}" 2>"$scratch/log" | cmp - "$scratch/text" ||
    { cat "$scratch/log"; fail "generate by two of a moved base"; }
serve() { # serve MODEL ARG...: the text of a completion
    muster serve "$@" --listen 127.0.0.1:0 2>"$scratch/serve.log" &
    local server=$! url
    until grep -q 'ready: ' "$scratch/serve.log"; do
        kill -0 $server 2>/dev/null || fail "the server ended: $(cat "$scratch/serve.log")"
        sleep 0.05
    done
    url=$(sed -nE 's/.*listening on (http[^ ]+).*/\1/p' "$scratch/serve.log")
    curl -sS "$url/v1/completions" -d '{"prompt": "static ", "max_tokens": 8, "temperature": 0}' |
        sed -nE 's/.*"text":"(([^"\\]|\\.)*)".*/\1/p' >"$scratch/served"
    kill $server
    wait $server || fail "the server ended with $?: $(cat "$scratch/serve.log")"
    [ "static $(printf '%b' "$(cat "$scratch/served")")" = "$(cat "$scratch/text")" ] || fail "served: $(cat "$scratch/served")"
}
serve "$scratch/whole" "${two[@]}"
refused 66 "lora_base" muster run "$scratch/model.yml" --run-dir "$scratch/whole" "${on[@]}" train_iters=17 override_lr_scheduler=true
refused 78 lora_rank muster run "$scratch/model.yml" --run-dir "$scratch/none" muster.lora_rank=4
refused 78 lora_rank muster run "$scratch/model.yml" --run-dir "$scratch/none" load="$scratch/again" finetune=true
refused 78 q_proj muster config "$scratch/model.yml" muster.lora_rank=4 "muster.lora_targets=[q_proj]"
refused 2 "--base" muster import "$scratch/peft" --output "$scratch/x"
refused 2 "--merge" muster export "$scratch/moved" --merge --output "$scratch/x"
