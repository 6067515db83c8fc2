# A node of a running job goes down: Slurm ends the job and puts it back into the queue, and when the node is there
# again it goes on from its newest checkpoint, to the same end as one that nobody touched. And muster under salloc,
# without a script.
. "$(dirname "$0")/job.sh"
cluster_begin n1 n2
make_model n1 n2

# salloc runs the command here, on the machine where it is typed; the nodes come from the allocation
in_salloc() { # LOG COMMAND...
    cluster_in head env -i PATH="$LAB/bin:$PATH" HOME=/root SLURM_CONF="$LAB/slurm/slurm.conf" \
        salloc --nodes 2 --time 10 "${@:2}" >"$LAB/$1" 2>&1 || lab_fail "salloc ${*:2}: exit $?: $(cat "$LAB/$1"; tail -n 40 "$R"/*/logs/mpirun.log)"
}
in_salloc check.log muster check "$LAB/run/model.yml" "save=$LAB/run/check"
grep -q "all 2 hosts ready" "$LAB/check.log" || lab_fail "muster check in salloc: $(cat "$LAB/check.log")"
in_salloc salloc.log muster run "$LAB/run/model.yml" "save=$LAB/run/whole" checkpoint_factor=50
grep -q "2 workers on 2 hosts (SLURM_JOB_NODELIST" "$LAB/salloc.log" || lab_fail "other hosts: $(cat "$LAB/salloc.log")"
[ "$(steps whole)" = 1500 ] || lab_fail "under salloc the run ends at step $(steps whole)"
nothing_left "after salloc" 3
echo "salloc: done"

job=$(submit down checkpoint_factor=50)
wait_for_step down 60 60
cluster_down n2
cluster_wait "$job" PENDING 90
at=$(steps down)
[ "$at" -lt 1500 ] || lab_fail "it had ended before the node went down"
cluster_up n2
ended "$job" down 0
grep -q "start 2, on n" "$R/down.log" || lab_fail "no second start: $(tail -n 40 "$R/down.log")"
grep -q "resuming .*step-" "$R/down.log" || lab_fail "the second start does not resume: $(tail -n 40 "$R/down.log")"
losses whole >"$LAB/a"
losses down >"$LAB/b"
cmp "$LAB/a" "$LAB/b" || lab_fail "the losses differ: $(diff "$LAB/a" "$LAB/b" | head -n 4)"
nothing_left "after the end" 5
echo "a node down at step $at: requeued, resumed, the same losses"
