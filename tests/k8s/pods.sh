# A rendered MPIJob as its pods would run it, on hosts made of namespaces: the pods' own commands, user and mounts, the
# operator's names, hostfile and keys. What plays the operator and the kubelet is this script.
. "$(dirname "$0")/../hosts/lab.sh"
python=
for p in /usr/bin/python3 python3; do
    ! "$p" -c 'import yaml' 2>/dev/null || { python=$p && break; }
done
[ -n "$python" ] || lab_skip "no Python with yaml (Debian: python3-yaml)"
lab_begin

uid=4711 home=/var/lib/muster
R=$LAB/run # the claims' mount
cat >"$LAB/model.yml" <<EOF
{"num_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "seq_length": 32, "max_position_embeddings": 32,
 "no_weight_tying": true, "optimizer": {"type": "Adam", "params": {"lr": 1.0e-3}}, "train_micro_batch_size_per_gpu": 1,
 "train_iters": 20, "eval_interval": 100, "eval_iters": 1, "checkpoint_factor": 10, "split": "8,1,1",
 "padded_vocab_size": 512, "vocab_file": "$R/data.json", "data_path": "$R/data", "save": "$R/one",
 "muster": {"device": "cpu", "threads_per_worker": 1, "ready_timeout": 60}}
EOF
find "$MUSTER_SOURCE/common" -name '*.[ch]' | LC_ALL=C sort | while read -r file; do cat "$file"; echo; done >"$LAB/text.txt"
{
    "$LAB/bin/muster" tokenizer train --input "$LAB/text.txt" --vocab-size 512 --output "$LAB/volume/data.json"
    "$LAB/bin/muster" prepare "$LAB/model.yml" "vocab_file=$LAB/volume/data.json" --input "$LAB/text.txt" --output "$LAB/volume/data"
} >/dev/null 2>"$LAB/prepare.err" || lab_fail "no data"
chown -R $uid:$uid "$LAB/volume"
"$LAB/bin/muster" render mpijob "$LAB/model.yml" name=job image=i workers=2 user=$uid "volumes=claim:$R" >"$LAB/job.yaml" ||
    lab_fail "not rendered"

# command ROLE: the words of the container's command and args, a NUL behind each
"$python" - "$LAB/job.yaml" "$LAB" <<'EOF'
import sys, yaml
objects = list(yaml.safe_load_all(open(sys.argv[1])))
job = next(o for o in objects if o["kind"] == "MPIJob")
for role, replica in job["spec"]["mpiReplicaSpecs"].items():
    c = replica["template"]["spec"]["containers"][0]
    with open(f"{sys.argv[2]}/command.{role}", "w") as f:
        f.writelines(str(w) + "\0" for w in c["command"] + c.get("args", []))
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
printf '%s slots=1\n' "${pods[@]:1}" >"$LAB/mpi/hostfile"
{ cat /etc/passwd; echo "mpi:x:$uid:$uid::$home:/bin/sh"; } >"$LAB/passwd"
for pod in "${pods[@]}"; do lab_host "$pod"; done
for pod in "${pods[@]}"; do
    # an /etc of its own, so that the machine's is not touched
    lab_in "$pod" bash -c '
        set -e
        lab=$1 home=$2
        mkdir /run/etc
        cp -a /etc/. /run/etc/ 2>/dev/null || true
        cat "$lab/passwd" >/run/etc/passwd
        mkdir -p /run/etc/mpi /run/etc/muster
        cp "$lab/mpi/hostfile" /run/etc/mpi/
        cp "$lab/config.yml" /run/etc/muster/
        mount --rbind /run/etc /etc
        mount -t tmpfs tmpfs /var/lib
        mkdir -p "$home/.ssh"
        mount --bind "$lab/secret" "$home/.ssh"
        mount -t tmpfs tmpfs /usr/local/bin
        cp "$lab"/bin/muster* /usr/local/bin/
        chmod 1777 /tmp /dev/shm' mount "$LAB" "$home" || lab_fail "$pod is not set up"
done

# as_pod POD ROLE: the container's process, as the pod's securityContext has it
as_pod() {
    local words
    mapfile -d '' words <"$LAB/command.$2"
    lab_in "$1" setpriv --reuid $uid --regid $uid --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs \
        env -i PATH=/usr/local/bin:/usr/bin:/bin HOME="$home" K_MPI_JOB_ROLE="${2,,}" \
        OMPI_MCA_orte_keep_fqdn_hostnames=true OMPI_MCA_orte_default_hostfile=/etc/mpi/hostfile \
        OMPI_MCA_orte_set_default_slots=1 "OMPI_MCA_plm_rsh_args=-o ConnectionAttempts=10" "${words[@]}"
}

# the second worker is late, as workers are
as_pod "${pods[1]}" Worker >"$LAB/sshd1.log" 2>&1 &
(sleep 2 && as_pod "${pods[2]}" Worker >"$LAB/sshd2.log" 2>&1) &
status=0
as_pod "${pods[0]}" Launcher >"$LAB/launcher.err" 2>&1 || status=$?
[ "$status" -eq 0 ] || lab_fail "the launcher ends with $status"
[ -d "$LAB/volume/one/checkpoints/step-00000020" ] || lab_fail "no checkpoint of the last step"
grep -q "tp 1 x dp 2 = 2 workers" "$LAB/launcher.err" || lab_fail "not two workers"
grep -q "${pods[2]}" "$LAB/launcher.err" || lab_fail "the late worker is not named while it is waited for"
[ "$(stat -c %u "$LAB/volume/one/run.json")" = $uid ] || lab_fail "written by another user"
echo "two workers, one late: trained as user $uid"
