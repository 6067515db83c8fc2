# Which machine a host is follows from what its login answers: two names of one machine are 78, a name that is also an
# address of this machine is 78, two machines with one host name are 80, and a name of this machine that resolves to
# 127.0.1.1 is this machine; its own full name is without any sshd, as Debian's /etc/hosts has it.
. "$(dirname "$0")/lab.sh"
lab_begin
for name in head one two; do lab_host $name; done
for name in head one two; do lab_sshd $name; done
{
    echo "${LAB_ADDRESS[one]} alias"
    echo "127.0.1.1 full.lan head.lan"
    echo "172.30.0.1 bridged"
    echo "${LAB_ADDRESS[two]} bridged"
} >>"$LAB/etc/hosts"
echo "alias $(sed -n 's/^one //p' "$LAB/known_hosts")" >>"$LAB/known_hosts"
echo "full.lan $(sed -n 's/^head //p' "$LAB/known_hosts")" >>"$LAB/known_hosts"
for name in head two; do nsenter -t "${LAB_INIT[$name]}" -n ip address add 172.30.0.1/24 dev lo; done

expect() { # CODE REASON HOSTS
    local status=0
    lab_in head "$LAB/bin/muster" check "$LAB_CONFIG" --hosts "$3" >"$LAB/out" 2>"$LAB/err" || status=$?
    cat "$LAB/err"
    [ "$status" -eq "$1" ] || lab_fail "$3: exit code $status instead of $1"
    grep -q "$2" "$LAB/err" "$LAB/out" || lab_fail "$3: '$2' is not reported"
}
expect 0 "2 of 2 hosts are fit" one:1,two:1
expect 78 "names already" one:1,alias:1
expect 78 "names already" head:1,full.lan:1
fault "one machine under two names" "$(first_error "$LAB/err")" 78 "before preflight" "nothing"
expect 78 "172.30.0.1 is also an address of this machine" one:1,bridged:1
fault "a name that is also an address of this machine" "$(first_error "$LAB/err")" 78 "before preflight" "nothing"
expect 0 "2 of 2 hosts are fit" full.lan:1,one:1
lab_sshd_stop head
expect 0 "2 of 2 hosts are fit" head.lan:1,one:1
lab_in two hostname one
expect 80 "host name of another machine" one:1,two:1
fault "two machines with one host name" "$(first_error "$LAB/err")" 80 "before preflight" "nothing"
