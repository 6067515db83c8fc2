# Three nodes of a real Slurm train under slurm/muster.sbatch. A job that is told of its end saves a checkpoint, goes back
# into the queue and ends with the same losses as one that nobody touched; scancel leaves nothing on any node.
. "$(dirname "$0")/cluster.sh"
cluster_begin n1 n2 n3

R=$LAB/volume
cat >"$R/model.yml" <<EOF
{"num_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "seq_length": 32, "max_position_embeddings": 32,
 "pos_emb": "rotary", "rotary_pct": 0.25, "no_weight_tying": true, "gpt_j_residual": true,
 "optimizer": {"type": "Adam", "params": {"lr": 1.0e-3}}, "lr_decay_style": "cosine", "warmup": 0.1,
 "train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1, "train_iters": 300, "eval_interval": 1000,
 "eval_iters": 1, "checkpoint_factor": 1000, "split": "8,1,1", "seed": 1234,
 "padded_vocab_size": 512, "vocab_file": "$LAB/run/data.json", "data_path": "$LAB/run/data",
 "muster": {"device": "cpu", "threads_per_worker": 1, "ready_timeout": 60, "ssh_args": "$LAB_SSH_ARGS"}}
EOF
find "$MUSTER_SOURCE/common" -name '*.[ch]' | LC_ALL=C sort | while read -r file; do cat "$file"; echo; done >"$R/text.txt"
{
    lab_in head "$LAB/bin/muster" tokenizer train --input "$LAB/run/text.txt" --vocab-size 512 --output "$LAB/run/data.json"
    lab_in head "$LAB/bin/muster" prepare "$LAB/run/model.yml" --input "$LAB/run/text.txt" --output "$LAB/run/data"
} >/dev/null 2>"$LAB/prepare.err" || lab_fail "no data"
cp "$MUSTER_SOURCE/slurm/muster.sbatch" "$R/"

submit() { # RUN [key=value...]
    local run=$1
    shift
    cluster_submit --nodes 3 --time 10 --output "$LAB/run/$run.log" "$LAB/run/muster.sbatch" "$LAB/run/model.yml" \
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
        left=$(cluster_left n1 n2 n3)
        [ -n "$left" ] || return 0
        sleep 0.2
    done
    lab_fail "$1, $2 s later, there is still: $left"
}

job=$(submit whole)
ended "$job" whole 0
[ "$(steps whole)" = 300 ] || lab_fail "the undisturbed job ends at step $(steps whole)"
grep -q "tp 1 x dp 3 = 3 workers" "$R/whole.log" || lab_fail "not three workers"
nothing_left "after a job" 3
echo "undisturbed: done"

# what --signal=B:USR1@120 sends two minutes before the limit
job=$(submit told)
wait_for_step told 20 60
cluster_in head scancel --batch --signal=USR1 "$job"
cluster_wait "$job" PENDING 60
at=$(steps told)
[ "$at" -lt 300 ] || lab_fail "it had ended before the signal came"
[ -d "$R/told/checkpoints/step-$(printf %08d "$at")" ] || lab_fail "no checkpoint of step $at: $(ls "$R/told/checkpoints")"
grep -q "back into the queue" "$R/told.log" || lab_fail "the script does not say that it requeues"
nothing_left "after the requeue" 3
ended "$job" told 0
grep -q "resuming .*step-$(printf %08d "$at")" "$R/told.log" || lab_fail "the second start does not resume step $at"
grep -q "start 2, on n" "$R/told.log" || lab_fail "the log has no second start"
grep -q "start 1, on n" "$R/told.log" || lab_fail "the first start's log is gone"
losses whole >"$LAB/a"
losses told >"$LAB/b"
cmp "$LAB/a" "$LAB/b" || lab_fail "the losses differ: $(diff "$LAB/a" "$LAB/b" | head -n 4)"
echo "signal at step $at: checkpoint, requeue, the same losses"

job=$(MUSTER_REQUEUES=0 submit last)
wait_for_step last 5 60
cluster_in head scancel --batch --signal=USR1 "$job"
ended "$job" last 75
echo "no requeue over the limit"

# a checkpoint and the end, without a requeue
job=$(submit ended)
wait_for_step ended 5 60
cluster_in head scancel --batch --signal=TERM "$job"
ended "$job" ended 75
[ -d "$R/ended/checkpoints/step-$(printf %08d "$(steps ended)")" ] || lab_fail "no checkpoint after TERM"
echo "TERM to the script: checkpoint, no requeue"

job=$(submit cancelled train_iters=1000000)
wait_for_step cancelled 10 60
cluster_in head scancel "$job"
cluster_wait "$job" gone 30
# a host that lost its launcher ends by the lease of 15 s
nothing_left "after scancel" 20
echo "scancel: nothing left"
