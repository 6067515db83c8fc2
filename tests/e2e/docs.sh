#!/usr/bin/env bash
# The commands of the pages, as they stand there: indented lines, lines between fences, and words in backticks. Whatever
# stands for something (CONFIG..., RUN_DIR, hosts a and b) is put in. sbatch, scancel, kubectl, podman, tensorboard and
# muster-wandb, which want a cluster, the network or Python packages, are played, and look at what they are given. A
# command that is not known here fails. The pages for people who come from another trainer, and those after them, run in
# a folder that has files of the names that they use. A server that a page starts answers the commands after it, and
# ends with the page.
. "$(dirname "$0")/lib.sh"
cd "$MUSTER_SOURCE"
python=
for p in /usr/bin/python3 python3; do
    ! "$p" -c 'import yaml' 2>/dev/null || { python=$p && break; }
done
# mpirun by hand: as root, and with more ranks than cores
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 \
    PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe

sed -i 's/^train_iters: .*/train_iters: 3/; s/^eval_interval: .*/eval_interval: 100/' "$scratch/model.yml"
make_data "$scratch/data"
grep -q '^data_path' "$scratch/model.yml" || printf 'data_path: %s\nvocab_file: %s.json\n' "$scratch/data" "$scratch/data" >>"$scratch/model.yml"
printf 'save: %s\n' "$scratch/run" >>"$scratch/model.yml"
echo "localhost slots=2" >"$scratch/hosts"

# ---- what is played ----

mkdir "$scratch/played"
export played=$scratch/played python
cat >"$played/sbatch" <<'END'
#!/bin/bash
# options as sbatch reads them, then a script that bash can read, then what `muster run` is given
while [[ $1 == --* ]]; do
    case $1 in --nodes | --partition | --ntasks-per-node | --gpus-per-node) shift 2 ;; *) echo "sbatch: $1" >&2 && exit 2 ;; esac
done
bash -n "$1" && shift && muster run "$@" --dry-run >/dev/null
END
cat >"$played/scancel" <<'END'
#!/bin/bash
[ "$*" = "--batch --signal=TERM 17" ]
END
cat >"$played/salloc" <<'END'
#!/bin/bash
[ "$1 $2" = "--nodes 4" ] && shift 2 && exec "$@" --dry-run
END
cat >"$played/kubectl" <<'END'
#!/bin/bash
case "$*" in
"apply -f -")
    cat >"$played/new.yaml" && [ -s "$played/new.yaml" ] || exit 1
    [ -z "$python" ] || "$python" "$MUSTER_SOURCE/tests/k8s/check.py" "$played/new.yaml" || exit 1
    ! grep -q '^kind: MPIJob' "$played/new.yaml" || mv "$played/new.yaml" "$played/applied.yaml"
    ;;
"delete pod muster-worker-0" | "describe pod") ;;
"get mpijob muster -o jsonpath={.metadata.uid}") echo 7f3c2a10-5b1e-4d7c-9a43-0f5e6d7c8b9a ;;
"delete mpijob muster") grep -q 'uid: "7f3c2a10' "$played/applied.yaml" ;;
"delete -k "*) ;;
"apply -f /"*) [ -s "$3/01-claims.yaml" ] && [ -s "$3/04-workflow.yaml" ] ;;
"apply -k "*) [ -z "$python" ] || "$python" "$MUSTER_SOURCE/tests/k8s/check.py" "$3" ;;
"wait --for=condition=complete --timeout=900s job/"*)
    grep -qx "  name: ${4#job/}" k8s/07-smoke.yaml && grep -q '^kind: Job' k8s/07-smoke.yaml ;;
"apply -f k8s/07-smoke.yaml") grep -q '^kind: Job$' "$3" ;; # e2e.k8s_serve looks at the objects
"apply -f k8s/08-serve.yaml") grep -q '^kind: Deployment$' "$3" ;;
"delete mpijob,"*" -l app.kubernetes.io/instance=muster") # every kind that is rendered, and its label
    kinds=$(sed -n 's/^kind: //p' "$played/applied.yaml" | tr 'A-Z' 'a-z' | sort | paste -sd,)
    [ "$(tr , '\n' <<<"$2" | sort | paste -sd,)" = "$kinds" ] && grep -q 'app.kubernetes.io/instance: ' "$played/applied.yaml" ;;
"kustomize"*) exec "$(PATH=${PATH#"$played:"} command -v kubectl)" "$@" ;;
*) echo "kubectl: $*" >&2 && exit 2 ;;
esac
END
cat >"$played/podman" <<'END'
#!/bin/bash
case $* in
"build -t muster:1 -f image/Dockerfile .") [ -s image/Dockerfile ] ;;
"build -t muster:cuda -f image/Dockerfile.cuda .") [ -s image/Dockerfile.cuda ] ;;
*) exit 2 ;;
esac
END
printf '#!/bin/bash\ncat >/dev/null\n' >"$played/true-kubectl"
printf '#!/bin/bash\n[ "$1" = --logdir ] && ls "$2"/events.out.tfevents.*\n' >"$played/tensorboard"
cat >"$played/muster-wandb" <<'END'
#!/bin/bash
[ $# -eq 1 ] && [ -s "$1/metrics.jsonl" ] && python3 "$MUSTER_SOURCE/scripts/muster-wandb" --help | grep -q '^usage: muster-wandb .* run$'
END
chmod +x "$played"/*
export MUSTER_SOURCE PATH=$played:$PATH

# ---- the commands ----

# indented lines, without the words after two blanks; and what stands in backticks with an argument
commands() {
    sed -E ':a; /^( {4}|(echo|muster|python) ).*[|\\]$/{ N; s/ *\\?\n +/ /; ta }' "$1" |
        sed -nE '/^```/,/^```/s/^(muster|tensorboard|curl|echo|python)/    \1/; s/^    \$? ?((muster|muster-worker|mpirun|sbatch|scancel|kubectl|podman|tensorboard|curl|echo|python) .*)/\1/p' |
        sed -E 's/^(muster( tokenizer)? [a-z]+) +/\1 /; s/ {2,}.*//; s/ the very mpirun command$//'
    tr '\n' ' ' <"$1" | sed -E 's/ +/ /g' | grep -oE '`(muster [a-z]|muster-wandb |muster-worker --|mpirun -|sbatch -|scancel -|salloc -|kubectl [ad])[^`]*`' | tr -d '`' |
        grep -E ' .* |--help|wandb ' | grep -vE 'mpirun .*train_gpt2cu|^muster [a-z]+ --[a-gi-z][a-z-]*$' # an option of a verb
}

# put_in_page COMMAND: what stands for something on this page alone
put_in_page() {
    local from="--tokenizer tokenizer.json --input a"
    case $page in
    docs/chat.md)
        sed -E -e "s#CONFIG\b#$scratch/chat.yml#; s#([ =])DATA\b#\1chat-data#; s#CKPT#$scratch/gated#; s#chats\.jsonl#$scratch/chats.jsonl#" \
            -e "s#^muster run .*#& --run-dir chatted#; s#\bRUN\b#chatted#; s#^(.*muster generate .*)#\1 --max-new-tokens 4#" <<<"$1" ;;
    docs/track.md)
        sed -E -e "s#\bRUN\b#$scratch/gated#; s#\bURI\b#$MLFLOW_TRACKING_URI#; s#\bDIR\b#board#; s#--listen 9400#--listen 0#" \
            -e "s#HF_DIR --register NAME#registered --register small#" <<<"$1" ;;
    docs/tokenizer.md) # the encoder's ids are what the decoder reads
        sed -E -e "s#train --input PATH\.\.\. --vocab-size N#train --input $scratch/data.txt --vocab-size 300#; s#^python (.*)#python_options '\1'#" \
            -e "s#^(.* encode) --tokenizer FILE --input PATH \[(--json) \| (--documents)\]#\1 $from >ids \&\& \1 $from \2 \&\& \1 $from \3#" \
            -e "s#decode --tokenizer FILE --input PATH#decode --tokenizer tokenizer.json --input ids | cmp a -#" \
            -e "s#CONFIG --input PATH\.\.\.(.*)#$scratch/model.yml --input a\1 --output special padded_vocab_size=640#" <<<"$1" ;;
    docs/serve.md)
        sed -E -e "s#(muster serve )RUN@best#\1$scratch/gated@best#; s#--listen 127.0.0.1:8080#--listen 127.0.0.1:0#; s#http://127.0.0.1:8080#${url:-}#" \
            -e "s#job/NAME-smoke-DIGEST#job/$(sed -nE 's/^  name: (.*-smoke-.*)/\1/p' "$folder/k8s/07-smoke.yaml" 2>/dev/null | head -n 1)#" <<<"$1" ;;
    *) echo "$1" ;;
    esac
}

# put_in COMMAND: with a file, a directory, a number for each word that stands for one
put_in() {
    put_in_page "$1" | sed -E -e "s#\bmy\.yml local_setup\.yml#125M.yml local_setup.yml#; s#VERB#run#; s#\bRUN\.\.\.#$scratch/run $scratch/gated#; s#--html FILE#--html $scratch/runs.html#" \
        -e "s#^(muster import ckpt/.* --config) my#\1 neox#; s#PEFT_DIR#adapter#; s#ADAPTER#adapter2#; s#import DIR#import $scratch/hf#" \
        -e "s#--base CKPT#--base base#; s#--input FILE\b#--input $newcomer/a#; s#^muster prepare CONFIG.*--input [^ ]*\$#& --output $scratch/brought#; s#--output DIR#--output out-$ran#; s#--text-key KEY#--text-key text#" \
        -e "s#^(muster run .*) --workers 8#\1 --workers 2#; s#--output hf\b#--output hf-$ran#; /--run-dir/! s#^muster run my.*#& --run-dir runs/$ran#" \
        -e "s#apply -f DIR#apply -f $scratch/files#; s#\bRUN(_B|@best)#$scratch/gated@best#; s#\bRUN_A\b#$scratch/gated#; s#\bHF_DIR\b#$scratch/hf#; s#\bMODEL\b#$scratch/gated#" \
        -e "s#'(ppl|loss)<=[0-9.]+'#'\1<=1e9'#g; s#'(tokens|acc)>=[0-9.]+'#'\1>=0'#g; s#test\.jsonl#$scratch/test.jsonl#" \
        -e 's#--prompt TEXT#--prompt int#; s#--max-new-tokens M#--max-new-tokens 2#; s#--bench N#--bench 2#' \
        -e "s#CONFIG\.\.\.#$scratch/model.yml#; s#RUN_DIR#$scratch/run#; s#\bRUN\b#$scratch/run#; s#--data DIR#--data $scratch/data#; s#--feedback FILE#--feedback $scratch/feedback#" \
        -e "s#--hostfile FILE#--hostfile $scratch/hosts#; s#a:2,b:2#localhost:2#; s#N\+1#3#; s#--workers N#--workers 2#" \
        -e 's#\[key=value\.\.\.\]#log_interval=5#; s#\[--gpu NAME \| --device-memory SIZE\]#--gpu A100#; s#--mfu FRACTION#--mfu 0.5#' \
        -e 's# SECONDS# 5#; s#\bJOB\b#17#; s#(instance=|mpijob |pod )NAME#\1muster#; s#worker-I\b#worker-0#; s#\[(--[^]]*)\]#\1#g' \
        -e "s#^(muster render (mpijob|trainjob) .*volumes=)[^ ]*#\1runs:$scratch#"
}

newcomer=$scratch/newcomer
ran=0
server= url=
# serve COMMAND: until it is ready; then it is at $url
serve() {
    local i
    end_server || return
    : >"$scratch/err" # the server before was ready too
    [[ $1 == *--listen* ]] || set -- "$1 --listen 127.0.0.1:0"
    (cd "$folder" && exec $1) >"$scratch/out" 2>"$scratch/err" </dev/null &
    server=$!
    for ((i = 0; i < 2000; i++)); do
        ! grep -q 'ready: ' "$scratch/err" || break
        kill -0 $server 2>/dev/null || { wait $server; return; }
        sleep 0.05
    done
    url=$(sed -nE 's/.*listening on (http[^ ]+).*/\1/p' "$scratch/err")
    [ -n "$url" ]
}
end_server() {
    [ -n "$server" ] || return 0
    kill $server
    wait $server || { echo "the server ended with $?" >&2; return 1; }
    server=
}
at_end eval '[ -z "$server" ] || kill -9 $server'
# python_options COMMAND: that the script knows the options that are shown; parity.tokenizer runs it
python_options() {
    local word
    for word in $1; do
        [[ $word != --* ]] || grep -qF -- "\"$word\"" "$MUSTER_SOURCE/${1%% *}" || { echo "$1: no $word" >&2; return 1; }
    done
}
export -f python_options
declare -A seen=()
try() {
    local command code=0
    command=$(put_in "$1")
    [ -z "${seen[$command]:-}" ] || return 0
    seen[$command]=1
    # what is quoted is a value
    ! grep -qE '[A-Z]{3,}\.\.\.|\[|<' <<<"$(sed "s/'[^']*'//g" <<<"${command//$scratch/}")" || fail "it is not known what to put into: $1"
    if [[ $command == "muster serve "* ]]; then
        serve "$command" || code=$?
    else
        (cd "$folder" && timeout 120 bash -o pipefail -c "$command") >"$scratch/out" 2>"$scratch/err" </dev/null || code=$?
    fi
    [ $code -eq 0 ] || fail "$page: $1
as: $command
ends with $code: $(tail -n 8 "$scratch/err")"
    ran=$((ran + 1))
}

muster render storage configs/gpt-neox-20b.yml --output "$scratch/files" 2>/dev/null
muster render argo configs/gpt-neox-20b.yml image=i:1 gate='ppl<=16.53' --output "$scratch/files" 2>/dev/null
# what gates and lineage want: a run that has evaluated, its export, labelled examples
muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/gated" eval_interval=1 >"$scratch/out" 2>&1 || fail "$(tail "$scratch/out")"
echo '{"reward":1}' >"$scratch/feedback"
muster export "$scratch/gated" --output "$scratch/hf" 2>"$scratch/out" || fail "$(cat "$scratch/out")"
echo '{"prompt": "int", "choices": ["main", "x"], "answer": 0}' >"$scratch/test.jsonl"

mkdir -p "$newcomer/ckpt"
sed "s#^save: .*#save: runs/my#; s/^train_iters: .*/train_iters: 2/; s/^eval_interval: .*/eval_interval: 2/" "$scratch/model.yml" >"$newcomer/my.yml"
cp "$newcomer/my.yml" "$newcomer/config.yml"
grep -vE '^(save|data_path|vocab_file):' "$newcomer/my.yml" >"$newcomer/125M.yml"
printf '%s\n' 'save: checkpoints' 'load: checkpoints' 'data_path: data/mydata' 'vocab_file: 20B_tokenizer.json' >"$newcomer/local_setup.yml"
cp -r tests/data/hf/neox-pt "$newcomer/ckpt/global_step100"
cp tests/data/hf/neox-pt/configs/model.yml "$newcomer/neox.yml"
cp "$scratch/data.json" "$newcomer/20B_tokenizer.json"
cp "$scratch/hosts" "$newcomer/hosts"
head -c 20000 "$scratch/data.txt" >"$newcomer/a"
"${python:-python3}" -c 'import json, sys; [print(json.dumps({"text": p})) for p in sys.stdin.read().split("\n\n")]' <"$newcomer/a" >"$newcomer/a.jsonl"
(cd "$newcomer" && muster prepare 125M.yml local_setup.yml --input a.jsonl) >"$scratch/out" 2>&1 || fail "$(cat "$scratch/out")"

{ cat "$scratch/model.yml" && printf 'muster: {chat_template: plain}\n'; } | sed '/^save:/d; /^data_path:/d' >"$scratch/chat.yml"
awk 'BEGIN { for (i = 0; i < 300; i++) printf "{\"messages\": [{\"role\": \"user\", \"content\": \"what is %d?\"}, {\"role\": \"assistant\", \"content\": \"it is %d\"}]}\n", i % 37, i % 7 }' >"$scratch/chats.jsonl"

folder=$MUSTER_SOURCE
for page in docs/bare-metal.md docs/slurm.md docs/kubernetes.md docs/plan.md docs/gates.md docs/lineage.md docs/watching.md \
    docs/not-starting.md docs/from-gpt-neox.md docs/from-others.md docs/adapters.md docs/chat.md docs/tokenizer.md docs/serve.md; do
    before=$ran
    case $page in *from*) folder=$newcomer ;; esac # and in those after it
    while IFS= read -r line; do try "$line"; done < <(commands "$page")
    end_server || fail "$page: $(cat "$scratch/err")"
    echo "$page: $((ran - before)) commands"
    [ $ran -gt $before ] || fail "$page has no command that can be found"
done

# trackers of a run, with a stand-in of MLflow
page=docs/track.md
python3 tests/e2e/mlflow_server.py "$scratch/mlflow" &
at_end kill $!
for ((i = 0; i < 400; i++)); do [ ! -s "$scratch/mlflow" ] || break; sleep 0.05; done
export MLFLOW_TRACKING_URI=http://127.0.0.1:$(cat "$scratch/mlflow")
before=$ran
while IFS= read -r line; do try "$line"; done < <(commands "$page")
echo "$page: $((ran - before)) commands"
[ $((ran - before)) -ge 8 ] || fail "$page has commands that are not found"
grep -q '"small": {"aliases": {"production": "1"}' "$scratch/mlflow.models" || fail "$page: the registry has: $(cat "$scratch/mlflow.models")"
unset MLFLOW_TRACKING_URI

# every path that docs/serve.md lists is there
page=docs/serve.md
serve "muster serve $scratch/gated@best --name NAME --no-auth" || fail "$(cat "$scratch/err")"
declare -A body=([GET]= [POST]='-d {}')
method=GET
while IFS= read -r path; do
    case $path in GET\ * | POST\ *) method=${path%% *} ;; esac
    path=${path##* }
    code=$(curl -s -o "$scratch/out" -w '%{http_code}' -X $method ${body[$method]} "$url${path/#.../\/v2\/models\/NAME}")
    [[ $method$code =~ ^(GET200|POST(200|400|422))$ ]] || fail "$page: $method $path answers $code: $(cat "$scratch/out")"
done < <(sed -n '/^| path /,/^$/s/^| \([^|]*\).*/\1/p' $page | grep -oE '`[^`]*/[^`]*`' | tr -d '`')
end_server || fail "$page: $(cat "$scratch/err")"

# README: the commands for a text of one's own, in their order
page=README.md
mkdir "$scratch/own"
sed 's/^train_iters: .*/train_iters: 2/; s/^eval_interval: .*/eval_interval: 2/; s/^eval_iters: .*/eval_iters: 1/
     s/^seq_length: .*/seq_length: 32/; s/^\(train_.*batch_size.*: \).*/\12/' configs/quickstart.yml >"$scratch/own/my.yml"
head -c 300000 "$scratch/data.txt" >"$scratch/own/my.txt"
"${python:-python3}" -c 'import json, sys; print(json.dumps({"text": sys.stdin.read()}))' <README.md | gzip >"$scratch/own/more.jsonl.gz"
sed -n '/^## Your own text/,/^## Your own hosts/s,^    build/release/bin/,,p' README.md >"$scratch/readme"
[ "$(wc -l <"$scratch/readme")" -eq 5 ] || fail "README.md: five commands are wanted: $(cat "$scratch/readme")"
while IFS= read -r line; do
    (cd "$scratch/own" && timeout 120 bash -c "$line") >"$scratch/out" 2>"$scratch/err" </dev/null || fail "README.md: $line: $(tail -n 8 "$scratch/err")"
done <"$scratch/readme"

# ---- what else the pages say and can be looked up ----

# the example of a gate
expect_exit 87 muster eval "$scratch/gated@best" --data "$scratch/data" --split test --gate 'ppl<=1.5' 2>"$scratch/err"
grep -q 'ppl' "$scratch/err" || fail "which gate? $(cat "$scratch/err")"

# the plan that is shown is the plan that is made
sed -nE '/^    \$ muster plan/,/^$/p' docs/plan.md | sed -E '1d; s/^    //; /^$/d; s/, \.\.\.$//' >"$scratch/shown"
muster plan configs/gpt-neox-20b.yml --gpu A100 --workers 16 2>/dev/null >"$scratch/made"
while IFS= read -r line; do
    grep -qF -- "$line" "$scratch/made" || fail "docs/plan.md shows '$line'; it is: $(cat "$scratch/made")"
done <"$scratch/shown"
[ "$(wc -l <"$scratch/shown")" -ge 10 ] || fail "docs/plan.md shows no plan"

# the unit for systemd does not restart what another start cannot help, nor a stop that was asked for
final=$(sed -nE 's/^\| ([0-9/ ]+) \|.*\| no[^|]*\|$/\1/p; s/^\| (75) \|.*/\1/p' docs/exit-codes.md | tr -d ' ' | tr '/' '\n' | sort -n | paste -sd' ')
grep -qx "    RestartPreventExitStatus=$final" docs/bare-metal.md || fail "docs/bare-metal.md: RestartPreventExitStatus is not: $final"

# every page: verbs that are there
muster --help | sed -nE 's/^  ([a-z]+)  .*/\1/p' >"$scratch/verbs"
grep -ohE '`muster [a-z]+' docs/*.md README.md | sed 's/.* //' | sort -u | while read -r verb; do
    grep -qx "$verb" "$scratch/verbs" || fail "the pages speak of 'muster $verb'"
done

# options that the pages name are those of a verb, keys under muster: those of the table
for verb in $(cat "$scratch/verbs") "tokenizer train" "tokenizer encode" "tokenizer decode"; do muster $verb --help; done >"$scratch/help" 2>&1
muster-worker --help >>"$scratch/help"
muster config --keys >"$scratch/keys"
for page in docs/chat.md docs/track.md docs/tokenizer.md docs/serve.md docs/adapters.md docs/data.md docs/gates.md docs/lineage.md docs/watching.md; do
    for option in $(tr '\n' ' ' <$page | grep -oE '`(muster |--)[^`]*`' | grep -oE -- '(^|[ `])--[a-z][a-z0-9-]+' | tr -d ' `' | sort -u); do
        grep -qE -- "(^|[^a-z-])$option([^a-z0-9-]|$)" "$scratch/help" || fail "$page: no verb has $option"
    done
    for key in $(grep -vE '^\| `muster\.' $page | grep -oE '`muster\.[a-z_]+[a-z]' | tr -d '`' | sort -u); do
        [[ $page == docs/track.md || $key == muster.json ]] || grep -q "^$key " "$scratch/keys" || fail "$page: no key $key"
    done
done

# the index has every page
for page in docs/*.md; do
    [ "$page" = docs/README.md ] || grep -qF "](${page#docs/})" docs/README.md || fail "docs/README.md does not list $page"
done

# the picture of a run, and the script that draws it (scripts/record-run makes the run): XML, nothing lost
printf '$ a <b> & c\n%s\n\ntab\there\n' "$(printf 'word%.0s' $(seq 40))" | scripts/terminal-svg 80 >"$scratch/one.svg"
"${python:-python3}" - "$scratch/one.svg" docs/run.svg <<'END'
import sys, xml.etree.ElementTree as tree
rows = [["".join(t.itertext()) for t in tree.parse(f).getroot().iter("{http://www.w3.org/2000/svg}text")] for f in sys.argv[1:]]
assert rows[0][0] == "$ a <b> & c" and rows[0][1] + rows[0][2][4:] + rows[0][3][4:] == "word" * 40, rows[0]
assert rows[0][4] == "tab    here", rows[0]
assert any(r.startswith("$ muster run") for r in rows[1]) and len(rows[1]) >= 20, rows[1]
END
grep -q '(docs/run.svg)' README.md || fail "README.md does not show docs/run.svg"
