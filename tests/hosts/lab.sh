# A lab of hosts on one machine, for tests that need root. Source it; it uses `set -euo pipefail`.
#
#     lab_begin                      the network, keys, programs; everything goes at the end of the script
#     lab_host NAME [VOLUME]         a host: its own network, mounts, processes, IPC, name, /tmp, /run, /dev/shm
# lab_host_dies NAME...          without a word, all at once, with their memory; lab_host_again NAME...: they boot again
#     lab_sshd NAME [PORT]           starts its sshd (PORT: what its configuration says, if not 22); lab_sshd_stop NAME
#     lab_in NAME COMMAND...         runs a command there; exit code and output are the command's
#     lab_hostfile NAME...           writes $LAB/hostfile
#
# A host is one `unshare` that holds six namespaces; its process 1 dies with it, and all other processes with that.
# It dies with this shell too, whatever kills the shell. So nothing can stay behind but $LAB, which the trap removes
# (and, if the shell was killed, the next lab).
# All links hang on a bridge in a namespace of its own: no address, route or firewall of the machine is touched.
#
#     $LAB            shared by all hosts (not under /tmp, which every host has for itself)
#     $LAB/bin        muster, muster-ssh and muster-worker, as on an installed host
#     $LAB/run        a bind mount of $LAB/VOLUME (default: volume) on every host: the run directory's volume
#     $LAB_SSH_ARGS   what muster.ssh_args needs here: the user's key, and the hosts' keys, strictly checked
#     $LAB_CONFIG     a small config with these ssh_args
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../fault/row.sh"

lab_fail() {
    echo "lab: $*" >&2
    exit 1
}

lab_skip() {
    echo "skipped: $*" >&2
    exit 77
}

# Folders of labs whose shell was killed: nobody holds their lock any more.
lab_sweep() {
    local dir lock
    for dir in /var/tmp/muster-lab-*; do
        [ -e "$dir/lock" ] || continue
        exec {lock}>"$dir/lock"
        if flock -n "$lock"; then rm -rf --one-file-system "$dir"; fi
        exec {lock}>&-
    done
}

lab_begin() {
    [ "$(id -u)" -eq 0 ] || lab_skip "needs root"
    local tool
    for tool in flock ip iptables unshare nsenter setpriv pgrep ssh-keygen /usr/sbin/sshd; do
        command -v "$tool" >/dev/null || lab_skip "$tool is not installed (scripts/install-dependencies openssh-server iproute2 iptables)"
    done
    lab_sweep
    LAB=$(mktemp -d /var/tmp/.muster-lab-XXXXXX)
    chmod 755 "$LAB"
    exec {LAB_LOCK}>"$LAB/lock" # held as long as this shell or a process of the lab lives
    flock "$LAB_LOCK"
    mv "$LAB" "/var/tmp/muster-lab-${LAB##*-}"
    LAB=/var/tmp/muster-lab-${LAB##*-}
    declare -gA LAB_HOLDER=() LAB_INIT=() LAB_ADDRESS=() LAB_SSHD=() LAB_VOLUME=()
    LAB_NEXT=1
    LAB_BRIDGE=
    trap lab_end EXIT
    trap 'exit 143' TERM INT HUP
    mkdir "$LAB/bin" "$LAB/volume" "$LAB/run" "$LAB/etc"
    cp "$MUSTER_BIN/muster" "$MUSTER_BIN/muster-ssh" "$MUSTER_BIN/muster-worker" "$LAB/bin/"
    ssh-keygen -q -t ed25519 -N '' -C lab -f "$LAB/user_key"
    cp "$LAB/user_key.pub" "$LAB/authorized_keys"
    echo "127.0.0.1 localhost" >"$LAB/etc/hosts"
    echo "hosts: files" >"$LAB/etc/nsswitch.conf"
    : >"$LAB/known_hosts"
    LAB_SSH_ARGS="-i $LAB/user_key -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=$LAB/known_hosts -o GlobalKnownHostsFile=none"
    LAB_CONFIG=$LAB/config.yml
    cat >"$LAB_CONFIG" <<EOF
{"num_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "seq_length": 32, "max_position_embeddings": 32,
 "train_micro_batch_size_per_gpu": 1, "train_iters": 3,
 "muster": {"ready_timeout": 30, "device": "cpu", "ssh_args": "$LAB_SSH_ARGS"}}
EOF
    setpriv --pdeathsig KILL unshare --net --mount sleep infinity &
    LAB_BRIDGE=$!
    lab_wait_for "the bridge's namespace" lab_is_apart "$LAB_BRIDGE" net
    nsenter -t "$LAB_BRIDGE" -n ip link add lab type bridge
    nsenter -t "$LAB_BRIDGE" -n ip link set lab up
}

# Whether process $1 has left our namespace of kind $2.
lab_is_apart() {
    [ "$(readlink "/proc/$1/ns/$2" 2>/dev/null || readlink "/proc/self/ns/$2")" != "$(readlink "/proc/self/ns/$2")" ]
}

# lab_wait_for WHAT COMMAND...: until the command succeeds, at most 10 s.
lab_wait_for() {
    local what=$1 i
    shift
    for ((i = 0; i < 1000; i++)); do
        if "$@"; then return 0; fi
        sleep 0.01
    done
    lab_fail "waited 10 s for $what"
}

lab_find_init() {
    LAB_INIT[$1]=$(pgrep -P "${LAB_HOLDER[$1]}" || true)
    [ -n "${LAB_INIT[$1]}" ] && [ -e "$LAB/etc/up.$1" ]
}

lab_host() {
    local name=$1 volume=${2:-volume} address=10.9.0.$((LAB_NEXT++))
    LAB_ADDRESS[$name]=$address
    LAB_VOLUME[$name]=$volume
    echo "$address $name" >>"$LAB/etc/hosts"
    ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$LAB/etc/key.$name"
    echo "$name $(cut -d' ' -f1,2 "$LAB/etc/key.$name.pub")" >>"$LAB/known_hosts"
    mkdir -p "$LAB/$volume"
    cat >"$LAB/etc/sshd_config.$name" <<EOF
Port 22
HostKey $LAB/etc/key.$name
AuthorizedKeysFile $LAB/authorized_keys
PidFile $LAB/etc/sshd.pid.$name
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
PrintMotd no
EOF
    lab_boot "$name"
}

lab_boot() {
    local name=$1 volume=${LAB_VOLUME[$1]} address=${LAB_ADDRESS[$1]}
    rm -f "$LAB/etc/up.$name"
    # process 1 reaps what others leave to it, as an init does
    setpriv --pdeathsig KILL unshare --net --mount --pid --ipc --uts --fork --kill-child=KILL --mount-proc \
        bash -c '
            set -e
            lab=$1 name=$2 volume=$3
            mount -t tmpfs tmpfs /tmp
            mount -t tmpfs tmpfs /run
            mount -t tmpfs tmpfs /dev/shm
            mkdir -m 0755 /run/sshd
            [ ! -d /root/.ssh ] || mount -t tmpfs tmpfs /root/.ssh
            # what root of this machine has in its start files is no part of a test: some take locks, and keep them
            # when killed
            for file in .bashrc .bash_profile .bash_login .profile; do
                [ ! -f "/root/$file" ] || mount --bind /dev/null "/root/$file"
            done
            mount --bind "$lab/etc/hosts" /etc/hosts
            mount --bind "$lab/etc/nsswitch.conf" /etc/nsswitch.conf
            mount --bind "$lab/$volume" "$lab/run"
            hostname "$name"
            : >"$lab/etc/up.$name"
            while :; do sleep 1000 & wait $!; done
        ' lab-init "$LAB" "$name" "$volume" &
    LAB_HOLDER[$name]=$!
    lab_wait_for "host $name" lab_find_init "$name"
    local init=${LAB_INIT[$name]} port=h${address##*.}
    nsenter -t "$LAB_BRIDGE" -n ip link add "$port" type veth peer name eth0 \
        address "$(printf '02:00:0a:09:00:%02x' "${address##*.}")" netns "$init" # others remember it
    nsenter -t "$LAB_BRIDGE" -n ip link set "$port" master lab up
    nsenter -t "$init" -n ip link set lo up
    nsenter -t "$init" -n ip address add "$address/24" dev eth0
    nsenter -t "$init" -n ip link set eth0 up
}

lab_host_dies() {
    local name
    for name in "$@"; do kill -KILL "${LAB_HOLDER[$name]}"; done
    for name in "$@"; do wait "${LAB_HOLDER[$name]}" "${LAB_SSHD[$name]:-}" 2>/dev/null || true; done
}

# With the same name, address and key, and empty memory.
lab_host_again() {
    local name
    for name in "$@"; do
        lab_wait_for "the end of $name" lab_is_gone "${LAB_INIT[$name]}"
        lab_boot "$name"
        lab_sshd "$name"
    done
}

lab_in() {
    local name=$1
    shift
    nsenter -t "${LAB_INIT[$name]}" -m -u -i -n -p -- "$@"
}

lab_listens() {
    lab_in "$1" bash -c "</dev/tcp/127.0.0.1/$2" 2>/dev/null
}

lab_sshd() {
    nsenter -t "${LAB_INIT[$1]}" -m -u -i -n -p -- \
        /usr/sbin/sshd -D -f "$LAB/etc/sshd_config.$1" -E "$LAB/etc/sshd.$1.log" &
    LAB_SSHD[$1]=$!
    lab_wait_for "sshd on $1" lab_listens "$1" "${2:-22}"
}

# Its number is the one inside the host's PID namespace.
lab_sshd_stop() {
    lab_in "$1" kill "$(cat "$LAB/etc/sshd.pid.$1")"
    wait "${LAB_SSHD[$1]}" 2>/dev/null || true
}

lab_hostfile() {
    local name
    for name in "$@"; do echo "$name slots=2"; done >"$LAB/hostfile"
}

# Seconds between killing a plain child and its end being known: what this machine adds to every deadline just now.
lab_reaping_delay() {
    local child begin
    sleep 100 &
    child=$!
    begin=$EPOCHREALTIME
    kill -KILL "$child"
    wait "$child" 2>/dev/null || true
    lab_seconds_since "$begin"
}

# lab_login_time FROM TO: seconds of one plain login.
lab_login_time() {
    local begin=$EPOCHREALTIME
    lab_in "$1" ssh $LAB_SSH_ARGS -o BatchMode=yes "$2" true >&2
    lab_seconds_since "$begin"
}

lab_seconds_since() {
    awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f\n", b - a }'
}

# lab_at_most NUMBER NUMBER...: whether the first is at most the sum of the others.
lab_at_most() {
    awk 'BEGIN { for (i = 2; i < ARGC; i++) sum += ARGV[i]; exit !(ARGV[1] <= sum) }' "$@"
}

lab_end() {
    local status=$? name
    trap - EXIT
    { # without bash's words about killed jobs
        for name in "${!LAB_HOLDER[@]}"; do kill -KILL "${LAB_HOLDER[$name]}" || true; done
        [ -z "$LAB_BRIDGE" ] || kill -KILL "$LAB_BRIDGE" || true
        wait || true
    } 2>/dev/null
    if [ "$status" -ne 0 ] && [ "$status" -ne 77 ]; then
        for name in "$LAB"/*.err; do
            [ ! -s "$name" ] || { echo "--- $name"; cat "$name"; } >&2
        done
    fi
    # process 1 of a host dies a moment after its holder, and holds its mounts until then
    for name in "${!LAB_INIT[@]}"; do
        [ -z "${LAB_INIT[$name]}" ] || lab_wait_for "the end of $name" lab_is_gone "${LAB_INIT[$name]}"
    done
    rm -rf --one-file-system "$LAB"
    exit "$status"
}

lab_is_gone() {
    ! kill -0 "$1" 2>/dev/null
}
