#!/usr/bin/env bash
# Standard error that nobody reads, as a terminal held with Ctrl-S, for longer than the lease: training goes on, and
# what was to be read is there afterwards. A launcher that stood still is no reason to blame a rank.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/watch.sh"
make_data "$scratch/data"

mkfifo "$scratch/held"
exec {held}<>"$scratch/held"
timeout 0.5 cat /dev/zero >"$scratch/held" || true # no byte more goes in
run=$scratch/run
muster run "$scratch/model.yml" --workers 2 --run-dir "$run" train_iters=100000 lr_decay_iters=100000 eval_interval=1000000 \
    checkpoint_factor=1000000 muster.lease_timeout=5 muster.max_restarts=0 2>"$scratch/held" &
launcher=$!
wait_for 30 steps_done 20
before=$(wc -l <"$run/metrics.jsonl")
sleep 6
after=$(wc -l <"$run/metrics.jsonl")
[ "$after" -gt "$before" ] || fail "no step in 6 s"
fault "standard error that is not read" "nothing: it trains on" "goes on" "" "nothing"
[ ! -e "$run/control.key" ] || fail "every rank is there, and the key lies about"

# less than the lease, or guards would end their ranks, as they must
kill -STOP "$launcher"
sleep 1.7
kill -CONT "$launcher"
wait_for 5 grep -q '"kind":"paused"' "$run/events.jsonl"
sleep 1
! grep -q '"kind":"failed"' "$run/events.jsonl" || fail "somebody is blamed: $(cat "$run/events.jsonl")"
fault "the launcher stopped for less than the lease" "$(event_text paused)" "goes on" "" "nothing"

kill -TERM "$launcher"
wait_for 20 state_is stopped
tr -d '\0' <"$scratch/held" >"$run.err" {held}>&- &
reader=$!
exec {held}>&-
ended 75
wait $reader
says '^muster: 2 workers on 1 host'
says 'stopped: step [0-9]+ is saved'
