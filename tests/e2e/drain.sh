#!/usr/bin/env bash
# muster-worker --drain: a host that is about to go. The ranks save and end, nothing is counted as a failure, no step is
# done twice, and the run goes on by itself.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/watch.sh"
make_data "$scratch/data"

begin drained muster.max_restarts=0 train_iters=50000 lr_decay_iters=50000
expect_exit 0 muster-worker --drain "$run" 60 2>"$scratch/drain.err"
[ -z "$(rank_pid 0)$(rank_pid 1)$(rank_pid 2)" ] || fail "it returns while ranks live"
saved=$(sed -nE 's/.*: step ([0-9]+) is saved.*/\1/p' "$scratch/drain.err")
[ -n "$saved" ] || fail "it says: $(cat "$scratch/drain.err")"
[ "$(cat "$run/checkpoints/latest")" = "$(printf 'step-%08d' "$saved")" ] || fail "step $saved is not the newest checkpoint"
[ "$(wc -l <"$run/metrics.jsonl")" -eq "$saved" ] || fail "more steps than the saved ones were done"
says 'is about to go'
expect_exit 0 muster-worker --drain "$run" 2>"$scratch/again.err" # another host of the same run
grep -q 'no rank is at work' "$scratch/again.err" || fail "a second drain says: $(cat "$scratch/again.err")"

wait_for 60 steps_done $((saved + 20))
says "resuming .*step-$(printf %08d "$saved")"
grep -q '"restarts": 0' "$run/run.json" || fail "a drain counts as a failure"
sed -nE 's/^\{"step": ([0-9]+),.*/\1/p' "$run/metrics.jsonl" | awk '$1 != NR { exit 1 }' || fail "a step was lost or done twice"
expect_exit 0 muster stop "$run" 2>/dev/null
ended 75
[ ! -e "$run/drain" ] || fail "the file drain is left"
expect_exit 0 muster-worker --drain "$run" 2>/dev/null # the job has ended, its pods go

# nobody there who could save: reported, and soon
begin deaf muster.lease_timeout=5 train_iters=50000 lr_decay_iters=50000
kill -9 "$launcher"
wait "$launcher" 2>/dev/null || true
expect_exit 74 muster-worker --drain "$run" 3 2>"$scratch/deaf.err"
grep -q 'has not answered for 3 s' "$scratch/deaf.err" || fail "it says: $(cat "$scratch/deaf.err")"
[ ! -e "$run/drain" ] || fail "the request is left"

expect_exit 66 muster-worker --drain "$scratch/nowhere" 2>/dev/null
expect_exit 2 muster-worker --drain 2>/dev/null
expect_exit 2 muster-worker --drain "$run" 0 2>/dev/null
