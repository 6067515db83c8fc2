#!/usr/bin/env bash
# Killed with SIGKILL, all processes at once, at five moments; started again; the same lines, bit for bit, as a run that
# nobody disturbed. And nothing of the killed attempts stays in shared memory or temporary folders.
. "$(dirname "$0")/lib.sh"
# wide enough for a checkpoint to take a while
sed -i 's/^num_layers: 2/num_layers: 4/; s/^hidden_size: 64/hidden_size: 192/' "$scratch/model.yml"
make_data "$scratch/data"

start() { muster run "$scratch/model.yml" --workers 2 --run-dir "$1" >>"$1.out" 2>&1; }

# kill_when RUN CONDITION...: starts, waits for the condition, kills everything; fails when the run ends first
kill_when() {
    local run=$1
    shift
    start "$run" &
    local launcher=$!
    until "$@"; do
        kill -0 $launcher 2>/dev/null || { cat "$run.out" >&2; fail "the run ended before: $*"; }
    done
    kill_ours
    if wait $launcher 2>/dev/null; then fail "killed, and yet exit 0"; fi
}

line() { grep -qs "^{\"step\": $2," "$1/metrics.jsonl"; }
saving() { compgen -G "$1/checkpoints/step-*.tmp-*" >/dev/null; }

start "$scratch/whole" || { cat "$scratch/whole.out" >&2; fail "the undisturbed run"; }
losses "$scratch/whole" >"$scratch/whole.losses"
[ "$(wc -l <"$scratch/whole.losses")" -eq 12 ] || fail "12 lines wanted"

run=$scratch/killed
shared=$(muster run "$scratch/model.yml" --workers 2 --run-dir "$run" --dry-run 2>/dev/null | grep -oE '/(dev/shm|tmp)/muster[^/ ]*' | head -n 1)
[ -n "$shared" ] || fail "the command does not say where shared memory goes"
kill_when "$run" test -s "$run/run.json" # waiting
kill_when "$run" line "$run" 1           # first step
kill_when "$run" line "$run" 6           # middle
kill_when "$run" saving "$run"           # inside a checkpoint
kill_when "$run" line "$run" 12          # last step: its line is there, its checkpoint is not
start "$run" || { cat "$run.out" >&2; fail "the last start"; }

losses "$run" >"$run.losses"
cmp "$scratch/whole.losses" "$run.losses" || { diff "$scratch/whole.losses" "$run.losses" >&2; fail "the lines differ"; }
left=$(ours)
[ -z "$left" ] || fail "processes left: $left"
[ ! -e "$shared" ] || fail "left in shared memory: $shared"
[ ! -e "/tmp/${shared##*/}" ] || fail "left in the temporary folder: /tmp/${shared##*/}"
[ -z "$(ls -A "$TMPDIR")" ] || fail "left in the temporary folder: $(ls -A "$TMPDIR")"
if compgen -G "$run/checkpoints/*.tmp-*"; then fail "a temporary checkpoint is left"; fi

weights() { # the digests of every value, without what tells one run from another
    grep -oE '^\[[0-9,]+,"[0-9a-f]{32}"\]' "$1/checkpoints/step-00000012/manifest.json" | cut -d, -f1-6,8 | sort
}
[ "$(weights "$run" | wc -l)" -gt 10 ] || fail "no digests in the manifest"
diff <(weights "$scratch/whole") <(weights "$run") >/dev/null || fail "the weights differ"
