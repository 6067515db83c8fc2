# A rendered TrainJob as its pods would run it, on hosts made of namespaces. What plays Trainer, JobSet, the Jobs and
# the kubelet is this script: Trainer's names (NAME-node-0-I.NAME), hostfile, reserved variables and key (mode 0640,
# root's, of the pods' group); a node's container is a PID namespace, and a pod that is made again starts with nothing
# of the one before. Names resolve from the beginning (publishNotReadyAddresses), and a pod that is gone does not
# answer.
#
# To the end; a node that is late; one that is deleted at once; one that is drained; suspension and resumption; a
# verdict. Then the launcher is a node too.
. "$(dirname "$0")/../hosts/lab.sh"
python=
for p in /usr/bin/python3 python3; do
    ! "$p" -c 'import yaml' 2>/dev/null || { python=$p && break; }
done
[ -n "$python" ] || lab_skip "no Python with yaml (Debian: python3-yaml)"
export PYTHONDONTWRITEBYTECODE=1
for dir in "$MUSTER_SOURCE"/../{,../}shared/schemas; do
    [ ! -e "$dir/trainer.kubeflow.org_trainjobs.yaml" ] || export MUSTER_TRAINER_CRDS=$dir
done
[ -n "${MUSTER_TRAINER_CRDS:-}" ] || echo "Trainer's schemas are not here: its fields are checked as the test knows them"
lab_begin

uid=1000 home=/var/lib/muster
R=$LAB/run # the claims' mount
cat >"$LAB/model.yml" <<END
{"num_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "seq_length": 32, "max_position_embeddings": 32,
 "no_weight_tying": true, "optimizer": {"type": "Adam", "params": {"lr": 1.0e-3}}, "train_micro_batch_size_per_gpu": 1,
 "train_iters": 50000, "eval_interval": 100000, "eval_iters": 1, "checkpoint_factor": 50, "split": "8,1,1",
 "padded_vocab_size": 512, "vocab_file": "$R/data.json", "data_path": "$R/data", "save": "$R/one",
 "muster": {"device": "cpu", "threads_per_worker": 1, "ready_timeout": 60}}
END
find "$MUSTER_SOURCE/common" -name '*.[ch]' | LC_ALL=C sort | while read -r file; do cat "$file"; echo; done >"$LAB/text.txt"
{
    "$LAB/bin/muster" tokenizer train --input "$LAB/text.txt" --vocab-size 512 --output "$LAB/volume/data.json"
    "$LAB/bin/muster" prepare "$LAB/model.yml" "vocab_file=$LAB/volume/data.json" --input "$LAB/text.txt" --output "$LAB/volume/data"
} >/dev/null 2>"$LAB/prepare.err" || lab_fail "no data"
chown -R $uid:$uid "$LAB/volume"

render() { # FOLDER key=value...
    mkdir -p "$LAB/$1"
    "$LAB/bin/muster" render trainjob "$LAB/model.yml" name=tj image=i:1 workers=2 user=$uid "volumes=claim:$R" "${@:2}" \
        >"$LAB/$1/job.yaml" || lab_fail "not rendered"
    "$python" "$MUSTER_SOURCE/tests/k8s/trainjob.py" "$LAB/$1/job.yaml" "$LAB/$1" || lab_fail "not as Trainer takes it"
}
render apart
render together launcher_as_node=true

# the check can fail
mutant() { # WORD EDIT
    sed -E "$2" "$LAB/apart/job.yaml" >"$LAB/mutant.yaml"
    ! cmp -s "$LAB/apart/job.yaml" "$LAB/mutant.yaml" || lab_fail "the edit $2 changes nothing"
    ! "$python" "$MUSTER_SOURCE/tests/k8s/trainjob.py" "$LAB/mutant.yaml" 2>"$LAB/mutant.out" || lab_fail "accepts $2"
    grep -q "$1" "$LAB/mutant.out" || lab_fail "refuses $2 for another reason: $(cat "$LAB/mutant.out")"
}
mutant 'unknown field' 's/mpiImplementation:/mpiImplementations:/'
mutant 'unknown field' 's/podFailurePolicy:/podFailurePolicies:/'
mutant 'container .node. only' 's/- name: node$/- name: nodes/; s/containers:/containers:/'
mutant 'docs.exit-codes.md' 's/87, 93\]/87]/'
mutant '75 counts' 's/values: \[75\]/values: [76]/'
mutant 'not made again' 's/^( *)exit 75$/\1exit 0/'
mutant 'names another runtime' 's/name: tj-muster\}$/name: tj-other}/'
mutant 'drained node counts' 's/DisruptionTarget/PodScheduled/'

# ---- Trainer ----

launcher=tj-launcher-0-0.tj nodes=(tj-node-0-0.tj tj-node-0-1.tj)
pods=("$launcher" "${nodes[@]}")
mkdir "$LAB/secret"
ssh-keygen -q -t ecdsa -b 521 -m PEM -N '' -f "$LAB/secret/id_rsa"
cp "$LAB/secret/id_rsa.pub" "$LAB/secret/authorized_keys"
chown root:$uid "$LAB/secret" "$LAB"/secret/*
chmod 640 "$LAB/secret/id_rsa"
chmod 644 "$LAB/secret/id_rsa.pub" "$LAB/secret/authorized_keys"
chmod 3777 "$LAB/secret" # what fsGroup makes of it
variables=(OMPI_MCA_orte_keep_fqdn_hostnames=true OMPI_MCA_orte_default_hostfile=/etc/mpi/hostfile
    OMPI_MCA_orte_set_default_slots=1 "OMPI_MCA_plm_rsh_args=-o ConnectionAttempts=10")
{ awk -F: -v uid=$uid '$3 != uid' /etc/passwd; echo "mpi:x:$uid:$uid::$home:/bin/sh"; } >"$LAB/passwd"
for pod in "${pods[@]}"; do lab_host "$pod"; done
for pod in "${pods[@]}"; do
    lab_in "$pod" bash -ec '
        lab=$1 home=$2
        iptables -A INPUT -i lo -j ACCEPT
        iptables -A INPUT -p tcp -m multiport --dports 2222,29000:29999 -j ACCEPT
        iptables -A INPUT -p tcp --syn -j DROP
        mount -o remount,size=16g /dev/shm
        mkdir /run/etc
        cp -a /etc/. /run/etc/ 2>/dev/null || true
        cat "$lab/passwd" >/run/etc/passwd
        mkdir -p /run/etc/mpi /run/etc/muster
        cp "$lab/etc/hosts" /run/etc/hosts
        cp "$lab/apart/config.yml" /run/etc/muster/
        mount --rbind /run/etc /etc
        mount -t tmpfs tmpfs /var/lib
        mkdir -p "$home/.ssh"
        mount --bind "$lab/secret" "$home/.ssh"
        mount -t tmpfs tmpfs /usr/local/bin
        cp "$lab"/bin/muster* /usr/local/bin/
        chmod 1777 /tmp /dev/shm' pod "$LAB" "$home" || lab_fail "$pod is not set up"
done
hostfile() { # POD...: Trainer writes it for the launcher alone
    printf '%s slots=1\n' "$@" >"$LAB/hostfile"
    lab_in "$launcher" cp "$LAB/hostfile" /etc/mpi/hostfile
}

# ---- the kubelet and the Jobs ----

service=(KUBERNETES_SERVICE_HOST=10.96.0.1 KUBERNETES_SERVICE_PORT=443 KUBERNETES_PORT=tcp://10.96.0.1:443)
user=(setpriv --reuid $uid --regid $uid --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs
    env -i PATH=/usr/local/bin:/usr/bin:/bin HOME="$home" "${service[@]}")

words() { # FOLDER ROLE
    mapfile -d '' words <"$LAB/$1/command.$2"
}

declare -A container=()
start_node() { # POD
    words apart node
    lab_in "$1" bash -c 'rm -rf /tmp/* /tmp/.[!.]*; rm -rf /dev/shm/*'
    lab_in "$1" unshare --pid --fork --kill-child=KILL --mount-proc "${user[@]}" "${words[@]}" >>"$LAB/sshd.$1.log" 2>&1 &
    container[$1]=$!
    lab_wait_for "sshd of $1" lab_listens "$1" 2222
}

# Process 1 of the newest container there, as this machine counts
first_process() {
    local pid
    for pid in $(pgrep . --ns "${LAB_INIT[$1]}" --nslist net); do
        ! grep -qE '^NSpid:([[:space:]]+[0-9]+){2,}[[:space:]]1$' "/proc/$pid/status" 2>/dev/null || echo "$pid"
    done
}

end_pod() { # POD SIGNAL [CODE]: with which its container ends
    local got=0
    kill -"$2" $(first_process "$1")
    wait "${container[$1]}" || got=$?
    [ "$got" -eq "${3:-$got}" ] || lab_fail "the container of $1 ends with $got after $2, wanted $3"
}

drain() { # POD: the hook, then the signal; a node never ends with 0
    words apart hook
    lab_in "$1" "${user[@]}" "${words[@]}" >"$LAB/hook.err" 2>&1 || lab_fail "the hook ends with $?: $(cat "$LAB/hook.err")"
    end_pod "$1" TERM 75
}

start_launcher() { # FOLDER LOG [MORE-WORDS]
    words "$1" launcher
    lab_in "$launcher" bash -c 'rm -rf /tmp/* /tmp/.[!.]*; rm -rf /dev/shm/*'
    lab_in "$launcher" unshare --pid --fork --kill-child=KILL --mount-proc "${user[@]}" "${variables[@]}" \
        "${words[0]}" "${words[1]}" "${words[2]%$'\n'} ${3:-}" >>"$LAB/$2" 2>&1 &
    container[$launcher]=$!
}

ended() { # LOG CODE ACTION: what the launcher ends with, and what its Job does about that
    local got=0
    wait "${container[$launcher]}" || got=$?
    [ "$got" -eq "$2" ] || lab_fail "the launcher ends with $got, wanted $2: $(tail -n 30 "$LAB/$1")"
    [ "$(awk -v code="$2" '$1 == code { print $2 }' "$LAB/apart/codes")" = "$3" ] || lab_fail "what the Job does about $2 is not: $3"
}

run=$LAB/volume/one
steps() {
    sed -nE 's/^\{"step": ([0-9]+),.*/\1/p' "$run/metrics.jsonl" 2>/dev/null | tail -n 1 || true
}

goes_beyond() { # STEP SECONDS
    local at i
    for ((i = 0; i < $2 * 20; i++)); do
        at=$(steps)
        [ "${at:-0}" -le "$1" ] || return 0
        kill -0 "${container[$launcher]}" 2>/dev/null || break
        sleep 0.05
    done
    lab_fail "at step ${at:-0} after $2 s, not beyond $1: $(tail -n 30 "$LAB/launcher.err")"
}

# ---- a late node, and to the end ----

hostfile "${nodes[@]}"
start_node "${nodes[0]}"
start_launcher apart end.err "save=$R/end train_iters=6"
for ((i = 0; i < 400; i++)); do
    ! grep -q "${nodes[1]}" "$LAB/end.err" || break
    sleep 0.05
done
grep -q "${nodes[1]}" "$LAB/end.err" || lab_fail "the late node is not named: $(cat "$LAB/end.err")"
[ ! -e "$LAB/volume/end/metrics.jsonl" ] || lab_fail "it began without the late node"
start_node "${nodes[1]}"
ended end.err 0 ""
grep -q "tp 1 x dp 2 = 2 workers" "$LAB/end.err" || lab_fail "not two workers"
[ -d "$LAB/volume/end/checkpoints/step-00000006" ] || lab_fail "no checkpoint of the last step"
[ "$(stat -c %u "$LAB/volume/end/run.json")" = $uid ] || lab_fail "written by another user"
echo "a late node is named and waited for; trains to the end"

# ---- a verdict ----

start_launcher apart verdict.err "save=$R/verdict hidden_size=33"
ended verdict.err 78 FailJob
echo "78: the Job fails, and is not started again"

# ---- a node that is deleted at once ----

start_launcher apart launcher.err
goes_beyond 60 60
end_pod "${nodes[0]}" KILL
at=$(steps)
start_node "${nodes[0]}"
goes_beyond $((at + 20)) 90
grep -q '"restarts": 1' "$run/run.json" || lab_fail "not one restart: $(cat "$run/run.json")"
echo "deleted: goes on after step $at"

# ---- one that is drained ----

drain "${nodes[1]}"
saved=$(sed -nE 's/.*: step ([0-9]+) is saved.*/\1/p' "$LAB/hook.err")
[ "$(steps)" = "$saved" ] || lab_fail "steps went on after the checkpoint of step $saved: $(steps)"
start_node "${nodes[1]}"
goes_beyond $((saved + 20)) 60
grep -q '"restarts": 1' "$run/run.json" || lab_fail "a drain counts as a failure"
echo "drained: goes on from step $saved"

# ---- suspension: all pods get SIGTERM at once; later all are made again ----

kill -TERM $(first_process "$launcher")
for pod in "${nodes[@]}"; do drain "$pod"; done
ended launcher.err 75 Ignore
at=$(steps)
[ -d "$run/checkpoints/step-$(printf %08d "$at")" ] || lab_fail "the last step is not saved"
for pod in "${nodes[@]}"; do start_node "$pod"; done
start_launcher apart launcher.err
goes_beyond $((at + 20)) 60
kill -TERM $(first_process "$launcher")
ended launcher.err 75 Ignore
awk -F'[:,]' '{ print $2 + 0 }' "$run/metrics.jsonl" | sort -nu | awk '$1 != NR { exit 1 }' || lab_fail "a step is missing"
echo "suspended at step $at: saved, 75, goes on"

# ---- the launcher is a node too: its host comes first in the hostfile ----

hostfile "$launcher" "${nodes[0]}"
start_launcher together node.err "save=$R/node train_iters=6"
ended node.err 0 ""
grep -q "2 workers on 2 hosts" "$LAB/node.err" || grep -q "tp 1 x dp 2 = 2 workers" "$LAB/node.err" || lab_fail "not two workers"
grep -q "$launcher" "$LAB/volume/node/events.jsonl" "$LAB/node.err" || lab_fail "the launcher's host takes no part"
[ -d "$LAB/volume/node/checkpoints/step-00000006" ] || lab_fail "launcher as node: no checkpoint"
echo "the launcher as a node: trains to the end"

for pod in "${nodes[@]}"; do end_pod "$pod" KILL; done
for pod in "${pods[@]}"; do
    dropped=$(lab_in "$pod" iptables -nvxL INPUT | awk '$3 == "DROP" { print $1 }')
    [ "$dropped" = 0 ] || lab_fail "$pod: $dropped connections to ports that the NetworkPolicy does not name"
done
echo "no connection but to the ports of the NetworkPolicy"
