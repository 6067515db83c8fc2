#!/usr/bin/env bash
# Configurations, models and checkpoints as people bring them: they work, or the launcher says why before a rank starts.
. "$(dirname "$0")/lib.sh"
sed -i 's/^train_iters: 12/train_iters: 2/; s/^train_batch_size: 16/train_batch_size: 2/; s/^eval_iters: 2/eval_iters: 1/' "$scratch/model.yml"
make_data "$scratch/data"

# run CODE NAME KEY=VALUE...: muster run in RUN DIRECTORY NAME, with the exit code wanted; its talk is in NAME.out
run() {
    local code=$1 name=$2 got=0
    shift 2
    muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/$name" "$@" >"$scratch/$name.out" 2>&1 || got=$?
    [ "$got" -eq "$code" ] || { cat "$scratch/$name.out" >&2; fail "$name: exit $got, wanted $code"; }
}
says() { grep -qE -- "$2" "$scratch/$1.out" || { cat "$scratch/$1.out" >&2; fail "$1 does not say: $2"; }; }

# no validation is wanted: a split without one, or no interval
muster prepare "$scratch/model.yml" --input "$scratch/data.txt" --output "$scratch/whole" split=1,0,0 2>/dev/null
run 0 whole data_path="$scratch/whole" eval_interval=1
says whole 'does not evaluate'
run 0 interval eval_interval=0
! grep -q valid_loss "$scratch/whole/metrics.jsonl" "$scratch/interval/metrics.jsonl" || fail "a run without validation evaluated"

# What can be seen of the start is said before a rank is up, and every verb that reads a configuration says the same.
# everywhere CODE PATTERN KEY=VALUE...
everywhere() {
    local code=$1 pattern=$2 verb got
    shift 2
    for verb in config plan check 'render slurm' run 'run --dry-run'; do
        got=0
        muster $verb "$scratch/model.yml" save="$scratch/none" "$@" >"$scratch/verb.out" 2>&1 || got=$?
        [ "$got" -eq "$code" ] && grep -qE -- "$pattern" "$scratch/verb.out" ||
            { cat "$scratch/verb.out" >&2; fail "muster $verb $*: exit $got, wanted $code and: $pattern"; }
        ! grep -qs '"attempt 1' "$scratch/none/events.jsonl" || fail "muster $verb $* started ranks"
        ! grep -q 'no run.json' "$scratch/verb.out" || fail "muster $verb $*: $(cat "$scratch/verb.out")"
        rm -rf "$scratch/none"
    done
}
mkdir -p "$scratch/hf" "$scratch/neox/global_step9"
echo '{}' >"$scratch/hf/config.json"
: >"$scratch/neox/global_step9/layer_00-model_00-model_states.pt"
echo global_step9 >"$scratch/neox/latest"
# one sequence of three 16-bit ids, as other tools write it: too few for three parts
printf '\1\0\2\0\3\0' >"$scratch/pair.bin"
printf 'MMIDIDX\0\0\1\0\0\0\0\0\0\0\10\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0' >"$scratch/pair.idx"
head -c 20000 "$scratch/data.txt" >"$scratch/wide.txt"
muster prepare "$scratch/model.yml" --input "$scratch/wide.txt" --output "$scratch/wide" --special "<|new|>" padded_vocab_size=1024 2>/dev/null
everywhere 66 'muster import [^ ]*/hf ' load="$scratch/hf"
everywhere 66 'muster import [^ ]*/neox ' load="$scratch/neox" finetune=true
everywhere 78 'finetune.*train_iters' load="$scratch/interval"
everywhere 78 'data version' load="$scratch/interval" train_iters=9 data_path="$scratch/wide"
everywhere 78 'padded_vocab_size' load="$scratch/interval" finetune=true train_iters=9 data_path="$scratch/wide"
everywhere 65 'validation part holds no tokens' data_path="$scratch/pair" split=999999,1,0
everywhere 78 'num_layers .*the configuration says 7' load="$scratch/interval" finetune=true num_layers=7
run 0 interval # its own finished directory has nothing to do
attempts() { grep -c '"kind":"attempt"' "$scratch/interval/events.jsonl"; }
before=$(attempts)
run 78 interval num_layers=7 # and holds another model
says interval 'num_layers'
[ "$(attempts)" = "$before" ] || fail "ranks were started"
muster status "$scratch/interval" | grep -q 'step 2' || fail "the run is not where it was: $(muster status "$scratch/interval")"
run 0 longer load="$scratch/interval" train_iters=3 override_lr_scheduler=true
# load and save are one path in gpt-neox's own files, and nothing is there at first
run 0 first load="$scratch/ck" save="$scratch/ck/"
expect_exit 66 muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/none" load="$scratch/ck" save="$scratch/other" 2>"$scratch/verb.out"
rm -rf "$scratch/none"

# whatever form the tokenizer has, the checkpoint carries a tokenizer.json
python3 - "$scratch" <<'END'
import json, os, sys
place = sys.argv[1]
model = json.load(open(place + "/data.json"))["model"]
merges = "".join((m if isinstance(m, str) else " ".join(m)) + "\n" for m in model["merges"])
os.makedirs(place + "/gpt2")
for name, text in {"my-vocab.json": json.dumps(model["vocab"]), "my-merges.txt": merges,
                   "gpt2/vocab.json": json.dumps(model["vocab"]), "gpt2/merges.txt": merges}.items():
    open(place + "/" + name, "w").write(text)
END
forms() { # KEY=VALUE...
    rm -rf "$scratch/form"
    muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/form" train_iters=1 eval_iters=0 split=1,0,0 data_path="$scratch/ids" "$@" \
        >"$scratch/verb.out" 2>&1 || fail "$*: $(cat "$scratch/verb.out")"
    muster generate "$scratch/form" --prompt "int" --max-new-tokens 4 --temperature 0 >"$scratch/form.out" 2>"$scratch/verb.out" || fail "$*: $(cat "$scratch/verb.out")"
    [ -s "$scratch/forms" ] || cp "$scratch/form.out" "$scratch/forms"
    cmp "$scratch/forms" "$scratch/form.out" || fail "$*: another text"
}
python3 - "$scratch" <<'END'
import struct, sys
docs = [[1 + (i * 7 + j * 3) % 300 for j in range(120)] for i in range(40)]
with open(sys.argv[1] + "/ids.bin", "wb") as f:
    for d in docs:
        f.write(struct.pack(f"<{len(d)}H", *d))
with open(sys.argv[1] + "/ids.idx", "wb") as f:
    f.write(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, len(docs), len(docs) + 1) + struct.pack(f"<{len(docs)}i", *map(len, docs)))
    f.write(struct.pack(f"<{len(docs)}q", *(240 * i for i in range(len(docs)))) + struct.pack(f"<{len(docs) + 1}q", *range(len(docs) + 1)))
END
forms vocab_file="$scratch/data.json"
forms vocab_file="$scratch/data.json" merge_file="$scratch/my-merges.txt"
forms vocab_file="$scratch/my-vocab.json" merge_file="$scratch/my-merges.txt"
forms vocab_file="$scratch/gpt2"
forms vocab_file="$scratch/gpt2/vocab.json"
run 66 absent data_path="$scratch/ids" split=1,0,0 eval_iters=0 vocab_file="$scratch/not-there.json"
says absent 'vocab_file .*not-there.json'

for line in "eval $scratch/hf --data $scratch/data" "generate $scratch/hf --prompt x" "export $scratch/hf --output $scratch/x"; do
    expect_exit 66 muster $line >"$scratch/verb.out" 2>&1
    grep -q 'muster import' "$scratch/verb.out" || fail "muster $line: $(cat "$scratch/verb.out")"
done
# the command in the message works as it stands, also with a name that a shell would take apart
muster export "$scratch/interval" --output "$scratch/it's a model" 2>"$scratch/verb.out" || fail "$(cat "$scratch/verb.out")"
expect_exit 66 muster eval "$scratch/it's a model/" --data "$scratch/data" 2>"$scratch/verb.out"
command=$(sed -n 's/.*`\(muster import .*\)`, and name .*/\1/p' "$scratch/verb.out")
made=$(sed -n 's/.*`, and name //p' "$scratch/verb.out")
bash -c "$command" 2>"$scratch/import.out" || fail "$command: $(cat "$scratch/import.out")"
bash -c "muster eval $made --data '$scratch/data' --seq-length 64 --json" >"$scratch/imported.json" 2>"$scratch/verb.out" || fail "$made: $(cat "$scratch/verb.out")"
muster eval "$scratch/interval" --data "$scratch/data" --seq-length 64 --json 2>/dev/null | sed 's/"step".*//' | cmp - <(sed 's/"step".*//' "$scratch/imported.json") ||
    fail "the imported model has another loss"

# model references, wherever a model is named
sed 's/^checkpoint_factor: 4/checkpoint_factor: 1/; s/^eval_interval: 6/eval_interval: 2/' "$scratch/model.yml" >"$scratch/many.yml"
muster run "$scratch/many.yml" --workers 1 --run-dir "$scratch/many" train_iters=3 >"$scratch/many.out" 2>&1 || fail "$(cat "$scratch/many.out")"
best=$(cat "$scratch/many/checkpoints/best")
step_of() { muster eval "$1" --data "$scratch/data" --json 2>"$scratch/verb.out" | sed -E 's/.*"step": ([0-9]+).*/\1/'; }
[ "$(step_of "$scratch/many@1")" = 1 ] && [ "$(step_of "$scratch/many@2")" = 2 ] || fail "RUN@STEP: $(cat "$scratch/verb.out")"
[ "$(step_of "$scratch/many@latest")" = 3 ] && [ "$(step_of "$scratch/many")" = 3 ] || fail "RUN@latest"
for name in "$scratch/many@best" "$scratch/many/checkpoints/best"; do
    printf 'step-%08d\n' "$(step_of "$name")" | grep -qx "$best" || fail "$name is not $best: $(cat "$scratch/verb.out")"
done
muster inspect "$scratch/many@2" | grep -q 'step-00000002' || fail "inspect RUN@STEP"
muster export "$scratch/many@best" --output "$scratch/hf-best" 2>"$scratch/verb.out" || fail "$(cat "$scratch/verb.out")"
muster generate "$scratch/many@1" --prompt int --max-new-tokens 1 >/dev/null 2>&1 || fail "generate RUN@STEP"
run 0 from load="$scratch/many@2" finetune=true
says from 'weights from .*step-00000002'
expect_exit 66 muster eval "$scratch/many@7" --data "$scratch/data" 2>"$scratch/verb.out"
grep -q '3, 2, 1' "$scratch/verb.out" || fail "which steps are there? $(cat "$scratch/verb.out")"
expect_exit 66 muster eval "$scratch/interval@best" --data "$scratch/data" 2>"$scratch/verb.out"
expect_exit 2 muster eval "$scratch/many@newest" --data "$scratch/data" 2>"$scratch/verb.out"

# weights that are not finite: counted at import; a loss that is no number never ends with 0
muster export "$scratch/many@1" --output "$scratch/nan" 2>"$scratch/verb.out" || fail "$(cat "$scratch/verb.out")"
size=$(stat -c %s "$scratch/nan/model.safetensors")
printf '\0\0\300\177' | dd of="$scratch/nan/model.safetensors" bs=1 seek=$((size - 4)) conv=notrunc 2>/dev/null
expect_exit 65 muster import "$scratch/nan" --output "$scratch/nan-ckpt" 2>"$scratch/verb.out"
grep -qE "tensor '[a-z_.0-9]+': 1 of" "$scratch/verb.out" || fail "which tensor? $(cat "$scratch/verb.out")"
muster import "$scratch/nan" --output "$scratch/nan-ckpt" --allow-nonfinite 2>"$scratch/verb.out" || fail "--allow-nonfinite"
expect_exit 65 muster eval "$scratch/nan-ckpt" --data "$scratch/data" --json >"$scratch/verb.out" 2>&1
run 85 nan-run load="$scratch/nan-ckpt" finetune=true
says nan-run 'before any update'

# a loaded vocabulary that the width does not divide: the same numbers, and the model's own rows all the way
odd() { # odd NAME WORKERS KEY=VALUE...
    local name=$1 workers=$2
    shift 2
    muster run "$scratch/model.yml" --workers "$workers" --run-dir "$scratch/$name" model_parallel_size="$workers" "$@" \
        >"$scratch/$name.out" 2>&1 || { cat "$scratch/$name.out" >&2; fail "$name"; }
}
odd odd 1 padded_vocab_size=515
muster export "$scratch/odd" --output "$scratch/odd-hf" 2>/dev/null && muster import "$scratch/odd-hf" --output "$scratch/odd-ckpt" 2>/dev/null
for workers in 1 2; do
    odd "odd$workers" $workers load="$scratch/odd-ckpt" finetune=true padded_vocab_size=null
    losses "$scratch/odd$workers" >"$scratch/odd$workers.losses"
    muster eval "$scratch/odd-ckpt" --data "$scratch/data" --seq-length 64 --json --workers $workers model_parallel_size=$workers \
        2>/dev/null | sed 's/.*"loss": \([^,]*\),.*/\1/' >"$scratch/odd$workers.loss"
    muster generate "$scratch/odd-ckpt" --prompt int --max-new-tokens 4 --workers $workers 2>/dev/null >"$scratch/odd$workers.text"
done
same_losses "$scratch/odd1.losses" "$scratch/odd2.losses" 1e-4 || fail "an odd vocabulary: layouts differ"
awk 'NR == FNR { a = $1; next } { exit !(a > 0 && ($1 - a) ^ 2 < 1e-8) }' "$scratch/odd1.loss" "$scratch/odd2.loss" || fail "eval differs"
cmp "$scratch/odd1.text" "$scratch/odd2.text" || fail "generate differs"
muster export "$scratch/odd2" --output "$scratch/odd2-hf" 2>/dev/null
grep -q '"vocab_size": 515' "$scratch/odd2-hf/config.json" || fail "an export has other rows than the model"

# a vocab_file that is not the data's tokenizer; an id beyond the vocabulary in a .bin: both are seen before the start
muster tokenizer train --input "$scratch/wide.txt" --vocab-size 400 --output "$scratch/foreign.json" 2>/dev/null
everywhere 78 'vocab_file .*another tokenizer' vocab_file="$scratch/foreign.json"
printf '\1\0\2\0\377\7' >"$scratch/pair.bin"
everywhere 65 'pair.bin.* 2047' data_path="$scratch/pair" split=1,0,0
expect_exit 65 muster inspect "$scratch/pair" --verify --vocab-size 512 >"$scratch/verb.out" 2>&1
grep -q 'pair.bin' "$scratch/verb.out" || fail "$(cat "$scratch/verb.out")"
muster inspect "$scratch/pair" --verify --vocab-size 2048 >"$scratch/verb.out" 2>&1 || fail "$(cat "$scratch/verb.out")"
for verb in eval generate; do
    expect_exit 2 muster $verb "$scratch/interval" --bogus 2>"$scratch/verb.out"
    grep -q "no option '--bogus'" "$scratch/verb.out" || fail "$verb: $(cat "$scratch/verb.out")"
done
