# A rendered MPIJob as its pods would run it, on hosts made of namespaces: the pods' own commands, user and mounts, the
# operator's names, hostfile, keys and variables. A worker's container is a PID namespace whose process 1 is the
# rendered shell; its name resolves from when it is ready to when it must go. What plays the operator and the kubelet
# is this script. As in pods: the Secret's folder is a sticky one of the group with links to its files, /etc/hosts
# holds the pod's own full name, addresses are /32, the API server's variables are there, and TCP that the
# NetworkPolicy does not name is dropped and counted.
#
# One worker that never comes; one that comes 30 s late (MUSTER_LATE: other seconds); one whose container is killed; one
# that is drained; one whose process 1 gets SIGTERM without a drain (a stopped container, a node's shutdown); then the
# operator's default layout, as root, with the variables of Open MPI 5.
. "$(dirname "$0")/../hosts/lab.sh"
python=
for p in /usr/bin/python3 python3; do
    ! "$p" -c 'import yaml' 2>/dev/null || { python=$p && break; }
done
[ -n "$python" ] || lab_skip "no Python with yaml (Debian: python3-yaml)"
lab_begin

uid=1000 home=/var/lib/muster late=${MUSTER_LATE:-30}
R=$LAB/run # the claims' mount
cat >"$LAB/model.yml" <<EOF
{"num_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "seq_length": 32, "max_position_embeddings": 32,
 "no_weight_tying": true, "optimizer": {"type": "Adam", "params": {"lr": 1.0e-3}}, "train_micro_batch_size_per_gpu": 1,
 "train_iters": 50000, "eval_interval": 100000, "eval_iters": 1, "checkpoint_factor": 50, "split": "8,1,1",
 "padded_vocab_size": 512, "vocab_file": "$R/data.json", "data_path": "$R/data", "save": "$R/one",
 "muster": {"device": "cpu", "threads_per_worker": 1, "ready_timeout": $((late + 60))}}
EOF
find "$MUSTER_SOURCE/common" -name '*.[ch]' | LC_ALL=C sort | while read -r file; do cat "$file"; echo; done >"$LAB/text.txt"
{
    "$LAB/bin/muster" tokenizer train --input "$LAB/text.txt" --vocab-size 512 --output "$LAB/volume/data.json"
    "$LAB/bin/muster" prepare "$LAB/model.yml" "vocab_file=$LAB/volume/data.json" --input "$LAB/text.txt" --output "$LAB/volume/data"
} >/dev/null 2>"$LAB/prepare.err" || lab_fail "no data"
chown -R $uid:$uid "$LAB/volume"
"$LAB/bin/muster" render mpijob "$LAB/model.yml" name=job image=i:1 workers=2 user=$uid "volumes=claim:$R" >"$LAB/job.yaml" ||
    lab_fail "not rendered"

# command ROLE: the words of the container's command and args, a NUL after each
"$python" - "$LAB/job.yaml" "$LAB" <<'EOF'
import sys, yaml
objects = list(yaml.safe_load_all(open(sys.argv[1])))
job = next(o for o in objects if o["kind"] == "MPIJob")
for role, replica in job["spec"]["mpiReplicaSpecs"].items():
    c = replica["template"]["spec"]["containers"][0]
    with open(f"{sys.argv[2]}/command.{role}", "w") as f:
        f.writelines(str(w) + "\0" for w in c["command"] + c.get("args", []))
with open(f"{sys.argv[2]}/command.hook", "w") as f:
    f.writelines(w + "\0" for w in c["lifecycle"]["preStop"]["exec"]["command"])
with open(f"{sys.argv[2]}/config.yml", "w") as f:
    f.write(next(o for o in objects if o["kind"] == "ConfigMap")["data"]["config.yml"])
EOF

pods=(job-launcher job-worker-0.job.ml.svc job-worker-1.job.ml.svc)
mkdir "$LAB/secret" "$LAB/mpi"
ssh-keygen -q -t ecdsa -b 521 -m PEM -N '' -f "$LAB/secret/id_rsa"
mv "$LAB/secret/id_rsa.pub" "$LAB/secret/ssh.pub"
cp "$LAB/secret/ssh.pub" "$LAB/secret/id_rsa.pub"
mv "$LAB/secret/ssh.pub" "$LAB/secret/authorized_keys"
chmod 644 "$LAB"/secret/* # root's, and readable by all, as a Secret is mounted
mkdir "$LAB/secret/..2026"
mv "$LAB"/secret/[a-z]* "$LAB/secret/..2026/"
ln -s ..2026 "$LAB/secret/..data"
for file in id_rsa id_rsa.pub authorized_keys; do ln -s "..data/$file" "$LAB/secret/$file"; done
chown -h root:$uid "$LAB/secret" "$LAB"/secret/..data
chmod 3777 "$LAB/secret" # what fsGroup makes of it
printf '%s slots=1\n' "${pods[@]:1}" >"$LAB/mpi/hostfile"
{ awk -F: -v uid=$uid '$3 != uid' /etc/passwd; echo "mpi:x:$uid:$uid::$home:/bin/sh"; } >"$LAB/passwd"
for pod in "${pods[@]}"; do lab_host "$pod"; done
for pod in "${pods[@]}"; do
    address=${LAB_ADDRESS[$pod]}
    printf '127.0.0.1 localhost\n%s %s.cluster.local %s\n' "$address" "$pod" "${pod%%.*}" >"$LAB/etc/hosts.$pod"
    lab_in "$pod" bash -ec '
        ip address flush dev eth0
        ip address add "$1/32" dev eth0
        ip route add 10.9.0.0/24 dev eth0 scope link src "$1"
        iptables -A INPUT -i lo -j ACCEPT
        iptables -A INPUT -p tcp -m multiport --dports 2222,29000:29999 -j ACCEPT
        iptables -A INPUT -p tcp --syn -j DROP
        mount -o remount,size=16g /dev/shm' net "$address" || lab_fail "$pod has no network"
done
for pod in "${pods[@]}"; do
    # an /etc of its own, so that the machine's is not touched
    lab_in "$pod" bash -c '
        set -e
        lab=$1 home=$2 pod=$3
        mkdir /run/etc
        cp -a /etc/. /run/etc/ 2>/dev/null || true
        cat "$lab/passwd" >/run/etc/passwd
        mkdir -p /run/etc/mpi /run/etc/muster
        cp "$lab/mpi/hostfile" /run/etc/mpi/
        cp "$lab/config.yml" /run/etc/muster/
        : >/run/etc/hosts
        mount --bind "$lab/etc/hosts.$pod" /run/etc/hosts
        mount --rbind /run/etc /etc
        mount -t tmpfs tmpfs /var/lib
        mkdir -p "$home/.ssh"
        mount --bind "$lab/secret" "$home/.ssh"
        mount -t tmpfs tmpfs /usr/local/bin
        cp "$lab"/bin/muster* /usr/local/bin/
        chmod 1777 /tmp /dev/shm' mount "$LAB" "$home" "$pod" || lab_fail "$pod is not set up"
done

# ---- the kubelet ----

# the kubelet sets them whatever enableServiceLinks says
service=(KUBERNETES_SERVICE_HOST=10.96.0.1 KUBERNETES_SERVICE_PORT=443 KUBERNETES_PORT=tcp://10.96.0.1:443
    KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1 KUBERNETES_PORT_443_TCP_PORT=443 KUBERNETES_PORT_443_TCP_PROTO=tcp)

# in_pod POD COMMAND...: as the pod's securityContext has it, with the container's environment
in_pod() {
    lab_in "$1" setpriv --reuid $uid --regid $uid --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs \
        env -i PATH=/usr/local/bin:/usr/bin:/bin HOME="$home" "${service[@]}" "${@:2}"
}

words() {
    mapfile -d '' words <"$LAB/command.$1"
}

ready() { # POD
    local pod
    for pod in "${pods[@]}"; do echo "${LAB_ADDRESS[$1]} $1" >>"$LAB/etc/hosts.$pod"; done
}

unready() { # POD...; the files are mounted, so they must stay the same files
    local names pod
    for pod in "${pods[@]}"; do
        names=$(grep -vE " ($(IFS='|'; echo "$*"))\$" "$LAB/etc/hosts.$pod")
        echo "$names" >"$LAB/etc/hosts.$pod"
    done
}

# The container of a worker: a PID namespace of its own, and nothing left of the one before in its files. Ready when the
# probe can connect.
declare -A container=()
start_worker() {
    words Worker
    lab_in "$1" rm -f /tmp/muster-drained
    lab_in "$1" unshare --pid --fork --kill-child=KILL --mount-proc \
        setpriv --reuid $uid --regid $uid --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs \
        env -i PATH=/usr/local/bin:/usr/bin:/bin HOME="$home" "${service[@]}" K_MPI_JOB_ROLE=worker "${words[@]}" >>"$LAB/sshd.$1.log" 2>&1 &
    container[$1]=$!
    lab_wait_for "sshd of $1" lab_listens "$1" 2222
    ready "$1"
}

# Its process 1, as this machine counts
first_process() {
    local pid
    for pid in $(pgrep . --ns "${LAB_INIT[$1]}" --nslist net); do
        # process 1 of the host's own namespace has one number less
        ! grep -qE '^NSpid:([[:space:]]+[0-9]+){2,}[[:space:]]1$' "/proc/$pid/status" 2>/dev/null || echo "$pid"
    done
}

end_worker() { # POD SIGNAL [CODE]: with which the container ends
    local got=0
    kill -"$2" "$(first_process "$1")"
    wait "${container[$1]}" || got=$?
    [ "$got" -eq "${3:-$got}" ] || lab_fail "the container of $1 ends with $got after $2, wanted $3"
}

start_launcher() { # LOG VARIABLE... ; the launcher's process is $launcher
    words Launcher
    in_pod "${pods[0]}" K_MPI_JOB_ROLE=launcher "${@:2}" "${words[@]}" >"$LAB/$1" 2>&1 &
    launcher=$!
}

# those that the operator sets today, for Open MPI 4
four=(OMPI_MCA_orte_keep_fqdn_hostnames=true OMPI_MCA_orte_default_hostfile=/etc/mpi/hostfile
    OMPI_MCA_orte_set_default_slots=1 "OMPI_MCA_plm_rsh_args=-o ConnectionAttempts=10")
# and what they are called in Open MPI 5
five=(PRTE_MCA_prte_keep_fqdn_hostnames=true PRTE_MCA_prte_default_hostfile=/etc/mpi/hostfile
    PRTE_MCA_prte_set_default_slots=1 "PRTE_MCA_plm_ssh_args=-o ConnectionAttempts=10")

ended() { # CODE LOG
    local got=0
    wait "$launcher" || got=$?
    [ "$got" -eq "$1" ] || lab_fail "the launcher ends with $got, wanted $1: $(tail -n 30 "$LAB/$2")"
}

run=$LAB/volume/one
steps() {
    sed -nE 's/^\{"step": ([0-9]+),.*/\1/p' "$run/metrics.jsonl" 2>/dev/null || true
}

goes_beyond() { # STEP SECONDS
    local at i
    for ((i = 0; i < $2 * 20; i++)); do
        at=$(steps | tail -n 1)
        [ "${at:-0}" -le "$1" ] || return 0
        kill -0 "$launcher" 2>/dev/null || break
        sleep 0.05
    done
    lab_fail "at step ${at:-0} after $2 s, not beyond $1: $(tail -n 30 "$LAB/launcher.err")"
}

# ---- one that never comes: 69 names it ----

unready "${pods[@]:1}"
start_worker "${pods[1]}"
words Launcher
in_pod "${pods[0]}" "${four[@]}" sh -c "${words[2]%$'\n'} muster.ready_timeout=4" >"$LAB/never.err" 2>&1 && launcher_code=0 || launcher_code=$?
[ $launcher_code -eq 69 ] || lab_fail "a worker that never comes: exit $launcher_code: $(cat "$LAB/never.err")"
grep -q "name not found: ${pods[2]}" "$LAB/never.err" || lab_fail "it is not named: $(cat "$LAB/never.err")"
echo "never there: 69 names ${pods[2]}"

# ---- one that is late ----

start_launcher launcher.err "${four[@]}"
sleep "$late"
kill -0 "$launcher" || lab_fail "it did not wait: $(cat "$LAB/launcher.err")"
[ ! -e "$run/metrics.jsonl" ] || lab_fail "it began without the late worker"
grep -q "${pods[2]}" "$LAB/launcher.err" || lab_fail "the late worker is not named while it is waited for"
start_worker "${pods[2]}"
goes_beyond 20 60
grep -q "tp 1 x dp 2 = 2 workers" "$LAB/launcher.err" || lab_fail "not two workers"
[ "$(stat -c %u "$run/run.json")" = $uid ] || lab_fail "written by another user"
echo "$late s late: trains"

# ---- one whose container is restarted in place ----

goes_beyond 60 60
unready "${pods[1]}"
end_worker "${pods[1]}" KILL
at=$(steps | tail -n 1)
start_worker "${pods[1]}"
goes_beyond $((at + 20)) 90
grep -q '"restarts": 1' "$run/run.json" || lab_fail "not one restart: $(cat "$run/run.json")"
echo "restarted: goes on after step $at"

# ---- one that is drained ----

unready "${pods[2]}"
words hook
in_pod "${pods[2]}" "${words[@]}" >"$LAB/hook.err" 2>&1 || lab_fail "the hook ends with $?: $(cat "$LAB/hook.err")"
saved=$(sed -nE 's/.*: step ([0-9]+) is saved.*/\1/p' "$LAB/hook.err")
[ "$(steps | tail -n 1)" = "$saved" ] || lab_fail "steps went on after the checkpoint of step $saved: $(steps | tail -n 1)"
end_worker "${pods[2]}" TERM 0
lines=$(wc -l <"$run/metrics.jsonl")
sleep 12 # the pod is placed on another node
[ "$(wc -l <"$run/metrics.jsonl")" -eq "$lines" ] || lab_fail "it went on without the drained worker"
start_worker "${pods[2]}"
goes_beyond $((saved + 20)) 60
grep -q '"restarts": 1' "$run/run.json" || lab_fail "a drain counts as a failure"
tail -n +"$((lines + 1))" "$run/metrics.jsonl" | sed -nE 's/^\{"step": ([0-9]+),.*/\1/p' |
    awk -v at="$saved" '$1 != ++at { exit 1 }' || lab_fail "a step was lost or done twice after step $saved"
echo "drained: goes on from step $saved"

# ---- one that gets SIGTERM and was not drained: with 0 its pod would have ended, and nobody would make it again ----

unready "${pods[1]}"
end_worker "${pods[1]}" TERM 75
at=$(steps | tail -n 1)
grep -q "not drained" "$LAB/sshd.${pods[1]}.log" || lab_fail "the pod's log does not say why: $(cat "$LAB/sshd.${pods[1]}.log")"
start_worker "${pods[1]}" # by the kubelet, since the code is not 0
goes_beyond $((at + 20)) 90
grep -q '"restarts": 2' "$run/run.json" || lab_fail "not a second restart: $(cat "$run/run.json")"
echo "SIGTERM: 75, restarted in place, goes on after step $at"

# ---- the job is deleted: launcher and workers get SIGTERM at once, and the hooks keep the workers until all is saved
# ----

words hook
unready "${pods[@]:1}"
kill -TERM "$(pgrep -x muster --ns "${LAB_INIT[${pods[0]}]}" --nslist pid)"
for pod in "${pods[@]:1}"; do
    in_pod "$pod" "${words[@]}" >"$LAB/hook.err" 2>&1 || lab_fail "the hook ends with $?: $(cat "$LAB/hook.err")"
    end_worker "$pod" TERM 0
done
ended 75 launcher.err
[ -d "$run/checkpoints/step-$(printf %08d "$(steps | tail -n 1)")" ] || lab_fail "the last step is not saved"
steps | sort -nu | awk '$1 != NR { exit 1 }' || lab_fail "a step is missing"
echo "deleted: saved, 75"

for pod in "${pods[@]}"; do
    dropped=$(lab_in "$pod" iptables -nvxL INPUT | awk '$3 == "DROP" { print $1 }')
    [ "$dropped" = 0 ] || lab_fail "$pod: $dropped connections to ports that the NetworkPolicy does not name"
    lab_in "$pod" iptables -F INPUT
done
! grep -qE "Connection closed|Accepted" "$LAB"/sshd.*.log || lab_fail "sshd writes a line for every probe"
echo "no connection but to the ports of the NetworkPolicy"

# ---- as root: the operator's default mount, sshd with the image's own host keys, the variables of Open MPI 5 ----

for pod in "${pods[@]}"; do
    lab_in "$pod" bash -c '
        set -e
        mkdir -p /root/.ssh
        mount -t tmpfs tmpfs /root/.ssh
        install -m 0600 "$1"/secret/* /root/.ssh/
        cp "$1/etc/key.$2" /run/etc/ssh/ssh_host_ed25519_key && chmod 600 /run/etc/ssh/ssh_host_ed25519_key
        printf "%s\n" "HostKey /etc/ssh/ssh_host_ed25519_key" "StrictModes no" "UsePAM no" "PidFile none" >/run/etc/ssh/sshd_config
        printf "%s\n" "Host *" "StrictHostKeyChecking no" "UserKnownHostsFile /dev/null" "LogLevel ERROR" >/run/etc/ssh/ssh_config
        mount -o remount,ro /root/.ssh' root "$LAB" "$pod" || lab_fail "$pod is not set up for root"
done
for pod in "${pods[@]:1}"; do
    lab_in "$pod" unshare --pid --fork --kill-child=KILL --mount-proc env -i PATH=/usr/local/bin:/usr/bin:/bin \
        K_MPI_JOB_ROLE=worker /usr/sbin/sshd -De >>"$LAB/sshd.$pod.log" 2>&1 &
    lab_wait_for "root's sshd of $pod" lab_listens "$pod" 22
    ready "$pod"
done
lab_in "${pods[0]}" env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/root K_MPI_JOB_ROLE=launcher "${five[@]}" \
    muster run /etc/muster/config.yml "save=$R/root" train_iters=6 lr_decay_iters=6 >"$LAB/root.err" 2>&1 ||
    lab_fail "as root: exit $?: $(cat "$LAB/root.err")"
grep -q "tp 1 x dp 2 = 2 workers" "$LAB/root.err" || lab_fail "as root, without --hostfile: not two workers"
grep -q "2 hosts.*hostfile" "$LAB/root.err" || lab_fail "the hosts are not said to come from the hostfile: $(cat "$LAB/root.err")"
[ -d "$LAB/volume/root/checkpoints/step-00000006" ] || lab_fail "as root: no checkpoint"
echo "as root, with the variables of Open MPI 5: trains"
