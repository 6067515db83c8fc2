#!/usr/bin/env bash
# `muster render serve`: the objects of each engine, with unknown fields as errors and what a rollout needs; then the
# Job's own commands: the server as it will be rolled out, and the client, which must pass, and must fail for a server
# that is none.
. "$(dirname "$0")/../e2e/lib.sh"
python=${MUSTER_K8S_PYTHON:-} # one that has kubernetes-validate, where there is one
[ -n "$python" ] || for p in /usr/bin/python3 python3; do
    ! "$p" -c 'import yaml' 2>/dev/null || { python=$p && break; }
done
[ -n "$python" ] || { echo "skipped: no Python with yaml (Debian: python3-yaml)" && exit 77; }
command -v curl >/dev/null || { echo "skipped: no curl (Debian: curl)" && exit 77; }
export PYTHONDONTWRITEBYTECODE=1 MUSTER_CUDA_LIBRARY=$scratch/none
check() { "$python" "$MUSTER_SOURCE/tests/k8s/serve.py" "$@"; }
render() { muster render serve "$@" 2>"$scratch/log" || fail "not rendered: $*: $(cat "$scratch/log")"; }

# ---- the objects ----

neox=$MUSTER_SOURCE/configs/pythia-70m.yml
on=(image=r/m:1 volumes=runs:/runs,data:/data save=/runs/one)
render "$neox" "${on[@]}" name=small >"$scratch/muster.yaml"
render "$neox" "${on[@]}" name=all namespace=ml replicas=3 model=2000 slots=4 slot_tokens=512 drain=60 token_secret=tokens \
    monitor=true gpus=1 gpu_model=A40 region=LAS1 served_name=chat-1.0 cpu=2500m memory=16Gi port=9000 >"$scratch/all.yaml"
render "$neox" "${on[@]}" name=v engine=vllm engine_image=vllm/vllm-openai:v0.11.0 gpus=2 token_secret=tokens monitor=true \
    export=/runs/two.hf >"$scratch/vllm.yaml"
render "$neox" "${on[@]}" name=k engine=kserve engine_image=kserve/huggingfaceserver:v0.16.0 gpus=1 >"$scratch/kserve.yaml"
for word in yes null on; do render "$neox" image=$word "volumes=$word:/runs" save=/runs/one name=$word namespace=$word token_secret=$word \
    served_name=$word >"$scratch/word-$word.yaml"; done
for file in "$scratch"/{muster,all,vllm,kserve,word-*}.yaml; do check "$file" >>"$scratch/checked" || fail "$file"; done
[ -z "${MUSTER_K8S_PYTHON:-}" ] || [ "$(grep -c 'kubernetes-validate .* saw [2-9]' "$scratch/checked")" -eq 7 ] ||
    fail "$MUSTER_K8S_PYTHON has no kubernetes-validate, or saw too little: $(cat "$scratch/checked")"
says() { grep -qF -- "$2" "$scratch/$1.yaml" || fail "no '$2' in $1.yaml"; }
says muster '"/runs/one@best"'
says muster '"--follow"'
says muster '"--no-auth"'
says all '"/runs/one@2000"'
says all '"--token-file=/etc/muster-token/token"'
! grep -q -- --follow "$scratch/all.yaml" || fail "a step that is named is followed"
says vllm '"/runs/two.hf"'
says vllm '"--tensor-parallel-size=2"'
says kserve 'storageUri: "pvc://runs/one.hf"'
says kserve '"--model_dir=/runs/one.hf"' # of the Job, which mounts the claim itself
# numbered files are the same objects; another server is another Job, and the same one the same
for _ in 1 2; do muster render serve "$neox" "${on[@]}" name=small --output "$scratch/files" 2>/dev/null; done
[ "$(ls "$scratch/files" | paste -sd' ')" = "07-smoke.yaml 08-serve.yaml" ] || fail "the files: $(ls "$scratch/files")"
grep -hv '^#' "$scratch"/files/*.yaml | grep -v '^---$' | cmp - <(grep -v '^#' "$scratch/muster.yaml" | grep -v '^---$') || fail "as files"
job() { sed -nE 's/^  name: (small-smoke-[0-9a-f]{10})$/\1/p' "$1"; }
muster render serve "$neox" "${on[@]}" name=small slots=9 part=smoke 2>/dev/null >"$scratch/other.yaml"
[ -n "$(job "$scratch/files/07-smoke.yaml")" ] && [ "$(job "$scratch/files/07-smoke.yaml")" != "$(job "$scratch/other.yaml")" ] ||
    fail "two servers have one Job"
grep -q "job/$(job "$scratch/files/07-smoke.yaml")" "$scratch/files/08-serve.yaml" || fail "the file does not say what to wait for"

# ---- what is refused ----

refused() { # CODE WORD ARGUMENT...
    local code=$1 what=$2
    shift 2
    expect_exit "$code" muster render serve "$neox" "$@" >"$scratch/refused" 2>&1
    grep -q -- "$what" "$scratch/refused" || fail "muster render serve $*: $(cat "$scratch/refused")"
}
refused 2 'image' volumes=runs:/runs save=/runs/one
refused 2 'engine' "${on[@]}" engine=tgi
refused 2 'engine_image' "${on[@]}" engine=vllm
refused 2 'engine_image' "${on[@]}" engine_image=i:1
refused 2 'gpus=2' "${on[@]}" gpus=2
refused 2 'model wants' "${on[@]}" model=newest
refused 2 'token_secret' "${on[@]}" engine=kserve engine_image=i:1 token_secret=t
refused 2 'too long' "${on[@]}" name=a-name-of-more-than-forty-characters-is-too-long
refused 2 'Secret' "${on[@]}" token_secret=0123456789abcdef0123456789abcdef01234567
refused 78 'outside every volume' image=i:1 volumes=runs:/other save=/runs/one
refused 78 'outside every volume' "${on[@]}" engine=vllm engine_image=i:1 export=/elsewhere/one
refused 78 'memory=512Mi' "${on[@]}" memory=512Mi
mutant() { # WORD EDIT: the check can fail
    sed -E "$2" "$scratch/all.yaml" >"$scratch/mutant.yaml"
    ! cmp -s "$scratch/all.yaml" "$scratch/mutant.yaml" || fail "the edit $2 changes nothing"
    ! check "$scratch/mutant.yaml" >/dev/null 2>"$scratch/mutant.err" || fail "accepts $2"
    grep -q "$1" "$scratch/mutant.err" || fail "refuses $2 for another reason: $(cat "$scratch/mutant.err")"
}
mutant 'unknown field' 's/minReadySeconds/minReadySecond/'
mutant 'unknown field' 's/failureThreshold/failureThresholds/'
mutant 'fewer pods' 's/maxUnavailable: 0/maxUnavailable: 1/'
mutant 'preStop' '/^ *lifecycle:/d'
mutant 'drained' 's/terminationGracePeriodSeconds: 80/terminationGracePeriodSeconds: 65/'
mutant 'no readinessProbe' '/^ *readinessProbe:/d'
mutant 'another port' 's/targetPort: 9000/targetPort: 9001/'
mutant 'another server' '0,/--slots=4/s/--slots=4/--slots=5/'
mutant 'sends it requests' 's/component: smoke/component: server/'
mutant 'server has ended' '/^ *restartPolicy: Always/d'
mutant 'another Service' 's/- port: http$/- port: https/'
echo "rendered: as the API server, KServe and the Prometheus operator take it"

# ---- the Job's own commands ----

make_data "$scratch/data"
run=$scratch/run
muster run "$scratch/model.yml" --workers 1 --run-dir "$run" train_iters=2 eval_interval=2 checkpoint_factor=2 >/dev/null 2>"$scratch/log" ||
    fail "$(cat "$scratch/log")"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
render "$scratch/model.yml" image=i:1 "volumes=runs:$scratch" "save=$run" name=small port="$port" cpu=1 token_secret=tokens \
    smoke_prompt=static >"$scratch/own.yaml"
mkdir "$scratch/own"
check "$scratch/own.yaml" -- "$scratch/own" || fail "the small model's objects"
printf 'a-token-of-some-length\n' >"$scratch/token"
here() { sed "s#/etc/muster-token/token#$scratch/token#g; s#\$(POD)#pod#g" "$1"; }
here "$scratch/own/smoke.sh" >"$scratch/smoke.sh"
mapfile -d '' words < <(here "$scratch/own/server")
"${words[@]}" 2>"$scratch/server.log" &
server=$!
at_end kill $server
ready() { curl -sf -o /dev/null "http://127.0.0.1:$port$(cat "$scratch/own/ready")"; }
until ready; do
    kill -0 $server 2>/dev/null || fail "the server ended: $(cat "$scratch/server.log")"
    sleep 0.05
done
sh "$scratch/smoke.sh" >"$scratch/out" 2>&1 || fail "the smoke test fails with $?: $(cat "$scratch/out")"
grep -q '"text":' "$scratch/out" || fail "it does not say what it got: $(cat "$scratch/out")"
sed "s/^url=.*name=small/&er/" "$scratch/smoke.sh" >"$scratch/other.sh"
expect_exit 65 sh "$scratch/other.sh" >"$scratch/out" 2>&1
grep -q 'none is called smaller' "$scratch/out" || fail "$(cat "$scratch/out")"
printf 'another token\n' >"$scratch/wrong"
sed "s#$scratch/token#$scratch/wrong#" "$scratch/smoke.sh" >"$scratch/other.sh"
expect_exit 69 sh "$scratch/other.sh" >"$scratch/out" 2>&1
grep -q '401' "$scratch/out" || fail "$(cat "$scratch/out")"
[ -e "$run/feedback-pod.jsonl" ] || fail "the pod has no feedback of its own: $(ls "$run")"

# ---- a rollout under load: what plays the Service and the kubelet is this script. No request is lost. ----

echo "$port" >"$scratch/endpoints"
client() { # NUMBER: each request goes where the Service has a ready pod
    local code=
    until [ -e "$scratch/enough" ]; do
        code=$(curl -s -o "$scratch/answer.$1" -w '%{http_code}' -H "Authorization: Bearer $(cat "$scratch/token")" \
            "http://127.0.0.1:$(head -n 1 "$scratch/endpoints")/v1/completions" -d '{"prompt":"static","max_tokens":60,"temperature":1}') || true
        echo "$code" >>"$scratch/codes.$1"
        [ "$code" = 200 ] || cat "$scratch/answer.$1" >>"$scratch/lost" 2>/dev/null
    done
}
clients=()
for i in 1 2 3 4; do
    client $i &
    clients+=($!)
done
second=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
mapfile -d '' words < <(here "$scratch/own/server" | sed "s#0.0.0.0:$port#0.0.0.0:$second#")
"${words[@]}" 2>"$scratch/second.log" &
new=$!
at_end kill $new
until curl -sf -o /dev/null "http://127.0.0.1:$second$(cat "$scratch/own/ready")"; do
    kill -0 $new 2>/dev/null || fail "the new server ended: $(cat "$scratch/second.log")"
    sleep 0.05
done
echo "$second" >"$scratch/endpoints.new"
mv "$scratch/endpoints.new" "$scratch/endpoints" # the old pod leaves the Service,
sleep 0.5                                         # its hook waits until all know,
kill -TERM $server                                # and it drains
wait $server || fail "the server ends with $?: $(cat "$scratch/server.log")"
sleep 0.5
: >"$scratch/enough"
wait "${clients[@]}"
[ ! -e "$scratch/lost" ] && ! grep -qv '^200$' "$scratch"/codes.* || fail "lost: $(sort "$scratch"/codes.* | uniq -c) $(cat "$scratch/lost")"
[ "$(cat "$scratch"/codes.* | wc -l)" -gt 8 ] || fail "no load"
echo "a rollout under load: $(cat "$scratch"/codes.* | wc -l) requests, none lost"
kill -TERM $new
wait $new || fail "the new server ends with $?: $(cat "$scratch/second.log")"
expect_exit 69 sh "$scratch/smoke.sh" >"$scratch/out" 2>&1
[ -z "$(ls "$TMPDIR")" ] || fail "left behind: $(ls "$TMPDIR")"
echo "the Job's commands: the server passes; no server, another name and another token do not"
