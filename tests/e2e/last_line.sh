#!/usr/bin/env bash
# The last line of what went wrong has its subject and its cause, whatever was printed before; and a result that cannot
# be written, a file that may not grow and a path that cannot be looked at are named as that.
. "$(dirname "$0")/lib.sh"
make_data "$scratch/data"
last() { tail -n 1 "$scratch/err"; }
# ends CODE PATTERN COMMAND...: with that code, and the pattern in the last line
ends() {
    local code=$1 pattern=$2
    shift 2
    expect_exit "$code" "$@" >"$scratch/out" 2>"$scratch/err"
    last | grep -qE -- "$pattern" || fail "$*: the last line is: $(last)"
}
run=$scratch/run
muster run "$scratch/model.yml" --workers 1 --run-dir "$run" train_iters=2 2>"$scratch/err" || fail "$(last)"

# A start that is refused prints no account of the attempts before it.
cp -a "$run" "$scratch/again"
ends 66 "$scratch/nosuch: no data set" muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/again" data_path="$scratch/nosuch"
! grep -q 'wall time' "$scratch/err" || fail "an account of a run that was not started: $(cat "$scratch/err")"

# What preflight found comes after its effort.
(ulimit -n 128; ends 80 'ulimit -n' muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/files")

# A path that nobody can look at is not one that is not there.
ln -s loop "$scratch/loop"
ends 66 "$scratch/loop/manifest.json: .*symbolic links" muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/loops" data_path="$scratch/loop"
ends 66 "$scratch/loop: .*symbolic links" muster import "$scratch/loop" --output "$scratch/imported"

# The limit of a file's size is an error of the write (SIGXFSZ would end the program), and leaves nothing.
(ulimit -f 100; ends 74 'spool.tokens: .*File too large' muster prepare "$scratch/model.yml" --input "$scratch/data.txt" --output "$scratch/cut")
(ulimit -f 100; ends 74 'model.safetensors: .*File too large' muster export "$run" --output "$scratch/exported")
for left in "$scratch"/cut* "$scratch"/exported*; do [ ! -e "$left" ] || fail "left: $left"; done

# A rank that ends for good: its own words are in the last line.
cp -a "$scratch/data" "$scratch/hurt"
dd if=/dev/zero of="$scratch/hurt/train-00000.h5" bs=1 seek=9000 count=64 conv=notrunc status=none
ends 65 'rank 0 .*hurt/train-00000.h5.* exit 65' muster run "$scratch/model.yml" --workers 1 --run-dir "$scratch/hurts" data_path="$scratch/hurt"

# Two imports into one directory: the second one says so. One that fails leaves the place as it was.
muster export "$run" --output "$scratch/hf" 2>"$scratch/err" || fail "$(last)"
mkdir "$scratch/imports"
ends 73 "$scratch/imports: another muster import" flock "$scratch/imports" muster import "$scratch/hf" --output "$scratch/imports"
(ulimit -f 100; ends 74 'shard' muster import "$scratch/hf" --output "$scratch/none")
[ ! -e "$scratch/none" ] || fail "a failed import leaves $(ls -A "$scratch/none")"

# A terminal that closes ends a server as SIGTERM does, with nothing left in TMPDIR.
muster serve "$run" --listen 127.0.0.1:0 >"$scratch/out" 2>"$scratch/err" &
server=$!
for _ in $(seq 200); do grep -qE '127\.0\.0\.1:[1-9]' "$scratch/err" "$scratch/out" && break; sleep 0.05; done
kill -HUP $server
expect_exit 0 wait $server
! ls -d "$TMPDIR"/muster-serve-* 2>/dev/null || fail "a folder is left"

# Results that do not reach standard output.
for words in "--help" "--version" "config $scratch/model.yml" "plan $scratch/model.yml" "status $run" "inspect $run" "man run" "completion zsh" \
    "tokenizer encode --tokenizer $scratch/data.json --input $scratch/data.txt" "eval $run --data $scratch/data" \
    "eval $run $run --best --data $scratch/data --json" "generate $run --prompt a --max-new-tokens 2" "compare $run $run" \
    "run $scratch/model.yml --dry-run --run-dir $scratch/dry" "check $scratch/model.yml --json"; do
    code=0
    # shellcheck disable=SC2086
    muster $words >/dev/full 2>"$scratch/err" || code=$?
    [ $code -eq 74 ] || fail "muster $words: exit $code: $(last)"
    last | grep -q 'standard output: .*No space left' || fail "muster $words: the last line is: $(last)"
done
echo "the last line says what and why"
