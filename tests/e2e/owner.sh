#!/usr/bin/env bash
# A run belongs to its directory, not to the path: another directory at the same path is left alone, and a directory
# that is moved away ends its run. What resume found damaged is kept, and does not count for retention.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/watch.sh"
make_data "$scratch/data"

# weights RUN: the digest of every value of its newest checkpoint
weights() {
    grep -hoE '^\[[0-9,]+,"[0-9a-f]{32}"\]' "$1/checkpoints/$(cat "$1/checkpoints/latest")/manifest.json" | cut -d, -f1-6,8 | sort
}
# undisturbed RUN: it ended as a run that was alone, bit for bit
undisturbed() {
    [ "$(losses "$1" | wc -l)" -eq 400 ] || fail "$1: $(losses "$1" | wc -l) steps"
    cmp <(losses "$scratch/alone") <(losses "$1") || fail "$1: the losses are not those of a run that was alone"
    [ "$(weights "$1" | wc -l)" -gt 10 ] || fail "$1: no digests in its manifest"
    cmp <(weights "$scratch/alone") <(weights "$1") || fail "$1: the weights are not those of a run that was alone"
    grep -q '"restarts": 0' "$1/run.json" || fail "$1 was started again"
}
steps=(train_iters=400 lr_decay_iters=400)
begin alone "${steps[@]}"
ended 0

# moved: the run ends with 73, and writes nothing where a new one begins, which it does not disturb
begin moved
before=$(losses "$run" | wc -l)
mv "$run" "$run.old"
mv "$run.err" "$run.old-err"
old=$launcher
begin moved "${steps[@]}"
new=$launcher
got=0
wait "$old" || got=$?
[ $got -eq 73 ] || { cat "$run.old-err" >&2; fail "exit $got, wanted 73"; }
[ ! -e "$run.old/verdict.json" ] || fail "a verdict was written"
[ "$(losses "$run.old" | wc -l)" -ge "$before" ] || fail "the moved run has lost its records"
fault "the run directory renamed, and another run in its place" "$(tail -n 1 "$run.old-err" | sed 's/^muster: error: //')" 73 "" "those since the checkpoint"
launcher=$new
ended 0
undisturbed "$run"

# a copy has a mark of its own
mkdir -p "$scratch/one"
expect_exit 0 muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/one" train_iters=4 2>"$scratch/log"
cp -r "$scratch/one" "$scratch/two"
token() { sed -nE 's/.*"token": "([0-9a-f]+)".*/\1/p' "$1/run.json"; }
rm "$scratch/two/run.json"
expect_exit 0 muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/two" train_iters=4 2>"$scratch/log"
[ "$(token "$scratch/one")" != "$(token "$scratch/two")" ] || fail "a copy has the mark of its original"

# the same path in another mount namespace: neither run touches anything of the other
if [ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null; then
    begin shared "${steps[@]}"
    expect_exit 0 unshare -m bash -c "mount -t tmpfs none '$run' && cd '$scratch' &&
        muster run '$scratch/model.yml' --workers 2 --run-dir '$run' ${steps[*]} eval_interval=1000000 checkpoint_factor=1000000 &&
        cp -r '$run' '$scratch/second'" >"$scratch/log" 2>&1
    ! grep -q 'ended [0-9]* process' "$scratch/log" || fail "$(cat "$scratch/log")"
    ended 0
    undisturbed "$run"
    undisturbed "$scratch/second"
    first_ended=$(event_time end)
    run=$scratch/second
    awk -v a="$(event_time launcher)" -v b="$first_ended" 'BEGIN { exit !(a < b) }' || fail "the two did not run at once"
fi

# damaged: set aside, reported, not counted; the step that was resumed stays until a newer one is saved
run=$scratch/damaged
expect_exit 0 muster run "$scratch/model.yml" --workers 1 --run-dir "$run" train_iters=12 keep_last_n_checkpoints=3 2>"$scratch/log"
shard=$(find "$run/checkpoints/step-00000012" -name '*.h5' -size +20k | head -n 1)
printf '\377' | dd of="$shard" bs=1 seek=9000 conv=notrunc status=none
expect_exit 0 muster run "$scratch/model.yml" --workers 1 --run-dir "$run" train_iters=12 keep_last_n_checkpoints=1 2>"$run.err"
says 'step-00000012.*kept as .*damaged-step-00000012'
fault "a bit of the newest checkpoint flipped" "$(grep -m 1 -oE 'step-00000012[:/ ].*' "$run.err")" "goes on from the one before" "" "those since that"
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
