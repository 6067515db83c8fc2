# With muster.min_hosts a run goes on without a host that was cut off, in the layout that fits the others; and its
# losses are, within what another order of summation does, those of a run that nobody disturbed.
. "$(dirname "$0")/run_lib.sh"
fleet head one two three
hosts=(--workers 3 --hosts one:1,two:1,three:1 train_iters=160 lr_decay_iters=160)

begin undisturbed "${hosts[@]}"
ended 0

begin disturbed "${hosts[@]}" muster.min_hosts=2 muster.max_restarts=5
wait_for 60 step_past 60
since=$EPOCHREALTIME
cut_off three INPUT OUTPUT
named 1 "$since" 10 3 '^[0-9.]+ three 3 sent no heartbeat'
fault_named "a host cut off, with muster.min_hosts" "goes on without it"
wait_for 60 has_events joined 2 # 30 s for the host to come back, then without it
grep -q '2 workers on 2 hosts .*tp 1 x dp 2' "$LAB/disturbed.err" || lab_fail "it does not say what it goes on with"
no_ranks_on three || lab_fail "a rank is left on the host that was cut off"
reconnect three
got=0
wait "$launcher" || got=$?
[ "$got" -eq 0 ] || lab_fail "exit $got, wanted 0"
repeats_no_more_than_needed
losses "$LAB/volume/undisturbed" >"$LAB/undisturbed.losses"
losses "$run" >"$LAB/disturbed.losses"
paste "$LAB/undisturbed.losses" "$LAB/disturbed.losses" |
    sed -nE 's/.*"loss": ([^,]+),.*"loss": ([^,]+),.*/\1 \2/p' |
    awk '{ d = $1 - $2; if (d < 0) d = -d; if (d > worst * $1) worst = d / $1 }
         END { print NR " steps, the losses differ by at most " worst; exit worst > 1e-2 || NR != 160 }' ||
    lab_fail "the losses differ"

# nothing of the run is left on any host, the one that was cut off included
wait_for 5 nothing_runs
