# A small model on a cluster, and what its jobs are watched with. Source it; it sources the cluster.
#
#     make_model NODE...             model and data, for jobs on all these nodes
#     submit RUN [key=value...]      slurm/muster.sbatch with save=RUN; prints the job's number
#     steps RUN, wait_for_step RUN STEP SECONDS
#     losses RUN                     the last line of each step, bit for bit
#     ended JOB RUN CODE             waits for its end and compares the exit code
#     nothing_left WHEN SECONDS      no process and no file of a run is left on any of the nodes
. "$(dirname "$0")/cluster.sh"

make_model() {
    NODES=("$@")
    R=$LAB/volume
    cat >"$R/model.yml" <<EOF
{"num_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "seq_length": 32, "max_position_embeddings": 32,
 "pos_emb": "rotary", "rotary_pct": 0.25, "no_weight_tying": true, "gpt_j_residual": true,
 "optimizer": {"type": "Adam", "params": {"lr": 1.0e-3}}, "lr_decay_style": "cosine", "warmup": 0.1,
 "train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1, "train_iters": 1500, "eval_interval": 100000,
 "eval_iters": 1, "checkpoint_factor": 100000, "split": "8,1,1", "seed": 1234,
 "padded_vocab_size": 512, "vocab_file": "$LAB/run/data.json", "data_path": "$LAB/run/data",
 "muster": {"device": "cpu", "threads_per_worker": 1, "ready_timeout": 60, "ssh_args": "$LAB_SSH_ARGS"}}
EOF
    find "$MUSTER_SOURCE/common" -name '*.[ch]' | LC_ALL=C sort | while read -r file; do cat "$file"; echo; done >"$R/text.txt"
    {
        lab_in head "$LAB/bin/muster" tokenizer train --input "$LAB/run/text.txt" --vocab-size 512 --output "$LAB/run/data.json"
        lab_in head "$LAB/bin/muster" prepare "$LAB/run/model.yml" --input "$LAB/run/text.txt" --output "$LAB/run/data"
    } >/dev/null 2>"$LAB/prepare.err" || lab_fail "no data"
    cp "$MUSTER_SOURCE/slurm/muster.sbatch" "$R/"
}

submit() { # RUN [key=value...]
    local run=$1
    shift
    cluster_submit --nodes ${#NODES[@]} --time 10 --output "$LAB/run/$run.log" "$LAB/run/muster.sbatch" "$LAB/run/model.yml" \
        "save=$LAB/run/$run" "$@"
}

steps() { # RUN: updates done
    [ ! -e "$R/$1/metrics.jsonl" ] || sed -n 's/^{"step": \([0-9]*\),.*/\1/p' "$R/$1/metrics.jsonl" | tail -n 1
}

wait_for_step() { # RUN STEP SECONDS
    local i at
    for ((i = 0; i < $3 * 20; i++)); do
        at=$(steps "$1")
        [ "${at:-0}" -lt "$2" ] || return 0
        sleep 0.05
    done
    tail -n 40 "$R/$1.log" >&2
    lab_fail "$1 is at step ${at:-0} after $3 s"
}

losses() { # RUN: the last line of each step, bit for bit
    sed -nE 's/^\{"step": ([0-9]+),.*"loss": ([^,]+), "lr": ([^,]+), "grad_norm": ([^,]+),.*/\1 \2 \3 \4/p' "$R/$1/metrics.jsonl" |
        awk '{ line[$1] = $0; if ($1 > n) n = $1 } END { for (i = 1; i <= n; i++) print (i in line) ? line[i] : i " missing" }'
}

ended() { # JOB RUN CODE
    cluster_wait "$1" gone 120
    [ "$(cluster_exit "$1")" = "$3" ] || {
        tail -n 60 "$R/$2.log" >&2
        lab_fail "$2: exit code $(cluster_exit "$1"), wanted $3"
    }
}

nothing_left() { # WHEN SECONDS
    local i left
    for ((i = 0; i < $2 * 5; i++)); do
        left=$(cluster_left "${NODES[@]}")
        [ -n "$left" ] || return 0
        sleep 0.2
    done
    lab_fail "$1, $2 s later, there is still: $left"
}
