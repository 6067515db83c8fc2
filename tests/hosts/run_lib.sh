# Training over hosts of the lab, in which ranks and hosts die. Sourced instead of lab.sh.
#
#     fleet NAME...            the lab with these hosts; the first is the launcher's and the controller's, and only there
#                              is the data to be seen
#     begin RUN ARGUMENT...    `muster run` in the background, in $LAB/volume/RUN; sets run, launcher
#     wait_for SECONDS COMMAND...
#     rank_pid N, rank_host N  of the living rank N; process numbers are this machine's, not the host's
#     named K SINCE LIMIT RANK TEXT    the K-th failure of the run is the rank's, and was known LIMIT seconds after SINCE
#     end_named K SIGNAL RANK TEXT     the same after a signal that we send now
#     ended CODE               the launcher's end, and that nothing is left on any host
#     same_end RUN OTHER       losses of every step and digests of all weights, bit for bit
. "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

fleet() {
    local name
    lab_begin
    FLEET=("$@")
    for name in "$@"; do lab_host "$name"; done
    for name in "${@:2}"; do lab_sshd "$name"; done
    mkdir "$LAB/data"
    cat >"$LAB/model.yml" <<END
{num_layers: 2, hidden_size: 64, num_attention_heads: 4, seq_length: 64, max_position_embeddings: 64, pos_emb: rotary,
 optimizer: {type: Adam, params: {lr: 1.0e-3}}, train_batch_size: 12, train_iters: 400, lr_decay_iters: 400, warmup: 0.1,
 eval_interval: 150, eval_iters: 2, checkpoint_factor: 50, split: "8,1,1", padded_vocab_size: 512, seed: 7,
 vocab_file: $LAB/data/tokenizer.json, data_path: $LAB/data/set,
 muster: {ready_timeout: 60, device: cpu, threads_per_worker: 1, ssh_args: "$LAB_SSH_ARGS"}}
END
    find "$MUSTER_SOURCE/common" -name '*.[ch]' | LC_ALL=C sort | while read -r name; do cat "$name"; echo; done >"$LAB/data.txt"
    "$LAB/bin/muster" tokenizer train --input "$LAB/data.txt" --vocab-size 512 --output "$LAB/data/tokenizer.json" 2>"$LAB/data.err"
    "$LAB/bin/muster" prepare "$LAB/model.yml" --input "$LAB/data.txt" --output "$LAB/data/set" >/dev/null 2>"$LAB/data.err"
    : >"$LAB/data.err"
    for name in "${@:2}"; do lab_in "$name" mount -t tmpfs tmpfs "$LAB/data"; done
}

begin() {
    run=$LAB/volume/$1
    lab_in "${FLEET[0]}" "$LAB/bin/muster" run "$LAB/model.yml" --run-dir "$LAB/run/$1" "${@:2}" >/dev/null 2>>"$LAB/$1.err" &
    launcher=$!
}

wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -le $deadline ] || lab_fail "waited in vain for: $*"
        sleep 0.02
    done
}

# The launcher's own process.
launcher_pid() {
    pgrep --ns "${LAB_INIT[${FLEET[0]}]}" --nslist pid -x muster
}

last_step() {
    { tail -n 1 "$run/metrics.jsonl" 2>/dev/null || true; } | sed -nE 's/^\{"step": ([0-9]+),.*/\1/p'
}

# step_past N: the run, which still goes on, has done more steps than N
step_past() {
    local step
    kill -0 "$launcher" 2>/dev/null || lab_fail "the run ended before step $1"
    step=$(last_step)
    [ "${step:-0}" -gt "$1" ]
}

# programs HOST: process numbers of everything of ours that runs there
programs() {
    pgrep --ns "${LAB_INIT[$1]}" --nslist pid -x 'muster|muster-worker|muster-guard|muster-writer|muster-log|mpirun|orted|prted|prterun|ssh' 2>/dev/null || true
}

# ranks HOST: "RANK PID" of each rank there (the probe that keeps a login open is none)
ranks() {
    local pid rank
    for pid in $(pgrep --ns "${LAB_INIT[$1]}" --nslist pid -x muster-worker || true); do
        rank=$(tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | sed -n 's/^OMPI_COMM_WORLD_RANK=//p') || true
        [ -z "$rank" ] || echo "$rank $pid"
    done
}

rank_pid() {
    local host
    for host in "${FLEET[@]}"; do ranks "$host"; done | awk -v r="$1" '$1 == r { print $2 }'
}

rank_host() {
    local host
    for host in "${FLEET[@]}"; do
        if ranks "$host" | grep -q "^$1 "; then echo "$host"; fi
    done
}

no_ranks_on() {
    [ -z "$(ranks "$1")" ]
}

# events KIND: "TIME HOST RANK TEXT" of each; host and rank may be empty
events() {
    sed -nE "s/^\{\"time\":([0-9.]+),\"kind\":\"$1\"(,\"host\":\"([^\"]*)\")?(,\"rank\":([0-9]+))?,\"text\":\"(.*)\"\}$/\1 \3 \5 \6/p" \
        "$run/events.jsonl" 2>/dev/null || true
}

has_events() { # KIND N
    [ "$(events "$1" | wc -l)" -ge "$2" ]
}

# within SINCE UNTIL LIMIT WHAT: LIMIT and what waitpid() of a plain killed child takes here and now
within() {
    local took delay
    delay=$(lab_reaping_delay)
    took=$(awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f\n", b - a }')
    echo "$4: $took s (limit $3 + $delay)"
    lab_at_most "$took" "$3" "$delay" || lab_fail "too late: $4"
    within_took=$took
}

# end_named K SIGNAL RANK TEXT: the rank gets the signal, and its end is the K-th failure of the run, named within half
# a second
end_named() {
    local pid since took
    pid=$(rank_pid "$3")
    "$MUSTER_BIN/hosts_end_rank" --signal "$2" "$pid" >"$LAB/ended"
    read -r since took <"$LAB/ended"
    echo "signal $2 had ended process $pid of rank $3 after $took s"
    named "$1" "$since" 0.5 "$3" "$4"
}

named() {
    local event
    wait_for 30 has_events failed "$1"
    event=$(events failed | sed -n "$1p")
    within "$2" "${event%% *}" "$3" "named: ${event#* }"
    case ${event#* } in
    *" $4 "*) ;;
    *) lab_fail "rank $4 is the root cause, not: $event" ;;
    esac
    grep -qE -- "$5" <<<"$event" || lab_fail "it does not say '$5': $event"
    named_event=$event
}

# fault_named FAULT [CODE]: a row for the last failure that named() saw: what was reported, after how long, and the
# steps since the newest checkpoint, which are made a second time
fault_named() {
    local host rank words saved step
    read -r _ host rank words <<<"$named_event"
    saved=$(events checkpoint | awk -v end="${named_event%% *}" '$1 <= end { n = $0 } END { print n }' | sed -nE 's/.*step ([0-9]+) is saved.*/\1/p')
    step=$(sed -nE 's/.* at step ([0-9]+).*/\1/p' <<<"$words")
    step=${step:-$(last_step)}
    fault "$1" "rank $rank ($host) $words" "${2:-restarts}" "$within_took s" "${step:+$((step > ${saved:-0} ? step - ${saved:-0} : 0)) steps}"
}

# The attempt after a failure begins at the newest checkpoint that was committed before it: of each attempt but the
# first, the step it begins with is at most one beyond, and not before, what `checkpoint` events say.
repeats_no_more_than_needed() {
    local saves
    saves=$(sed -nE -e 's/.*"kind":"checkpoint".*"text":"step ([0-9]+) is saved.*/\1/p' -e 's/.*"kind":"failed".*/failed/p' "$run/events.jsonl" |
        awk '/failed/ { print n + 0; next } { n = $1 }')
    sed -nE 's/^\{"step": ([0-9]+),.*/\1/p' "$run/metrics.jsonl" | awk -v saves="$saves" -v every=50 '
        BEGIN { n = split(saves, saved, "\n") }
        NR > 1 && $1 != last + 1 {
            jumps++
            best = 0
            for (i = 1; i <= n; i++) if (saved[i] <= $1 - 1 && saved[i] > best) best = saved[i]
            print "after step " last ", which failed, step " $1 " came next: " last + 1 - $1 " steps a second time"
            if (($1 - 1) % every != 0 || last + 1 - $1 >= 2 * every || $1 - 1 < saved[jumps]) bad = 1
        }
        { last = $1 }
        END { exit bad }' || lab_fail "steps were repeated in vain; saved before each failure: $(echo $saves)"
}

losses() {
    sed -E 's/"([a-z_]*_ms[a-z_]*|tokens_per_s|time)": [^,}]*[,}] ?//g' "$1/metrics.jsonl" |
        awk -F'[:,] *' '{ line[$2] = $0; if ($2 > n) n = $2 } END { for (i = 1; i <= n; i++) print (i in line) ? line[i] : i " missing" }'
}

# the digests of every value, without what tells one run from another
weights() {
    grep -hoE '^\[[0-9,]+,"[0-9a-f]{32}"\]' "$1/checkpoints/$(cat "$1/checkpoints/latest")/manifest.json" | cut -d, -f1-6,8 | sort
}

same_end() {
    losses "$LAB/volume/$1" >"$LAB/$1.losses"
    losses "$LAB/volume/$2" >"$LAB/$2.losses"
    [ "$(wc -l <"$LAB/$1.losses")" -ge 100 ] || lab_fail "$1: too few steps"
    cmp "$LAB/$1.losses" "$LAB/$2.losses" || {
        diff "$LAB/$1.losses" "$LAB/$2.losses" | head -6 >&2
        lab_fail "$2 has other losses than $1"
    }
    [ "$(weights "$LAB/volume/$1" | wc -l)" -gt 10 ] || lab_fail "no digests in the manifest of $1"
    diff <(weights "$LAB/volume/$1") <(weights "$LAB/volume/$2") >/dev/null || lab_fail "$2 has other weights than $1"
}

# What is left is shown when the test fails.
nothing_runs() {
    local host
    for host in "${FLEET[@]}"; do
        programs "$host" | xargs -r ps -o pid=,etimes=,args= -p | sed "s/^/$host: /"
    done >"$LAB/left.err"
    [ ! -s "$LAB/left.err" ]
}

ended() {
    local got=0 host left
    wait "$launcher" || got=$?
    [ "$got" -eq "$1" ] || lab_fail "${run##*/}: exit $got, wanted $1"
    wait_for 5 nothing_runs
    for host in "${FLEET[@]}"; do
        left=$(lab_in "$host" bash -c 'ls -d /tmp/* /dev/shm/* 2>/dev/null' || true)
        [ -z "$left" ] || lab_fail "left on $host: $left"
    done
    for left in "$run/control.key" "$run/stop" "$run"/checkpoints/*.tmp-*; do
        [ ! -e "$left" ] || lab_fail "left: $left"
    done
}

cut_off() {
    local chain
    for chain in "${@:2}"; do lab_in "$1" iptables -A "$chain" $([ "$chain" = INPUT ] && echo -i || echo -o) eth0 -j DROP; done
}

reconnect() {
    lab_in "$1" iptables -F
}
