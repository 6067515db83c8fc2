#!/usr/bin/env bash
# What lies outside the run and passes never ends it for good: a full volume is 74 wherever it is noticed first, also
# where /tmp is the one that is full, and a folder that somebody else made under the run's name in /tmp is not used.
. "$(dirname "$0")/lib.sh"
make_data "$scratch/data"
train() { muster run "$scratch/model.yml" --workers 1 --run-dir "$run" train_iters=4; }
no_verdict() { [ ! -e "$run/verdict.json" ] || fail "a verdict was written: $(cat "$run/verdict.json")"; }

if [ "$(id -u)" -ne 0 ] || ! unshare -m true 2>/dev/null; then
    echo "needs root for its volumes"
    exit 77
fi

# the volume of the run directory is full from the beginning, and with room for the first few files only
run=$scratch/volume/run
for room in 0 4; do
    mkdir -p "$scratch/volume"
    export run room scratch
    expect_exit 74 unshare -m bash -c 'mount -t tmpfs -o size=64k none "$scratch/volume" && mkdir "$run" && head -c 65536 /dev/zero >"$scratch/volume/fill" 2>/dev/null
        [ $room -eq 0 ] || truncate -s $((60 - room))k "$scratch/volume/fill"
        muster run "$scratch/model.yml" --workers 1 --run-dir "$run" train_iters=4; code=$?
        [ ! -e "$run/verdict.json" ] || exit 99; exit $code' 2>"$scratch/log"
    grep -q 'No space left' "$scratch/log" || fail "room of $room KiB: $(cat "$scratch/log")"
done
fault "the volume full when a run starts" "$(first_error "$scratch/log")" 74 "at once" "nothing"

# It fills up while the run goes on: the preflight of the next attempt finds it full still, and that is 74 all the same.
run=$scratch/volume/run
expect_exit 74 unshare -m bash -c 'mount -t tmpfs -o size=5m none "$scratch/volume" &&
    muster run "$scratch/model.yml" --workers 1 --run-dir "$run" train_iters=400 checkpoint_factor=40; code=$?
    [ ! -e "$run/verdict.json" ] || exit 99; exit $code' 2>"$scratch/log"
tail -n 1 "$scratch/log" | grep -qE 'rank [0-9]+ .*exit 74' || fail "the last line is: $(tail -n 1 "$scratch/log")"

# the programs may lie under /tmp themselves, which is another volume in what follows
mkdir "$scratch/bin"
cp "$MUSTER_BIN"/muster "$MUSTER_BIN"/muster-worker "$scratch/bin"
export PATH=$scratch/bin:$PATH

# /tmp nearly full: named, at once, and the next start goes on where there is room again
run=$scratch/tmp-full
export run
expect_exit 74 unshare -m bash -c 'mount --bind "$scratch" /mnt && mount -t tmpfs -o size=2m none /tmp && mkdir -p "$scratch" && mount --bind /mnt "$scratch" &&
    muster run "$scratch/model.yml" --workers 1 --run-dir "$run" train_iters=4' 2>"$scratch/log"
grep -q '/tmp/muster-.*no room' "$scratch/log" || fail "$(cat "$scratch/log")"
fault "/tmp nearly full when a run starts" "$(first_error "$scratch/log" | sed -E 's#muster-[0-9a-f-]+#muster-UID-RUN#')" 74 "at once" "nothing"
no_verdict
expect_exit 0 train 2>"$scratch/log"

# somebody else's folder under the name of the last start
token=$(sed -nE 's/.*"token": "([0-9a-f]+)".*/\1/p' "$run/run.json")
taken=/tmp/muster-0-${token:0:12}
mkdir "$taken"
chown 65534 "$taken"
got=0
at_end rmdir "$taken"
train 2>"$scratch/log" || got=$?
still=$(stat -c %u "$taken")
rmdir "$taken"
[ $got -eq 0 ] || fail "exit $got: $(cat "$scratch/log")"
[ "$still" = 65534 ] || fail "the folder was changed"
grep -q "$taken" "$scratch/log" || fail "the folder is not named: $(cat "$scratch/log")"
no_verdict
