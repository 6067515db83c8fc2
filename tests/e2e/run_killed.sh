#!/usr/bin/env bash
# A killed rank is named, in time, first and last; the run goes on from its newest checkpoint, or ends as it must.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/watch.sh"
make_data "$scratch/data"

# a killed rank is named within half a second, first and last
begin killed muster.max_restarts=0
pid=$(rank_pid 2)
before=$(now)
kill -9 "$pid"
ended 81
within "$before" "$(event_time failed)" 0.5 "a killed rank"
says '^muster: error: rank 2 \([^)]*\) was killed by signal 9 \(Killed\) in phase step'
tail -1 "$run.err" | grep -q 'rank 2 .* was killed by signal 9' || fail "the root cause is not in the last line"
says 'logs/rank-00002.log'

# so is the rank of a killed guard, whose end nobody reports: it dies with it, and mpirun ends
begin unguarded muster.max_restarts=0
pid=$(awk '{ print $4 }' "/proc/$(rank_pid 2)/stat")
kill -9 "$pid"
ended 81
says 'rank 2 .* vanished together with its guard'
fault_of_run "a guard killed (SIGKILL), no restarts allowed" 81

# it is started again from the newest checkpoint, and comes to its end
run=$scratch/again
muster run "$scratch/model.yml" --workers 2 --run-dir "$run" train_iters=400 lr_decay_iters=400 eval_interval=1000 \
    checkpoint_factor=20 >"$run.out" 2>"$run.err" &
launcher=$!
wait_for 30 steps_done 30
kill -9 "$(rank_pid 1)"
ended 0
says 'resuming .*step-00000[0-9][0-9]0'
grep -q '"restarts": 1' "$run/run.json" || fail "run.json: $(cat "$run/run.json")"
[ "$(losses "$run" | grep -vc missing)" -eq 400 ] || fail "steps are missing"

# the same rank dies in training three times, at steps that an earlier attempt had passed: that is not worth a fourth
# time: 93, and a verdict
begin stuck
wait_for 60 steps_done 1000
for i in 0 1 2 3; do
    victim=$(rank_pid 1)
    lines=$(wc -l <"$run/metrics.jsonl")
    kill -9 "$victim"
    [ $i -eq 3 ] || wait_for 30 steps_done $((lines + 10))
done
ended 93
grep -q '"exit_code": 93' "$run/verdict.json" || fail "no verdict"
