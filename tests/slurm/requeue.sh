# Three nodes of a real Slurm train under slurm/muster.sbatch. A job that is signalled before its end saves a
# checkpoint, goes back into the queue and ends with the same losses as one that nobody touched; scancel leaves nothing
# on any node.
. "$(dirname "$0")/job.sh"
cluster_begin n1 n2 n3
make_model n1 n2 n3

job=$(submit whole)
ended "$job" whole 0
[ "$(steps whole)" = 1500 ] || lab_fail "the undisturbed job ends at step $(steps whole)"
grep -q "tp 1 x dp 3 = 3 workers" "$R/whole.log" || lab_fail "not three workers"
nothing_left "after a job" 3
echo "undisturbed: done"

# what --signal=B:USR1@120 sends two minutes before the limit
job=$(submit requeued)
wait_for_step requeued 20 60
cluster_in head scancel --batch --signal=USR1 "$job"
cluster_wait "$job" PENDING 60
at=$(steps requeued)
[ "$at" -lt 1500 ] || lab_fail "it had ended before the signal came"
[ -d "$R/requeued/checkpoints/step-$(printf %08d "$at")" ] || lab_fail "no checkpoint of step $at: $(ls "$R/requeued/checkpoints")"
grep -q "back into the queue" "$R/requeued.log" || lab_fail "the script does not say that it requeues"
nothing_left "after the requeue" 3
ended "$job" requeued 0
grep -q "resuming .*step-$(printf %08d "$at")" "$R/requeued.log" || lab_fail "the second start does not resume step $at"
grep -q "start 2, on n" "$R/requeued.log" || lab_fail "the log has no second start"
grep -q "start 1, on n" "$R/requeued.log" || lab_fail "the first start's log is gone"
losses whole >"$LAB/a"
losses requeued >"$LAB/b"
cmp "$LAB/a" "$LAB/b" || lab_fail "the losses differ: $(diff "$LAB/a" "$LAB/b" | head -n 4)"
echo "signal at step $at: checkpoint, requeue, the same losses"

job=$(MUSTER_REQUEUES=0 submit last)
wait_for_step last 5 60
cluster_in head scancel --batch --signal=USR1 "$job"
ended "$job" last 75
echo "no requeue over the limit"

# a checkpoint and the end, without a requeue
job=$(submit ended)
wait_for_step ended 5 60
cluster_in head scancel --batch --signal=TERM "$job"
ended "$job" ended 75
[ -d "$R/ended/checkpoints/step-$(printf %08d "$(steps ended)")" ] || lab_fail "no checkpoint after TERM"
echo "TERM to the script: checkpoint, no requeue"

job=$(submit cancelled train_iters=100000)
wait_for_step cancelled 10 60
cluster_in head scancel "$job"
cluster_wait "$job" gone 30
# a host that lost its launcher ends by the lease of 15 s
nothing_left "after scancel" 20
echo "scancel: nothing left"
