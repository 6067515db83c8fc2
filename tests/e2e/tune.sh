#!/usr/bin/env bash
# muster.tune: auto measures how products are computed, once: a start that goes on takes what the run directory has,
# with the same bits as a run that never stopped. Ways that a person wrote there are followed, and agree with others
# within 1e-6.
. "$(dirname "$0")/lib.sh"
sed -i 's/^hidden_size: 64/hidden_size: 192/' "$scratch/model.yml"
make_data "$scratch/data"

train() { # train NAME KEY=VALUE...
    local name=$1
    shift
    muster run "$scratch/model.yml" muster.tune=auto --workers 2 --run-dir "$scratch/$name" "$@" >"$scratch/$name.out" 2>&1 ||
        { cat "$scratch/$name.out" >&2; fail "$name"; }
    losses "$scratch/$name" >"$scratch/$name.losses"
}

train whole
record=$scratch/whole/products.tsv
[ "$(awk -F'\t' 'NF == 8 && $7 ~ /^(first packed|rows|columns|packed)/' "$record" | wc -l)" -gt 8 ] || fail "no record: $(cat "$record")"
[ "$(cut -f1-6 "$record" | sort | uniq -d | wc -l)" -eq 0 ] || fail "a product stands there twice: $(cat "$record")"

# the same record: stopped in the middle, and started again
mkdir "$scratch/twice" && cp "$record" "$scratch/twice/"
train twice lr_decay_iters=12 exit_interval=5
train twice lr_decay_iters=12
cmp "$record" "$scratch/twice/products.tsv" || fail "it was measured again"
cmp "$scratch/whole.losses" "$scratch/twice.losses" || { diff "$scratch/whole.losses" "$scratch/twice.losses" >&2; fail "the lines differ"; }

# other ways; and a line that is damaged counts for nothing, so that its product alone is measured
mkdir "$scratch/forced" && awk -F'\t' -v OFS='\t' '{ $7 = NR == 1 ? "sideways" : $7 ~ /^columns/ ? "packed 384x384x512" : "columns 0x0x512" } 1' \
    "$record" >"$scratch/forced/products.tsv"
train forced
same_losses "$scratch/whole.losses" "$scratch/forced.losses" 1e-6 || fail "two choices differ by more than 1e-6"
[ "$(wc -l <"$scratch/forced/products.tsv")" -eq $(($(wc -l <"$record") + 1)) ] || fail "one line more wanted: $(cat "$scratch/forced/products.tsv")"
cut -f1-6 "$scratch/forced/products.tsv" | sort | uniq -d | cmp - <(head -n 1 "$record" | cut -f1-6) || fail "the damaged line was not measured again"
