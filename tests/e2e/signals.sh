#!/usr/bin/env bash
# Each signal saves and stops; a second one does not wait.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/watch.sh"
make_data "$scratch/data"

for signal in TERM INT USR1 QUIT; do
    begin "on-$signal"
    kill -$signal "$launcher"
    ended 75
    says 'stopped: step [0-9]+ is saved'
    state_is stopped || fail "run.json: $(cat "$run/run.json")"
    expect_exit 75 muster status "$run" --exit-status >/dev/null
done
saved=$(sed -nE 's/.*"last_checkpoint": ([0-9]+).*/\1/p' "$run/run.json")
[ -d "$run/checkpoints/step-$(printf %08d "$saved")" ] || fail "step $saved is not there"

# a stop before the ranks are there, where checkpoints are
expect_exit 75 timeout --preserve-status --signal=TERM 2 muster run "$scratch/model.yml" train_iters=100000 lr_decay_iters=100000 \
    --hosts nosuch.invalid:1 --run-dir "$run" 2>"$run.err"
says "stopped: step $saved is saved"

# a second signal does not wait for a checkpoint
begin twice
kill -STOP "$(rank_pid 1)" # nothing can be saved now
kill -TERM "$launcher"
sleep 1.2 # within a second it would be the same request
kill -TERM "$launcher"
before=$(now)
ended 75
within "$before" "$(now)" 5 "stopping at once"
