#!/usr/bin/env bash
# A run that loses two ranks: where its time went adds up, its lost steps are counted; the view of `status --watch` in
# tmux at two sizes, plain lines to a pipe; the page of `compare` is HTML.
. "$MUSTER_SOURCE/tests/e2e/lib.sh"
. "$MUSTER_SOURCE/tests/e2e/watch.sh"

tmux=(tmux -L "muster-report-$$" -f /dev/null)
close_terminals() {
    local code=$?
    "${tmux[@]}" kill-server 2>/dev/null || true
    (exit $code) || finish
    finish
}
trap close_terminals EXIT

make_data "$scratch/data"
run=$scratch/deaths
muster run "$scratch/model.yml" --workers 2 --run-dir "$run" train_iters=1000 lr_decay_iters=1000 checkpoint_factor=100 \
    eval_interval=200 >"$run.out" 2>"$run.err" &
launcher=$!
wait_for 60 steps_done 100
muster status "$run" --watch | cat >"$scratch/piped" &
piped=$!

# screen: what the terminal shows
screen() {
    "${tmux[@]}" capture-pane -p
}
shows() {
    screen | grep -qF -- "$1"
}
# fits COLUMNS ROWS: no line of the screen is wider than it, and its last row is the view's
fits() {
    screen | awk -v columns="$1" -v rows="$2" 'length($0) > columns { exit 1 } NF { last = NR } END { exit NR > rows || last != rows }'
}
wide() {
    screen | head -4 | grep -qE '^\[[#.]{100,}\]'
}
"${tmux[@]}" new-session -d -x 80 -y 24 \
    "LC_ALL=C muster status '$run' --watch 2>'$scratch/watch.err'; echo left \$?; stty -a | grep -q ' echo ' && echo modes; sleep 100"
for word in "muster $scratch" "step " "loss " goodput "lost to restarts" "checkpoint  step" "slowest     rank" "hosts       localhost" \
    "q: leave"; do
    wait_for 30 shows "$word"
done
wait_for 10 fits 80 24
"${tmux[@]}" resize-window -x 200 -y 50
wait_for 10 wide
wait_for 10 fits 200 50

wait_for 60 steps_done 350
kill -9 "$(rank_pid 1)"
wait_for 60 shows "killed by signal 9"
wait_for 60 steps_done 750
kill -9 "$(rank_pid 2)"
ended 0

# When the run ends the view does, and leaves the terminal as it was: a plain report on the first screen.
wait_for 10 shows "left 0"
wait_for 10 shows modes
shows "exit code 0" || fail "no report is left: $(screen)"
[ ! -s "$scratch/watch.err" ] || fail "$(cat "$scratch/watch.err")"
# Of a run that has ended the view stays until a key.
"${tmux[@]}" new-window "muster status '$run' --watch; echo left \$?; sleep 100"
wait_for 10 shows "(ended)"
"${tmux[@]}" send-keys q
wait_for 10 shows "left 0"

wait $piped
[ "$(wc -l <"$scratch/piped")" -ge 5 ] || fail "few lines: $(cat "$scratch/piped")"
! LC_ALL=C grep -n '[^[:print:]]' "$scratch/piped" || fail "control bytes in a pipe"
tail -20 "$scratch/piped" | grep -q "exit code 0" || fail "no end in the pipe: $(cat "$scratch/piped")"

# The sum of the parts is the wall time, which is what the launcher lived; steps done twice are the lines of
# metrics.jsonl that a later one replaces.
python3 - "$run" <<'PY'
import collections, json, subprocess, sys
run = sys.argv[1]
steps = [json.loads(line)["step"] for line in open(run + "/metrics.jsonl")]
state = json.load(open(run + "/run.json"))
now = json.loads(subprocess.run(["muster", "status", run, "--json"], capture_output=True, check=True).stdout)
wall = state["time"] - state["started"]
for account in state["account"], now["account"]:
    total = sum(account["seconds"].values())
    assert abs(total - wall) <= 0.01 * wall, (total, wall, account)
    assert abs(total - account["wall"]) < 1e-3
    assert account["attempts"] == 3 and account["steps"] == 1000, account
    assert account["lost_steps"] == len(steps) - len(set(steps)) > 0, account
    assert account["seconds"]["lost"] > 0 and account["seconds"]["start"] > 0
    useful = account["seconds"]["compute"] + account["seconds"]["communication"]
    assert abs(account["goodput"] - useful / total) < 1e-6 and 0 < account["goodput"] < 1
ranks = state["ranks"]["compute_ms"]
assert 0 < ranks["min"] <= ranks["median"] <= ranks["max"] and ranks["rank"] in (1, 2), ranks
for line in open(run + "/metrics.jsonl"):
    row = json.loads(line)
    assert 0 <= row["compute_ms_min"] <= row["compute_ms_median"] <= row["compute_ms"] <= row["step_ms"], row
    assert ("valid_loss" in row) == (row["eval_ms"] > 0), row
assert sum(json.loads(line)["checkpoint_ms"] > 0 for line in open(run + "/metrics.jsonl")) >= 8
PY
says 'lost to restarts .* s '
says 'goodput [0-9.]+ %'

cp -r "$run" "$scratch/other"
sed -i 's/^seed: .*/seed: 77/' "$scratch/other/config.yml"
muster compare "$run" "$scratch/other" --html "$scratch/page.html" >"$scratch/table"
grep -qE '^seed +1234 +77$' "$scratch/table" || fail "no difference: $(cat "$scratch/table")"
grep -q '^goodput' "$scratch/table" || fail "no goodput: $(cat "$scratch/table")"
tidy -q -e --drop-empty-elements no "$scratch/page.html" 2>"$scratch/tidy" || fail "the page is no HTML: $(cat "$scratch/tidy")"
muster compare "$run" --html "$scratch/page.html" >"$scratch/table"
tidy -q -e --drop-empty-elements no "$scratch/page.html" 2>"$scratch/tidy" || fail "the page is no HTML: $(cat "$scratch/tidy")"
expect_exit 66 muster compare "$scratch/nothing" 2>/dev/null
expect_exit 2 muster compare 2>/dev/null
[ "$(muster status "$run" "$scratch/other" | grep -c ' done ')" = 2 ] || fail "no table of runs"
