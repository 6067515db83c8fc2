# shellcheck shell=bash
# Runs that are ended from outside, as people and service managers do it. Sourced by tests/soak/endings, whose trial
# these are: `WAY:SIGNAL:MOMENT`, where the signal is what the way leads to.
#
#     terminal    muster in the foreground of an interactive shell on a pseudo terminal, which goes away (script(1) dies)
#     timeout     timeout(1), whose time is over: it signals its child, then its process group
#     service     all processes of a control group get SIGTERM at once (systemd's KillMode=control-group)
#     unit        `systemctl stop` of a unit of systemd-run; only where systemd is process 1
#     cgroup      all processes of a control group get SIGKILL (cgroup.kill of version 2)
ways=(terminal:HUP timeout:TERM service:TERM cgroup:KILL)
! [ "$(cat /proc/1/comm)" = systemd ] || ways+=(unit:TERM)
group=

is_way() {
    [[ " ${ways[*]} " == *" $1:"* ]]
}

# A control group of this trial, in the hierarchy of version 2 if it can be written to.
make_group() {
    local root
    for root in $(findmnt -rno TARGET -t cgroup2) /sys/fs/cgroup/pids; do
        group=$root/muster-$$-$trials
        ! mkdir "$group" 2>/dev/null || return 0
    done
    fail "no control group can be made (needs root)"
}

remove_group() {
    [ -z "$group" ] || by 10 0.1 rmdir "$group" 2>/dev/null || problem "processes are left in $group"
    group=
}

# start_way WAY COMMAND...: sets launcher to the process that is waited for, way_shell to what dies with the terminal
start_way() {
    local way=$1
    shift
    case $way in
    terminal)
        mkfifo "$run.in"
        script -qc "bash --norc -i" /dev/null <"$run.in" >"$run.out" 2>&1 &
        way_shell=$!
        exec {way_keys}>"$run.in"
        printf '%q ' "$@" >&"$way_keys"
        printf '2>%q\n' "$run.err" >&"$way_keys"
        by 30 0.05 find_launcher || fail "no launcher on the terminal"
        ;;
    timeout)
        timeout --preserve-status 10000 "$@" >"$run.out" 2>"$run.err" &
        launcher=$!
        ;;
    service | cgroup)
        make_group
        bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' enter "$group" "$@" >"$run.out" 2>"$run.err" &
        launcher=$!
        ;;
    unit)
        systemd-run --quiet --wait --collect --unit="muster-$$-$trials" --setenv="PATH=$PATH" --setenv="ENDINGS_TRIAL=$run" \
            --property=StandardError="file:$run.err" "$@" >"$run.out" 2>&1 &
        launcher=$!
        ;;
    esac
}

find_launcher() {
    local p
    for p in $(marked); do
        ! is_named "$p" muster || { launcher=$p && return 0; }
    done
    return 1
}

strike() { # WAY
    case $1 in
    terminal) kill -KILL "$way_shell" ;;
    timeout) kill -ALRM "$launcher" ;; # what its own timer sends
    service) kill -TERM $(cat "$group/cgroup.procs") ;;
    unit) systemctl stop "muster-$$-$trials" ;;
    cgroup)
        if [ -e "$group/cgroup.kill" ]; then
            echo 1 >"$group/cgroup.kill"
        else
            while [ -s "$group/cgroup.procs" ]; do kill -KILL $(cat "$group/cgroup.procs") 2>/dev/null || true; done
        fi
        ;;
    esac
}

# end_way WAY: the code of the run; a launcher on a terminal is not our child, and its shell dies with the terminal
end_way() {
    [ "$1" != terminal ] || { exec {way_keys}>&- && code=$(field exit_code) ending=$code; }
    case $1:$code in
    cgroup:137 | [!c]*:75) ;;
    *) problem "the code is $code" ;;
    esac
}
