# Deaths of a random kind, at a random rank, at a random moment: each is named right. MUSTER_DEATHS says how many,
# MUSTER_SEED repeats what a run has printed.
. "$(dirname "$0")/run_lib.sh"
deaths=${MUSTER_DEATHS:-6} seed=${MUSTER_SEED:-$$}
RANDOM=$seed
echo "$deaths deaths, MUSTER_SEED=$seed"
fleet head one two three
begin random --hosts head:1,one:1,two:1,three:1 muster.max_restarts=1000 train_iters=100000 lr_decay_iters=100000 \
    checkpoint_factor=5 eval_interval=1000000

host_of=([0]=head [1]=head [2]=one [3]=two [4]=three)
for ((k = 1; k <= deaths; k++)); do
    wait_for 90 has_events joined "$k"
    kind=$((RANDOM % 5)) rank=$((RANDOM % 5)) moment=$((RANDOM % 3000)) code=$((RANDOM % 60 + 3))
    if [ $((k % 3)) -ne 0 ]; then wait_for 90 step_past "$(at=$(last_step); echo "${at:-0}")"; fi # else in whatever phase it is
    sleep "$((moment / 1000)).$(printf %03d $((moment % 1000)))"
    where="^[0-9.]+ ${host_of[rank]} $rank"
    case $kind in
    0) end_named "$k" 9 "$rank" "$where was killed by signal 9" ;;
    1) end_named "$k" 11 "$rank" "$where was killed by signal 11" ;;
    2) end_named "$k" 6 "$rank" "$where was killed by signal 6" ;;
    3)
        [ "$code" -ne 14 ] || code=15 # 14 is Open MPI's, which the launcher takes for a consequence at first
        victim=$(rank_pid "$rank")
        since=$EPOCHREALTIME
        "$MUSTER_BIN/hosts_end_rank" "$victim" "$code"
        named "$k" "$since" 0.5 "$rank" "$where ended with exit code $code"
        ;;
    4) # the guard goes, and its rank with it: nobody is left to report
        victim=$(rank_pid "$rank")
        guard=$(awk '{ print $4 }' "/proc/$victim/stat")
        since=$EPOCHREALTIME
        kill -KILL "$guard"
        named "$k" "$since" 10 "$rank" "$where (vanished together with its guard|sent no heartbeat)"
        ;;
    esac
done
wait_for 90 has_events joined $((deaths + 1))
kill -TERM "$(launcher_pid)"
ended 75
