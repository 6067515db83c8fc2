# Causes that go away: a name server that does not answer delays nobody else, a name that appears is found, a full sshd
# is tried again. And host lists with addresses and users work as names do.
. "$(dirname "$0")/lab.sh"
lab_begin
for name in head one ghost busy; do lab_host $name; done
for name in one ghost; do lab_sshd $name; done

# head asks a name server that is not there, for names that its hosts file lacks
echo "hosts: files dns" >"$LAB/etc/nsswitch.head"
printf 'nameserver 10.9.0.250\noptions timeout:2 attempts:2\n' >"$LAB/etc/resolv.conf"
for file in nsswitch.head:nsswitch.conf resolv.conf:resolv.conf; do
    nsenter -t "${LAB_INIT[head]}" -m mount --bind "$LAB/etc/${file%:*}" "/etc/${file#*:}"
done
grep -v ' ghost$' "$LAB/etc/hosts" >"$LAB/hosts.without"
cat "$LAB/hosts.without" >"$LAB/etc/hosts" # the same file: it is mounted

# a number of the JSON result: field HOST KEY
field() {
    awk -v host="\"$1\"," -v key="\"$2\":" '$1 == "\"host\":" { on = $2 == host } on && $1 == key { gsub(/[",]/, "", $2); print $2 }' "$LAB/out"
}

lab_hostfile one ghost
lab_in head "$LAB/bin/muster" check "$LAB_CONFIG" --hostfile "$LAB/hostfile" --json >"$LAB/out" 2>"$LAB/names.err" &
check=$!
lab_wait_for "one to be ready" grep -qs "hosts 1/2 ready .*waiting: ghost" "$LAB/names.err"
lab_wait_for "the name server's silence to be reported" grep -qs "ghost name server does not answer" "$LAB/names.err"
echo "${LAB_ADDRESS[ghost]} ghost" >>"$LAB/etc/hosts"
wait "$check" || lab_fail "exit code $?"
echo "one ready after $(field one ready_after) s, ghost after $(field ghost ready_after) s"
lab_at_most "$(field one ready_after)" 3 || lab_fail "the name server delayed another host"
lab_at_most 2 "$(field ghost ready_after)" || lab_fail "the name was there from the beginning: the test shows nothing"

# two silent guests fill an sshd that takes two; it throws them out after 5 s
sed -i '$a MaxStartups 2:100:2\nLoginGraceTime 5' "$LAB/etc/sshd_config.busy"
lab_sshd busy
for i in 1 2; do
    nsenter -t "${LAB_INIT[one]}" -n -p bash -c '
        until exec 3<>"/dev/tcp/$1/22" && read -r line <&3 && [[ $line == SSH-* ]]; do sleep 0.1; done
        : >"$2"
        sleep 30' guest "${LAB_ADDRESS[busy]}" "$LAB/guest.$i" &
done
for i in 1 2; do lab_wait_for "guest $i" test -e "$LAB/guest.$i"; done
lab_hostfile one busy
status=0
lab_in head "$LAB/bin/muster" check "$LAB_CONFIG" --hostfile "$LAB/hostfile" --json >"$LAB/out" 2>"$LAB/busy.err" || status=$?
[ "$status" -eq 0 ] || lab_fail "exit code $status"
grep -q "busy sshd closes new connections (MaxStartups" "$LAB/busy.err" || lab_fail "does not say what busy does"
[ "$(field busy tries)" -ge 2 ] || lab_fail "was not tried again"

# the forms of a host
echo "${LAB_ADDRESS[one]} $(sed -n 's/^one //p' "$LAB/known_hosts")" >>"$LAB/known_hosts"
lab_in head "$LAB/bin/muster" check "$LAB_CONFIG" --hosts "root@${LAB_ADDRESS[one]}:2,head:1" >"$LAB/out" 2>"$LAB/forms.err" ||
    lab_fail "an address with a user: exit code $?"
grep -q "2 of 2 hosts are fit" "$LAB/out" || lab_fail "no result"

# without a list: this machine alone, no ssh
lab_in head env -u SLURM_JOB_NODELIST "$LAB/bin/muster" check "$LAB_CONFIG" >"$LAB/out" 2>"$LAB/alone.err" || lab_fail "alone: exit code $?"
grep -q "this machine alone: no ssh" "$LAB/alone.err" || lab_fail "does not say that it is alone"
