#!/usr/bin/env bash
# A real Prometheus: promtool takes the metrics and the rules, a scrape has a run's figures, and the alert of a run
# that makes no step fires. Needs Debian's package prometheus.
command -v prometheus >/dev/null && command -v promtool >/dev/null || { echo "skipped: no prometheus" && exit 77; }
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/watch.sh"
rules=$MUSTER_SOURCE/k8s/monitoring/alerts.yml
promtool check rules "$rules" >"$scratch/rules.out" 2>&1 || { cat "$scratch/rules.out" >&2; fail "promtool refuses the rules"; }
make_data "$scratch/data" 2>/dev/null

begin run muster.metrics_listen=0 muster.hang_timeout=10000 checkpoint_factor=5
wait_for 20 grep -q 'metrics for Prometheus' "$run/logs/track.log"
wait_for 30 grep -qE "\"last_checkpoint\": [1-9]" "$run/run.json"
address=$(sed -nE 's,.*http://([^/]+)/metrics,\1,p' "$run/logs/track.log" | head -n 1)
scrape() { # what ranks took comes with a heartbeat, which may be later than the first checkpoint
    curl -sf "http://$address/metrics" >"$scratch/metrics" && grep -qF 'muster_rank_seconds{' "$scratch/metrics"
}
wait_for 20 scrape
promtool check metrics <"$scratch/metrics" || fail "promtool refuses the metrics"
for name in muster_step muster_tokens_total muster_train_loss muster_checkpoint_timestamp_seconds muster_restarts_total \
    muster_goodput_ratio 'muster_time_seconds{part="compute"}' 'muster_rank_seconds{what="compute",stat="median"}' \
    'muster_run_info{' 'muster_run_active' 'muster_scalar{name="train/lm_loss"}'; do
    grep -qF "$name" "$scratch/metrics" || fail "no $name"
done
# every metric that rules and dashboard speak of is there (validation needs an evaluation)
for name in $(grep -oE '\bmuster_[a-z_]+' "$rules" "$MUSTER_SOURCE/k8s/monitoring/dashboard.json" -h | sort -u); do
    [ $name = muster_validation_loss ] || grep -q "^$name[ {]" "$scratch/metrics" || fail "no $name in the answer"
done

# the same rules with short limits
sed -E 's/> 600/> 3/; s/for: 1m/for: 1s/; s/> 7200/> 100000/; s/20 \* /1 * /' "$rules" >"$scratch/fast.yml"
[ "$(diff "$rules" "$scratch/fast.yml" | grep -c '^>')" -ge 4 ] || fail "the limits are not where the test changes them"
cat >"$scratch/prometheus.yml" <<END
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [$scratch/fast.yml]
scrape_configs: [{job_name: muster, static_configs: [{targets: ["$address"]}]}]
END
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
prometheus --config.file="$scratch/prometheus.yml" --storage.tsdb.path="$scratch/tsdb" --web.listen-address="127.0.0.1:$port" \
    >"$scratch/prometheus.log" 2>&1 &
prometheus=$!
stopped=
eval "$(declare -f kill_ours | sed '1s/kill_ours/kill_runs/')"
kill_ours() { # of the test's end
    kill -9 $prometheus 2>/dev/null || true
    [ -z "$stopped" ] || kill -CONT $stopped 2>/dev/null || true
    kill_runs
}
ask() { curl -sf "http://127.0.0.1:$port/api/v1/$1"; }
scraped() { ask 'query?query=muster_step' | grep -qE '"value":\[[0-9.]+,"[1-9]'; }
alerts() { ask alerts | grep -q '"alertname":"MusterNoProgress".*"state":"firing"'; }
wait_for 60 scraped
sleep 2
! alerts || fail "the alert fires for a run that makes steps"
stopped=$(rank_pid 1)
kill -STOP $stopped
wait_for 90 alerts
kill -CONT $stopped
quiet() { ! alerts; }
wait_for 60 quiet
muster stop "$run" --now 2>/dev/null || true
wait $launcher || true
kill $prometheus
wait $prometheus 2>/dev/null || true
