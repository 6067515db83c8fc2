# What ssh said last is what is reported: a refusal as PAM words it, final at once, and no wait until ready_timeout. A
# start file that prints without an end of line before muster-worker's hello does not hide it.
. "$(dirname "$0")/lab.sh"
lab_begin
for name in head one two; do lab_host $name; done
printf '#!/bin/sh\necho "Access denied by pam_slurm_adopt: you have no active jobs on this node" >&2\nexit 255\n' >"$LAB/refuse"
printf '#!/bin/sh\nprintf "welcome to two, no line end: "\nexec sh -c "$SSH_ORIGINAL_COMMAND"\n' >"$LAB/noise"
chmod +x "$LAB/refuse" "$LAB/noise"
echo "ForceCommand $LAB/refuse" >>"$LAB/etc/sshd_config.one"
echo "ForceCommand $LAB/noise" >>"$LAB/etc/sshd_config.two"
for name in one two; do lab_sshd $name; done
check() { # CODE HOSTS
    local status=0
    lab_in head timeout 25 "$LAB/bin/muster" check "$LAB_CONFIG" --hosts "$2" >"$LAB/out" 2>"$LAB/check.err" || status=$?
    [ "$status" -eq "$1" ] || lab_fail "$2: exit code $status instead of $1"
}
check 77 one:1,two:1
grep -q "one: .*no active jobs on this node" "$LAB/check.err" || lab_fail "what ssh said last is not reported"
check 0 two:1
