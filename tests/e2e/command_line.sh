#!/usr/bin/env bash
# What every verb does with its command line and its streams: --help, options that are not there, a stdout that is full
# or closed, a reader that has gone, files that may not be read.
. "$(dirname "$0")/lib.sh"

verbs=$(muster --help | sed -nE 's/^  ([a-z]+)  .*/\1/p')
[ "$(wc -w <<<"$verbs")" -ge 14 ] || fail "verbs: $verbs"
declare -A first=([render]=slurm [tokenizer]=train [completion]=bash) # the word that comes before options
for verb in $verbs; do
    muster "$verb" --help >"$scratch/out" 2>"$scratch/err" || fail "muster $verb --help"
    grep -q "^usage: muster $verb" "$scratch/out" && [ ! -s "$scratch/err" ] || fail "muster $verb --help: $(cat "$scratch/out" "$scratch/err")"
    expect_exit 2 muster "$verb" ${first[$verb]:-} --no-such-option x >"$scratch/out" 2>"$scratch/err"
    [ ! -s "$scratch/out" ] && grep -q -- "no-such-option" "$scratch/err" || fail "muster $verb --no-such-option: $(cat "$scratch/err")"
    [ "$verb" = man ] || expect_exit 2 muster "$verb" >"$scratch/out" 2>"$scratch/err" # man alone is muster(1)
    grep -q -- "--help" "$scratch/err" || fail "muster $verb alone: $(cat "$scratch/err")"
    expect_exit 74 muster "$verb" --help >/dev/full 2>/dev/null
    expect_exit 74 muster "$verb" --help >&- 2>/dev/null
done
expect_exit 2 muster stauts 2>"$scratch/err"
grep -q 'did you mean status' "$scratch/err" || fail "a verb that is nearly one: $(cat "$scratch/err")"

# what a shell and man show is made of the same tables
muster completion bash | bash -n || fail "muster completion bash is no bash"
muster completion zsh >"$scratch/zsh"
grep -q '^#compdef muster' "$scratch/zsh" || fail "muster completion zsh"
offered() { # offered WORD...: what bash offers for the last one
    bash -c '. <(muster completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _muster; echo "${COMPREPLY[*]}"' bash "$@"
}
[ "$(offered muster prepare --split-by "")" = "order hash" ] || fail "completion of --split-by: $(offered muster prepare --split-by "")"
# the targets of render are those that it takes, and files come after them
targets=$(offered muster render "")
for target in $targets; do
    expect_exit 2 muster render "$target" 2>"$scratch/err"
    grep -q 'no CONFIG\|=\.\.\. is wanted' "$scratch/err" || fail "render $target: $(cat "$scratch/err")"
    grep -q "'1: :(.*\b$target\b" "$scratch/zsh" || fail "zsh does not offer render $target"
done
[[ $targets == *slurm*argo* && $(offered muster render mp) = mpijob && $(offered muster completion z) = zsh ]] || fail "render offers: $targets"
cd "$MUSTER_SOURCE"
[ "$(offered muster render slurm README)" = README.md ] || fail "render slurm offers: $(offered muster render slurm README)"
cd - >/dev/null
[ "$(offered muster man inspe)" = inspect ] || fail "man offers: $(offered muster man inspe)"
muster man --list | while read -r page; do
    muster man $page >"$scratch/page"
    grep -q '^\.SH SYNOPSIS' "$scratch/page" || fail "muster man $page"
done
expect_exit 2 muster man no-such-verb 2>/dev/null

muster-worker --help | grep -q '^usage: mpirun' || fail "muster-worker --help"
expect_exit 2 muster-worker 2>/dev/null
expect_exit 2 muster-worker --prob 2>/dev/null
[[ $(muster --version) =~ ^muster\ [0-9] && $(muster-worker --version) =~ ^muster-worker\ [0-9] ]] || fail "--version"

# closed streams: what is opened next does not get their numbers
muster tokenizer train --input "$MUSTER_SOURCE/README.md" --vocab-size 300 --output "$scratch/data.json" <&- >&- 2>&-
muster tokenizer encode --tokenizer "$scratch/data.json" --input "$MUSTER_SOURCE/README.md" --json 2>&- >"$scratch/out"
[[ $(cat "$scratch/out") == "["*"]" ]] || fail "encode with a closed stderr: $(head -c 100 "$scratch/out")"
muster prepare "$scratch/model.yml" --input "$MUSTER_SOURCE/README.md" --output "$scratch/data" <&- 2>&- >"$scratch/out"
muster inspect "$scratch/data" --verify >/dev/null || fail "a data set made with closed streams"
expect_exit 74 muster inspect "$scratch/data" --json >/dev/full 2>/dev/null
expect_exit 74 muster tokenizer encode --tokenizer "$scratch/data.json" --input "$MUSTER_SOURCE/README.md" >/dev/full 2>/dev/null

# options of other launchers: each with the one that says it here
while read -r verb theirs ours; do
    expect_exit 2 muster $verb "$scratch/model.yml" $theirs 2>"$scratch/err"
    grep -q -- "$ours" "$scratch/err" || fail "$theirs: $(cat "$scratch/err")"
done <<END
run -np=2 --workers
run -n --workers
run -H --hosts
run --host=a,b --hosts
run --num_nodes=2 --hostfile
prepare --jsonl-keys --text-key
prepare --append-eod --end
prepare --vocab-file vocab_file=
END

# a path that cannot be given to another host
expect_exit 73 muster run "$scratch/model.yml" --run-dir "$scratch/$(printf 'a\377')" 2>"$scratch/err"
grep -q 'not UTF-8' "$scratch/err" || fail "$(cat "$scratch/err")"

# where nothing can be written
for output in "$scratch/nowhere/tokenizer.json" "$scratch"; do
    expect_exit 73 muster tokenizer train --input "$MUSTER_SOURCE/README.md" --vocab-size 300 --output "$output" 2>/dev/null
done

# a reader that has gone ends a filter as it ends any
got=0
(set +o pipefail; muster config --keys || echo $? >"$scratch/code") | head -n 1 >/dev/null
[ ! -e "$scratch/code" ] || got=$(cat "$scratch/code")
[ "$got" -eq 0 ] || [ "$got" -eq 141 ] || fail "muster config --keys | head: $got"

# what may not be read is an input that is missing, not a storage that failed
touch "$scratch/secret.yml" && chmod 0 "$scratch/secret.yml"
if [ "$(id -u)" -ne 0 ]; then
    expect_exit 66 muster config "$scratch/secret.yml" 2>/dev/null
elif setpriv --reuid 65534 --clear-groups "$MUSTER_BIN/muster" --version >/dev/null 2>&1; then
    chmod 711 "$scratch"
    expect_exit 66 setpriv --reuid 65534 --clear-groups "$MUSTER_BIN/muster" config "$scratch/secret.yml" 2>/dev/null
fi
expect_exit 66 muster config "$scratch" 2>/dev/null
