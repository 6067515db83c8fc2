#!/usr/bin/env bash
# The files of `muster render storage` and `muster render argo`: against Argo's fields, and its own schema where a copy
# is beside the tree, with unknown fields as errors; then the commands of the workflow's steps, read from the file, in
# the order of its graph: with a server that cuts off and refuses once, and again, when nothing is left to do.
. "$(dirname "$0")/../e2e/lib.sh"
python=
for p in /usr/bin/python3 python3; do
    ! "$p" -c 'import yaml' 2>/dev/null || { python=$p && break; }
done
[ -n "$python" ] || { echo "skipped: no Python with yaml (Debian: python3-yaml)" && exit 77; }
for tool in curl promtool; do
    command -v $tool >/dev/null || { echo "skipped: no $tool (Debian: curl, prometheus)" && exit 77; }
done
for dir in "$MUSTER_SOURCE"/../{,../}shared/schemas; do
    [ ! -e "$dir/argo-workflows.schema.json" ] || export MUSTER_ARGO_SCHEMA=$dir/argo-workflows.schema.json
    [ ! -e "$dir/kubeflow.org_mpijobs.yaml" ] || export MUSTER_MPIJOB_CRD=$dir/kubeflow.org_mpijobs.yaml
done
[ -n "${MUSTER_ARGO_SCHEMA:-}" ] || echo "Argo's schema is not here: its fields are checked as the test knows them"
argo() { "$python" "$MUSTER_SOURCE/tests/k8s/argo.py" "$@"; }
export PYTHONDONTWRITEBYTECODE=1

# ---- the article's own run: GPT-NeoX-20B on 2 x 8 A100, and on A40 by parameters alone ----

neox=$MUSTER_SOURCE/configs/gpt-neox-20b.yml
muster render storage "$neox" class=neox-checkpoints:shared-nvme-las1,neox-data:shared-hdd-las1 >"$scratch/storage.yaml"
muster render argo "$neox" name=neox image=r/m:1 gate='ppl<=16.53' >"$scratch/argo.yaml"
muster render argo "$neox" name=neox image=r/m:1 gate='ppl<=16.53' part=retrain retrain_below=0.8 >"$scratch/retrain.yaml"
muster render argo "$neox" name=neox image=r/m:1 gate='ppl<=16.53' part=alert retrain_below=0.8 >"$scratch/alert.rules"
# the metric that it reads is one that `muster serve` has
metric=$(sed -n 's/.*avg_over_time(\([a-z_]*\)\[.*/\1/p' "$scratch/alert.rules")
[ -n "$metric" ] && grep -q "\"$metric\"" "$MUSTER_SOURCE/launcher/serve/metrics.c" || fail "no served model has the metric '$metric'"
# the same as numbered files, which kubectl applies in their order; a second time writes the same
for _ in 1 2; do
    muster render storage "$neox" class=neox-checkpoints:shared-nvme-las1,neox-data:shared-hdd-las1 --output "$scratch/k8s/files" 2>/dev/null
    muster render argo "$neox" name=neox image=r/m:1 gate='ppl<=16.53' retrain_below=0.8 --output "$scratch/k8s/files" 2>/dev/null
done
[ "$(ls "$scratch/k8s/files" | paste -sd' ')" = "01-claims.yaml 02-account.yaml 03-secret.yaml 04-workflow.yaml 05-retrain.yaml 06-alert.rules" ] ||
    fail "the files: $(ls "$scratch/k8s/files")"
cmp "$scratch/argo.yaml" "$scratch/k8s/files/04-workflow.yaml" && cmp "$scratch/retrain.yaml" "$scratch/k8s/files/05-retrain.yaml" &&
    cmp "$scratch/alert.rules" "$scratch/k8s/files/06-alert.rules" || fail "a file is not what is printed"
cat "$scratch"/k8s/files/0[123]*.yaml | grep -v '^# Written by' | cmp - <(grep -v '^# Written by' "$scratch/storage.yaml") || fail "storage as files"
promtool check rules "$scratch/alert.rules" >"$scratch/promtool" || fail "promtool: $(cat "$scratch/promtool")"
a40=(run_name=a40 trainer_gpu=A40 use_ib=false micro_batch_size=4 gradient_accumulation_steps=192)
for case in "run_name=finetune_gpt_neox" "${a40[*]}"; do
    rm -rf "$scratch/steps"
    mkdir "$scratch/steps"
    argo "$scratch"/{storage,argo,retrain}.yaml -- "$scratch/steps" $case || fail "not as Argo takes it: $case"
    "$python" "$MUSTER_SOURCE/tests/k8s/check.py" "$scratch/steps/job.yaml" || fail "not as the operator takes it: $case"
done
# the same, which also serves the model: vLLM on the export, by a GPU
muster render storage "$neox" serve=vllm >"$scratch/storage-serve.yaml"
muster render argo "$neox" name=neox image=r/m:1 gate='ppl<=16.53' serve=vllm serve_image=vllm/vllm-openai:v0.11.0 serve_gpus=1 serve_memory=128Gi \
    serve_replicas=2 serve_secret=tokens >"$scratch/argo-serve.yaml"
rm -rf "$scratch/steps-serve"
mkdir "$scratch/steps-serve"
argo "$scratch"/{storage-serve,argo-serve}.yaml -- "$scratch/steps-serve" run_name=one || fail "not as Argo takes it: serve=vllm"
"$python" "$MUSTER_SOURCE/tests/k8s/serve.py" "$scratch/steps-serve/serving.yaml" || fail "what it applies to serve"
grep -q '/neox-checkpoints/20B_finetuned_checkpoint/one.hf' "$scratch/steps-serve/serving.yaml" || fail "another model is served than the run's export"
grep -q 'A40' "$scratch/steps/job.yaml" && grep -q 'rdma/ib: .0.' "$scratch/steps/job.yaml" || fail "the A40 option does not reach the job"
# D2, D3: the first step says what the run is before anything is fetched
runs() { # STEP [NAME=VALUE...]: its script, as its container has it
    local script
    script=$(echo "$scratch"/steps/*-"$1".sh)
    (
        while IFS= read -r -d '' pair; do export "$pair"; done <"${script%.sh}.env"
        for pair in PAUSE=0 "${@:2}"; do export "$pair"; done
        sed "s#/etc/muster/config.yml#$scratch/steps/config.yml#" "$script" >"$scratch/step.sh"
        sh "$scratch/step.sh"
    ) >"$scratch/$1.out" 2>&1
}
runs parameters || fail "the article's parameters are refused: $(cat "$scratch/parameters.out")"
grep -q "1536" "$scratch/parameters.out" || fail "the plan does not say the global batch: $(cat "$scratch/parameters.out")"
grep -q "150.000\|150000" "$scratch/parameters.out" || fail "the plan does not say the steps"
for bad in SERVE_MODEL=maybe RUN_NAME= RUN_NAME=../up RUN_NAME='a;b' TRAINER_NODES=0 TRAINER_NODES=two USE_IB=yes DATASET_PATH=/etc DATASET_FILE=a/../../b \
    MICRO_BATCH_SIZE=08 TOKENIZER_FILE='$(id)'; do
    expect_exit 2 runs parameters "$bad"
    grep -qi "parameter ${bad%%=*}:" "$scratch/parameters.out" || fail "$bad is not named: $(cat "$scratch/parameters.out")"
done
expect_exit 78 runs parameters MICRO_BATCH_SIZE=7 # 1536 sequences are no multiple

# what is refused when it is rendered
refused() { # CODE WORD ARGUMENT...
    local code=$1 what=$2
    shift 2
    expect_exit "$code" muster render "$@" >"$scratch/refused" 2>&1
    grep -q -- "$what" "$scratch/refused" || fail "muster render $*: $(cat "$scratch/refused")"
}
refused 78 'claim neox-checkpoints' storage "$neox" sizes=neox-checkpoints:512Gi # D4: the article's, full at the second checkpoint
refused 78 'outside every volume' argo "$neox" image=i:1 'gate=ppl<2' save=/mnt/data/run # D6
refused 2 'Secret' storage "$neox" wandb_secret_name=0123456789abcdef0123456789abcdef01234567 # D11
refused 2 'Secret' argo "$neox" image=i:1 'gate=ppl<2' wandb_api_key=x
refused 2 'password' argo "$neox" image=i:1 'gate=ppl<2' dataset_url=https://me:word@host/a.txt
refused 2 'gate' argo "$neox" image=i:1
refused 2 'gate' argo "$neox" image=i:1 gate='pplx<2'
refused 2 'volumes' argo "$neox" image=i:1 'gate=ppl<2' volumes=a:/a
refused 2 'retrain_below' argo "$neox" image=i:1 'gate=ppl<2' part=alert
refused 2 'name' argo "$neox" image=i:1 'gate=ppl<2' name=a-name-that-is-far-too-long-for-pods
refused 2 'mlflow_tracking_uri' argo "$neox" image=i:1 'gate=ppl<2' register_name=m
refused 2 'register_alias' argo "$neox" image=i:1 'gate=ppl<2' register_name=m register_alias=a/b mlflow_tracking_uri=http://m
refused 2 'password' argo "$neox" image=i:1 'gate=ppl<2' register_name=m mlflow_tracking_uri=http://me:word@m
refused 2 'serve_image' argo "$neox" image=i:1 'gate=ppl<2' serve=vllm
refused 2 'serve' argo "$neox" image=i:1 'gate=ppl<2' serve=kserve
refused 78 'memory=1Gi' argo "$neox" image=i:1 'gate=ppl<2' serve=muster serve_memory=1Gi
refused 2 'output' mpijob "$neox" image=i:1 --output "$scratch/none"
[ ! -e "$scratch/none" ] || fail "a refused command makes a folder"
refused 2 'true|false' argo "$neox" image=i:1 'gate=ppl<2' use_ib=True

# the nine mistakes of the article's file (values that are no texts), and others: the check can fail
mutant() { # WORD EDIT [-serve]
    sed -E "$2" "$scratch/argo${3-}.yaml" >"$scratch/mutant.yaml"
    ! cmp -s "$scratch/argo${3-}.yaml" "$scratch/mutant.yaml" || fail "the edit $2 changes nothing"
    ! argo "$scratch/storage${3-}.yaml" "$scratch/mutant.yaml" -- "$scratch/steps" run_name=x 2>"$scratch/mutant.err" || fail "accepts $2"
    grep -q "$1" "$scratch/mutant.err" || fail "refuses $2 for another reason: $(cat "$scratch/mutant.err")"
}
for value in '"true"' '"2"' '"8"' '"96"'; do mutant 'string is wanted' "s/^        value: $value\$/        value: ${value//\"/}/"; done
mutant 'string is wanted' 's/limit: "5"/limit: 5/'
mutant 'string is wanted' 's/enum: \["true", "false"\]/enum: [true, false]/'
mutant 'unknown field' 's/ttlStrategy:/ttlStrategies:/'
mutant 'unknown field' 's/setOwnerReference/setOwnerReferences/'
mutant 'before the job' 's/failed > 6/failed > 0/'
mutant 'outlives' 's/setOwnerReference: true/setOwnerReference: false/'
mutant 'retries' 's/\[69, 74/[65, 69, 74/'
mutant 'wait for' 's/depends: "gate"/depends: "gates"/'
mutant 'no template' 's/name: export, template: export/name: export, template: exports/'
mutant 'nothing uses' 's/run_name\}\}/image}}/'
mutant 'not defined' 's/- name: dataset_sha256/- name: dataset_sha/'
mutant 'same place' '/^      synchronization:/,+2d'
mutant 'mounts no claim' 's/(volume-[01], )persistentVolumeClaim: \{claimName: "[^"]*"\}/\1emptyDir: {}/'
mutant 'follow serve_model' 's/(name: served, .*), when: [^}]*\}\} == true"/\1/' -serve
mutant 'served: ' 's/action: get/action: apply/' -serve
mutant 'does not end as its Job' 's/status.failed > 2/status.failed > 0/' -serve
mutant 'for ever' '/activeDeadlineSeconds: "/d' -serve
! argo "$scratch"/{storage,argo-serve}.yaml -- "$scratch/steps-serve" run_name=one 2>"$scratch/mutant.err" || fail "an account without serve= suffices"
grep -q 'Role allows' "$scratch/mutant.err" || fail "$(cat "$scratch/mutant.err")"
echo "rendered: as Argo and the operator take it"

# ---- a small run of the same file's commands ----

sed -i 's/^train_iters: .*/train_iters: 4/; s/^checkpoint_factor: .*/checkpoint_factor: 2/; /^train_batch_size/d
     s/^eval_interval: .*/eval_interval: 100/' "$scratch/model.yml"
mkdir -p "$scratch"/{www/neox/configs,c,d,home/.ssh}
make_data "$scratch/data" >/dev/null || fail "no data"
muster run "$scratch/model.yml" --run-dir "$scratch/base" train_iters=1 train_batch_size=8 >"$scratch/base.out" 2>&1 ||
    fail "base: $(tail "$scratch/base.out")"
muster export "$scratch/base" --output "$scratch/www/cut-hf" 2>/dev/null || fail "no base model"
head -c 400000 "$scratch/data.txt" >"$scratch/www/busy-cut.txt"
echo one >"$scratch/www/neox/layer_00-model_00-model_states.pt"
echo two >"$scratch/www/neox/configs/20B.yml"
echo key >"$scratch/home/.ssh/id_rsa.pub"
echo "localhost slots=1" >"$scratch/hosts"
"$python" "$MUSTER_SOURCE/tests/k8s/file_server.py" "$scratch/www" "$scratch/port" &
server=$!
python3 "$MUSTER_SOURCE/tests/e2e/mlflow_server.py" "$scratch/mlflow" &
registry=$!
at_end kill $server $registry
for ((i = 0; i < 200; i++)); do [ ! -s "$scratch/port" ] || [ ! -s "$scratch/mlflow" ] || break; sleep 0.05; done
url=http://127.0.0.1:$(cat "$scratch/port")

muster render argo "$scratch/model.yml" name=small image=i:1 volumes="ckpts:$scratch/c,data:$scratch/d" gpus=0 trainer_nodes=1 \
    micro_batch_size=8 gradient_accumulation_steps=1 region=none trainer_gpu=none home="$scratch/home" cpu=1 memory=1Gi \
    model_weights_url="$url/cut-hf/" pretrained_checkpoint_path=base tokenizer_file=base/tokenizer.json finetuned_checkpoint_path=runs \
    dataset_url="$url/busy-cut.txt" dataset_file=a.txt tokenized_dataset_path=sets/a gate='ppl<1e6,tokens>0' \
    serve=muster serve_cpu=1 register_name=tuned register_alias=production mlflow_tracking_uri="http://127.0.0.1:$(cat "$scratch/mlflow")" \
    mlflow_secret_name=mlflow-token >"$scratch/argo.yaml"
grep -q 'secretKeyRef: {name: .*mlflow_secret_name.*key: token' "$scratch/argo.yaml" || fail "no token for the registry"
muster render storage "$scratch/model.yml" name=small volumes="ckpts:$scratch/c,data:$scratch/d" part=secret mlflow_secret_name=mlflow-token \
    micro_batch_size=8 gradient_accumulation_steps=1 | grep -q 'name: mlflow-token' || fail "no place for the registry's token"
rm -rf "$scratch/steps"
mkdir "$scratch/steps"
argo "$scratch/argo.yaml" -- "$scratch/steps" run_name=first || fail "the small workflow"

train() { # as the launcher's container has it, but for its mounts
    sed "s#/etc/muster/config.yml#$scratch/steps/config.yml#; s#/etc/mpi/hostfile#$scratch/hosts#; s#/tmp/known_hosts#$scratch/known_hosts#" \
        "$scratch"/steps/*-train.sh >"$scratch/train.sh"
    sh "$scratch/train.sh" >"$scratch/train.out" 2>&1
}
order=$(cd "$scratch/steps" && ls *.sh | sed -E 's/^[0-9]+-(.*)\.sh$/\1/' | paste -sd' ')
[ "$order" = "parameters fetch-model fetch-data import prepare train gate export register" ] || fail "the graph's order is: $order"
all_steps() {
    local step
    for step in $order; do
        if [ "$step" = train ]; then train; else runs "$step"; fi || fail "$1: $step ends with $?: $(tail -n 20 "$scratch/$step.out")"
    done
}
all_steps "the first time"
cmp "$scratch/www/cut-hf/model.safetensors" "$scratch/c/base/model.safetensors" || fail "the model is not what was served"
cmp "$scratch/www/busy-cut.txt" "$scratch/d/datasets/a.txt" || fail "the text is not what was served"
grep -q "try 1" "$scratch/fetch-model.out" && grep -q "try 1" "$scratch/fetch-data.out" || fail "nothing was cut off: $(cat "$scratch/fetch-data.out")"
[ -s "$scratch/c/runs/first.hf/model.safetensors" ] || fail "nothing is exported"
registered() {
    grep -qE '^\{"tuned": \{"aliases": \{"production": "1"\}, "versions": \{"1": "[^"]*"\}\}\}$' "$scratch/mlflow.models" ||
        fail "the registry has: $(cat "$scratch/mlflow.models")"
}
registered
cmp "$scratch/c/runs/first.hf/model.safetensors" "$(find "$scratch/mlflow.artifacts" -name model.safetensors)" || fail "another model is registered"
weights=$(sed -n 's/.*model_weights_sha256=//p' "$scratch/fetch-model.out")
text=$(sed -n 's/.*dataset_sha256=//p' "$scratch/fetch-data.out")
echo "the commands in order: fetched through cuts, trained, gated, exported"

# what the workflow applies to serve: the Job's own commands
mkdir "$scratch/serving"
"$python" "$MUSTER_SOURCE/tests/k8s/serve.py" "$scratch/steps/serving.yaml" -- "$scratch/serving" || fail "what it applies to serve"
listens=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
mapfile -d '' words < <(sed "s#0.0.0.0:8080#127.0.0.1:$listens#; s#\$(POD)#pod#" "$scratch/serving/server")
"${words[@]}" 2>"$scratch/serve.log" &
serving=$!
at_end kill $serving
until grep -q 'ready: ' "$scratch/serve.log"; do
    kill -0 $serving 2>/dev/null || fail "the server ended: $(cat "$scratch/serve.log")"
    sleep 0.05
done
sed "s#127.0.0.1:8080#127.0.0.1:$listens#" "$scratch/serving/smoke.sh" >"$scratch/smoke.sh"
sh "$scratch/smoke.sh" >"$scratch/smoke.out" 2>&1 || fail "the smoke test: $(cat "$scratch/smoke.out" "$scratch/serve.log")"
kill $serving
wait $serving || fail "the server ends with $?"
expect_exit 69 sh "$scratch/smoke.sh" >"$scratch/smoke.out" 2>&1
echo "what was trained is served, as the workflow would"

before=$(find "$scratch/c" "$scratch/d" -name '*.safetensors' -o -name 'manifest.json' | LC_ALL=C sort | xargs sha256sum)
all_steps "again"
[ "$before" = "$(find "$scratch/c" "$scratch/d" -name '*.safetensors' -o -name 'manifest.json' | LC_ALL=C sort | xargs sha256sum)" ] ||
    fail "a second time makes other files"
registered
expect_exit 87 runs gate GATE='ppl<1e6,ppl<=1.01'
grep -q ppl "$scratch/gate.out" || fail "the gate is not named"

# what a fetch that was killed left: it goes on at its end; a part that is whole is not fetched again; one that is
# longer than the file, of a server that has no ranges, or of which nothing is said, is fetched anew
resumed() { # NAME FILE: what lies in FILE is the part; prints where the requests began
    : >"$scratch/port.log"
    cp "$2" "$scratch/d/datasets/$1.part"
    runs fetch-data DATASET_URL="$url/$1" DATASET_FILE="$1" || fail "$1 after $(stat -c %s "$2") bytes: $(cat "$scratch/fetch-data.out")"
    cmp "$scratch/www/busy-cut.txt" "$scratch/d/datasets/$1" || fail "$1 after $(stat -c %s "$2") bytes is another file"
    rm "$scratch/d/datasets/$1"
    cut -d' ' -f2 "$scratch/port.log" | paste -sd' '
}
size=$(stat -c %s "$scratch/www/busy-cut.txt")
for name in b.txt whole.txt terse.txt; do ln "$scratch/www/busy-cut.txt" "$scratch/www/$name"; done
head -c 1000 "$scratch/www/busy-cut.txt" >"$scratch/some"
head -c $((size + 1)) /dev/zero >"$scratch/longer"
for case in "b.txt some:1000" "b.txt busy:$size" "b.txt longer:$((size + 1)) 0" "whole.txt some:0 0" "terse.txt busy:$size 0"; do
    read -r name part <<<"${case%%:*}"
    [ "$part" = busy ] && part=$scratch/www/busy-cut.txt || part=$scratch/$part
    found=$(resumed "$name" "$part") || exit 1
    [ "$found" = "${case#*:}" ] || fail "$case: requests began at $found"
done
echo "a fetch goes on where it was cut off"

# what is skipped is verified
skip=(DOWNLOAD_CHECKPOINT=false DOWNLOAD_DATASET=false TOKENIZE_DATASET=false)
for step in fetch-model fetch-data prepare; do
    runs $step "${skip[@]}" MODEL_WEIGHTS_SHA256="$weights" DATASET_SHA256="$text" || fail "skipped $step: $(cat "$scratch/$step.out")"
    expect_exit 66 runs $step "${skip[@]}" PRETRAINED_CHECKPOINT_PATH=no DATASET_PATH=no TOKENIZED_DATASET_PATH=no
done
expect_exit 65 runs fetch-data "${skip[@]}" DATASET_SHA256="$weights"
expect_exit 65 runs fetch-model "${skip[@]}" MODEL_WEIGHTS_SHA256="$text"
printf x | dd of="$scratch/c/base/model.safetensors" bs=1 seek=1000 conv=notrunc 2>/dev/null
expect_exit 65 runs fetch-model "${skip[@]}"
# a server without the file, one that is not there, a directory as gpt-neox's has it
expect_exit 66 runs fetch-data DATASET_URL="$url/no.txt" DATASET_FILE=no.txt
grep -q "no.txt: HTTP 404" "$scratch/fetch-data.out" || fail "which file? $(cat "$scratch/fetch-data.out")"
expect_exit 69 runs fetch-data DATASET_URL=http://127.0.0.1:9/no.txt DATASET_FILE=no.txt
runs fetch-model MODEL_WEIGHTS_URL="$url/neox" PRETRAINED_CHECKPOINT_PATH=neox || fail "a listed directory: $(cat "$scratch/fetch-model.out")"
diff -r -x SHA256SUMS "$scratch/www/neox" "$scratch/c/neox" || fail "the listed directory differs"
echo "skipped steps are verified; what is missing or damaged is named"
