# What the end-to-end tests share. Sourced; needs MUSTER_BIN and MUSTER_SOURCE (ctest sets them).
set -euo pipefail
: "${MUSTER_BIN:?the folder of the built programs}" "${MUSTER_SOURCE:?the source tree}"
export PATH=$MUSTER_BIN:$PATH
. "$MUSTER_SOURCE/tests/fault/row.sh"
scratch=$(mktemp -d "${TMPDIR:-/tmp}/muster-e2e-XXXXXX")
export TMPDIR=$scratch/tmp
mkdir "$TMPDIR"

# The processes of this test's runs: their environment names its scratch directory. Another test's are not touched.
ours() {
    local pids
    pids=$(pgrep -x 'muster|muster-guard|muster-worker|mpirun|orted|prted|prterun' 2>/dev/null || true)
    [ -z "$pids" ] || (cd /proc && grep -lsF "$scratch" $(printf '%s/environ ' $pids) || true) | cut -d/ -f1
}

kill_ours() {
    local pids
    pids=$(ours)
    [ -z "$pids" ] || kill -9 $pids 2>/dev/null || true
}

# at_end COMMAND...: what else is done when the test ends, however it ends
endings=()
at_end() { endings+=("$(printf '%q ' "$@")"); }

finish() {
    local code=$? ending
    for ending in "${endings[@]}"; do eval "$ending" 2>/dev/null || true; done
    kill_ours
    if [ $code -ne 0 ] && [ -n "${KEEP:-}" ]; then
        echo "left for you: $scratch" >&2
    else
        rm -rf "$scratch"
    fi
    exit $code
}
trap finish EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# expect_exit CODE COMMAND...
expect_exit() {
    local want=$1 got=0
    shift
    "$@" || got=$?
    [ "$got" -eq "$want" ] || fail "exit $got, wanted $want: $*"
}

# make_data DIR: text that every checkout has, a tokenizer of 512 ids, shards
make_data() {
    find "$MUSTER_SOURCE/common" "$MUSTER_SOURCE/worker" "$MUSTER_SOURCE/dataset" -name '*.[ch]' | LC_ALL=C sort |
        while read -r file; do cat "$file"; echo; done >"$1.txt"
    muster tokenizer train --input "$1.txt" --vocab-size 512 --output "$1.json" 2>"$1.log" || { cat "$1.log"; return 1; }
    muster prepare "$scratch/model.yml" --input "$1.txt" --output "$1" 2>"$1.log" || { cat "$1.log"; return 1; }
}

# A model that steps in milliseconds. Whoever sources this may edit it before make_data.
cat >"$scratch/model.yml" <<EOF
num_layers: 2
hidden_size: 64
num_attention_heads: 4
seq_length: 64
max_position_embeddings: 128
pos_emb: rotary
rotary_pct: 0.25
no_weight_tying: true
gpt_j_residual: true
bias_gelu_fusion: true
init_method: small_init
output_layer_init_method: wang_init
optimizer: {type: Adam, params: {lr: 1.0e-3, betas: [0.9, 0.95], eps: 1.0e-8}}
lr_decay_style: cosine
min_lr: 1.0e-4
warmup: 0.1
weight_decay: 0.1
gradient_clipping: 1.0
train_batch_size: 16
train_iters: 12
eval_interval: 6
eval_iters: 2
checkpoint_factor: 4
split: "8,1,1"
seed: 1234
padded_vocab_size: 512
vocab_file: $scratch/data.json
data_path: $scratch/data
EOF

# losses RUN: "step loss lr grad_norm valid_loss" of the last line of each step, in order
losses() {
    sed -nE 's/^\{"step": ([0-9]+),.*"loss": ([^,]+), "lr": ([^,]+), "grad_norm": ([^,]+),(.*)/\1 \2 \3 \4 \5/p' \
        "$1/metrics.jsonl" |
        sed -E 's/^([^ ]+ [^ ]+ [^ ]+ [^ ]+) .*"valid_loss": ([^,]+),.*/\1 \2/; t; s/^([^ ]+ [^ ]+ [^ ]+ [^ ]+) .*/\1 -/' |
        awk '{ line[$1] = $0; if ($1 > n) n = $1 } END { for (i = 1; i <= n; i++) print (i in line) ? line[i] : i " missing" }'
}

# same_losses A B TOLERANCE: files of losses(), columns 2 and 5, relative
same_losses() {
    paste "$1" "$2" | awk -v t="$3" '
        function near(a, b) { return a == b || ((a - b < 0 ? b - a : a - b) <= t * (a < 0 ? -a : a)) }
        !near($2, $7) || !near($5, $10) { print "step " $1 ": " $0; bad = 1 }
        END { exit bad || NR == 0 }'
}
