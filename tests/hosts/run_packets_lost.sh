# A fifth of all packets lost, each way, at two hosts: heartbeats get through in time, nobody is declared dead.
# MUSTER_SECONDS says for how long. MPI over TCP may well stand still for more than 10 s then: that it is the network
# is seen from what the ranks' connections send again, and is reported.
. "$(dirname "$0")/run_lib.sh"
seconds=${MUSTER_SECONDS:-20}
fleet head one two
begin lossy --hosts one:1,two:1 train_iters=100000 lr_decay_iters=100000 eval_interval=1000000 checkpoint_factor=1000000 \
    muster.max_restarts=0
wait_for 60 step_past 60
sleep 3 # heartbeats that show how long steps take
for host in one two; do
    lab_in $host iptables -A INPUT -i eth0 -m statistic --mode random --probability 0.2 -j DROP
    lab_in $host iptables -A OUTPUT -o eth0 -m statistic --mode random --probability 0.2 -j DROP
done
before=$(last_step)
end=$((SECONDS + seconds))
while [ $SECONDS -lt $end ]; do
    kill -0 "$launcher" 2>/dev/null || lab_fail "a false alarm after $((seconds - end + SECONDS)) s: $(events failed)"
    sleep 0.5
done
[ -z "$(events failed)" ] || lab_fail "a false alarm: $(events failed)"
echo "$seconds s at a loss of 20 %, $(($(last_step) - before)) steps; reported: $(events lossy | wc -l) times that the network loses packets"
for host in one two; do reconnect $host; done
kill -TERM "$(launcher_pid)"
ended 75
