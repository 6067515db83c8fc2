# mpirun starts its daemons over the logins that readiness left open: it works while no new login would be accepted,
# also on a host with its own port; and nothing of it is left when the logins end.
. "$(dirname "$0")/lab.sh"
lab_begin
for name in head one two; do lab_host $name; done
sed -i 's/^Port .*/Port 2222/' "$LAB/etc/sshd_config.two"
echo "[two]:2222 $(sed -n 's/^two //p' "$LAB/known_hosts")" >>"$LAB/known_hosts"
lab_sshd one
lab_sshd two 2222
printf 'one slots=1\ntwo slots=1 port=2222\n' >"$LAB/hostfile"
printf 'one slots=1\ntwo slots=1\n' >"$LAB/mpi_hostfile"
cp "$MUSTER_BIN/hosts_hold_logins" "$LAB/bin/"

lab_in head mkdir -m 0700 /tmp/run
coproc hold { nsenter -t "${LAB_INIT[head]}" -m -u -i -n -p -- "$LAB/bin/hosts_hold_logins" "$LAB/hostfile" "$LAB_SSH_ARGS" /tmp/run \
    "$LAB/bin/muster-worker" 2>"$LAB/hold.err"; }
hold_pid=$hold_PID
read -r -t 20 args <&"${hold[0]}" || lab_fail "no ssh arguments"
[ "$(lab_in head find /tmp/run -type s | wc -l)" -eq 2 ] || lab_fail "not two sockets: $(lab_in head ls -la /tmp/run)"

launch() {
    lab_in head timeout -s KILL 20 env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
        mpirun -np 2 --hostfile "$LAB/mpi_hostfile" --mca plm_rsh_no_tree_spawn 1 --mca plm_rsh_args "$args" hostname
}
mv "$LAB/authorized_keys" "$LAB/away"
begin=$EPOCHREALTIME
launch >"$LAB/out" 2>"$LAB/mpirun.err" || lab_fail "mpirun does not use the open logins (exit code $?)"
echo "mpirun over two open logins: $(lab_seconds_since "$begin") s"
[ "$(sort "$LAB/out" | xargs)" = "one two" ] || lab_fail "ranks ran on: $(xargs <"$LAB/out")"

eval "exec ${hold[1]}>&-"
wait "$hold_pid" || lab_fail "the logins ended with $?"
[ -z "$(lab_in head find /tmp/run -type s)" ] || lab_fail "a socket is left"
for name in head one two; do
    [ -z "$(lab_in $name ps -e -o comm= | grep -Ex 'ssh|muster-worker|orted|prted' || true)" ] || lab_fail "a process is left on $name"
done
if launch >"$LAB/out" 2>&1; then lab_fail "there was another way in: the test shows nothing"; fi
