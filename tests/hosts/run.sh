# A run over three hosts: the controller beside the launcher on the first, a worker on each of the others. It comes to
# its end, and its model is evaluated and writes over the same hosts. Then a host is cut off: it is named, and its rank
# does not go on alone.
. "$(dirname "$0")/lab.sh"
lab_begin
for name in head one two; do lab_host $name; done
for name in one two; do lab_sshd $name; done
PATH=$LAB/bin:$PATH
cat >"$LAB/model.yml" <<END
{num_layers: 2, hidden_size: 64, num_attention_heads: 4, seq_length: 64, max_position_embeddings: 64, pos_emb: rotary,
 optimizer: {type: Adam, params: {lr: 1.0e-3}}, train_batch_size: 8, train_iters: 20, lr_decay_iters: 20,
 eval_interval: 1000000, eval_iters: 1, checkpoint_factor: 10, split: "8,1,1", padded_vocab_size: 512,
 vocab_file: $LAB/data.json, data_path: $LAB/data,
 muster: {ready_timeout: 30, device: cpu, lease_timeout: 6, max_restarts: 0, ssh_args: "$LAB_SSH_ARGS"}}
END
find "$MUSTER_SOURCE/common" -name '*.[ch]' | LC_ALL=C sort | while read -r file; do cat "$file"; echo; done >"$LAB/data.txt"
muster tokenizer train --input "$LAB/data.txt" --vocab-size 512 --output "$LAB/data.json" 2>/dev/null
muster prepare "$LAB/model.yml" --input "$LAB/data.txt" --output "$LAB/data" >/dev/null 2>&1

lab_in head "$LAB/bin/muster" run "$LAB/model.yml" --hosts one:1,two:1 --run-dir "$LAB/run/whole" 2>"$LAB/whole.err" ||
    lab_fail "exit $?"
grep -q 'done: step 20' "$LAB/whole.err" || lab_fail "it does not say that it is done"

# the model evaluated by both, and cut in two on one of them: what one process gives
ask() {
    lab_in head "$LAB/bin/muster" "$@" muster.threads_per_worker=1 2>"$LAB/ask.err" | tr '\0' '0' || lab_fail "$1: exit $?"
}
many=$(ask eval "$LAB/run/whole" --data "$LAB/data" --hosts one:1,two:1)
[[ $many == *$'\n'loss* && $many == "$(ask eval "$LAB/run/whole" --data "$LAB/data")" ]] || lab_fail "eval over hosts: $many"
prompt=$'static "int"\n: $x \'y\' '
many=$(ask generate "$LAB/run/whole" --prompt "$prompt" --hosts two:2 --workers 2)
[[ ${#many} -gt 40 && $many == "$(ask generate "$LAB/run/whole" --prompt "$prompt")" ]] || lab_fail "generate over hosts: $many"
for name in head one two; do
    left=$(lab_in $name bash -c 'ls -d /tmp/muster-* /dev/shm/muster-* /tmp/*/ompi* 2>/dev/null' || true)
    [ -z "$left" ] || lab_fail "left on $name: $left"
done

# ranks HOST: how many run there (the probe that keeps a login open is none)
ranks() {
    lab_in "$1" bash -c 'for p in $(pgrep -x muster-worker); do grep -zc "/config.yml$" "/proc/$p/cmdline"; done' | grep -c 1 || true
}
stepping() {
    [ -f "$LAB/volume/cut/metrics.jsonl" ] && [ "$(wc -l <"$LAB/volume/cut/metrics.jsonl")" -ge 20 ]
}
none_on_two() {
    [ "$(ranks two)" -eq 0 ]
}

lab_in head "$LAB/bin/muster" run "$LAB/model.yml" --hosts one:1,two:1 --run-dir "$LAB/run/cut" train_iters=100000 \
    lr_decay_iters=100000 2>"$LAB/cut.err" &
launcher=$!
lab_wait_for "twenty steps" stepping
[ "$(ranks two)" -eq 1 ] || lab_fail "$(ranks two) ranks on the second host"
lab_in two iptables -A INPUT -i eth0 -j DROP
lab_in two iptables -A OUTPUT -o eth0 -j DROP
begin=$EPOCHREALTIME
status=0
wait "$launcher" || status=$?
[ "$status" -eq 83 ] || lab_fail "exit $status, wanted 83"
delay=$(lab_reaping_delay)
echo "declared and ended after $(lab_seconds_since "$begin") s"
grep -qE 'rank 2 \(two\) sent no heartbeat' "$LAB/cut.err" || lab_fail "the host that was cut off is not named"
found=$(sed -nE 's/^\{"time":([0-9.]+),"kind":"failed".*/\1/p' "$LAB/volume/cut/events.jsonl")
lab_at_most "$(awk -v a="$begin" -v b="$found" 'BEGIN { print b - a }')" 5 "$delay" || lab_fail "declared too late: 2/3 of the lease, and a tick"
lab_wait_for "the rank of the host that was cut off to end" none_on_two
lab_at_most "$(lab_seconds_since "$begin")" 16 "$delay" || lab_fail "it went on alone"
for name in head one; do
    [ "$(ranks $name)" -eq 0 ] || lab_fail "ranks are left on $name"
done
