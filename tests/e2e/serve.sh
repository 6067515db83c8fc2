#!/usr/bin/env bash
# `muster serve`: the protocols by curl, the text of `muster generate` for a seed alone and in company, limits, a token,
# feedback, a client that goes, an engine that dies, a better model, the end.
. "$(dirname "$0")/lib.sh"
export MUSTER_CUDA_LIBRARY=$scratch/none
make_data "$scratch/data"
run=$scratch/run
muster run "$scratch/model.yml" --workers 1 --run-dir "$run" train_iters=4 eval_interval=2 checkpoint_factor=2 >/dev/null 2>"$scratch/log" ||
    { cat "$scratch/log"; exit 1; }

# until_true SECONDS COMMAND...
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "waited for: $*: $(tail -5 "$scratch/serve.log")"
        sleep 0.05
    done
}
# start ARGUMENT...: a server, at $url
start() {
    : >"$scratch/serve.log"
    muster serve "$@" --listen 127.0.0.1:0 --threads 1 2>"$scratch/serve.log" &
    server=$!
    until grep -q 'ready: ' "$scratch/serve.log"; do
        kill -0 $server 2>/dev/null || fail "the server ended: $(cat "$scratch/serve.log")"
        sleep 0.05
    done
    url=$(sed -nE 's/.*listening on (http[^ ]+).*/\1/p' "$scratch/serve.log")
}
# ends SIGNAL CODE
ends() {
    local code=0
    kill "-$1" $server
    wait $server || code=$?
    [ $code -eq "$2" ] || fail "the server ended with $code: $(cat "$scratch/serve.log")"
}
# status WANTED CURL-ARGUMENT...: the status, and the body in $body
status() {
    local want=$1 got
    shift
    got=$(curl -sS -o "$scratch/body" -w '%{http_code}' -D "$scratch/head" "$@")
    body=$(cat "$scratch/body")
    [ "$got" = "$want" ] || fail "status $got, wanted $want: $*: $body"
    ! grep -qF "$scratch" "$scratch/body" || fail "a path of the server's in an answer: $body"
}
# text: the text of the answer on stdin, as JSON writes it; plain: its printable ASCII without quotes
text() { sed -nE 's/.*"text":"(([^"\\]|\\.)*)".*/\1/p'; }
printable() { LC_ALL=C tr -dc '\40-\176' | tr -d '"\\'; }
plain() { printf '%b' "$1" | printable; }
complete() { curl -sS "$url/v1/completions" -d "$1"; }

# --- what cannot be served is said before anything is ---
expect_exit 66 muster serve "$scratch/nothing" 2>/dev/null
expect_exit 2 muster serve "$run" --follow 2>"$scratch/log"
grep -q -- '--follow wants RUN@best' "$scratch/log"
expect_exit 2 muster serve "$run" --listen 0.0.0.0:0 2>"$scratch/log"
grep -q -- '--token-file' "$scratch/log"
expect_exit 2 muster serve "$run" --slot-tokens 1000 --listen 127.0.0.1:0 2>"$scratch/log"
grep -q -- '--slot-tokens 1000' "$scratch/log"

start "$run@best" --name small --slots 3 --queue 2 --follow --feedback-size 4096
grep -q 'sequences at once of up to 128 tokens, a cache of' "$scratch/serve.log"

# --- health, models ---
for path in /health/live /v2/health/live /v2/health/ready /health/status /v2/models/small/ready; do status 200 "$url$path"; done
status 200 "$url/v1/models"
[[ $body == *'"id":"small"'* ]] || fail "$body"
status 200 "$url/v2/models/small"
status 404 "$url/v2/models/other/ready"
status 404 "$url/nothing"
status 405 "$url/v1/completions"

# --- the text of generate, alone and in company ---
ask='{"prompt":"static int","max_tokens":24,"temperature":0.8,"top_p":0.95,"seed":7}'
alone=$(complete "$ask" | text)
generated=$(muster generate "$run@best" --prompt "static int" --max-new-tokens 24 --temperature 0.8 --top-p 0.95 --seed 7 2>/dev/null | printable)
[ -n "$alone" ] && [ "static int$(plain "$alone")" = "$generated" ] || fail "served: $alone, generated: $generated"
pids=()
for i in 1 2 3 4; do
    complete "$ask" >"$scratch/company$i" &
    pids+=($!)
done
wait "${pids[@]}"
for i in 1 2 3 4; do
    [ "$(text <"$scratch/company$i")" = "$alone" ] || fail "in company: $(cat "$scratch/company$i"), alone: $alone"
done

# --- more of OpenAI's ---
status 200 "$url/v1/completions" -d '{"prompt":["a","b"],"n":2,"max_tokens":3,"seed":1}'
[[ $body == *'"index":3'* && $body == *'"completion_tokens":12'* ]] || fail "$body"
status 200 "$url/v1/completions" -d '{"prompt":"int main","max_tokens":2,"temperature":0,"echo":true,"logprobs":2}'
[[ $body == *'"token_logprobs":[null,-'* && $body == *'"text":"int main'* ]] || fail "$body"
status 200 "$url/v1/completions" -d '{"prompt":"int","max_tokens":0,"echo":true,"logprobs":0}'
[[ $body == *'"completion_tokens":0'* ]] || fail "$body"
# a stop string ends the text before it: the second half of what came without
status 200 "$url/v1/completions" -d '{"prompt":"static int","max_tokens":24,"temperature":0}'
whole=$(text <<<"$body")
word() { printf '%b' "$whole" | LC_ALL=C grep -aoE "[A-Za-z]{$1,}" | head -n 1 || true; }
stop=$(word 3)
stop=${stop:-$(word 2)}
status 200 "$url/v1/completions" -d "{\"prompt\":\"static int\",\"max_tokens\":24,\"temperature\":0,\"stop\":[\"never there\",\"$stop\"]}"
[ -n "$stop" ] && [ "$(text <<<"$body")" = "${whole%%"$stop"*}" ] && [[ $body == *'"finish_reason":"stop"'* ]] ||
    fail "stop '$stop' of '$whole': $body"
# a stream holds the same text, and ends
curl -sSN "$url/v1/completions" -d '{"prompt":"static int","max_tokens":24,"temperature":0,"stream":true}' >"$scratch/stream"
[ "$(sed -nE 's/^data: .*"text":"(([^"\\]|\\.)*)".*/\1/p' "$scratch/stream" | tr -d '\n')" = "$whole" ] || fail "stream: $(cat "$scratch/stream")"
[ "$(grep -c '^data: ' "$scratch/stream")" -gt 5 ] && [ "$(tail -2 "$scratch/stream" | head -1)" = 'data: [DONE]' ] || fail "$(cat "$scratch/stream")"
status 400 "$url/v1/completions" -d '{"prompt":'
status 422 "$url/v1/completions" -d '{"prompt":1}'
status 422 "$url/v1/completions" -d "{\"prompt\":\"$(printf 'int %.0s' {1..200})\"}"
[[ $body == *'the prompt has '* ]] || fail "$body"
status 422 "$url/v1/completions" -d '{"prompt":"a","max_tokens":200}'
status 404 "$url/v1/completions" -d '{"prompt":"a","model":"other"}'
head -c 1100000 /dev/zero | tr '\0' ' ' >"$scratch/large"
status 413 "$url/v1/completions" -d "@$scratch/large"

# --- Seldon's and V2 ---
status 200 -d '{"data": {"ndarray": ["To be, or not to be: that is the question"]}}' "$url/predict"
[[ $body == '{"data":{"names":[],"ndarray":["'*'"puid":'* ]] || fail "$body"
answer=$body
status 200 "$url/api/v1.0/predictions" --data-urlencode 'json={"data":{"ndarray":[["a"]]},"parameters":{"max_tokens":2}}'
status 200 "$url/v2/models/small/generate" -d '{"text_input":"int","parameters":{"max_tokens":3}}'
[[ $body == '{"text_output":"'*'"model_name":"small"'* ]] || fail "$body"
status 200 "$url/v2/models/small/infer" -d '{"inputs":[{"name":"text_input","datatype":"BYTES","shape":[1],"data":["int"]}],"parameters":{"max_tokens":3}}'
[[ $body == *'"name":"text_output"'*'"shape":[1]'* ]] || fail "$body"
curl -sSN "$url/v2/models/small/generate_stream" -d '{"text_input":"int","parameters":{"max_tokens":3}}' >"$scratch/stream"
grep -q '^data: {"text_output"' "$scratch/stream" || fail "V2 stream: $(cat "$scratch/stream")"

status 400 "$url/v1/chat/completions" -d '{"messages":[{"role":"user","content":"a"}]}'
[[ $body == *'no chat template'* ]] || fail "$body"

# --- feedback is on the disk when it is acknowledged; a gate on it ---
status 200 "$url/send-feedback" -d "{\"request\":{},\"response\":$answer,\"reward\":0.5}"
grep -q "\"id\":\"$(sed -E 's/.*"puid":"([^"]+)".*/\1/' <<<"$answer")\"" "$run/feedback.jsonl" || fail "$(cat "$run/feedback.jsonl")"
for i in 1 2 3 4 5 6 7 8; do
    curl -sS "$url/api/v1.0/feedback" -o /dev/null -d "{\"response\":$answer,\"reward\":1,\"truth\":\"$(printf 'x%.0s' {1..600})\"}" &
    pids+=($!)
done
wait "${pids[@]}"
status 422 "$url/send-feedback" -d '{}'
status 200 "$url/metrics"
for metric in 'muster_feedback_total 9' 'muster_feedback_reward 1' 'muster_serve_slots 3' 'muster_serve_ready 1'; do
    grep -q "^$metric" <<<"$body" || fail "$metric: $body"
done
[ "$(cat "$run"/feedback.jsonl* | grep -c '"reward":1')" = 8 ] && [ "$(ls "$run"/feedback.jsonl.* | wc -l)" -ge 1 ] || fail "rotation: $(ls "$run")"

cat "$run"/feedback.jsonl* >"$scratch/feedback"
[ "$(muster eval --feedback "$scratch/feedback" --gate 'reward>=0.9' 2>/dev/null)" = 'reward 0.9444444444, 9 rewards in 9 records' ] ||
    fail "$(muster eval --feedback "$scratch/feedback" 2>&1)"
expect_exit 87 muster eval --feedback "$scratch/feedback" --json --gate 'reward>=0.95' >"$scratch/body" 2>"$scratch/log"
grep -q '"rewards": 9' "$scratch/body" && grep -q 'reward: found 0.944' "$scratch/log" || fail "$(cat "$scratch/body" "$scratch/log")"
expect_exit 2 muster eval "$run" --feedback "$scratch/feedback" 2>/dev/null
expect_exit 2 muster eval --feedback "$scratch/feedback" --gate 'ppl<=5' 2>/dev/null
expect_exit 66 muster eval --feedback "$scratch/none" 2>/dev/null
echo '{"reward":"much"}' >>"$scratch/feedback"
expect_exit 65 muster eval --feedback "$scratch/feedback" 2>"$scratch/log"
grep -q "feedback:10: " "$scratch/log" || fail "$(cat "$scratch/log")"

# --- a full queue; a client that goes makes room ---
slow='{"prompt":"a","max_tokens":120,"temperature":1,"n":5,"stream":true}'
pids=()
curl -sSN "$url/v1/completions" -d "$slow" >"$scratch/slow" & pids+=($!)
until_true 20 test -s "$scratch/slow"
if [ "$(curl -sS -o "$scratch/body" -D "$scratch/head" -w '%{http_code}' "$url/v1/completions" -d '{"prompt":["a","b","c","d","e"],"max_tokens":1}')" = 429 ]; then
    grep -qi '^retry-after: ' "$scratch/head" || fail "429 without Retry-After"
elif kill -0 "${pids[0]}" 2>/dev/null; then
    fail "no 429: $(cat "$scratch/body")"
fi
kill "${pids[0]}" 2>/dev/null || true
wait "${pids[0]}" 2>/dev/null || true
idle() { curl -sS "$url/metrics" | grep -q '^muster_serve_sequences 0'; }
until_true 20 idle

# --- an engine that dies costs its own requests only, and is started again ---
engine() { pgrep -P $server -x muster-worker || true; }
old=$(engine)
curl -sS -o "$scratch/dying" -w '%{http_code}' "$url/v1/completions" -d '{"prompt":"a","max_tokens":120,"n":5,"temperature":1}' >"$scratch/code" & pids=($!)
busy() { ! idle; }
kill -STOP "$old"
sleep 0.2
kill -KILL "$old"
wait "${pids[0]}"
[ "$(cat "$scratch/code")" = 503 ] || fail "of a dead engine: $(cat "$scratch/code" "$scratch/dying")"
again() { [ "$(curl -s -o /dev/null -w '%{http_code}' "$url/v2/health/ready")" = 200 ]; }
until_true 30 again
[ "$(engine)" != "$old" ] || fail "the engine is the old one"
status 200 "$url/health/live"

# --- a better model takes over ---
version=$(curl -sS "$url/v1/models")
other=$(ls "$run/checkpoints" | grep step- | grep -vF "$(cat "$run/checkpoints/best")" | head -1)
printf '%s\n' "$other" >"$run/checkpoints/best.new"
mv "$run/checkpoints/best.new" "$run/checkpoints/best"
changed() { [ "$(curl -sS "$url/v1/models")" != "$version" ]; }
until_true 30 changed
status 200 "$url/v1/completions" -d '{"prompt":"a","max_tokens":1}'
[[ $body == *"@$((10#${other#step-}))\""* ]] || fail "the version is not $other's: $body"

# --- the end: a running request is answered, a new one is not ---
curl -sSN "$url/v1/completions" -d '{"prompt":"a","max_tokens":100,"stream":true,"temperature":1}' >"$scratch/last" & pids=($!)
until_true 20 test -s "$scratch/last"
ends TERM 0
wait "${pids[0]}" || fail "a running request was cut"
grep -q 'DONE' "$scratch/last" || fail "$(cat "$scratch/last")"
[ -z "$(ls "$TMPDIR")" ] || fail "left: $(ls "$TMPDIR")"

# --- a token ---
printf 'a-token-of-some-length\n' >"$scratch/token"
start "$run" --token-file "$scratch/token" --chat-template plain
status 200 "$url/v2/health/ready"
status 401 "$url/v1/completions" -d '{"prompt":"a"}'
status 401 "$url/metrics" -H 'Authorization: Bearer a-token-of-some-lengtH'
status 200 "$url/v1/completions" -H 'Authorization: Bearer a-token-of-some-length' -d '{"prompt":"a","max_tokens":1}'
status 200 "$url/v1/chat/completions" -H 'Authorization: Bearer a-token-of-some-length' \
    -d '{"messages":[{"role":"user","content":"static"}],"max_tokens":3,"temperature":0,"logprobs":true}'
[[ $body == *'"role":"assistant"'* && $body == *'"object":"chat.completion"'* ]] || fail "$body"
ends INT 0

# --- divided among two workers ---
start "$run" --workers 2 --run-dir "$scratch/ranks"
status 200 "$url/v1/completions" -d '{"prompt":"static int","max_tokens":6,"temperature":0}'
[ -n "$(text <<<"$body")" ] || fail "$body"
ends TERM 0
