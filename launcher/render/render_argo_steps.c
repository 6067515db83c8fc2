/*
 * What the steps of the workflow run: scripts for /bin/sh. A workflow's parameter NAME is the variable NAME in
 * capitals. The scripts' own variables: checkpoints and data, where the two volumes are mounted; weights, what was
 * fetched; load, the checkpoint that import made of it; save, the run; set, the data set; and "$@", what every verb
 * that reads the config gets.
 *
 * Every step can be repeated. One that is to be left out verifies what should be there.
 */
#include "launcher/render/render_argo.h"

const char mu_argo_head[] =
    "set -eu\n"
    "weights=$checkpoints/$PRETRAINED_CHECKPOINT_PATH\n"
    "load=$weights.imported\n"
    "save=$checkpoints/$FINETUNED_CHECKPOINT_PATH/$RUN_NAME\n"
    "file=$data/$DATASET_PATH/$DATASET_FILE\n"
    "set=$data/$TOKENIZED_DATASET_PATH\n"
    "set -- /etc/muster/config.yml \"save=$save\" \"load=$load\" finetune=true \"data_path=$set\" \\\n"
    "  \"vocab_file=$checkpoints/$TOKENIZER_FILE\" \"train_micro_batch_size_per_gpu=$MICRO_BATCH_SIZE\" \\\n"
    "  \"gradient_accumulation_steps=$GRADIENT_ACCUMULATION_STEPS\"\n"
    "fail() { # CODE TEXT\n"
    "  echo \"$2\" >&2\n"
    "  exit \"$1\"\n"
    "}\n";

const char mu_argo_parameters[] =
    "wrong() { fail 2 \"parameter $1: $2 is wanted, not '$3'\"; }\n"
    "path() {\n"
    "  case /$2/ in\n"
    "  //* | */../* | *[!A-Za-z0-9._/-]*) wrong \"$1\" \"a path inside the volume\" \"$2\" ;;\n"
    "  esac\n"
    "}\n"
    "number() { case $2 in '' | 0* | *[!0-9]*) wrong \"$1\" \"a number from 1\" \"$2\" ;; esac; }\n"
    "choice() { case $2 in true | false) ;; *) wrong \"$1\" \"true or false\" \"$2\" ;; esac; }\n"
    "case $RUN_NAME in *[!A-Za-z0-9._-]* | '' | .*) wrong run_name \"a name of letters, digits and ._-\" "
    "\"$RUN_NAME\" ;; esac\n"
    "path pretrained_checkpoint_path \"$PRETRAINED_CHECKPOINT_PATH\"\n"
    "path finetuned_checkpoint_path \"$FINETUNED_CHECKPOINT_PATH\"\n"
    "path dataset_path \"$DATASET_PATH\"\n"
    "path dataset_file \"$DATASET_FILE\"\n"
    "path tokenized_dataset_path \"$TOKENIZED_DATASET_PATH\"\n"
    "path tokenizer_file \"$TOKENIZER_FILE\"\n"
    "choice download_checkpoint \"$DOWNLOAD_CHECKPOINT\"\n"
    "choice download_dataset \"$DOWNLOAD_DATASET\"\n"
    "choice tokenize_dataset \"$TOKENIZE_DATASET\"\n"
    "choice use_ib \"$USE_IB\"\n"
    "choice serve_model \"${SERVE_MODEL-true}\"\n"
    "word() { case $2 in *[!A-Za-z0-9._-]*) wrong \"$1\" \"a name of letters, digits and ._-\" \"$2\" ;; "
    "esac; }\n"
    "word register_name \"${REGISTER_NAME-}\"\n"
    "word register_alias \"${REGISTER_ALIAS-}\"\n"
    "number trainer_nodes \"$TRAINER_NODES\"\n"
    "number micro_batch_size \"$MICRO_BATCH_SIZE\"\n"
    "number gradient_accumulation_steps \"$GRADIENT_ACCUMULATION_STEPS\"\n"
    "# layout, global batch, memory, checkpoints: before anything is fetched; 78 if it does not fit\n"
    "exec muster plan \"$@\" --workers $((TRAINER_NODES * slots))\n";

/* curl goes on where it was cut off. A final answer (no such file, not allowed) ends it. 416 answers a
 * part that is as long as the file, which is whole, or longer, which is of another one; for curl that is no failure. */
const char mu_argo_get[] =
    "get() { # ADDRESS FILE: 66 where the server has none\n"
    "  [ ! -s \"$2\" ] || return 0\n"
    "  mkdir -p \"${2%/*}\" || return 73\n"
    "  tries=0\n"
    "  while :; do\n"
    "    code=0\n"
    "    http=$(curl --fail --location --silent --show-error --connect-timeout 30 "
    "--speed-limit 1 --speed-time 60 \\\n"
    "      --continue-at - --write-out '%{http_code} %header{content-range}' --output \"$2.part\" \"$1\" "
    "2>\"${TMPDIR:-/tmp}/curl.log\") || code=$?\n"
    "    case $code:$http in\n"
    "    0:416* | 22:416*)\n"
    "      [ \"${http#*/}\" != \"$(wc -c <\"$2.part\")\" ] || break\n"
    "      rm -f \"$2.part\"\n"
    "      ;;\n"
    "    0:*) break ;;\n"
    "    22:40[1345]* | 22:410* | 37:*) echo \"$1: HTTP ${http%% *}\" >&2; return 66 ;;\n"
    "    23:*) cat \"${TMPDIR:-/tmp}/curl.log\" >&2; return 74 ;;\n"
    "    33:* | 36:*) rm -f \"$2.part\" ;;\n"
    "    esac\n"
    "    tries=$((tries + 1))\n"
    "    echo \"$1: try $tries: HTTP ${http%% *}: $(cat \"${TMPDIR:-/tmp}/curl.log\")\" >&2\n"
    "    [ $tries -lt 6 ] || return 69\n"
    "    sleep $((tries * ${PAUSE:-10}))\n"
    "  done\n"
    "  mv \"$2.part\" \"$2\"\n"
    "}\n";

/* A directory of Hugging Face says itself which files it has; another one is read as its server lists it. What was
 * fetched is listed with digests; model_weights_sha256 is the digest of that list. */
const char mu_argo_fetch_model[] =
    "list() { # ADDRESS FOLDER DEPTH\n"
    "  get \"$1/\" \"$2/.index\" || return\n"
    "  names=$(grep -oE 'href=\"[^\"?#:]+\"' \"$2/.index\" | cut -d'\"' -f2 | sort -u)\n"
    "  rm -f \"$2/.index\"\n"
    "  for name in $names; do\n"
    "    case $name in\n"
    "    /* | *..* | index.html*) ;;\n"
    "    */) [ \"$3\" -eq 0 ] || (list \"$1/${name%/}\" \"$2/${name%/}\" $(($3 - 1))) || return ;;\n"
    "    *) get \"$1/$name\" \"$2/$name\" || return ;;\n"
    "    esac\n"
    "  done\n"
    "}\n"
    "url=${MODEL_WEIGHTS_URL%/}\n"
    "sums() { (cd \"$weights\" && find . -type f ! -name '*.part' ! -name SHA256SUMS -print0 | LC_ALL=C sort "
    "-z "
    "| xargs -0r sha256sum); }\n"
    "if [ \"$DOWNLOAD_CHECKPOINT\" = true ]; then\n"
    "  code=0\n"
    "  get \"$url/config.json\" \"$weights/config.json\" || code=$?\n"
    "  if [ $code -eq 0 ]; then\n"
    "    for name in tokenizer.json tokenizer_config.json generation_config.json special_tokens_map.json "
    "vocab.json \\\n"
    "      merges.txt chat_template.jinja model.safetensors.index.json; do\n"
    "      code=0\n"
    "      get \"$url/$name\" \"$weights/$name\" || code=$?\n"
    "      case $code in 0 | 66) ;; *) exit $code ;; esac\n"
    "    done\n"
    "    names=model.safetensors\n"
    "    [ ! -s \"$weights/model.safetensors.index.json\" ] ||\n"
    "      names=$(grep -oE '\"[^\"/]+\\.safetensors\"' \"$weights/model.safetensors.index.json\" | tr -d "
    "'\"' | sort -u)\n"
    "    for name in $names; do get \"$url/$name\" \"$weights/$name\" || exit; done\n"
    "  elif [ $code -eq 66 ]; then\n"
    "    list \"$url\" \"$weights\" 2 || exit\n"
    "  else\n"
    "    exit $code\n"
    "  fi\n"
    "  sums >\"$weights/SHA256SUMS.part\"\n"
    "  mv \"$weights/SHA256SUMS.part\" \"$weights/SHA256SUMS\"\n"
    "else\n"
    "  [ -d \"$weights\" ] || fail 66 \"download_checkpoint is false, and there is no $weights\"\n"
    "  [ -s \"$weights/SHA256SUMS\" ] || fail 66 \"$weights/SHA256SUMS is missing: run with "
    "download_checkpoint=true\"\n"
    "  (cd \"$weights\" && sha256sum --check --quiet SHA256SUMS) || fail 65 \"$weights: not what was "
    "fetched\"\n"
    "fi\n"
    "[ \"$(wc -l <\"$weights/SHA256SUMS\")\" -gt 0 ] || fail 66 \"$url: no files\"\n"
    "found=$(sha256sum \"$weights/SHA256SUMS\" | cut -d' ' -f1)\n"
    "echo \"$weights: model_weights_sha256=$found\"\n"
    "[ -z \"$MODEL_WEIGHTS_SHA256\" ] || [ \"$found\" = \"$MODEL_WEIGHTS_SHA256\" ] ||\n"
    "  fail 65 \"$weights: model_weights_sha256 is $found, wanted $MODEL_WEIGHTS_SHA256\"\n";

const char mu_argo_fetch_data[] =
    "if [ \"$DOWNLOAD_DATASET\" = true ]; then\n"
    "  get \"$DATASET_URL\" \"$file\" || exit\n"
    "else\n"
    "  [ -s \"$file\" ] || fail 66 \"download_dataset is false, and there is no $file\"\n"
    "fi\n"
    "found=$(sha256sum \"$file\" | cut -d' ' -f1)\n"
    "echo \"$file: dataset_sha256=$found\"\n"
    "[ -z \"$DATASET_SHA256\" ] || [ \"$found\" = \"$DATASET_SHA256\" ] || {\n"
    "  [ \"$DOWNLOAD_DATASET\" != true ] || rm -f \"$file\"\n"
    "  fail 65 \"$file: dataset_sha256 is $found, wanted $DATASET_SHA256\"\n"
    "}\n";

/* A checkpoint of gpt-neox does not always hold its config. */
const char mu_argo_import[] =
    "set -- import \"$weights\" --output \"$load\"\n"
    "[ -s \"$weights/config.json\" ] || set -- \"$@\" --config /etc/muster/config.yml\n"
    "exec muster \"$@\"\n";

const char mu_argo_prepare[] =
    "if [ \"$TOKENIZE_DATASET\" = true ]; then\n"
    "  exec muster prepare \"$@\" --input \"$file\"\n"
    "fi\n"
    "[ -s \"$set/manifest.json\" ] || fail 66 \"tokenize_dataset is false, and there is no $set\"\n"
    "exec muster inspect \"$set\" --verify\n";

const char mu_argo_gate[] =
    "set -- eval \"$save@$MODEL\" --data \"$set\" --split \"$GATE_SPLIT\"\n"
    "[ -n \"$GATE\" ] || fail 2 \"parameter gate: an expression like ppl<=16.53 is wanted\"\n"
    "IFS=,\n"
    "for gate in $GATE; do set -- \"$@\" --gate \"$gate\"; done\n"
    "unset IFS\n"
    "[ $slots -eq 1 ] || set -- \"$@\" --workers $slots\n"
    "exec muster \"$@\"\n";

const char mu_argo_export[] = "exec muster export \"$save@$MODEL\" --output \"$save.hf\"\n";

/* The export is there: this only makes a version of it. */
const char mu_argo_register[] =
    "set -- export \"$save@$MODEL\" --output \"$save.hf\" --register \"$REGISTER_NAME\" --mlflow "
    "\"$MLFLOW_TRACKING_URI\"\n"
    "[ -z \"$REGISTER_ALIAS\" ] || set -- \"$@\" --alias \"$REGISTER_ALIAS\"\n"
    "exec muster \"$@\"\n";
