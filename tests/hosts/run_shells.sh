# Login shells that are not sh: fish and tcsh on the hosts, sh on the launcher's machine, for which Open MPI
# writes the command of its daemons.
. "$(dirname "$0")/run_lib.sh"
for shell in fish tcsh; do
    command -v "$shell" >/dev/null || lab_skip "$shell is not installed (scripts/install-dependencies --test)"
done
fleet head one two
login_shell() { # HOST SHELL
    [ -e "$LAB/etc/passwd.$1" ] || { cp /etc/passwd "$LAB/etc/passwd.$1"; lab_in "$1" mount --bind "$LAB/etc/passwd.$1" /etc/passwd; }
    awk -F: -v OFS=: -v s="$(command -v "$2")" '$1 == "root" { $7 = s } { print }' /etc/passwd >"$LAB/etc/passwd.$1"
}
login_shell one fish
login_shell two tcsh
[ "$(lab_in head ssh $LAB_SSH_ARGS one 'echo $FISH_VERSION')" ] || lab_fail "the login shell of one is not fish"
login_shell head sh # for which Open MPI writes the most
begin shells --workers 2 --hosts one:1,two:1 train_iters=2 lr_decay_iters=2 eval_interval=0
ended 0
[ "$(grep -c '"kind":"attempt"' "$run/events.jsonl")" -eq 1 ] || lab_fail "it did not train at once"
fault "fish and tcsh as login shells" "nothing: it trains" 0 "" "nothing"
