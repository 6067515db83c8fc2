# Ranks die in several ways, one after another, in one run: each is named, with the way it died, in time; each time the
# run starts again by itself from its newest checkpoint; and its end is, bit for bit, that of a run that nobody
# disturbed.
. "$(dirname "$0")/run_lib.sh"
fleet head one two three
hosts=(--hosts head:1,one:1,two:1,three:1)

begin undisturbed "${hosts[@]}" train_iters=500 lr_decay_iters=500
ended 0


# the hang limit is given, since steps of some milliseconds between saves show too little of their time to heartbeats
begin disturbed "${hosts[@]}" train_iters=500 lr_decay_iters=500 muster.max_restarts=20 muster.hang_timeout=10
wait_for 60 step_past 60

# killed: named within half a second
end_named 1 9 3 '^[0-9.]+ two 3 was killed by signal 9 \(Killed\) in phase (step|checkpoint|evaluate)'
fault_named "a rank killed (SIGKILL)"

# the controller is a rank as the others are; from here on metrics holds lines of attempts before
wait_for 60 has_events joined 2
wait_for 60 step_past "$(last_step)"
end_named 2 11 0 '^[0-9.]+ head 0 was killed by signal 11'
fault_named "the controller ended by SIGSEGV"

# ends by itself in the middle of training, with 0: that is no end that the others can go on from
wait_for 60 has_events joined 3
wait_for 60 step_past "$(last_step)"
victim=$(rank_pid 1)
since=$EPOCHREALTIME
"$MUSTER_BIN/hosts_end_rank" "$victim" 0
named 3 "$since" 0.5 1 '^[0-9.]+ head 1 ended with exit code 0 before the run was over in phase (step|checkpoint|evaluate)'
fault_named "a rank ends with 0 in the middle"

# ends by itself before MPI_Init, where the others would wait for ever
wait_for 60 has_events attempt 4
"$MUSTER_BIN/hosts_end_rank" --first "${LAB_INIT[three]}" 4 3 >"$LAB/since"
named 4 "$(cat "$LAB/since")" 0.5 4 '^[0-9.]+ three 4 ended with exit code 3 in phase (start|mpi_init)'
fault_named "a rank ends before MPI_Init"

# stopped: reported soon, declared when its time is over
wait_for 60 has_events joined 4
wait_for 60 step_past "$(last_step)"
victim=$(rank_pid 2)
# A stop that falls into a checkpoint has the limit of storage: that one goes on, and another is tried.
stops_named() { [ "$(grep -c 'is stopped (state T' "$LAB/disturbed.err")" -ge "$1" ]; }
for try in 1 2 3 4 5 6; do
    since=$EPOCHREALTIME
    kill -STOP "$victim"
    wait_for 30 stops_named $try
    ! grep 'is stopped (state T' "$LAB/disturbed.err" | tail -n 1 | grep -q 'ends in 10 s' || break
    kill -CONT "$victim"
    wait_for 60 step_past "$(last_step)"
done
wait_for 30 has_events failed 5
within "$since" "$(events stopped | tail -n 1 | cut -d' ' -f1)" 3 "reported: stopped"
named 5 "$since" 11 2 '^[0-9.]+ one 2 stands still .*stopped \(state T\)'
fault_named "a rank stopped (SIGSTOP)"

ended 0
grep -q '"restarts": 5' "$run/run.json" || lab_fail "run.json counts other restarts: $(cat "$run/run.json")"
repeats_no_more_than_needed
same_end undisturbed disturbed
