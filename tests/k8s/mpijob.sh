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
python=
for p in /usr/bin/python3 python3; do
    ! "$p" -c 'import yaml' 2>/dev/null || { python=$p && break; }
done
[ -n "$python" ] || { echo "skipped: no Python with yaml (Debian: python3-yaml)" && exit 77; }
check() { "$python" "$MUSTER_SOURCE/tests/k8s/check.py" "$@"; }
base=$MUSTER_SOURCE/k8s/base
for schema in "$MUSTER_SOURCE"/../{,../}shared/schemas/kubeflow.org_mpijobs.yaml; do
    [ ! -e "$schema" ] || export MUSTER_MPIJOB_CRD=$schema
done
[ -n "${MUSTER_MPIJOB_CRD:-}" ] || echo "the operator's schema is not here: its own rules are checked, the schema is not"

"$MUSTER_BIN/muster" render mpijob "$base/config.yml" name=muster image=muster:latest workers=2 cpu=2 memory=4Gi \
    volumes=muster-runs:/runs,muster-data:/data >"$scratch/job.yaml"
cmp "$scratch/job.yaml" "$base/job.yaml" || fail "k8s/base/job.yaml is not what its command prints"
"$MUSTER_BIN/muster" render mpijob "$base/config.yml" name=other image=r:5000/m@sha256:00 namespace=ml queue=q deadline=600 \
    launcher_creation=WaitForWorkersReady slots=4 workers=4 volumes=c:/runs,d:/data >"$scratch/all.yaml"
check "$scratch/job.yaml" "$scratch/all.yaml" "$base" "$MUSTER_SOURCE"/k8s/overlays/*/ || fail "not as the operator takes it"

# the config in the ConfigMap is the config
"$python" -c 'import sys, yaml; print(next(yaml.safe_load_all(open(sys.argv[1])))["data"]["config.yml"], end="")' \
    "$scratch/job.yaml" >"$scratch/config.yml"
for f in "$scratch/config.yml" "$base/config.yml"; do
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
refused "no ConfigMap" 's/configMap: {name: muster-muster}/configMap: {name: muster-x}/'
[ -z "${MUSTER_MPIJOB_CRD:-}" ] || refused "unknown field" 's/slotsPerWorker/slotsPerWorkers/'
[ -z "${MUSTER_MPIJOB_CRD:-}" ] || refused "one of" 's/mpiImplementation: OpenMPI/mpiImplementation: OpenMpi/'
