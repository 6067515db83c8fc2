# Preflight on real hosts: another volume on one host, a read-only one, a blocked way back, missing MPI, too few files;
# each named with its host, and 80. A good set of hosts passes with the same command.
. "$(dirname "$0")/lab.sh"
lab_begin
lab_host head
lab_host good
lab_host apart other-volume
lab_host readonly
lab_host walled
lab_host bare
lab_host few
for name in good apart readonly walled bare few; do lab_sshd $name; done
nsenter -t "${LAB_INIT[readonly]}" -m mount -o remount,bind,ro "$LAB/run"
# only connections that the host opens itself to the launcher are dropped: ssh goes on
lab_in walled iptables -A OUTPUT -p tcp --syn -d "${LAB_ADDRESS[head]}" -j DROP
# mpirun's daemon hides under an empty file there
: >"$LAB/empty"
for daemon in orted prted; do
    path=$(command -v $daemon || true)
    [ -z "$path" ] || nsenter -t "${LAB_INIT[bare]}" -m mount --bind "$LAB/empty" "$path"
done
# 64 files are too few for a rank, and enough for the probe: no other finding blames the network
prlimit --nofile=64:64 --pid "$(pgrep -P "${LAB_SSHD[few]}")"

check() {
    status=0
    lab_in head "$LAB/bin/muster" check "$LAB_CONFIG" --hostfile "$LAB/hostfile" --run-dir "$LAB/run/r" "$@" \
        >"$LAB/out" 2>"$LAB/check.err" || status=$?
    cat "$LAB/check.err"
}

lab_hostfile good
check
[ "$status" -eq 0 ] || lab_fail "a good host: exit code $status"
grep -q "1 of 1 hosts are fit" "$LAB/out" || lab_fail "no result on stdout"
[ -z "$(ls -A "$LAB/volume")" ] || lab_fail "left in the run directory: $(ls -A "$LAB/volume")"

mkdir "$LAB/volume/r" "$LAB/other-volume/r"
lab_hostfile good apart readonly walled bare few
delay=$(lab_reaping_delay)
begin=$EPOCHREALTIME
check
took=$(lab_seconds_since "$begin")
echo "took $took s"
[ "$status" -eq 80 ] || lab_fail "exit code $status instead of 80"
lab_at_most "$took" 30 "$delay" || lab_fail "took $took s"
grep -q "NOT STARTED: 5 of 6 hosts failed preflight (exit 80" "$LAB/check.err" || lab_fail "does not count them"
expect() { # CHECK HOST FOUND
    grep -A1 -- "  $1 .*\b$2\$" "$LAB/check.err" | grep -q "found: .*$3" || lab_fail "$1 on $2 is not reported"
}
expect storage.same_volume apart "sees .*/other-volume.*wanted: this machine.s volume .*/volume"
expect storage.write readonly "create fails: Read-only file system"
expect net.back walled "Connection timed out"
expect mpi.daemon bare "Permission denied"
expect limits.nofile few "64; wanted"
fault "too few open files on a host" "$(finding "$LAB/check.err" limits.nofile)" 80 "at once" "nothing"
if grep -q "  net.mesh .*\bfew\b" "$LAB/check.err"; then lab_fail "the network of a host with few files is blamed"; fi
if grep -q "  [a-z._]* .*\bgood\b" "$LAB/check.err"; then lab_fail "the good host is named"; fi
[ -z "$(ls -A "$LAB/volume/r")$(ls -A "$LAB/other-volume/r")" ] || lab_fail "left in the run directory: $(ls -A "$LAB/volume/r")"
