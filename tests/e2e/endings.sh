#!/usr/bin/env bash
# Whatever is signalled: 0 only after the last step, 75 only with the last step saved, and nothing is left.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/watch.sh"
make_data "$scratch/data"


# pids_of COMM: this test's processes of that name
pids_of() {
    local pid
    for pid in $(ours); do
        if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ]; then echo "$pid"; fi
    done
}
last_step() { tail -n 1 "$run/metrics.jsonl" | sed -nE 's/^\{"step": ([0-9]+),.*/\1/p'; }
# saved_all: run.json's checkpoint is the last step of metrics.jsonl, and it is there
saved_all() {
    local step
    step=$(last_step)
    grep -q "\"last_checkpoint\": $step," "$run/run.json" || fail "step $step is not saved: $(cat "$run/run.json")"
    [ -f "$run/checkpoints/step-$(printf %08d "$step")/manifest.json" ] || fail "no checkpoint of step $step"
}
goes_on() { steps_done $((before + 20)); }

# everything at once, as a service manager or `scancel --full` does
begin all
kill -TERM $(ours)
ended 75
saved_all
state_is stopped || fail "run.json: $(cat "$run/run.json")"
fault_of_run "SIGTERM to all processes of a run at once" 75

# the guards alone: a checkpoint, and the ranks start again; the run is not over
begin guards
kill -TERM $(pids_of muster-guard)
sent=$(now)
wait_for 10 grep -qs '"kind":"asked"' "$run/events.jsonl"
asked=$(since "$sent" asked)
wait_for 40 grep -q '"attempt": 2' "$run/run.json"
fault "SIGTERM to all guards" "$(event_text asked)" "restarts" "$asked" "0 steps"
before=$(wc -l <"$run/metrics.jsonl")
wait_for 30 goes_on
# mpirun alone ends nothing
kill -TERM "$(pids_of mpirun | head -n 1)"
before=$(wc -l <"$run/metrics.jsonl")
wait_for 30 goes_on
# the writer of the run directory is replaced
kill -KILL $(pgrep -x muster-writer -P "$launcher")
sent=$(now)
wait_for 10 grep -q '"kind":"writer"' "$run/events.jsonl"
fault "the writer of the run directory killed (SIGKILL)" "$(event_text writer)" "goes on" "$(since "$sent" writer)" "nothing"
# one request, however often it comes within a second; a terminal that closes asks once
kill -HUP "$launcher"
kill -HUP "$launcher"
sleep 0.2
kill -TERM "$launcher" 2>/dev/null || true # it may have ended by now
ended 75
saved_all

# mpirun killed: it is named, and the ranks start again
begin mpirun
kill -KILL "$(pids_of mpirun | head -n 1)"
sent=$(now)
wait_for 30 grep -q '"attempt": 2' "$run/run.json"
says 'mpirun was killed by signal 9'
fault "mpirun killed (SIGKILL)" "$(grep -m 1 -o 'mpirun was killed by signal 9.* at step [0-9]*' "$run.err")" "restarts" "$(since "$sent" failed)" "those since the checkpoint"
before=$(wc -l <"$run/metrics.jsonl")
wait_for 30 goes_on
kill -TERM "$launcher"
ended 75
saved_all

# a stop before the first checkpoint says so, and one at once does not say that it saved
begin now
kill -STOP "$(rank_pid 1)"
kill -TERM "$launcher"
sleep 1.2
kill -TERM "$launcher"
ended 75
! grep -q 'is saved' "$run/run.json" || fail "nothing was saved: $(cat "$run/run.json")"

# no record of the controller: the end of all ranks in good order is not the end of the run
run=$scratch/over
muster run "$scratch/model.yml" --workers 2 --run-dir "$run" 2>"$run.err" || fail "exit $?"
grep -q '"status": "OK"' "$run/complete.json" || fail "no record"
