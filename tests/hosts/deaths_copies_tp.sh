# Copies in memory with tensor parallelism, two workers a host and three hosts in a ring: each piece lies on two hosts.
# The host of the first replica dies: all pieces survive, and in the end the weights are those of a run that nobody
# disturbed, bit for bit.
. "$(dirname "$0")/run_lib.sh"
fleet head one two three
every=4
hosts=(--hosts one:2,two:2,three:2 model_parallel_size=2 train_iters=100 lr_decay_iters=100 checkpoint_factor=1000
    eval_interval=1000 muster.lease_timeout=6)

begin undisturbed "${hosts[@]}"
ended 0

start_line() { grep -h 'start  .* resuming\|start  .* random' "$run/logs/rank-00000.log" 2>/dev/null | sed -n "$1p" || true; }
has_start() { [ -n "$(start_line "$1")" ]; }

# pieces HOST: the shards of both slots, whole or being written
pieces() {
    lab_in "$1" bash -c 'cd /dev/shm/muster-*.copies/* && printf "%s\n" [01]/shard-*' | sed 's/\.tmp$//' | sort -u
}

begin disturbed "${hosts[@]}" muster.max_restarts=9 muster.peer_checkpoint=true muster.peer_checkpoint_factor=$every
wait_for 60 step_past $((2 * every))
for name in one two three; do
    [ "$(pieces $name | wc -l)" = 8 ] || lab_fail "$name has not both slots of its own two pieces and of two others: $(pieces $name)"
done
[ "$(for name in one two three; do pieces $name; done | sort | uniq -c | awk '$1 == 2' | wc -l)" = 12 ] || lab_fail "a piece does not lie on two hosts"

lab_host_dies one
lab_host_again one
lab_in one mount -t tmpfs tmpfs "$LAB/data"
wait_for 30 has_events failed 1
last=$(last_step)
wait_for 60 has_start 2
step=$(start_line 2 | sed -nE 's/.*resuming copies of step ([0-9]+) in the hosts. memory.*/\1/p')
[ -n "$step" ] || lab_fail "it does not go on from copies: $(start_line 2)"
[ $((last - step)) -le $every ] || lab_fail "step $last was the last, and it goes on from $step"
ended 0
same_end undisturbed disturbed
