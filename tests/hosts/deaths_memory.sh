# The kernel kills a rank for memory: it is named so, not as "signal 9", and the run goes on. Needs the memory
# controller of control groups, of either version.
. "$(dirname "$0")/run_lib.sh"
if [ -w /sys/fs/cgroup/memory/memory.limit_in_bytes ]; then
    groups=/sys/fs/cgroup/memory limit=memory.limit_in_bytes usage=memory.usage_in_bytes none=-1
elif grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null &&
    echo +memory >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null; then
    groups=/sys/fs/cgroup limit=memory.max usage=memory.current none=max
else
    lab_skip "no memory controller of control groups below /sys/fs/cgroup, version 1 or 2"
fi
fleet head one two
group=$groups/${LAB##*/}
mkdir "$group"
trap 'end_group; lab_end' EXIT
end_group() {
    local pid
    while read -r pid; do echo "$pid" >"$groups/cgroup.procs" || true; done <"$group/cgroup.procs"
    rmdir "$group"
} 2>/dev/null
for pid in $(pgrep --ns "${LAB_INIT[one]}" --nslist pid -x sshd); do echo "$pid" >"$group/cgroup.procs"; done # and its children

begin undisturbed --hosts one:1,two:1 train_iters=160 lr_decay_iters=160
ended 0
begin disturbed --hosts one:1,two:1 train_iters=160 lr_decay_iters=160 muster.max_restarts=5
wait_for 60 step_past 60
victim=$(rank_pid 1)
echo 1000 >"/proc/$victim/oom_score_adj" # it, and not who takes the memory
echo $(($(cat "$group/$usage") + (64 << 20))) >"$group/$limit"
since=$EPOCHREALTIME
bash -c 'echo $$ >"$1/cgroup.procs"; head -c 400M /dev/zero | tail -n 1 >/dev/null' bash "$group" &
hog=$!
named 1 "$since" 2 1 '^[0-9.]+ one 1 was killed by the kernel for memory \(limit 0\.[0-9] GiB\) in phase'
fault_named "a rank killed by the kernel for memory"
echo "$none" >"$group/$limit"
kill -KILL "$hog" 2>/dev/null || true
wait "$hog" 2>/dev/null || true
ended 0
repeats_no_more_than_needed
same_end undisturbed disturbed
