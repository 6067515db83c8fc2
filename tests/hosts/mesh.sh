# Hosts that all reach the launcher but not each other: a firewall that drops, one that rejects, a way on which only
# small packets pass, all ports closed, no address in MPI's network. Each is named with its hosts, at once, and 80; a
# good set of hosts passes.
. "$(dirname "$0")/lab.sh"
lab_begin
hosts=(a b c d e f)
lab_host head
for name in "${hosts[@]}"; do
    lab_host $name
    lab_sshd $name
done
lab_hostfile "${hosts[@]}"

check() {
    status=0
    lab_in head env "${environment[@]}" "$LAB/bin/muster" check "$LAB_CONFIG" --hostfile "$LAB/hostfile" "$@" \
        >"$LAB/out" 2>"$LAB/check.err" || status=$?
    cat "$LAB/check.err"
}

expect() { # HOSTS FOUND
    grep -A1 -- "  net.mesh  *$1\$" "$LAB/check.err" | grep -q "found: $2; wanted" || lab_fail "'$1: $2' is not reported"
}

environment=(A=A)
check --json
[ "$status" -eq 0 ] || lab_fail "good hosts: exit code $status"
if grep -q net.mesh "$LAB/check.err" "$LAB/out"; then lab_fail "good hosts are named"; fi
grep -q '"cannot_reach": {}' "$LAB/out" || lab_fail "they were not asked"

# closed AT FROM HOW...: packets from FROM to the ranks' ports of AT
closed() {
    lab_in "$1" iptables -A INPUT -s "${LAB_ADDRESS[$2]}" -p tcp --dport 29500:29999 "${@:3}"
}
closed a b -j DROP
closed b a -j DROP
closed c d -j REJECT --reject-with icmp-port-unreachable
closed f e -m length --length 1400:65535 -j DROP

# a run that may do without three hosts goes on with those that reach each other
cat >"$LAB/more.yml" <<END
{optimizer: {type: Adam, params: {lr: 1.0e-3}}, train_batch_size: 12, muster: {max_restarts: 0, min_hosts: 2}}
END
mkdir "$LAB/path"
cat >"$LAB/path/mpirun" <<END
#!/bin/sh
[ "\$1" != --version ] || exec $(command -v mpirun) --version
echo "\$*" >$LAB/words
while [ "\$1" != --hostfile ]; do shift; done
cat "\$2" >$LAB/chosen
exit 3
END
chmod +x "$LAB/path/mpirun"

start() { # RUN
    status=0
    lab_in head env PATH="$LAB/path:$PATH" "$LAB/bin/muster" run "$LAB_CONFIG" "$LAB/more.yml" --hostfile "$LAB/hostfile" \
        --run-dir "$LAB/run/$1" 2>"$LAB/check.err" || status=$?
    cat "$LAB/check.err"
}

start fewer
[ "$status" -eq 83 ] || lab_fail "exit $status, wanted 83: mpirun's own failure"
[ "$(tr '\n' ' ' <"$LAB/chosen")" = "head slots=1 a slots=2 c slots=2 e slots=2 " ] || lab_fail "started on: $(cat "$LAB/chosen")"
grep -q "warning: 3 of 6 hosts failed preflight: it goes on without them" "$LAB/check.err" || lab_fail "does not count them"
expect b "neither reaches nor is reached by a (TCP ${LAB_ADDRESS[a]}:295[0-9]*: timed out)"
expect d "cannot reach c (TCP ${LAB_ADDRESS[c]}:295[0-9]*: refused)"
expect f "is not reached by e (TCP, ports 29500 to 29999: small packets pass, large ones are lost)"
grep -q "fix: set one MTU" "$LAB/check.err" || lab_fail "does not say what to do"

for name in "${hosts[@]}"; do
    lab_in $name iptables -F
    lab_in $name iptables -A INPUT -p tcp --dport 29500:29999 -j DROP
done
lab_in head iptables -A INPUT -p tcp --dport 29500:29999 -j DROP
check
[ "$status" -eq 80 ] || lab_fail "all ports closed: exit code $status instead of 80"
grep -q "NOT STARTED: 6 of 6 hosts failed preflight (exit 80" "$LAB/check.err" || lab_fail "does not count them"
expect "a, b, c, d, e, f" "neither reaches nor is reached by any other host (TCP, ports 29500 to 29999: timed out)"
fault "hosts that do not reach each other when a run starts" "$(finding "$LAB/check.err" net.mesh)" 80 "5 s" "nothing"
for name in head "${hosts[@]}"; do lab_in $name iptables -F; done

# a list of networks that fits no host, or all but one: Open MPI ignores it there, so it is a warning
environment=(OMPI_MCA_btl_tcp_if_include=10.8.0.0/24)
check
[ "$status" -eq 0 ] || lab_fail "another network: exit code $status"
expect "this machine, a, b, c, d, e, f" "no address of 10.8.0.0/24"
number=1
for name in head a b c d e; do lab_in $name ip address add "10.8.0.$((number++))/24" dev eth0; done
check --json
[ "$status" -eq 80 ] || lab_fail "one host in another network: exit code $status instead of 80"
expect f "no address of 10.8.0.0/24 (it has eth0 ${LAB_ADDRESS[f]})"
expect f "cannot reach any other host (TCP, ports 29500 to 29999: no route)"
grep -q "NOT STARTED: 1 of 6 hosts" "$LAB/check.err" || lab_fail "others are named"
grep -q '"address": "10.8.0.2"' "$LAB/out" || lab_fail "the others do not meet there"

# a network for each host and a router between them, as pods on several nodes have it: mpirun gets the interface
lab_route() {
    nsenter -t "$LAB_BRIDGE" -n "$@"
}
lab_route sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.lab.send_redirects=0
number=1
: >"$LAB/etc/hosts"
for name in head a b; do
    lab_route ip address add "10.7.$number.254/24" dev lab
    lab_in $name ip address flush dev eth0 scope global
    lab_in $name ip address add "10.7.$number.1/24" dev eth0
    lab_in $name ip route add default via "10.7.$number.254"
    echo "10.7.$number.1 $name" >>"$LAB/etc/hosts"
    number=$((number + 1))
done
lab_hostfile a b
start routed
[ "$status" -eq 83 ] || lab_fail "routed networks: exit $status, wanted 83: mpirun's own failure"
if grep -q net.mesh "$LAB/check.err"; then lab_fail "routed hosts are named"; fi
grep -q -- "--mca btl_tcp_if_include eth0 " "$LAB/words" || lab_fail "mpirun got: $(cat "$LAB/words")"
