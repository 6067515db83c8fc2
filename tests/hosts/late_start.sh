# Eight hosts, three of them late in three ways: one drops every packet, one has no name yet, one refuses. mpirun is
# executed at most 1.5 s after the last sshd answers. 0.4 s of these are a login; what it takes here and now is
# measured and put in their place, since a busy machine needs longer for it.
. "$(dirname "$0")/lab.sh"
lab_begin
hosts=(head h1 h2 h3 h4 silent nameless late)
for name in "${hosts[@]}"; do lab_host $name; done
for name in h1 h2 h3 h4 silent nameless; do lab_sshd $name; done
lab_in silent iptables -A INPUT -i eth0 -j DROP
named=$(cat "$LAB/etc/hosts")
grep -v nameless <<<"$named" >"$LAB/etc/hosts" # in place: the hosts have this very file mounted
mkdir "$LAB/path"
cat >"$LAB/path/mpirun" <<END
#!/bin/bash
[ "\$1" != --version ] || exec $(command -v mpirun) --version
echo "\$EPOCHREALTIME" >$LAB/executed
exit 3
END
chmod +x "$LAB/path/mpirun"
echo '{optimizer: {type: Adam, params: {lr: 1.0e-3}}, train_batch_size: 8, muster: {max_restarts: 0}}' >"$LAB/more.yml"
delay=$(lab_reaping_delay)
login=$(lab_login_time head h1)

lab_in head env PATH="$LAB/path:$PATH" "$LAB/bin/muster" run "$LAB_CONFIG" "$LAB/more.yml" --run-dir "$LAB/run/late" \
    --hosts "$(IFS=,; echo "${hosts[*]}")" 2>"$LAB/run.err" &
run=$!
began=$SECONDS
for who in "silent no answer" "nameless name not found" "late refused (sshd not up)"; do
    lab_wait_for "'waiting: ... $who'" grep -qsF "$who" "$LAB/run.err"
done
lab_wait_for "five hosts to be reported as ready" grep -qs 'hosts 5/8 ready' "$LAB/run.err"
sleep $((5 - (SECONDS - began)))
lab_in silent iptables -F
sleep 1
echo "$named" >"$LAB/etc/hosts"
sleep 2
[ ! -e "$LAB/executed" ] || lab_fail "it started without a host"
lab_sshd late
up=$EPOCHREALTIME
lab_wait_for "mpirun" test -s "$LAB/executed"
after=$(awk -v a="$up" '{ printf "%.3f", $1 - a }' "$LAB/executed")
echo "mpirun was executed $after s after the last sshd answered (a plain login takes $login s, waitpid $delay s)"
got=0
wait "$run" || got=$?
[ "$got" -eq 83 ] || lab_fail "exit $got, wanted 83: mpirun's own failure"
lab_at_most "$after" 1.1 "$login" "$delay" || lab_fail "too late"
