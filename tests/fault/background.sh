#!/usr/bin/env bash
# Checkpoints beside the steps on a volume that is slow: no step waits, one that is due meanwhile is skipped and
# reported, the values are those of a run that saves in the foreground, also where the step that follows is faster than
# the copy. A stop waits for both. A worker killed between
# copy and commit: the checkpoint before stands, and the next start goes on from it, bit for bit.
. "$(dirname "$0")/../e2e/lib.sh"
: "${MUSTER_FAULTFS:?the library of faultfs.c}"
sed -i 's/^eval_interval: .*/eval_interval: 100/; s/^checkpoint_factor: .*/checkpoint_factor: 2/' "$scratch/model.yml"
make_data "$scratch/data"

# train RUN MS [key=value...]: without a launcher, whose ranks have no LD_PRELOAD; each write to a shard takes MS longer
train() {
    local run=$1 ms=$2
    shift 2
    LD_PRELOAD=$MUSTER_FAULTFS FAULT_DIR=$run/checkpoints FAULT_MODE=$([ "$ms" = 0 ] || echo slow) FAULT_AT=$ms \
        bash "$MUSTER_SOURCE/tests/mpi/run" 3 "$MUSTER_BIN/muster-worker" "$scratch/model.yml" save="$run" "$@" >>"$run.out" 2>&1
}
slices() { # slices RUN [STEP]: of that checkpoint, or the newest
    local name
    name=$([ -n "${2:-}" ] && printf 'step-%08d' "$2" || cat "$1/checkpoints/latest")
    grep -hoE '^\[[0-9,]+,"[0-9a-f]{32}"\]' "$1/checkpoints/$name/manifest.json" | sort
}
last_step() { sed -nE 's/^\{"step": ([0-9]+),.*/\1/p' "$1/metrics.jsonl" | tail -n 1; }
newest() { sed -E 's/^step-0*//' "$1/checkpoints/latest"; }
saving() { compgen -G "$1/checkpoints/step-$(printf %08d "$2").tmp-*" >/dev/null; }
line() { grep -qs "^{\"step\": $2," "$1/metrics.jsonl"; }
await() { # await PID CONDITION...
    local pid=$1
    shift
    until "$@"; do
        kill -0 "$pid" 2>/dev/null || { cat "$run.out" >&2; fail "the run ended before: $*"; }
        sleep 0.02
    done
}

expect_exit 0 train "$scratch/off" 0 muster.async_checkpoint=off
losses "$scratch/off" >"$scratch/off.losses"

run=$scratch/slow delay=3000
expect_exit 0 train "$run" $delay muster.async_checkpoint=on
losses "$run" >"$run.losses"
diff "$scratch/off.losses" "$run.losses" || fail "other losses than in the foreground"
diff <(slices "$scratch/off") <(slices "$run") || fail "other bytes than in the foreground"
diff <(slices "$scratch/off" 2) <(slices "$run" 2) || fail "step 2: other bytes than in the foreground"
[ "$(newest "$run")" = 12 ] || fail "the last step is not saved"
grep -q 'checkpoint step 2 saved: .*beside the steps' "$run.out" || { cat "$run.out"; fail "nothing was written beside the steps"; }
grep -q 'no checkpoint of step 4: that of step 2 has been written' "$run.out" || { cat "$run.out"; fail "no word of the one skipped"; }
[ ! -e "$run/checkpoints/step-00000004" ] || fail "step 4 was skipped, and is there"
sed -nE 's/.*"checkpoint_ms": ([0-9.e+-]+),.*/\1/p' "$run/metrics.jsonl" |
    awk -v d=$delay '$1 >= d { bad = 1 } END { exit bad || NR != 12 }' || fail "a step waited for the volume"

# a stop while one is being written: that one and the last step are saved
run=$scratch/stopped
train "$run" 2000 muster.async_checkpoint=on train_iters=100000 lr_decay_iters=100000 &
pid=$!
await $pid saving "$run" 2
await $pid line "$run" 3
# the threads that write step back behind those that compute
own=$(nice)
stepped_back() { # of both workers: two threads each
    local p back workers=0
    for p in $(ours); do
        if [ "$(cat "/proc/$p/comm")" = muster-worker ] && grep -qzE '^OMPI_COMM_WORLD_RANK=[12]$' "/proc/$p/environ"; then
            back=$(cat "/proc/$p"/task/*/stat 2>/dev/null | sed 's/.*) //' | awk -v n=$((own + 13 > 19 ? 19 : own + 13)) '$17 == n' | wc -l)
            [ "$back" = 2 ] || return 1
            workers=$((workers + 1))
        fi
    done
    [ $workers = 2 ]
}
await $pid stepped_back
: >"$run/stop"
got=0
wait $pid || got=$?
[ $got -eq 75 ] || { cat "$run.out"; fail "a stop ended with $got"; }
[ "$(newest "$run")" = "$(last_step "$run")" ] || fail "step $(last_step "$run") is the last, $(newest "$run") is saved"
[ -f "$run/checkpoints/step-00000002/manifest.json" ] || fail "what was being written at the stop is not there"

# a worker dies between its copy and the commit
run=$scratch/killed
expect_exit 0 train "$run" 0 muster.async_checkpoint=on exit_interval=2
train "$run" 60000 muster.async_checkpoint=on &
pid=$!
await $pid saving "$run" 4
await $pid line "$run" 6
for p in $(ours); do
    if [ "$(cat "/proc/$p/comm")" = muster-worker ] && grep -qz '^OMPI_COMM_WORLD_RANK=2$' "/proc/$p/environ"; then
        kill -9 "$p"
    fi
done
if wait $pid; then fail "a worker was killed, and yet exit 0"; fi
[ ! -e "$run/checkpoints/step-00000004" ] || fail "half a checkpoint was committed"
[ "$(newest "$run")" = 2 ] || fail "the checkpoint before is not the newest"
expect_exit 0 muster inspect "$run/checkpoints/step-00000002" --verify >/dev/null
expect_exit 0 train "$run" 0 muster.async_checkpoint=on
grep -q 'resuming .*step-00000002' "$run.out" || { cat "$run.out"; fail "it did not go on from step 2"; }
if compgen -G "$run/checkpoints/*.tmp-*" >/dev/null; then fail "the killed attempt's directory is left"; fi
losses "$run" >"$run.losses"
diff "$scratch/off.losses" "$run.losses" || fail "other losses than an undisturbed run"
diff <(slices "$scratch/off") <(slices "$run") || fail "other bytes than an undisturbed run"
