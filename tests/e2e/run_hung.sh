#!/usr/bin/env bash
# A stopped rank is named and ended in time; a launcher that is killed leaves nothing that goes on.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/watch.sh"
make_data "$scratch/data"

# a stopped process is named at once, and ended when its time is over: max(10 s, 4 x the slowest step)
begin hung muster.max_restarts=0
sleep 5 # heartbeats that show how long steps take
pid=$(rank_pid 1)
before=$(now)
kill -STOP "$pid"
ended 82
within "$before" "$(event_time stopped)" 3 "a stopped process"
says 'rank 1 .* stands still for .* the process is stopped \(state T\)'
# 10 s, or 4 x the slowest step where this machine was slow; a heartbeat may be on its way
limit=$(sed -nE 's/.*"kind":"failed".*\(limit ([0-9]+) s\).*/\1/p' "$run/events.jsonl")
[ "$limit" -ge 10 ] && [ "$limit" -lt 60 ] || fail "limit $limit s"
within "$before" "$(event_time failed)" $((limit + 1)) "a hang"
fault_of_run "a rank stopped (SIGSTOP), no restarts allowed" 82 "$(since "$before" failed)"

# the launcher is killed: its ranks do not go on, and the next start finds and removes what is left
begin orphaned muster.lease_timeout=3
kill -9 "$launcher"
wait "$launcher" 2>/dev/null || true
wait_for 8 eval '[ -z "$(ours)" ]'
begin orphaned # the same directory
kill -TERM "$launcher"
ended 75

# only what carries the run's mark is ended at a start: not a stranger with the same name and arguments
cp "$(command -v sleep)" "$scratch/muster-worker"
MUSTER_RUN_TOKEN=00000000000000000000000000000000 "$scratch/muster-worker" 300 &
stranger=$!
MUSTER_RUN_TOKEN=$(sed -nE 's/.*"token": "([0-9a-f]+)".*/\1/p' "$run/run.json") "$scratch/muster-worker" 301 &
orphan=$!
begin orphaned
kill -0 $stranger || fail "a stranger was killed"
if kill -0 $orphan 2>/dev/null && [ "$(awk '{ print $3 }' /proc/$orphan/stat)" != Z ]; then fail "an orphan is left"; fi
says 'ended 1 processes that an earlier attempt had left'
kill $stranger
kill -TERM "$launcher"
ended 75
