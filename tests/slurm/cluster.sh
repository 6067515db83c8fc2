# A Slurm cluster in the lab of hosts: one slurmctld, and slurmds that are hosts of their own, each with its own munged
# and sshd. Source it; it sources the lab.
#
#     cluster_begin NODE...          slurmctld on `head`, a slurmd on each node; a queue named `main`
#     cluster_submit ARGS...         sbatch on head, in a login's environment; prints the job's number
#     cluster_state JOB              its state as squeue has it
#     cluster_wait JOB STATE SECONDS waits until the job is in that state (`gone`: it has ended)
#     cluster_exit JOB               its exit code
#     cluster_down NODE              the node is cut off and all that runs there killed; cluster_up NODE: it has booted
#     cluster_left NODE...           what is there of muster's and Open MPI's processes and files
. "$(dirname "$0")/../hosts/lab.sh"

cluster_conf() {
    cat <<EOF
ClusterName=lab
SlurmctldHost=head
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=10
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/linear
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1
KillWait=5
SlurmdTimeout=20
MinJobAge=300
ReturnToService=2
StateSaveLocation=$LAB/slurm/state
SlurmdSpoolDir=$LAB/slurm/spool.%n
SlurmctldPidFile=$LAB/slurm/slurmctld.pid
SlurmdPidFile=$LAB/slurm/slurmd.%n.pid
SlurmctldLogFile=$LAB/slurm/slurmctld.log
SlurmdLogFile=$LAB/slurm/slurmd.%n.log
EOF
    local node
    for node in "$@"; do echo "NodeName=$node CPUs=1 RealMemory=64 State=UNKNOWN"; done
    echo "PartitionName=main Nodes=$(IFS=,; echo "$*") Default=YES MaxTime=INFINITE State=UP"
}

# Each host has a munged of its own: one that decoded a credential refuses it when it comes again.
cluster_munged() {
    lab_in "$1" mkdir -m 0755 /run/munge
    lab_in "$1" /usr/sbin/munged --foreground --key-file="$LAB/slurm/munge.key" --log-file="$LAB/slurm/munged.$1.log" \
        --pid-file=/run/munge/munged.pid --seed-file=/run/munge/munged.seed --socket=/run/munge/munge.socket.2 \
        >"$LAB/slurm/munged.$1.out" 2>&1 &
    lab_wait_for "munged on $1" lab_in "$1" test -S /run/munge/munge.socket.2
}

cluster_in() {
    local name=$1
    shift
    lab_in "$name" env SLURM_CONF="$LAB/slurm/slurm.conf" "$@"
}

cluster_is_up() {
    [ "$(cluster_in head sinfo -h -t idle -o %D 2>/dev/null)" = "$1" ]
}

cluster_daemons() {
    lab_sshd "$1"
    cluster_in "$1" /usr/sbin/slurmd -D -N "$1" >"$LAB/slurm/slurmd.$1.out" 2>&1 &
}

cluster_down() {
    lab_in "$1" ip link set eth0 down
    # all but what makes the host: process 1, and the sleep that it waits for
    lab_in "$1" bash -c 'for p in /proc/[0-9]*; do
        case $(cat "$p/comm" 2>/dev/null):${p#/proc/} in
        sleep:* | *:1 | *:$$) ;;
        *) kill -KILL "${p#/proc/}" 2>/dev/null ;;
        esac
    done; true' 2>/dev/null
}

cluster_up() {
    lab_in "$1" bash -c 'rm -rf /run/munge /tmp/* /dev/shm/*; ip link set eth0 up'
    cluster_munged "$1"
    cluster_daemons "$1"
}

cluster_begin() {
    local tool node i
    for tool in /usr/sbin/slurmctld /usr/sbin/slurmd sbatch /usr/sbin/munged; do
        command -v "$tool" >/dev/null ||
            lab_skip "$tool is not installed (scripts/install-dependencies slurmctld slurmd slurm-client munge)"
    done
    lab_begin
    mkdir -m 0755 "$LAB/slurm" "$LAB/slurm/state"
    (umask 077 && head -c 1024 /dev/urandom >"$LAB/slurm/munge.key")
    for node in head "$@"; do lab_host "$node"; done
    cluster_conf "$@" >"$LAB/slurm/slurm.conf"
    # Newer ones want to own a cgroup even where no plugin uses one; older ones do not know the word.
    [ "$(/usr/sbin/slurmd -V | sed 's/[^0-9]*\([0-9]*\).*/\1/')" -lt 24 ] || echo CgroupPlugin=disabled >"$LAB/slurm/cgroup.conf"
    for node in head "$@"; do cluster_munged "$node"; done
    cluster_in head /usr/sbin/slurmctld -D >"$LAB/slurm/slurmctld.out" 2>&1 &
    for node in "$@"; do
        mkdir "$LAB/slurm/spool.$node"
        cluster_daemons "$node"
    done
    for ((i = 0; i < 300; i++)); do
        ! cluster_is_up $# || return 0
        sleep 0.1
    done
    tail -n 20 "$LAB"/slurm/*.out "$LAB"/slurm/*.log >&2
    lab_fail "not all nodes are idle after 30 s: $(cluster_in head sinfo 2>&1)"
}

cluster_submit() {
    cluster_in head env -i PATH="$LAB/bin:$PATH" HOME=/root SLURM_CONF="$LAB/slurm/slurm.conf" \
        MUSTER_REQUEUES="${MUSTER_REQUEUES:-100}" sbatch --parsable --chdir="$LAB/run" "$@"
}

# It is kept by slurmctld for MinJobAge after the end.
cluster_state() {
    cluster_in head scontrol show job "$1" 2>/dev/null | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p'
}

cluster_exit() {
    cluster_in head scontrol show job "$1" | sed -n 's/.*ExitCode=\([0-9]*\):.*/\1/p'
}

cluster_is() {
    local state
    state=$(cluster_state "$1")
    case $2:$state in
    gone:COMPLETED | gone:FAILED | gone:CANCELLED | gone:TIMEOUT | gone:NODE_FAIL) return 0 ;;
    esac
    [ "$state" = "$2" ]
}

cluster_wait() {
    local i
    for ((i = 0; i < $3 * 5; i++)); do
        ! cluster_is "$1" "$2" || return 0
        sleep 0.2
    done
    lab_fail "job $1 is $(cluster_state "$1") after $3 s, not $2"
}

cluster_left() {
    local node name
    for node in "$@"; do
        for name in muster mpirun orted prte; do
            lab_in "$node" pgrep -a "$name" | sed "s/^/$node: /" || true
        done
        lab_in "$node" find /tmp /dev/shm -mindepth 1 | sed "s/^/$node: /"
    done
}
