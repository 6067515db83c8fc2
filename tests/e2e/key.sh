#!/usr/bin/env bash
# The key of the control connections is in no core file: neither in one that the system writes, nor in what a debugger
# would take. Launcher and guards hold it in memory that is left out of core files; nobody else has it.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/watch.sh"
make_data "$scratch/data"
mkdir "$scratch/cores"
cd "$scratch/cores" # where a core file lands, unless the system sends it elsewhere
ulimit -c unlimited

# the key's file goes when all ranks have said hello: it is read while the ranks start
keep_key() {
    until key=$(cat "$scratch/kept/control.key" 2>/dev/null) && [ ${#key} -eq 64 ]; do sleep 0.005; done
    echo "$key" >"$scratch/key"
}
keep_key &
keeper=$!
begin kept
wait $keeper
key=$(cat "$scratch/key")
[ ! -e "$run/control.key" ] || fail "the key is still in its file"

# look COMM...: each of this run's processes of that name; prints how often it holds the key, left out of core files
look() {
    local pid dumped left_out all=0
    for pid in $(ours) $(pgrep -P "$launcher"); do
        [[ " $* " == *" $(cat "/proc/$pid/comm" 2>/dev/null) "* ]] || continue
        read -r dumped left_out < <("$MUSTER_BIN/hosts_key_in_core" "$pid" "$key") || fail "process $pid cannot be read"
        [ "$dumped" -eq 0 ] || fail "$(cat "/proc/$pid/comm"): a core file would hold the key $dumped times"
        all=$((all + left_out))
    done
    echo "$all"
}
count_of() {
    local pid n=0
    for pid in $(ours); do [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != "$1" ] || n=$((n + 1)); done
    echo $n
}
[ "$(count_of muster-guard)" -eq 3 ] || fail "there are not three guards"
[ "$(look muster)" -ge 1 ] || fail "the launcher does not hold the key where it is looked for"
[ "$(look muster-guard)" -ge 3 ] || fail "the guards do not hold the key where it is looked for"
[ "$(look muster-worker)" -eq 0 ] || fail "a rank holds the key"
look muster-writer mpirun muster-log >/dev/null

# What the system writes: a rank's core file, if it lands here, is of use and has no key. Guard and launcher leave none.
kill -ABRT "$(rank_pid 1)"
wait_for 40 grep -q '"attempt": 2' "$run/run.json"
for core in "$scratch"/cores/*; do
    [ ! -e "$core" ] || [ "$("$MUSTER_BIN/hosts_key_in_core" "$core" "$key")" -eq 0 ] || fail "the key is in a rank's core file"
    rm -f "$core"
done
three_guards() { [ "$(count_of muster-guard)" -eq 3 ]; }
wait_for 30 three_guards
for pid in $(ours); do [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != muster-guard ] || guard=$pid; done
kill -ABRT "$guard"
sleep 0.5
kill -ABRT "$launcher"
wait "$launcher" 2>/dev/null || true
for core in "$scratch"/cores/*; do
    [ ! -e "$core" ] || fail "a core file of a process that holds the key: $core"
done
