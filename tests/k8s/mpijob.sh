#!/usr/bin/env bash
# The rendered MPIJob and the kustomizations of the tree, as the API server and the MPI operator would take them. The
# operator's schema is taken from a copy beside the tree when there is one.
set -euo pipefail
scratch=$(mktemp -d "${TMPDIR:-/tmp}/muster-k8s-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
fail() {
    echo "FAILED: $*" >&2
    exit 1
}
python=${MUSTER_K8S_PYTHON:-} # one that has kubernetes-validate, where there is one
[ -n "$python" ] || for p in /usr/bin/python3 python3; do
    ! "$p" -c 'import yaml' 2>/dev/null || { python=$p && break; }
done
[ -n "$python" ] || { echo "skipped: no Python with yaml (Debian: python3-yaml)" && exit 77; }
check() { "$python" "$MUSTER_SOURCE/tests/k8s/check.py" "$@"; }
cpu=$MUSTER_SOURCE/k8s/overlays/cpu
for schema in "$MUSTER_SOURCE"/../{,../}shared/schemas/kubeflow.org_mpijobs.yaml; do
    [ ! -e "$schema" ] || export MUSTER_MPIJOB_CRD=$schema
done
[ -n "${MUSTER_MPIJOB_CRD:-}" ] || echo "the operator's schema is not here: its fields are checked as the test knows them"

# every job.yaml is what the command above it prints; of its config, which names all keys, the values count, so that a
# new key with a default makes none of them old
values() { # FILE: of the config in the ConfigMap
    "$python" -c 'import sys, yaml; print(next(yaml.safe_load_all(open(sys.argv[1])))["data"]["config.yml"], end="")' \
        "$1" >"$scratch/values.yml" && "$MUSTER_BIN/muster" config "$scratch/values.yml" --json 2>/dev/null | sed 's/"origin": .*//'
}
rest() { # FILE: all but that
    sed '/^  config.yml: |$/,/^---$/d' "$1"
}
for job in "$MUSTER_SOURCE"/k8s/overlays/*/job.yaml; do
    sed -nE 's/^#   (muster render .*)/\1/p; s/^#     (.*)/\1/p' "${job%/*}/kustomization.yaml" |
        sed -E 's| *> k8s/[a-z0-9/-]+job.yaml$||' >"$scratch/command"
    (cd "$MUSTER_SOURCE" && PATH=$MUSTER_BIN:$PATH bash -e "$scratch/command") >"$scratch/again.yaml" 2>"$scratch/again.err" ||
        fail "$job: its command fails: $(cat "$scratch/again.err")"
    diff <(rest "$scratch/again.yaml") <(rest "$job") >&2 || fail "$job is not what its command prints"
    values "$scratch/again.yaml" >"$scratch/a"
    values "$job" >"$scratch/b"
    [ "$(wc -l <"$scratch/a")" -gt 50 ] || fail "no values of the config"
    diff "$scratch/a" "$scratch/b" >&2 || fail "$job holds another config than its command prints"
done
[ "$(ls "$MUSTER_SOURCE"/k8s/overlays/*/job.yaml | wc -l)" -ge 3 ] || fail "the jobs of the tree are gone"
cp "$cpu/job.yaml" "$scratch/job.yaml"
"$MUSTER_BIN/muster" render mpijob "$cpu/config.yml" name=other image=r:5000/m@sha256:00 namespace=ml queue=q deadline=600 \
    launcher_creation=WaitForWorkersReady slots=4 workers=4 volumes=c:/runs,d:/data region=LAS1 secret=tracker >"$scratch/all.yaml"
"$MUSTER_BIN/muster" render mpijob "$cpu/config.yml" name=cards image=i:1 gpus=8 rdma=1 gpu_model=A100_NVLINK_80GB \
    volumes=c:/runs,d:/data secret=tracker:token=WANDB_API_KEY muster.device=cuda "save=/runs/an odd \"name\"" >"$scratch/gpus.yaml"
"$MUSTER_BIN/muster" render mpijob "$cpu/config.yml" name=owned image=i:1 volumes=c:/runs,d:/data \
    owner_uid=7f3c2a10-5b1e-4d7c-9a43-0f5e6d7c8b9a >"$scratch/owned.yaml"
# names that a parser of YAML takes for something else: each is a string still
for word in yes no on off true false null y n; do
    "$MUSTER_BIN/muster" render mpijob "$cpu/config.yml" name=$word image=$word namespace=$word queue=$word secret=$word \
        "volumes=$word:/runs,d:/data" gpu_label=$word gpu_model=$word region=$word owner_uid=7f3c2a10-5b1e-4d7c-9a43-0f5e6d7c8b9a \
        2>/dev/null >"$scratch/word-$word.yaml"
done
command -v kubectl >/dev/null || echo "no kubectl here: the kustomizations are put together by the check itself"
check "$scratch/job.yaml" "$scratch"/word-*.yaml "$scratch/all.yaml" "$scratch/gpus.yaml" "$scratch/owned.yaml" "$MUSTER_SOURCE/k8s/base" "$MUSTER_SOURCE"/k8s/overlays/*/ |
    tee "$scratch/checked" || fail "not as the API server and the operator take it"
[ -z "${MUSTER_K8S_PYTHON:-}" ] || [ "$(grep -c 'kubernetes-validate .* saw [1-9]' "$scratch/checked")" -ge 10 ] ||
    fail "$MUSTER_K8S_PYTHON has no kubernetes-validate, or saw too little"

# the config in the ConfigMap is the config
"$python" -c 'import sys, yaml; print(next(yaml.safe_load_all(open(sys.argv[1])))["data"]["config.yml"], end="")' \
    "$scratch/job.yaml" >"$scratch/config.yml"
for f in "$scratch/config.yml" "$cpu/config.yml"; do
    "$MUSTER_BIN/muster" config "$f" --workers 2 --json 2>/dev/null | sed 's/"origin": .*//'
done >"$scratch/both"
n=$(wc -l <"$scratch/both")
cmp <(head -n $((n / 2)) "$scratch/both") <(tail -n $((n / 2)) "$scratch/both") || fail "the ConfigMap holds another config"

# the checker can fail
refused() { # WORD EDIT
    sed "$2" "$scratch/job.yaml" >"$scratch/bad.yaml"
    ! cmp -s "$scratch/job.yaml" "$scratch/bad.yaml" || fail "the edit $2 changes nothing"
    ! check "$scratch/bad.yaml" 2>"$scratch/bad.err" || fail "accepts $2"
    grep -q "$1" "$scratch/bad.err" || fail "refuses $2 for another reason: $(cat "$scratch/bad.err")"
}
refused restartPolicy 's/restartPolicy: OnFailure/restartPolicy: Always/'
refused launcherCreationPolicy 's/launcherCreationPolicy: AtStartup/launcherCreationPolicy: AtStart/'
refused "no ServiceAccount" 's/serviceAccountName: muster-muster/serviceAccountName: other/'
refused "unknown field token" 's/^automountServiceAccountToken: false/token: x/'
refused "checkpoint first" '/preStop/,+1d'
refused "checkpoint first" 's/terminationGracePeriodSeconds: 120/terminationGracePeriodSeconds: 30/'
refused "is lost" 's/exit 75$/exit 0/'
refused "is lost" "s/ \&\& : >.tmp.muster-drained'/'/"
refused "no cpu in limits" 's/limits: {cpu: "2", /limits: {/'
refused "thousandths" 's/memory: 4Gi/memory: 500m/'
refused "goes with the launcher" '/terminationMessagePolicy/d'
refused "unknown field endport" 's/endPort: 29999/endport: 29999/'
refused "no ConfigMap" 's/configMap: {name: muster-muster}/configMap: {name: muster-x}/'
refused "unknown field" 's/slotsPerWorker/slotsPerWorkers/'
refused "one of" 's/mpiImplementation: OpenMPI/mpiImplementation: OpenMpi/'
refused "unknown field enableServiceLink" 's/enableServiceLinks/enableServiceLink/'
cp "$scratch/owned.yaml" "$scratch/job.yaml"
refused "is owned by" 's/kind: MPIJob, name: owned/kind: MPIJob, name: other/'
refused "uid is missing" 's/, uid: "[^"]*"//'
