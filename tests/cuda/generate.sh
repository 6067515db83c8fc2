#!/usr/bin/env bash
# `muster generate` and `muster serve` on the GPU write the same with steps as CUDA graphs and launched kernel by
# kernel. Where no card is, MUSTER_CUDA_LIBRARY names the stand-in.
. "$MUSTER_SOURCE/tests/e2e/lib.sh"
sed -i -e 's/^hidden_size: 64/hidden_size: 32/' -e 's/^num_attention_heads: 4/num_attention_heads: 2/' "$scratch/model.yml"
make_data "$scratch/data" >/dev/null
muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/run" muster.device=cpu train_iters=4 eval_interval=4 \
    checkpoint_factor=4 >"$scratch/log" 2>&1 || { cat "$scratch/log"; exit 1; }

for graphs in true false; do
    muster generate "$scratch/run" muster.graphs=$graphs muster.log_level=debug muster.device=cuda --prompt "static int" \
        --max-new-tokens 40 --temperature 0.8 --seed 7 >"$scratch/text.$graphs" 2>"$scratch/log.$graphs" ||
        { cat "$scratch/log.$graphs"; fail "generate"; }
done
cmp "$scratch/text.true" "$scratch/text.false" || fail "generate writes other text with graphs"
[ "$(wc -c <"$scratch/text.true")" -gt 30 ] || fail "generate wrote nothing: $(cat "$scratch/text.true")"
grep -q 'a step of 1 rows is a graph' "$scratch/log.true" || fail "no graph: $(cat "$scratch/log.true")"
! grep -q 'is a graph' "$scratch/log.false" || fail "a graph in spite of muster.graphs=false"
STAND_IN_CUDA=fail=cudaStreamBeginCapture muster generate "$scratch/run" muster.device=cuda --prompt "static int" \
    --max-new-tokens 40 --temperature 0.8 --seed 7 >"$scratch/text.refused" 2>"$scratch/log.refused" || fail "refused: no text"
if grep -q 'Stand-in' "$scratch/log.refused"; then
    [ "$(grep -c 'without a CUDA graph' "$scratch/log.refused")" = 1 ] || fail "refused: $(cat "$scratch/log.refused")"
fi
cmp "$scratch/text.true" "$scratch/text.refused" || fail "generate writes other text where there are no graphs"

# serve GRAPHS: five requests of different lengths at once, in three slots
serve() {
    local url server pids=() i
    muster serve "$scratch/run" muster.graphs="$1" muster.log_level=debug muster.device=cuda --slots 3 --queue 5 \
        --listen 127.0.0.1:0 2>"$scratch/serve.$1" &
    server=$!
    until grep -q 'ready: ' "$scratch/serve.$1"; do
        kill -0 $server 2>/dev/null || fail "the server ended: $(cat "$scratch/serve.$1")"
        sleep 0.05
    done
    url=$(sed -nE 's/.*listening on (http[^ ]+).*/\1/p' "$scratch/serve.$1")
    for i in 1 2 3 4 5; do
        curl -sS "$url/v1/completions" -o "$scratch/served.$1.$i" \
            -d '{"prompt":"int main","max_tokens":'$((6 * i))',"temperature":0.9,"seed":'$i'}' &
        pids+=($!)
    done
    wait "${pids[@]}"
    kill $server
    wait $server || fail "the server ended with $?"
}
serve true
serve false
for i in 1 2 3 4 5; do
    for graphs in true false; do
        sed -nE 's/.*"text":"(([^"\\]|\\.)*)".*/\1/p' "$scratch/served.$graphs.$i" >"$scratch/served"
        [ -s "$scratch/served" ] || fail "request $i, graphs $graphs: $(cat "$scratch/served.$graphs.$i")"
        mv "$scratch/served" "$scratch/served.$graphs.$i"
    done
    cmp "$scratch/served.true.$i" "$scratch/served.false.$i" || fail "request $i: other text with graphs"
done
# of how many rows depends on when requests come
grep -qE "a step of [123] rows is a graph" "$scratch/serve.true" || fail "serve: no graph: $(cat "$scratch/serve.true")"
! grep -q 'is a graph' "$scratch/serve.false" || fail "serve: a graph in spite of muster.graphs=false"
