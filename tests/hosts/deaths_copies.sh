# With copies in memory (muster.peer_checkpoint) a host dies, and comes back with empty memory: the run goes on from the
# copies, and at most K steps are made again. The controller dies: the same. A host and its partner die together: from
# the checkpoint. In the end the weights are those of a run that nobody disturbed, bit for bit.
. "$(dirname "$0")/run_lib.sh"
fleet head one two
every=5
hosts=(--hosts one:1,two:1 train_iters=300 lr_decay_iters=300 checkpoint_factor=100 muster.lease_timeout=6)

begin undisturbed "${hosts[@]}"
ended 0

# one host, one replica: nobody to give a copy to
begin alone --hosts one:2 train_iters=3 lr_decay_iters=3 muster.peer_checkpoint=true
ended 0
grep -q 'warning: .*peer_checkpoint.*no replica on another host' "$LAB/alone.err" || lab_fail "no word of copies that are not made"

# a host without the memory
lab_in two mount -o remount,size=6m /dev/shm
begin refused "${hosts[@]}" muster.peer_checkpoint=true
ended 80
grep -q 'memory.shm.*two' "$LAB/refused.err" || lab_fail "it does not name the host and its /dev/shm"
lab_in two mount -o remount,size=64m /dev/shm

host_returns() {
    local name
    lab_host_again "$@"
    for name in "$@"; do lab_in "$name" mount -t tmpfs tmpfs "$LAB/data"; done
}

start_lines() { grep -h 'start  .* resuming\|start  .* random' "$run/logs/rank-00000.log" 2>/dev/null || true; }
has_start() { [ "$(start_lines | wc -l)" -ge "$1" ]; }

# starts_with ATTEMPT TEXT: what the attempt says of its start, as start_line
starts_with() {
    wait_for 60 has_start "$1"
    start_line=$(start_lines | sed -n "$1p")
    echo "attempt $1: $start_line"
    grep -qE "$2" <<<"$start_line" || lab_fail "attempt $1 does not say '$2'"
}

# from_copies ATTEMPT LAST: it goes on from copies, at most K steps before LAST, the last step that was reported
from_copies() {
    local step
    starts_with "$1" "resuming copies of step [0-9]+ in the hosts' memory; the newest checkpoint is of step 100"
    step=$(sed -E 's/.*copies of step ([0-9]+) .*/\1/' <<<"$start_line")
    lost=$(($2 - step))
    [ $lost -le $every ] || lab_fail "step $2 was the last, and it goes on from $step"
}

begin disturbed "${hosts[@]}" muster.max_restarts=9 muster.peer_checkpoint=true muster.peer_checkpoint_factor=$every
wait_for 60 step_past 120
since=$EPOCHREALTIME
lab_host_dies two
host_returns two # at once: how the launcher waits for a host that is away is another test's
named 1 "$since" 10 2 '^[0-9.]+ two 2 (sent no heartbeat|vanished)'
last=$(last_step)
from_copies 2 "$last"
fault "a host killed, with copies in memory" "$(sed -E 's/.*start +//' <<<"$start_line")" restarts "$within_took s" "$lost steps"

# the controller, which holds none
wait_for 60 step_past "$last"
end_named 2 11 0 '^[0-9.]+ head 0 was killed by signal 11'
from_copies 3 "$(last_step)"

# both hosts that hold pieces
wait_for 60 step_past "$(last_step)"
since=$EPOCHREALTIME
lab_host_dies one two
host_returns one two
wait_for 30 has_events failed 3
last=$(last_step)
starts_with 4 "resuming .*/checkpoints/step-00000100"
fault "a host killed together with the one that holds its copies" "$(sed -E 's/.*start +//' <<<"$start_line")" restarts "" "$((last - 100)) steps"
ended 0
grep -q 'copies in memory' "$LAB/disturbed.err" || lab_fail "the table at the end has no line of copies"
grep -qE '"copies": ?[1-9]' "$run/run.json" || lab_fail "run.json counts no copies"
same_end undisturbed disturbed
