#!/usr/bin/env bash
# A run belongs to its directory, not to the path: another directory at the same path is left alone, and a directory that
# is moved away ends its run. What resume found damaged is kept, and does not count for retention.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/watch.sh"
make_data "$scratch/data"

# moved: the run ends with 73, and writes nothing where a new one begins
begin moved
mv "$run" "$run.old"
mkdir "$run"
got=0
wait "$launcher" || got=$?
[ $got -eq 73 ] || { cat "$run.err" >&2; fail "exit $got, wanted 73"; }
[ -z "$(ls -A "$run")" ] || fail "the new directory holds $(ls -A "$run")"
[ ! -e "$run.old/verdict.json" ] || fail "a verdict was written"
[ -z "$(ours)" ] || fail "processes are left"

# a copy has a mark of its own
mkdir -p "$scratch/one"
expect_exit 0 muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/one" train_iters=4 2>"$scratch/log"
cp -r "$scratch/one" "$scratch/two"
token() { sed -nE 's/.*"token": "([0-9a-f]+)".*/\1/p' "$1/run.json"; }
rm "$scratch/two/run.json"
expect_exit 0 muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/two" train_iters=4 2>"$scratch/log"
[ "$(token "$scratch/one")" != "$(token "$scratch/two")" ] || fail "a copy has the mark of its original"

# the same path in another mount namespace: the second start touches nothing of the first
if [ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null; then
    begin shared
    expect_exit 0 unshare -m bash -c "mount -t tmpfs none '$run' &&
        muster run '$scratch/model.yml' --workers 1 --run-dir '$run' train_iters=4" 2>"$scratch/second"
    ! grep -q 'ended [0-9]* process' "$scratch/second" || fail "$(cat "$scratch/second")"
    before=$(wc -l <"$run/metrics.jsonl")
    wait_for 20 steps_done $((before + 20))
    grep -q '"restarts": 0' "$run/run.json" || fail "the first run was disturbed"
    kill -TERM "$launcher"
    ended 75
fi

# damaged: set aside, reported, not counted; the step that was resumed stays until a newer one is saved
run=$scratch/damaged
expect_exit 0 muster run "$scratch/model.yml" --workers 1 --run-dir "$run" train_iters=12 keep_last_n_checkpoints=3 2>"$scratch/log"
shard=$(find "$run/checkpoints/step-00000012" -name '*.h5' -size +20k | head -n 1)
printf '\377' | dd of="$shard" bs=1 seek=9000 conv=notrunc status=none
expect_exit 0 muster run "$scratch/model.yml" --workers 1 --run-dir "$run" train_iters=12 keep_last_n_checkpoints=1 2>"$run.err"
says 'step-00000012.*kept as .*damaged-step-00000012'
ls -d "$run"/checkpoints/damaged-step-00000012-* >/dev/null || fail "it was not kept"
[ -f "$run/checkpoints/step-00000012/manifest.json" ] || fail "step 12 was not saved again"

# what lies under the name of a file of the run directory must be one: it is named, and nothing waits for it
for made in "mkfifo events.jsonl" "mkdir stop" "mkfifo metrics.jsonl" "ln -s /dev/null run.json"; do
    rm -rf "$scratch/odd"
    mkdir "$scratch/odd"
    (cd "$scratch/odd" && $made)
    expect_exit 73 timeout 20 muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/odd" train_iters=4 2>"$scratch/log"
    grep -q "$scratch/odd/${made##* }: is a" "$scratch/log" || fail "$made: $(cat "$scratch/log")"
done
