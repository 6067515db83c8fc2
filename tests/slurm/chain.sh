# The script of `muster render slurm chain=...` on a real Slurm: it submits a job a step, each after the one before. A
# second copy submits nothing that is there or in the queue. A gate that is not met (87) removes the export. A training
# job that is killed is submitted again and resumes.
. "$(dirname "$0")/job.sh"
cluster_begin n1 n2
make_model n1 n2

render() { # NAME key=value...
    lab_in head "$LAB/bin/muster" render slurm "$LAB/run/model.yml" name=c muster="$LAB/bin/muster" nodes=2 time=10 \
        chain=prepare,train,gate,export input="$LAB/run/text.txt" data_path="$LAB/run/$1.data" save="$LAB/run/$1" \
        export="$LAB/run/$1.hf" "${@:2}" >"$LAB/$1.sh" 2>"$LAB/render.err" || lab_fail "render: $(cat "$LAB/render.err")"
}
chain() { # NAME: runs the script on head; a line a step is in $LAB/NAME.out
    cluster_in head env -i PATH="$LAB/bin:$PATH" HOME=/root SLURM_CONF="$LAB/slurm/slurm.conf" bash "$LAB/$1.sh" \
        >"$LAB/$1.out" 2>"$LAB/$1.err" || lab_fail "the script ends with $?: $(cat "$LAB/$1.err")"
}
job() { # NAME STEP: its number
    awk -v step="$2" '$1 == step { print $2 }' "$LAB/$1.out"
}
ends() { # NAME STEP CODE
    local id
    id=$(job "$1" "$2")
    cluster_wait "$id" gone 120
    [ "$(cluster_exit "$id")" = "$3" ] || {
        tail -n 40 "$R/$1.chain/$2-$id.log" >&2
        lab_fail "$1: $2 ends with $(cluster_exit "$id"), wanted $3"
    }
}
said() { # NAME LINE...: what the script printed, a word for a number
    local wanted
    wanted=$(printf '%s\n' "${@:2}")
    [ "$(sed -E 's/ [0-9]+/ N/' "$LAB/$1.out")" = "$wanted" ] || lab_fail "$1 prints: $(cat "$LAB/$1.out"), wanted: $wanted"
}

# ---- to the end, and again ----

render good train_iters=20 gate='ppl<1e6,tokens>0'
chain good
said good 'prepare N' 'train N' 'gate N' 'export N'
cp "$LAB/good.out" "$LAB/good.first"
chain good
said good 'prepare N queued' 'train N queued' 'gate N queued' 'export N queued'
cmp <(awk '{ print $1, $2 }' "$LAB/good.out") "$LAB/good.first" || lab_fail "other jobs the second time"
for step in prepare train gate export; do ends good $step 0; done
[ -s "$R/good.hf/config.json" ] || lab_fail "nothing is exported: $(ls "$R")"
chain good
said good 'prepare done' 'train done' 'gate done' 'export done'
rm -r "$R/good.hf" # what is gone is made again, and nothing else
chain good
said good 'prepare done' 'train done' 'gate done' 'export N'
ends good export 0
[ -s "$R/good.hf/config.json" ] || lab_fail "nothing is exported again"
echo "chain: done, and nothing is done twice"

# ---- a gate that is not met ----

render good train_iters=20 gate='ppl<1e6,ppl<=1.01'
chain good
said good 'prepare done' 'train done' 'gate N' 'export N'
ends good gate 87
grep -q "ppl" "$R/good.chain/gate-$(job good gate).log" || lab_fail "the gate's log does not name it"
cluster_wait "$(job good export)" CANCELLED 30
echo "gate: 87, the export is removed"

# ---- the training job is killed ----

render killed checkpoint_factor=50 gate='ppl<1e6'
chain killed
wait_for_step killed 60 90
first=$(job killed train)
cluster_in head scancel --signal=KILL --full "$first" || cluster_in head scancel "$first"
cluster_wait "$first" gone 60
cluster_wait "$(job killed gate)" CANCELLED 30
cluster_wait "$(job killed export)" CANCELLED 30
at=$(steps killed)
[ "$at" -lt 1500 ] || lab_fail "it had ended before it was killed"
nothing_left "after the kill" 20
chain killed
said killed 'prepare done' 'train N' 'gate N' 'export N'
[ "$(job killed train)" != "$first" ] || lab_fail "the killed job is not submitted again"
for step in train gate export; do ends killed $step 0; done
grep -q "resuming .*step-" "$R/killed.chain/train-$(job killed train).log" || lab_fail "the second job does not resume"
[ "$(steps killed)" = 1500 ] || lab_fail "it ends at step $(steps killed)"
[ -s "$R/killed.hf/config.json" ] || lab_fail "nothing is exported after the kill"
echo "killed at step $at: submitted again, resumed, exported"
