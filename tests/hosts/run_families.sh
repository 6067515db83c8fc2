# The address that was proved is the one that is used. Hosts whose names resolve to IPv6 first, over which nothing
# passes, train over IPv4; hosts that the list names by their IPv6 addresses train over IPv6, although IPv4 leads
# nowhere.
. "$(dirname "$0")/run_lib.sh"
fleet head one two
n=0
for name in head one two; do
    n=$((n + 1))
    nsenter -t "${LAB_INIT[$name]}" -n ip -6 address add "fd00:9::$n/64" dev eth0 nodad
    echo "fd00:9::$n $(sed -n "s/^$name //p" "$LAB/known_hosts")" >>"$LAB/known_hosts"
    names=$(sed "s/^\(10\.9\.0\.$n\) $name\$/fd00:9::$n $name\n&/" "$LAB/etc/hosts")
    echo "$names" >"$LAB/etc/hosts" # in place: it is mounted as a file
done
cut() { # iptables or ip6tables, -A or -D
    for name in head one two; do
        for chain in INPUT OUTPUT; do lab_in "$name" "$1" "$2" "$chain" -p tcp ! -i lo -j DROP 2>/dev/null || lab_in "$name" "$1" "$2" "$chain" -p tcp ! -o lo -j DROP; done
    done
}
hosts=(--workers 2 train_iters=4 lr_decay_iters=4 eval_interval=0)

lab_in head getent ahosts one | head -n 1 | grep -q fd00: || lab_fail "the resolver does not say IPv6 first: the test shows nothing"
cut ip6tables -A
begin four "${hosts[@]}" --hosts one:1,two:1
ended 0
grep -q '"text":"attempt 1 ' "$run/events.jsonl" || lab_fail "no attempt"
[ "$(grep -c '"kind":"attempt"' "$run/events.jsonl")" -eq 1 ] || lab_fail "it did not train at once: $(cat "$LAB/four.err")"
fault "IPv6 dead between hosts that have both" "nothing: it trains over IPv4" 0 "" "nothing"
cut ip6tables -D

cut iptables -A
printf '[fd00:9::2] slots=1\n[fd00:9::3] slots=1\n' >"$LAB/six"
begin six "${hosts[@]}" --hostfile "$LAB/six"
ended 0
[ "$(grep -c '"kind":"attempt"' "$run/events.jsonl")" -eq 1 ] || lab_fail "it did not train at once: $(cat "$LAB/six.err")"
losses() {
    grep -o '"loss": [^,]*' "$LAB/volume/$1/metrics.jsonl"
}
[ "$(losses four)" = "$(losses six)" ] || lab_fail "the losses differ"

# Names that Open MPI 4 does not take as they are: one with an underscore, and one that equals the launcher's own host
# name up to the dot. The launcher's own name it has to take: another is refused at once.
echo "${LAB_ADDRESS[one]} o_ne" >>"$LAB/etc/hosts"
echo "o_ne $(sed -n "s/^one //p" "$LAB/known_hosts")" >>"$LAB/known_hosts"
for name in head one two; do lab_in "$name" iptables -F; done
lab_in head hostname two.lan
begin names "${hosts[@]}" --hosts o_ne:1,two:1
ended 0
[ "$(losses four)" = "$(losses names)" ] || lab_fail "other ranks took part"
lab_in head bash -c 'echo he_ad >/proc/sys/kernel/hostname'
begin refused "${hosts[@]}" --hosts one:1,two:1
ended 78
grep -q he_ad "$LAB/refused.err" || lab_fail "the name is not reported: $(cat "$LAB/refused.err")"
fault "the launcher's own host name is invalid for Open MPI 4" "$(first_error "$LAB/refused.err")" 78 "at once" "nothing"
