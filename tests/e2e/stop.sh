#!/usr/bin/env bash
# muster stop, from another process that only sees the run directory.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/watch.sh"
make_data "$scratch/data"

begin save
expect_exit 0 env K_MPI_JOB_ROLE=worker "$MUSTER_BIN/muster" stop "$run" 2>"$scratch/stop.err"
grep -q 'kubectl patch mpijob .*"suspend":true' "$scratch/stop.err" || fail "in a pod, stop does not name suspension: $(cat "$scratch/stop.err")"
ended 75
grep -q 'stopped at step' "$scratch/stop.err" || fail "stop says: $(cat "$scratch/stop.err")"
ls -d "$run"/checkpoints/step-* >/dev/null || fail "nothing was saved"
before=$(grep -n 'the file `stop`' "$run.err" | head -1)
[ -n "$before" ] || fail "the launcher does not say why it stops"

# and goes on from there
begin save
says 'resuming'
touch "$run/stop" # by hand, an empty file: save and stop
asked=$(now)
ended 75
within "$asked" "$(sed -nE 's/^\{"time":([0-9.]+),"kind":"stop".*/\1/p' "$run/events.jsonl" | tail -1)" 1 "the file stop"

begin now
expect_exit 0 muster stop "$run" --now 2>/dev/null
ended 75
if ls -d "$run"/checkpoints/step-* >/dev/null 2>&1; then fail "--now saved a checkpoint"; fi

expect_exit 0 muster stop "$run" 2>"$scratch/stop.err" # nothing runs
grep -q 'nothing runs there' "$scratch/stop.err" || fail "stop says: $(cat "$scratch/stop.err")"
expect_exit 66 muster stop "$scratch/nowhere" 2>/dev/null
expect_exit 2 muster stop 2>/dev/null
