#!/usr/bin/env bash
# One run from its first line to its last: files and their modes, the command that --dry-run shows, secrets, a second
# launcher, a verdict.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/watch.sh"
make_data "$scratch/data"

# --dry-run shows the very command, and starts nothing
run=$scratch/first
muster run "$scratch/model.yml" --workers 2 --run-dir "$run" train_iters=1000000 lr_decay_iters=1000000 \
    eval_interval=1000000 checkpoint_factor=1000000 --dry-run >"$scratch/dry"
[ ! -e "$run" ] || fail "--dry-run made the run directory"
HF_TOKEN=hidden begin first
mpirun=
for p in $(ours); do
    case $(cat "/proc/$p/comm") in
    mpirun | prterun) mpirun=$p ;; # what Open MPI 5's mpirun becomes
    esac
done
tr '\0' '\n' <"/proc/$mpirun/cmdline" | sed '1s/^prterun$/mpirun/' >"$scratch/real"
eval "printf '%s\n' $(cat "$scratch/dry")" >"$scratch/shown"
# a directory that no run has used yet has no mark: zeros stand for it
sed -i -E "s/muster-([0-9]+)-[0-9a-f]{12}/muster-\1-000000000000/" "$scratch/real"
sed -i -E 's/^29[1-4][0-9]{2}-29[1-4][0-9]{2}$/PORTS/' "$scratch/real" "$scratch/shown" # free ones, at each start
diff "$scratch/shown" "$scratch/real" || fail "--dry-run shows another command than the one that runs"

# no key in any argument, none in a rank's environment, and nothing that is not on the list
[ ! -e "$run/control.key" ] || fail "the key lies there although every rank has said hello"
for p in $(ours); do
    if [ "$p" != "$mpirun" ] && grep -qzE 'MUSTER_CONTROL|[0-9a-f]{64}' "/proc/$p/cmdline"; then
        fail "a secret in the arguments of $p"
    fi
done
if tr '\0' '\n' <"/proc/$(rank_pid 1)/environ" | grep -qE '^(HF_TOKEN|MUSTER_CONTROL_KEY)='; then
    fail "a rank sees what it must not: HF_TOKEN or the key"
fi

# a second launcher names the first, and touches nothing
got=0
muster run "$scratch/model.yml" --workers 1 --run-dir "$run" 2>"$scratch/second" || got=$?
[ $got -eq 73 ] || fail "the second launcher ended with $got"
grep -q "another launcher runs here: pid $launcher on" "$scratch/second" || fail "it does not name the first: $(cat "$scratch/second")"
kill -0 "$launcher" || fail "the first one is gone"

[ "$(stat -c %a "$run")" = 700 ] || fail "mode of the run directory"
[ "$(stat -c %a "$run/logs/rank-00000.log")" = 600 ] || fail "mode of a log"
wait_for 5 state_is running # it is written once a second
muster status "$run" | grep -q '^running' || fail "status: $(muster status "$run")"
muster status "$run" --json | grep -q '"alive": true' || fail "status --json: $(muster status "$run" --json)"
kill -TERM "$launcher"
ended 75

# a run that comes to its end
run=$scratch/whole
expect_exit 0 muster run "$scratch/model.yml" --workers 2 --run-dir "$run" 2>"$run.err"
state_is done || fail "run.json: $(cat "$run/run.json")"
says 'done: step 12'
nothing_left
muster status "$run" | grep -q 'exit code 0' || fail "status: $(muster status "$run")"

# what another start would only repeat is written down, and a start ends with it at once
run=$scratch/never
expect_exit 66 muster run "$scratch/model.yml" --workers 2 --run-dir "$run" data_path="$scratch/nowhere" 2>"$run.err"
grep -q '"exit_code": 66' "$run/verdict.json" || fail "no verdict"
cp "$run/events.jsonl" "$scratch/events"
expect_exit 66 muster run "$scratch/model.yml" --workers 2 --run-dir "$run" data_path="$scratch/nowhere" 2>"$run.err"
says 'verdict.json: this run has ended for good'
diff "$scratch/events" "$run/events.jsonl" || fail "it started something"
expect_exit 0 muster run "$scratch/model.yml" --workers 2 --run-dir "$run" 2>"$run.err" # another config: another run

# the reason is written in words, and other options are another request
run=$scratch/crowded
for i in 1 2; do
    expect_exit 78 muster run "$scratch/model.yml" --hosts localhost:1 --workers 2 --run-dir "$run" 2>"$run.err"
    says '2 workers do not fit 1 slots'
done
grep -q 'do not fit 1 slots' "$run/verdict.json" || fail "the verdict: $(cat "$run/verdict.json")"
expect_exit 0 muster run "$scratch/model.yml" --hosts localhost:1 --workers 1 --run-dir "$run" 2>"$run.err"

# a setting of Open MPI's that cannot be; without it, it is another request
run=$scratch/settings
for i in 1 2; do
    expect_exit 78 env OMPI_MCA_btl=nosuch muster run "$scratch/model.yml" --workers 1 --run-dir "$run" 2>"$run.err"
    says 'no component nosuch'
done
expect_exit 0 muster run "$scratch/model.yml" --workers 1 --run-dir "$run" 2>"$run.err"

expect_exit 2 muster run "$scratch/model.yml" --wrokers 2 2>/dev/null
expect_exit 2 muster run 2>/dev/null
expect_exit 66 muster status "$scratch/nowhere" 2>/dev/null
muster run --help | grep -q 'usage: muster run' || fail "--help"
