# A host is cut off, first both ways, then one way only: it is declared within 10 s, its rank ends itself within the
# lease, and nothing else of the run is left there soon after, although nobody can reach it; and the run goes on when
# the host is back, to the end of a run that nobody disturbed.
. "$(dirname "$0")/run_lib.sh"
fleet head one two three
hosts=(--hosts head:1,one:1,two:1,three:1)

begin undisturbed "${hosts[@]}"
ended 0

has_no_programs() {
    [ -z "$(programs "$1")" ]
}

# isolate K HOST RANK CHAIN...: cuts the host off, and looks at both sides
isolate() {
    local since
    since=$EPOCHREALTIME
    cut_off "$2" "${@:4}"
    wait_for 40 no_ranks_on "$2"
    within "$since" "$EPOCHREALTIME" 15 "the end of the ranks that are cut off"
    wait_for 5 has_no_programs "$2" # neither mpirun's daemon nor the login's probe: their guard ends them
    named "$1" "$since" 10 "$3" "^[0-9.]+ $2 $3 (sent no heartbeat|is heard, but has had no answer) for [0-9]+ s: its host is cut off"
    wait_for 10 grep -q "waiting: .*$2" "$LAB/disturbed.err"
}

begin disturbed "${hosts[@]}" muster.max_restarts=20
wait_for 60 step_past 60
isolate 1 two 3 INPUT OUTPUT
fault_named "a host cut off both ways"
reconnect two
wait_for 60 has_events joined 2
wait_for 60 step_past 120
isolate 2 one 2 OUTPUT
fault_named "a host cut off from it to us"
reconnect one
wait_for 60 has_events joined 3
wait_for 60 step_past 180
isolate 3 three 4 INPUT
fault_named "a host cut off from us to it"
reconnect three
ended 0
grep -q '"restarts": 3' "$run/run.json" || lab_fail "run.json counts other restarts: $(cat "$run/run.json")"
repeats_no_more_than_needed
same_end undisturbed disturbed
