#!/usr/bin/env bash
# Training in 16 bits: bf16 beside fp32, in several layouts, resumed bit for bit, and gone on with in fp32; fp16 as bf16
# where the device has none; fp16 with its loss scale, whose skipped steps and state outlive a restart.
. "$(dirname "$0")/lib.sh"
make_data "$scratch/data"

train() { # train NAME WORKERS TP KEY=VALUE...
    local name=$1 workers=$2 tp=$3
    shift 3
    muster run "$scratch/model.yml" --workers "$workers" --run-dir "$scratch/$name" model_parallel_size="$tp" "$@" \
        >"$scratch/$name.out" 2>&1 || { cat "$scratch/$name.out" >&2; fail "$name"; }
    losses "$scratch/$name" >"$scratch/$name.losses"
}
said() { grep -q "$2" "$scratch/$1.out" || fail "$1 does not say '$2': $(cat "$scratch/$1.out")"; }
# values NAME KEY: what each line of the metrics has
values() { sed -n "s/.*\"$2\": \([^,}]*\).*/\1/p" "$scratch/$1/metrics.jsonl"; }

train float 1 1 train_iters=50
train bf16 1 1 train_iters=50 precision=bfloat16
said bf16 'numbers *bf16 weights and activations'
[ "$(wc -l <"$scratch/bf16.losses")" -eq 50 ] || fail "50 lines wanted"
cmp -s "$scratch/float.losses" "$scratch/bf16.losses" && fail "bf16 gives the bits of fp32"
same_losses "$scratch/float.losses" "$scratch/bf16.losses" 1e-2 || fail "bf16 and fp32 differ"
if grep -q loss_scale "$scratch/bf16/metrics.jsonl"; then fail "bf16 has a loss scale"; fi

# shorter ones: the first 16 steps of the same schedule
stop=(train_iters=50 precision=bfloat16 exit_interval=16)
short() { head -n 16 "$scratch/$1.losses"; }
train layout 4 2 "${stop[@]}" zero_optimization.stage=1
same_losses <(short bf16) <(short layout) 5e-3 || fail "tp 2 x dp 2 and one worker differ in bf16"
train again 1 1 "${stop[@]}" exit_interval=7
train again 1 1 "${stop[@]}"
cmp <(short bf16) <(short again) || fail "bf16 does not resume bit for bit"
train other 1 1 "${stop[@]}" exit_interval=7
train other 2 1 "${stop[@]}" precision=fp32
said other 'numbers *fp32'
same_losses <(short float) <(short other) 1e-2 || fail "bf16 does not go on in fp32"
train fallback 1 1 "${stop[@]}" precision=fp16
said fallback 'numbers *bf16 in place of fp16'
for verb in plan check; do
    muster $verb "$scratch/model.yml" save="$scratch/new" precision=fp16 muster.device=cpu >"$scratch/fallback.out" 2>&1 || fail "$verb: $(cat "$scratch/fallback.out")"
    said fallback 'fp16 runs as bf16'
done
cmp <(short bf16) <(short fallback) || fail "fp16 on a device without it is not bf16"

# the kernels of fp16 are there on CPUs, for this
export MUSTER_CPU_FP16=1
scaling=(precision=fp16 fp16.initial_scale_power=34 fp16.loss_scale_window=3 fp16.hysteresis=2 train_iters=50
    exit_interval=24)
train fp16 1 1 "${scaling[@]}"
said fp16 'loss scale 1.71799e+10, dynamic'
said fp16 'the gradients overflow at loss scale 1.71799e+10: no update'
skipped=$(values fp16 skipped | grep -c true)
[ "$skipped" -ge 3 ] && [ "$skipped" -le 18 ] || fail "$skipped steps skipped: $(cat "$scratch/fp16/metrics.jsonl")"
# hysteresis takes the first overflow, each later one halves
[ "$(values fp16 loss_scale | head -n 4 | tr '\n' ' ')" = "17179869184 17179869184 8589934592 4294967296 " ] ||
    fail "the scales: $(values fp16 loss_scale | tr '\n' ' ')"
values fp16 loss_scale | awk 'NR > 1 && $1 > last { doubled = 1 } { last = $1 } END { exit !doubled }' ||
    fail "no scale was doubled: $(values fp16 loss_scale | tr '\n' ' ')"
# the schedule waits for the first update
first=$(values fp16 lr | head -n 1)
[ "$(values fp16 lr | uniq -c | awk 'NR == 1 { print $1 }')" -ge 3 ] || fail "skipped steps move the schedule"
[ "$(values float lr | head -n 1)" = "$first" ] || fail "the first learning rate is $first"

# stopped while the scale is on its way down, and once more later: the same lines
for stop in 2 15; do train stopped 1 1 "${scaling[@]}" exit_interval=$stop; done
train stopped 1 1 "${scaling[@]}"
cmp "$scratch/fp16.losses" "$scratch/stopped.losses" || fail "fp16 does not resume bit for bit"
cmp <(values fp16 loss_scale) <(values stopped loss_scale | tail -n 24) || fail "the scale does not survive a restart"
train groups 4 2 "${scaling[@]}" zero_optimization.stage=1
[ "$(values groups skipped | grep -c true)" -ge 3 ] || fail "the overflow is not seen by a group"

expect_exit 85 muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/least" "${scaling[@]}" \
    fp16.min_loss_scale=17179869184 >"$scratch/least.out" 2>&1
said least 'overflow at loss scale'
