# The volume fills up in the middle of a run: 74, and the last good checkpoint stands; with room again the run goes on
# from it, to the end of a run that nobody disturbed. A process that only looks like one of ours survives every start
# and end.
. "$(dirname "$0")/run_lib.sh"
fleet head
root=/proc/${LAB_INIT[head]}/root # the host's own view: its run directory is a small volume of its own
begin undisturbed --workers 2
ended 0

cp "$(command -v sleep)" "$LAB/data/muster-worker"
lab_in head bash -c 'exec -a "$0" "$1" 3600' "$LAB/bin/muster-worker" "$LAB/data/muster-worker" &
wait_for 10 eval '[ -n "$(lab_in head pgrep -x muster-worker)" ]'
decoy=$(lab_in head pgrep -x muster-worker)

lab_in head mount -t tmpfs -o size=11m,mode=755 tmpfs "$LAB/run"
begin full --workers 2 muster.max_restarts=0
run=$root$LAB/run/full
got=0
wait "$launcher" || got=$?
[ "$got" -eq 74 ] || lab_fail "exit $got on a full volume, wanted 74"
grep -q 'No space left on device' "$LAB/full.err" || lab_fail "it does not say why"
fault "the volume fills up in the middle" "$(sed -nE 's/^.*error: (.*No space left on device).*/\1/p' "$LAB/full.err" | head -n 1)" 74 "" "those since the checkpoint"
good=$(cat "$run/checkpoints/latest")
lab_in head "$LAB/bin/muster" inspect "$LAB/run/full/checkpoints/$good" --verify >/dev/null || lab_fail "$good is damaged"

lab_in head mount -o remount,size=100m "$LAB/run"
begin full --workers 2 muster.max_restarts=0
run=$root$LAB/run/full
got=0
wait "$launcher" || got=$?
[ "$got" -eq 0 ] || lab_fail "exit $got with room again"
grep -q "resuming .*$good" "$LAB/full.err" || lab_fail "it does not resume $good"
lab_in head kill "$decoy" || lab_fail "the process that only looks like one of ours is gone"
wait_for 5 nothing_runs
cp -r "$run" "$LAB/volume/full"
same_end undisturbed full
