# Seven hosts, six of them wrong in six ways: one screen names them all with the right cause, about as fast as the
# slowest cause can be known, and the exit code is 77.
. "$(dirname "$0")/lab.sh"
lab_begin
for name in head fine refusing swallowing wrongkey wronghost wrongversion; do lab_host $name; done
for name in fine swallowing wrongkey wronghost wrongversion; do lab_sshd $name; done

lab_in swallowing iptables -A INPUT -p tcp --dport 22 -j DROP
# this host does not know the user's key
ssh-keygen -q -t ed25519 -N '' -f "$LAB/other_key"
lab_sshd_stop wrongkey
sed -i "s|^AuthorizedKeysFile .*|AuthorizedKeysFile $LAB/other_key.pub|" "$LAB/etc/sshd_config.wrongkey"
lab_sshd wrongkey
# this one shows another host key than the one we know
sed -i "/^wronghost /d" "$LAB/known_hosts"
echo "wronghost $(cut -d' ' -f1,2 "$LAB/other_key.pub")" >>"$LAB/known_hosts"
# and this one has another build
mkdir "$LAB/other"
cp "$LAB/bin/muster-worker" "$LAB/other/"
echo x >>"$LAB/other/muster-worker"
nsenter -t "${LAB_INIT[wrongversion]}" -m mount --bind "$LAB/other/muster-worker" "$LAB/bin/muster-worker"

lab_hostfile fine refusing swallowing wrongkey wronghost wrongversion no-such-host
delay=$(lab_reaping_delay)
login=$(lab_login_time head fine)

begin=$EPOCHREALTIME
status=0
lab_in head "$LAB/bin/muster" check "$LAB_CONFIG" --hostfile "$LAB/hostfile" --json >"$LAB/out" 2>"$LAB/check.err" || status=$?
took=$(lab_seconds_since "$begin")
cat "$LAB/check.err"
echo "took $took s (a plain login takes $login s, waitpid $delay s)"

[ "$status" -eq 77 ] || lab_fail "exit code $status instead of 77"
lab_at_most "$took" 3 "$login" "$delay" || lab_fail "took $took s"
grep -q "6 of 7 hosts are not ready" "$LAB/check.err" || lab_fail "does not count them"
expect() { # HOST REASON TEXT
    local reason
    reason=$(awk -v host="\"$1\"," '$1 == "\"host\":" { on = $2 == host } on && $1 == "\"reason\":" { print $2 }' "$LAB/out")
    [ "$reason" = "\"$2\"," ] || lab_fail "$1: $reason instead of $2"
    [ -z "$3" ] || grep -q -- "  $3: .*$1" "$LAB/check.err" || lab_fail "$1 is not on the screen under '$3'"
}
expect fine none ""
expect refusing refused "refused (sshd not up)"
expect swallowing no_answer "no answer"
expect wrongkey permission_denied "permission denied"
expect wronghost host_key_changed "host key changed"
expect wrongversion wrong_version "another build of muster"
expect no-such-host name_not_found "name not found"
[ -z "$(lab_in head pgrep -x ssh || true)" ] || lab_fail "an ssh is left"
[ -z "$(lab_in head ls /tmp)" ] || lab_fail "a temporary file is left"

# without permanent causes it waits, and ends at the deadline with 69
lab_hostfile fine refusing
begin=$EPOCHREALTIME
status=0
lab_in head "$LAB/bin/muster" check "$LAB_CONFIG" muster.ready_timeout=2 --hostfile "$LAB/hostfile" >"$LAB/out" 2>"$LAB/second.err" || status=$?
took=$(lab_seconds_since "$begin")
[ "$status" -eq 69 ] || lab_fail "exit code $status instead of 69"
lab_at_most 2 "$took" || lab_fail "gave up after $took s"
lab_at_most "$took" 2 1 "$delay" || lab_fail "the deadline of 2 s came after $took s"
