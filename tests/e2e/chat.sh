#!/usr/bin/env bash
# Conversations: prepared with a template, packed, trained on answers alone, the same in every layout, evaluated.
. "$(dirname "$0")/lib.sh"
sed -i 's/^eval_interval: .*/eval_interval: 6/; s/^eval_iters: .*/eval_iters: 1/' "$scratch/model.yml"
awk 'BEGIN { for (i = 0; i < 400; i++) {
    printf "{\"messages\": [{\"role\": \"user\", \"content\": \"what is %d?\"}, {\"role\": \"assistant\", \"content\": \"it is %d\"}", i % 37, i % 7
    if (i % 3 == 0) printf ", {\"role\": \"user\", \"content\": \"sure?\"}, {\"role\": \"assistant\", \"content\": \"yes, %d\"}", i
    print "]}" } }' >"$scratch/chats.jsonl"
cp "$scratch/chats.jsonl" "$scratch/chats.txt"
muster tokenizer train --input "$scratch/chats.txt" --vocab-size 300 --output "$scratch/data.json" 2>"$scratch/log" || fail "$(cat "$scratch/log")"
prepare() {
    muster prepare "$scratch/model.yml" --chat --special '<|im_start|>' --special '<|im_end|>' "$@" 2>"$scratch/log"
}

# a template is wanted, and known; no guess
expect_exit 78 prepare --input "$scratch/chats.jsonl" --output "$scratch/data"
grep -q 'chatml, llama3, mistral' "$scratch/log" || fail "$(cat "$scratch/log")"
expect_exit 78 prepare --input "$scratch/chats.jsonl" --output "$scratch/data" muster.chat_template=chatlm
grep -q 'chatlm.*did you mean chatml' "$scratch/log" || fail "$(cat "$scratch/log")"
expect_exit 78 prepare --input "$scratch/chats.jsonl" --output "$scratch/data" muster.chat_template=llama3
grep -q "special '<|start_header_id|>'" "$scratch/log" || fail "$(cat "$scratch/log")"
expect_exit 2 prepare --input "$scratch/chats.jsonl" --output "$scratch/data" --text-key x
{ cat "$scratch/chats.jsonl"; echo '{"messages": [{"role": "tool", "content": "x"}]}'; } >"$scratch/bad.jsonl"
expect_exit 65 prepare --input "$scratch/bad.jsonl" --output "$scratch/data" muster.chat_template=chatml
grep -q "bad.jsonl:401:.*'tool'" "$scratch/log" || fail "$(cat "$scratch/log")"
{ cat "$scratch/chats.jsonl"
  echo '{"messages": [{"role": "user", "content": "nobody answers"}]}'
  echo '{"prompt": "a <|im_end|> b", "completion": "c"}'
  printf '{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}, {"from": "human", "value": "%s"}, {"from": "gpt", "value": "b"}]}\n' "$(seq -s ' ' 90)"
  printf '{"prompt": "%s", "completion": "c"}\n' "$(seq -s ' ' 90)"; } >"$scratch/all.jsonl"
prepare --input "$scratch/all.jsonl" --output "$scratch/data" --json split=90,10,0 muster.chat_template=chatml >"$scratch/out" || fail "$(cat "$scratch/log")"
for count in '"unanswered": 1' '"spelled": 1' '"cut": 1' '"too_many_tokens": 1'; do
    grep -q "$count" "$scratch/out" || fail "no $count: $(cat "$scratch/out")"
done
prepare --input "$scratch/all.jsonl" --output "$scratch/data" split=90,10,0 muster.chat_template=chatml >"$scratch/out" || fail "$(cat "$scratch/log")"
grep -q 'is there already' "$scratch/log" && grep -q 'chatml, .* count for the loss' "$scratch/out" || fail "$(cat "$scratch/log")"
muster inspect "$scratch/data" --verify >"$scratch/out" 2>&1 || fail "$(cat "$scratch/out")"

run() { # run NAME KEY=VALUE...
    local name=$1
    shift
    muster run "$scratch/model.yml" --run-dir "$scratch/$name" split=90,10,0 "$@" >"$scratch/$name.out" 2>&1 ||
        { cat "$scratch/$name.out" >&2; fail "$name"; }
    losses "$scratch/$name" >"$scratch/$name.losses"
}
# the loss is the mean over counted tokens of the global batch in every layout and accumulation
run one
grep -q 'packed by first fit.*% of their tokens are padding' "$scratch/one.out" || fail "$(cat "$scratch/one.out")"
run four --workers 4 model_parallel_size=2
same_losses "$scratch/one.losses" "$scratch/four.losses" 1e-4 || fail "layouts differ"
run many train_micro_batch_size_per_gpu=1
same_losses "$scratch/one.losses" "$scratch/many.losses" 1e-4 || fail "accumulation differs"
grep -q 'chat_template: .*chatml' "$scratch"/one/checkpoints/step-*/manifest.json || fail "the checkpoint does not know the template"
muster eval "$scratch/one" --data "$scratch/data" --json >"$scratch/eval.json" 2>"$scratch/log" || fail "$(cat "$scratch/log")"
grep -q '"bits_per_byte": null' "$scratch/eval.json" || fail "$(cat "$scratch/eval.json")"
muster eval "$scratch/one" --data "$scratch/data" --json --workers 2 >"$scratch/eval2.json" 2>"$scratch/log" || fail "$(cat "$scratch/log")"
[ "$(grep -o '"tokens": [0-9]*' "$scratch/eval.json")" = "$(grep -o '"tokens": [0-9]*' "$scratch/eval2.json")" ] || fail "$(cat "$scratch"/eval*.json)"

# a server answers conversations with the template of the model's configuration; no word on the command line names it
muster serve "$scratch/one" --listen 127.0.0.1:0 --threads 1 2>"$scratch/serve.log" &
server=$!
at_end kill $server
until grep -q 'ready: ' "$scratch/serve.log"; do
    kill -0 $server 2>/dev/null || fail "serve: $(cat "$scratch/serve.log")"
    sleep 0.05
done
curl -sS "$(sed -nE 's/.*listening on (http[^ ]+).*/\1/p' "$scratch/serve.log")/v1/chat/completions" \
    -d '{"messages":[{"role":"user","content":"what is 3?"}],"max_tokens":8,"temperature":0}' >"$scratch/served"
kill $server
wait $server || fail "serve ends with $?"
grep -q '"role":"assistant"' "$scratch/served" || fail "no chat is answered: $(cat "$scratch/served" "$scratch/serve.log")"

# another template than the data's is refused; so is what a GPU cannot do, where one is asked for
for dry in '' --dry-run; do # before a rank is started
    expect_exit 78 muster run "$scratch/model.yml" --run-dir "$scratch/other" $dry split=90,10,0 muster.chat_template=zephyr >"$scratch/log" 2>&1
    grep -q 'prepared with the template chatml' "$scratch/log" || fail "$(cat "$scratch/log")"
done

# one document a sample, and one stream of tokens with masks
run unpacked pack_impl=unpacked train_iters=2
grep -q 'packed one a sample' "$scratch/unpacked.out" || fail "$(cat "$scratch/unpacked.out")"
run stream pack_impl=packed train_iters=2 reset_attention_mask=true reset_position_ids=true
! same_losses <(head -n 2 "$scratch/one.losses") "$scratch/stream.losses" 1e-6 >/dev/null || fail "packing has no effect"

# the model answers in its template, up to the end of an answer; the prompt alone is not printed
ask() { muster generate "$scratch/one" --max-new-tokens 12 "$@" 2>"$scratch/log" || fail "$(cat "$scratch/log")"; }
ask --chat --prompt 'what is 3?' >"$scratch/answer"
! grep -q 'what is' "$scratch/answer" || fail "$(cat "$scratch/answer")"
echo '{"messages": [{"role": "user", "content": "what is 3?"}]}' | ask --chat --prompt-file - | cmp - "$scratch/answer" || fail "messages differ from a message"
ask --chat --prompt 'what is 3?' --workers 2 | cmp - "$scratch/answer" || fail "two workers answer otherwise"
printf 'what is 3?' >"$scratch/prompt"
ask --prompt-file "$scratch/prompt" >"$scratch/whole"
grep -q '^what is 3?' "$scratch/whole" || fail "$(cat "$scratch/whole")"
first=$(cut -c11 "$scratch/whole" | head -n 1)
if [ -n "$first" ]; then
    [ "$(ask --prompt-file "$scratch/prompt" --stop "$first")" = 'what is 3?' ] || fail "--stop '$first' does not end '$(cat "$scratch/whole")'"
fi
expect_exit 2 muster generate "$scratch/one" --chat --prompt '{"messages": 1}' >"$scratch/log" 2>&1
grep -q 'must be a list' "$scratch/log" || fail "$(cat "$scratch/log")"
expect_exit 2 muster generate "$scratch/one" --prompt x --max-new-tokens 2 --min-new-tokens 3 >"$scratch/log" 2>&1
grep -q 'min-new-tokens' "$scratch/log" || fail "$(cat "$scratch/log")"

# a learning rate that only spoils the model: the run ends early, as a finished one, and knows its best checkpoint
run early train_iters=40 eval_interval=2 optimizer.params.lr=0.5 warmup=0 gradient_clipping=0 muster.early_stop_patience=2
grep -q 'no lower one in 2 evaluations' "$scratch/early.out" || fail "$(cat "$scratch/early.out")"
[ "$(wc -l <"$scratch/early.losses")" -lt 40 ] || fail "it did not end early"
[ -s "$scratch/early/complete.json" ] || fail "the run is not complete"
