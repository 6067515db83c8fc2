#!/usr/bin/env bash
# Dropout, of the model and of adapters: layouts, accumulation, recomputation and a restart drop the same elements;
# evaluation and generation drop none; rates of 0 are the run without the keys, bit for bit.
. "$(dirname "$0")/lib.sh"
sed -i 's/^train_iters: .*/train_iters: 6/; s/^eval_interval: .*/eval_interval: 3/; s/^checkpoint_factor: .*/checkpoint_factor: 3/' "$scratch/model.yml"
make_data "$scratch/data"

train() { # train NAME WORKERS KEY=VALUE...
    local name=$1 workers=$2
    shift 2
    muster run "$scratch/model.yml" --workers "$workers" --run-dir "$scratch/$name" "$@" >"$scratch/$name.out" 2>&1 ||
        { cat "$scratch/$name.out" >&2; fail "$name"; }
    losses "$scratch/$name" >"$scratch/$name.losses"
}
near() { # near A B: the first loss to 1e-6, all of them to 1e-4
    same_losses <(head -n 1 "$scratch/$1.losses") <(head -n 1 "$scratch/$2.losses") 1e-6 || fail "$1 and $2 differ at step 1"
    same_losses "$scratch/$1.losses" "$scratch/$2.losses" 1e-4 || fail "$1 and $2 differ"
}
same() { cmp "$scratch/$1.losses" "$scratch/$2.losses" || fail "$1 and $2 are not the same bits"; }
other() { ! same_losses "$scratch/$1.losses" "$scratch/$2.losses" 1e-4 >/dev/null || fail "$1 and $2 are the same"; }

drop=(hidden_dropout=0.1 attention_dropout=0.2)
train none 1
train off 1 hidden_dropout=0 attention_dropout=0.0
same none off
train one 1 "${drop[@]}"
other none one
[ "$(wc -l <"$scratch/one.losses")" -eq 6 ] || fail "6 lines wanted: $(cat "$scratch/one.losses")"
train seed 1 "${drop[@]}" seed=77
other one seed
train four 4 "${drop[@]}" model_parallel_size=2 zero_optimization.stage=1
near one four
train accumulated 2 "${drop[@]}" train_micro_batch_size_per_gpu=2
near one accumulated
train again 1 "${drop[@]}" checkpoint_activations=true
same one again
train cut 1 "${drop[@]}" exit_interval=3
train cut 1 "${drop[@]}"
same one cut

# an evaluation drops nothing
for i in 1 2; do muster eval "$scratch/one" --data "$scratch/data" --json >"$scratch/eval$i" 2>"$scratch/log" || { cat "$scratch/log"; fail eval; }; done
cmp "$scratch/eval1" "$scratch/eval2" || fail "an evaluation draws"
muster eval "$scratch/one" --data "$scratch/data" --json hidden_dropout=0 attention_dropout=0 2>/dev/null | cmp - "$scratch/eval1" || fail "an evaluation drops"

adapters=(load="$scratch/none" muster.lora_rank=4 "muster.lora_targets=[all-linear]" optimizer.params.lr=1.0e-2)
train adapted 1 "${adapters[@]}"
train adapted-drop 1 "${adapters[@]}" muster.lora_dropout=0.3
other adapted adapted-drop
train adapted-four 4 "${adapters[@]}" muster.lora_dropout=0.3 model_parallel_size=2
near adapted-drop adapted-four
