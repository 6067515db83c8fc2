# A host whose sshd comes up while muster waits is accepted within 1 s: 0.6 s to notice it, and a login, which is 0.4 s
# of work and is measured here, since a busy machine needs longer for it.
. "$(dirname "$0")/lab.sh"
lab_begin
for name in head one late; do lab_host $name; done
lab_sshd one
lab_hostfile one late
delay=$(lab_reaping_delay)

lab_in head "$LAB/bin/muster" check "$LAB_CONFIG" --hostfile "$LAB/hostfile" >"$LAB/out" \
    2> >(while IFS= read -r line; do echo "$EPOCHREALTIME $line"; done >"$LAB/check.err") &
check=$!
lab_wait_for "it to say whom it waits for" grep -qs "hosts 1/2 ready .*waiting: late refused (sshd not up)" "$LAB/check.err"
sleep 1
kill -0 "$check" || lab_fail "it did not wait"
login=$(lab_login_time head one)
lab_sshd late
up=$EPOCHREALTIME
wait "$check" || lab_fail "exit code $?"
lab_wait_for "its last line" grep -qs "all 2 hosts ready" "$LAB/check.err"
ready=$(awk '/all 2 hosts ready/ { print $1 }' "$LAB/check.err")
after=$(awk -v a="$up" -v b="$ready" 'BEGIN { printf "%.3f", b - a }')
echo "accepted $after s after sshd came up (a plain login takes $login s, waitpid $delay s)"
lab_at_most "$after" 0.6 "$login" "$delay" || lab_fail "accepted only after $after s"
