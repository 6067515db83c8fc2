#!/usr/bin/env bash
# Trackers that a run starts: a server that is down, hangs or goes, a tracker that is killed; credentials.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/watch.sh"
make_data "$scratch/data" 2>/dev/null

server=
eval "$(declare -f kill_ours | sed '1s/kill_ours/kill_runs/')"
kill_ours() { # of the test's end
    [ -z "$server" ] || kill -9 $server 2>/dev/null || true
    kill_runs
}

# A server that takes connections and never answers.
hang() {
    /usr/bin/env python3 -c 'import socket, sys, time
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(64); print(s.getsockname()[1], flush=True); time.sleep(600)' >"$scratch/port" &
    server="$server $!"
    wait_for 20 test -s "$scratch/port"
    port=$(cat "$scratch/port")
}
run=$scratch/none
run_of() { # run_of NAME KEY=VALUE...
    run=$scratch/$1
    shift
    muster run "$scratch/model.yml" --workers 2 --run-dir "$run" "$@" >"$run.out" 2>"$run.err"
}
children() { # processes of this run's trackers
    pgrep -f "muster track $run " || true
}

# nobody listens, and a server that hangs: the run ends as if nothing were asked, and says what is missing, with the
# command
hang
for uri in http://127.0.0.1:9 "http://127.0.0.1:$port"; do
    MLFLOW_TRACKING_URI=$uri expect_exit 0 run_of "bad-${uri##*:}" muster.track_wait=1 "tensorboard_dir=$scratch/board"
    says 'exit (69|75).*12 steps \(1 to 12\).*muster track .* --mlflow '
    [ "$(wc -l <"$run/metrics.jsonl")" -eq 12 ] || fail "not every step"
    state_is done || fail "not done"
    [ -z "$(children)" ] || fail "a tracker is left"
done
[ "$(ls "$scratch/board" | wc -l)" -eq 2 ] || fail "a server that is down keeps points from TensorBoard"
kill $server
server=

# an address that is no server's is a warning
MLFLOW_TRACKING_URI=sqlite:///x.db expect_exit 0 run_of other
says 'MLFLOW_TRACKING_URI'

# Weights & Biases without the sidecar: a warning; off when the name is empty
expect_exit 0 run_of wandb wandb_project=p wandb_group=g
says 'muster-wandb'
muster check "$scratch/model.yml" save="$scratch/unmade" wandb_project=p >"$scratch/check" 2>&1 || fail "$(cat "$scratch/check")"
grep -q 'scripts/muster-wandb' "$scratch/check" || fail "check does not say that muster-wandb is missing: $(cat "$scratch/check")"
expect_exit 0 run_of no_wandb wandb_project= wandb_group=g
! grep -q 'muster-wandb' "$run.err" || fail "an empty project is not off"

# a tracker that is killed is started again, and the points of all steps are there; a second one by hand is refused
begin killed "tensorboard_dir=$scratch/board2" muster.metrics_listen=0
wait_for 20 grep -q 'metrics for Prometheus' "$run/logs/track.log"
first=$(children)
[ -n "$first" ] || fail "no tracker"
expect_exit 73 muster track "$run" --tensorboard "$scratch/board2" --once 2>/dev/null
kill -9 $first
wait_for 20 grep -q 'starting it again' "$run/logs/track.log"
started_twice() { [ "$(grep -c 'metrics for Prometheus' "$run/logs/track.log")" -eq 2 ]; }
wait_for 20 started_twice
muster stop "$run" 2>/dev/null
ended 75
[ -z "$(children)" ] || fail "a tracker is left"
last=$(tail -n 1 "$run/metrics.jsonl" | sed -E 's/^\{"step": ([0-9]+),.*/\1/')
grep -q "\"step\": $last" "$run/track.json" || fail "step $last is not delivered: $(cat "$run/track.json")"

# TLS with an authority of one's own: refused until it is trusted
serve() { # serve NAME OPTION...: a stand-in of MLflow; its port is in $port
    python3 "$MUSTER_SOURCE/tests/e2e/mlflow_server.py" "$scratch/$1" "${@:2}" >"$scratch/$1.log" 2>&1 &
    server="$server $!"
    wait_for 20 test -s "$scratch/$1"
    port=$(cat "$scratch/$1")
}
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -addext subjectAltName=IP:127.0.0.1 \
    -keyout "$scratch/key.pem" -out "$scratch/ca.pem" 2>"$scratch/openssl.err" || fail "$(cat "$scratch/openssl.err")"
serve tls --tls "$scratch/ca.pem" "$scratch/key.pem"
once() { muster track "$scratch/no_wandb" --mlflow "https://127.0.0.1:$port" --once >"$scratch/once" 2>&1; }
expect_exit 69 once
grep -q 'certificate.*SSL_CERT_FILE' "$scratch/once" || fail "$(cat "$scratch/once")"
for trust in SSL_CERT_FILE="$scratch/ca.pem" MLFLOW_TRACKING_SERVER_CERT_PATH="$scratch/ca.pem" MLFLOW_TRACKING_INSECURE_TLS=true; do
    (export "$trust" && once) || fail "$trust: $(cat "$scratch/once")"
    rm "$scratch/no_wandb/track.json"
done
expect_exit 69 once

# a launcher that is killed takes its tracker along
begin gone muster.metrics_listen=0
wait_for 20 grep -q 'metrics for Prometheus' "$run/logs/track.log"
kill -9 $launcher
wait $launcher 2>/dev/null || true
none_left() { [ -z "$(children)$(ours)" ]; }
wait_for 20 none_left

# a token in the environment is in no argv, environment or memory of a rank, log, file, or core
token=tok-$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
# nor in the error of a server that repeats what it was sent
serve refuses --refuse
MLFLOW_TRACKING_TOKEN=$token expect_exit 65 muster export "$scratch/no_wandb" --output "$scratch/hf" --register m --alias a \
    --mlflow "http://127.0.0.1:$port" >"$scratch/register.out" 2>&1
grep -q 'no such thing' "$scratch/register.out" || fail "which error? $(cat "$scratch/register.out")"
MLFLOW_TRACKING_TOKEN=$token expect_exit 65 muster track "$scratch/no_wandb" --mlflow "http://127.0.0.1:$port" --once >"$scratch/refused.out" 2>&1
grep -q 'no such thing' "$scratch/refused.out" || fail "which error? $(cat "$scratch/refused.out")"
hang
export MLFLOW_TRACKING_URI=http://user:pw-$token@127.0.0.1:$port MLFLOW_TRACKING_TOKEN=$token WANDB_API_KEY=$token
cd "$scratch"
ulimit -c unlimited 2>/dev/null || true
begin secret muster.track_wait=1
unset MLFLOW_TRACKING_URI MLFLOW_TRACKING_TOKEN WANDB_API_KEY
wait_for 20 test -n "$(children)"
! cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | grep -qFf <(echo "$token") || fail "the token is in an argv"
for n in 0 1 2; do
    pid=$(rank_pid $n)
    ! grep -qFf <(echo "$token") "/proc/$pid/environ" || fail "rank $n has the token in its environment"
done
for pid in $(ours); do
    [ "$(cat "/proc/$pid/comm")" = muster-worker ] && [ "$(id -u)" -eq 0 ] || continue
    python3 - "$pid" 3<<<"$token" <<'END' || fail "the token is in the memory of process $pid"
import os, sys
pid, token = sys.argv[1], os.read(3, 100).strip()
with open(f"/proc/{pid}/mem", "rb", 0) as mem, open(f"/proc/{pid}/maps") as maps:
    for line in maps:
        area, mode = line.split()[:2]
        low, high = (int(x, 16) for x in area.split("-"))
        if "r" not in mode or high - low > 1 << 28 or "[v" in line:
            continue
        try:
            mem.seek(low)
            if token in mem.read(high - low):
                sys.exit(1)
        except (OSError, ValueError):
            pass
END
done
kill -ABRT "$(rank_pid 1)" # a core of a rank
wait_for 30 grep -q '"kind":"failed"' "$run/events.jsonl"
kill -ABRT $(children) # no core of a tracker
muster stop "$run" 2>/dev/null || true
wait $launcher || true
kill -ABRT $server 2>/dev/null || true
case $(cat /proc/sys/kernel/core_pattern) in
\|* | /*) ;; # cores go elsewhere
*) [ "$(ulimit -c)" = 0 ] || [ -n "$(find "$scratch" -name 'core*' -type f)" ] || fail "a rank that aborts leaves no core to look at" ;;
esac
! grep -rlaFf <(echo "$token") "$scratch" || fail "the token is in a file"
