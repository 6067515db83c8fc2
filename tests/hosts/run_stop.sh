# SIGTERM ends a run over hosts with 75 and loses no step; SIGKILL of the launcher leaves no worker alive after the
# lease. A start on the same directory goes on, and ends as a run that nobody disturbed.
. "$(dirname "$0")/run_lib.sh"
fleet head one two
hosts=(--hosts head:1,one:1,two:1)

begin undisturbed "${hosts[@]}"
ended 0

begin disturbed "${hosts[@]}"
wait_for 60 step_past 60
kill -TERM "$(launcher_pid)"
ended 75
stopped_at=$(last_step)
[ "$(cat "$run/checkpoints/latest")" = "$(printf 'step-%08d' "$stopped_at")" ] || lab_fail "step $stopped_at is done, but not saved"
fault "SIGTERM to the launcher" "stopped: step $stopped_at is saved" 75 "" "0 steps"

lease=4
begin disturbed "${hosts[@]}" muster.lease_timeout=$lease
wait_for 60 step_past $((stopped_at + 60))
grep -q "^{\"step\": $((stopped_at + 1))," <(sed -n "$((stopped_at + 1))p" "$run/metrics.jsonl") ||
    lab_fail "a step was lost: line $((stopped_at + 1)) is $(sed -n "$((stopped_at + 1))p" "$run/metrics.jsonl")"
killed=$(launcher_pid)
since=$EPOCHREALTIME
kill -KILL "$killed"
wait "$launcher" 2>/dev/null || true
no_ranks() {
    no_ranks_on head && no_ranks_on one && no_ranks_on two
}
wait_for 30 no_ranks
within "$since" "$EPOCHREALTIME" $((lease + 1)) "the last rank's end after the launcher's"
fault "the launcher killed (SIGKILL), lease 4 s" "by the shell; no rank is left" 137 "$within_took s" "those since the checkpoint"
wait_for 10 nothing_runs

begin disturbed "${hosts[@]}"
ended 0
same_end undisturbed disturbed
