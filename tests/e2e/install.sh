#!/usr/bin/env bash
# `cmake --install` into any prefix: the programs run from there and find their parts, pages and completions are there.
. "$(dirname "$0")/lib.sh"
build=$(dirname "$MUSTER_BIN")
cmake --install "$build" --prefix "$scratch/a prefix" >"$scratch/log" 2>&1 || fail "$(tail "$scratch/log")"
at="$scratch/a prefix"
for file in bin/muster bin/muster-ssh bin/muster-worker bin/muster-wandb share/man/man1/muster.1 share/man/man1/muster-run.1 \
    share/man/man1/muster-tokenizer-train.1 share/bash-completion/completions/muster share/zsh/site-functions/_muster \
    share/muster/configs/quickstart.yml share/muster/slurm/muster.sbatch share/doc/muster/copyright share/doc/muster/docs/config.md; do
    [ -s "$at/$file" ] || fail "not installed: $file"
done
bash -n "$at/share/bash-completion/completions/muster"

# A page for each verb that --help names.
"$at/bin/muster" man --list | tr ' ' - | while read -r page; do
    grep -q '^\.TH' "$at/share/man/man1/muster-$page.1" || fail "no page muster-$page.1"
done
"$at/bin/muster" --help >"$scratch/out"
grep -q 'man muster-VERB' "$scratch/out" || fail "--help does not point to the pages"
for verb in $(sed -nE 's/^  ([a-z]+) +.*/\1/p' "$scratch/out"); do
    ls "$at/share/man/man1/muster-$verb"{,-*}.1 >"$scratch/pages" 2>/dev/null || [ -s "$scratch/pages" ] || fail "no page muster-$verb.1"
done

# Each page that a --help names is there, below the prefix; muster(1) has every exit code and says where the pages are.
named=0
for verb in "" $(sed -nE 's/^  ([a-z]+) +.*/\1/p' "$scratch/out"); do
    "$at/bin/muster" ${verb:+"$verb"} --help | tr -s ' \n' ' ' | grep -oE "$at[^ ]*\.md|docs/[a-z-]+\.md" >"$scratch/pages" || continue
    while read -r page; do
        [[ $page == "$at/share/doc/muster/docs/"* ]] && [ -s "$page" ] || fail "muster $verb --help names $page"
        named=$((named + 1))
    done <"$scratch/pages"
done
[ "$named" -ge 6 ] || fail "--help names $named pages"
"$MUSTER_BIN/muster" --help | grep -qE 'docs/exit-codes\.md$' || fail "the built program names no page"
for code in $(sed -nE 's/^\| ([0-9]+) \|.*/\1/p' "$MUSTER_SOURCE/docs/exit-codes.md"); do
    grep -q "^\.B $code\$" "$at/share/man/man1/muster.1" || fail "muster(1) has no exit code $code"
done
grep -q '^share/doc/muster/docs' "$at/share/man/man1/muster.1" || fail "muster(1) does not say where pages are"

# The installed launcher starts the installed worker, and not one in PATH.
make_data "$scratch/data"
muster="$at/bin/muster"
"$muster" run "$scratch/model.yml" --workers 1 --run-dir "$scratch/run" --dry-run >"$scratch/out" 2>&1 || fail "$(cat "$scratch/out")"
grep -qF "$at/bin/muster-worker" "$scratch/out" || fail "another worker: $(cat "$scratch/out")"

# --version: what was built, with which libraries.
for program in muster muster-worker; do
    "$at/bin/$program" --version >"$scratch/version"
    head -n 1 "$scratch/version" | grep -qE "^$program [0-9]+\.[0-9]+\.[0-9]+$" || fail "$(cat "$scratch/version")"
    for word in commit MPI oneDNN HDF5 CUDA NCCL; do
        grep -qE "^  $word +[^ ]" "$scratch/version" || fail "$program: no $word: $(cat "$scratch/version")"
    done
    "$at/bin/$program" --version --json | python3 -c '
import json, sys
o = json.load(sys.stdin)
assert o["program"] == sys.argv[1] and all(o[k] for k in ("version", "mpi", "onednn", "hdf5", "cuda", "nccl")), o' "$program"
    expect_exit 2 "$at/bin/$program" --version --yaml 2>/dev/null
done
