# What the tests of supervision share: a run in the background whose ranks can be found, stopped and killed.
# Sourced after lib.sh.

# begin NAME KEY=VALUE...: a run that goes on for ever, in the background; returns after 20 steps
begin() {
    local name=$1 before=0
    shift
    run=$scratch/$name
    [ ! -f "$run/metrics.jsonl" ] || before=$(wc -l <"$run/metrics.jsonl")
    muster run "$scratch/model.yml" --workers 2 --run-dir "$run" train_iters=100000 lr_decay_iters=100000 \
        eval_interval=1000000 checkpoint_factor=1000000 "$@" >"$run.out" 2>"$run.err" &
    launcher=$!
    wait_for 30 steps_done $((before + 20))
}

# steps_done N: metrics.jsonl has at least N lines
steps_done() {
    [ -f "$run/metrics.jsonl" ] && [ "$(wc -l <"$run/metrics.jsonl")" -ge "$1" ]
}

# wait_for SECONDS COMMAND...
wait_for() {
    local deadline=$(($(date +%s) + $1))
    shift
    until "$@"; do
        [ "$(date +%s)" -lt $deadline ] || { tail -n 50 "$run.err" "$run"/events.jsonl >&2 || true; fail "waited in vain for: $*"; }
        sleep 0.05
    done
}

# rank_pid N: the process of rank N (not its guard)
rank_pid() {
    local p
    for p in /proc/[0-9]*; do
        [ "$(cat "$p/comm" 2>/dev/null)" = muster-worker ] || continue
        grep -qzsx "OMPI_COMM_WORLD_RANK=$1" "$p/environ" && grep -qzsx "MUSTER_RUN_DIR=$run" "$p/environ" && echo "${p#/proc/}"
    done
    return 0
}

# ended CODE: the launcher ends with it; nothing of the run is left after 5 s, no folder of its either
ended() {
    local got=0 i
    wait "$launcher" || got=$?
    [ "$got" -eq "$1" ] || { cat "$run.err" >&2; fail "exit $got, wanted $1"; }
    for i in $(seq 100); do
        [ -n "$(ours)" ] || break
        sleep 0.05
    done
    [ -z "$(ours)" ] || { ps -o pid,stat,args -p "$(ours | paste -sd,)" >&2; fail "processes are left"; }
    nothing_left
}

nothing_left() {
    local token
    token=$(sed -nE 's/.*"token": "([0-9a-f]+)".*/\1/p' "$run/run.json")
    [ -n "$token" ] || fail "no token in run.json"
    [ ! -e "/tmp/muster-$(id -u)-${token:0:12}" ] || fail "the temporary folder is left"
    [ ! -e "/dev/shm/muster-$(id -u)-${token:0:12}" ] || fail "shared memory is left"
    [ ! -e "$run/control.key" ] || fail "the key is left"
    [ ! -e "$run/stop" ] || fail "the file stop is left"
}

# fault_of_run FAULT CODE [SECONDS]: a row: the reason and the lost steps of run.json and metrics.jsonl
fault_of_run() {
    local reason saved step
    reason=$(sed -nE 's/^ *"reason": "(.*)",?$/\1/p' "$run/run.json")
    saved=$(sed -nE 's/^ *"last_checkpoint": (-?[0-9]+).*/\1/p' "$run/run.json")
    step=$(tail -n 1 "$run/metrics.jsonl" | sed -nE 's/^\{"step": ([0-9]+),.*/\1/p')
    fault "$1" "$reason" "$2" "${3:-}" "$((step - (saved > 0 ? saved : 0))) steps"
}

says() {
    grep -qE "$1" "$run.err" || { cat "$run.err" >&2; fail "it does not say '$1'"; }
}

state_is() {
    grep -q "\"state\": \"$1\"" "$run/run.json"
}

now() {
    date +%s.%N
}

# event_time KIND: when the first such event was written down
event_time() {
    sed -nE "s/^\{\"time\":([0-9.]+),\"kind\":\"$1\".*/\1/p" "$run/events.jsonl" | head -1
}

# event_text KIND: what the first such event says
event_text() {
    sed -nE "s/^\{\"time\":[0-9.]+,\"kind\":\"$1\".*\"text\":\"(.*)\"\}\$/\1/p" "$run/events.jsonl" | head -1
}

# since TIME KIND: "SECONDS s" from the time to the first such event
since() {
    awk -v a="$1" -v b="$(event_time "$2")" 'BEGIN { printf("%.2f s", b > a ? b - a : 0) }'
}

# within SINCE UNTIL LIMIT WHAT: UNTIL - SINCE <= LIMIT + what waitpid() of a plain killed child takes here and now
within() {
    local begin end
    sleep 60 &
    begin=$(now)
    kill -9 $!
    wait $! 2>/dev/null || true
    end=$(now)
    awk -v a="$1" -v b="$2" -v l="$3" -v d="$(awk -v x="$begin" -v y="$end" 'BEGIN { print y - x }')" 'BEGIN {
        printf "%.2f s (limit %s + %.2f)\n", b - a, l, d; exit !(b != "" && b - a <= l + d) }' || fail "too late: $4"
}
