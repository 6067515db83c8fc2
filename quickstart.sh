#!/usr/bin/env bash
# From a bare Debian machine to a trained model: installs what is missing through apt (and says so), builds muster,
# takes Webster's dictionary as text, trains a tokenizer and a small GPT-NeoX model on two worker processes, evaluates
# it on text it has not seen, and lets it write a definition. About six minutes on two cores; everything it makes lies
# in build/release and quickstart/.
set -euo pipefail
cd "$(dirname "$0")"

trap 'echo "quickstart.sh: line $LINENO: failed" >&2' ERR
say() { printf '\n== %s\n' "$*"; }
began=$(date +%s)

say "packages"
scripts/install-dependencies dict-gcide

say "build"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { cmake --preset release && cmake --build --preset release --target muster muster-worker; } >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    exit 70
fi
sed -n '/^-- libraries:/,/^--/p' "$log" | sed '$d'
export PATH=$PWD/build/release/bin:$PATH
echo "build/release/bin/muster, build/release/bin/muster-worker"

say "text: Webster's dictionary (package dict-gcide)"
mkdir -p quickstart
dictionary=/usr/share/dictd/gcide.dict.dz
# The last 5 % of the text, cut at a blank line, is held out: the model never sees it.
if [ ! -s quickstart/heldout.txt ]; then
    gzip -dc "$dictionary" >quickstart/all.txt
    lines=$(wc -l <quickstart/all.txt)
    cut=$(awk -v from=$((lines * 95 / 100)) 'NR >= from && /^$/ { print NR; exit }' quickstart/all.txt)
    head -n "$cut" quickstart/all.txt >quickstart/text.txt
    tail -n +"$((cut + 1))" quickstart/all.txt >quickstart/heldout.part
    rm quickstart/all.txt
    mv quickstart/heldout.part quickstart/heldout.txt
fi
for text in quickstart/text.txt quickstart/heldout.txt; do
    printf '%9d bytes in %s\n' "$(wc -c <"$text")" "$text"
done

say "tokenizer"
[ -s quickstart/tokenizer.json ] ||
    muster tokenizer train --input quickstart/text.txt --vocab-size 4096 --output quickstart/tokenizer.json

say "shards"
[ -s quickstart/data/manifest.json ] ||
    muster prepare configs/quickstart.yml --input quickstart/text.txt --output quickstart/data
[ -s quickstart/heldout/manifest.json ] ||
    muster prepare configs/quickstart.yml --input quickstart/heldout.txt --output quickstart/heldout split=0,0,1

say "train: 1 controller and 2 workers"
muster run configs/quickstart.yml --workers 2 --run-dir quickstart/run

say "held-out text"
checkpoint=quickstart/run/checkpoints/$(cat quickstart/run/checkpoints/latest)
muster eval "$checkpoint" --data quickstart/heldout --split test --json >quickstart/eval.json
model=$(sed -n 's/.*"bits_per_byte": *\([0-9.]*\).*/\1/p' quickstart/eval.json)
bytes=$(wc -c <quickstart/heldout.txt)
bits() { awk -v packed="$1" -v bytes="$bytes" 'BEGIN { printf "%.3f", packed * 8 / bytes }'; }
printf 'bits per byte on the %d bytes held out:\n' "$bytes"
printf '  gzip -9   %s\n' "$(bits "$(gzip -9c quickstart/heldout.txt | wc -c)")"
printf '  bzip2 -9  %s\n' "$(bits "$(bzip2 -9c quickstart/heldout.txt | wc -c)")"
printf '  xz -9e    %s\n' "$(bits "$(xz -9ec quickstart/heldout.txt | wc -c)")"
printf '  muster    %.3f   (%s)\n' "$model" "$checkpoint"

say "a definition"
muster generate "$checkpoint" --prompt "Compute \\Com*pute\"\\, v. t." --max-new-tokens 80 --temperature 0.7 --top-p 0.9 --seed 1
printf '\ndone in %d s. Results: build/release, quickstart/. Your own text: see README.md.\n' $(($(date +%s) - began))
