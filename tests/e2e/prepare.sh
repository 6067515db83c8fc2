#!/usr/bin/env bash
# muster prepare: the same shards from every form of the same text, readable by h5py; what is wrong is said, with its
# exit code, and leaves nothing.
. "$(dirname "$0")/lib.sh"
make_data "$scratch/data"
cd "$scratch"

# the same data, whatever the names of what it was made of, which the manifest holds
same() { diff -r -x manifest.json "$1" "$2" >/dev/null && [ "$(version "$1")" = "$(version "$2")" ]; }
version() { sed -nE 's/.*"version": "([0-9a-f]{32})".*/\1/p' "$1/manifest.json" | head -1; }
prepare() { muster prepare model.yml "$@" 2>>talk; }
wanted=$(version data)
[ -n "$wanted" ] || fail "no data version in the manifest"
[ ! -e data.partial ] || fail "data.partial was left"

# --- compression and places change nothing
gzip -c data.txt >one.bin
{ head -c 100000 data.txt | gzip -c; tail -c +100001 data.txt | gzip -c; } >two.txt
zstd -q -c data.txt >z.txt
for form in one.bin two.txt z.txt; do
    prepare --input "$form" --output from."$form" >/dev/null
    [ "$(version from."$form")" = "$wanted" ] || fail "$form: other data than from plain text"
done
if command -v dictzip >/dev/null; then
    cp data.txt d.txt && dictzip d.txt
    prepare --input d.txt.dz --output from.dz >/dev/null
    [ "$(version from.dz)" = "$wanted" ] || fail "dictzip: other data"
else
    echo "dictzip is not there: its form is not tried"
fi
prepare --input - --output from.stdin <data.txt >/dev/null
cat one.bin | prepare --input - --output from.pipe --threads 1 >/dev/null
prepare --input data.txt --output from.threads --threads 5 >/dev/null
for same in from.stdin from.pipe from.threads; do
    same data "$same" || fail "$same: not the same files"
done
mkdir parts
split -n l/3 data.txt parts/p
prepare --input parts --output from.parts --document line >/dev/null
prepare --input parts/pa? --output from.list --document line >/dev/null
prepare --input data.txt --output from.lines --document line >/dev/null
same from.parts from.list || fail "a directory and its files differ"
same from.parts from.lines || fail "line by line, a cut between lines made a difference"

# --- JSON Lines give the text they hold, and the result is JSON when asked
printf '{"id": 1, "text": "int main(void)\\n{"}\n{"text": "\\u0069f (x)"}\n{"text": ""}\n{"text": "}"}\n' >j.jsonl
prepare --input j.jsonl --output j --json split=1 >j.json
grep -q '"train": {"documents": 3, ' j.json || fail "$(cat j.json)"
grep -q '"empty": 1,' j.json || fail "$(cat j.json)"

# --- what others read: h5py sees the ids that the tokenizer gives, and <|endoftext|> after each document
if /usr/bin/python3 -c 'import h5py' 2>/dev/null; then
    printf 'int main(void)\n{' >t1; printf 'if (x)' >t2; printf '}' >t3
    for t in t1 t2 t3; do muster tokenizer encode --tokenizer data.json --input $t --json; done >ids
    /usr/bin/python3 - <<'PY' || fail "h5py reads something else"
import h5py, json
ids = [json.loads(line) for line in open("ids")]
shard = json.load(open("j/manifest.json"))["shards"][0]
vocab = json.load(open("data.json"))
end = next(t["id"] for t in vocab["added_tokens"] if t["content"] == "<|endoftext|>")
with h5py.File("j/train-00000.h5") as f:
    tokens, documents = f["tokens"], f["documents"]
    assert tokens.dtype == "uint16" and documents.dtype == "int64", (tokens.dtype, documents.dtype)
    assert tokens.id.get_offset() == shard["tokens_at"]
    assert documents.id.get_offset() == shard["documents_at"]
    assert f["blocks"].id.get_offset() == shard["blocks_at"]
    assert documents[0] == 0 and documents[-1] == len(tokens) == shard["tokens"]
    for d, want in enumerate(ids):
        assert list(tokens[documents[d]:documents[d + 1]]) == want + [end], d
PY
else
    echo "h5py is not there: it does not read the shards"
fi

# --- what is wrong
muster prepare --help | grep -q '^usage: muster prepare' || fail "no usage on stdout"
expect_exit 2 prepare
expect_exit 2 prepare --input data.txt --document paragraph
expect_exit 2 prepare --input data.txt --no-such-option
expect_exit 66 prepare --input nowhere.txt --output x
expect_exit 66 prepare --input data.txt --output x vocab_file=nowhere.json
expect_exit 78 prepare --input data.txt --output x splitt=1
expect_exit 78 prepare --input data.txt --output x split=1,x
expect_exit 73 prepare --input data.txt --output parts --force
# the same command again: there already, and nothing is written; anything else at the same place: 73, and why
touch -d @1 data/manifest.json
prepare --input data.txt --json >again.json
grep -q "\"version\": \"$wanted\"" again.json || fail "the same again: $(cat again.json)"
prepare --input - <data.txt >/dev/null
[ "$(stat -c %Y data/manifest.json)" = 1 ] || fail "the same again was written again"
# refuses WORD ARGUMENT...: exit 73, and the message holds the word
refuses() {
    local word=$1
    shift
    expect_exit 73 muster prepare model.yml "$@" 2>refused
    grep -q "another data set: .*$word" refused || fail "$*: $(cat refused)"
}
refuses number --input data.txt j.jsonl
refuses content --input one.bin
refuses document --input data.txt --document line
refuses split --input data.txt split=1
refuses split_by --input data.txt --split-by hash
refuses tokenizer --input data.txt --special '<|more|>' padded_vocab_size=1024
cp data.txt data.jsonl
refuses format --input data.jsonl
truncate -s -1 data/train-00000.h5
expect_exit 65 prepare --input data.txt
prepare --input data.txt --force >/dev/null
head -c -5 one.bin >cut.gz
expect_exit 65 prepare --input cut.gz --output x
grep -q 'cut.gz: the gzip data ends in the middle' talk || fail "the cut file is not named"
printf 'fine\n\nna\xefve \x92\n' >bad.txt
expect_exit 65 prepare --input bad.txt --output x --strict split=1
grep -q 'bad.txt:3: invalid UTF-8, 0xEF at byte 8' talk || fail "invalid UTF-8 is not placed: $(tail -3 talk)"
prepare --input bad.txt --output loose --json split=1 | grep -q '"invalid": 2,' || fail "invalid UTF-8 is not counted"
expect_exit 65 prepare --input bad.txt --output x
grep -q 'valid would be empty: .* of 2 documents' talk || fail "an empty split is not said"
printf '{"text": "a"}\n{"text": 1}\n' >bad.jsonl
expect_exit 65 prepare --input bad.jsonl --output x
grep -q 'bad.jsonl:2:10: ' talk || fail "the JSON line is not placed"
[ ! -e x ] && [ ! -e x.partial ] || fail "a failed run left something: $(ls -d x*)"

# a file that may not grow, as on a full disk: the storage's exit code, and nothing left
expect_exit 74 bash -c "trap '' XFSZ; ulimit -f 100; exec muster prepare model.yml --input data.txt --output x" 2>>talk
[ ! -e x ] && [ ! -e x.partial ] || fail "a full disk left something: $(ls -d x*)"

# killed: no data set, and the next run takes the place of what it left
mkfifo endless
exec 9<>endless # a writer that never ends
muster prepare model.yml --input endless --output k 2>>talk 9>&- &
cat data.txt >&9
for _ in $(seq 200); do [ -e k.partial/spool.tokens ] && break || sleep 0.1; done
kill_ours
wait 2>/dev/null || true
exec 9>&-
[ ! -e k ] && [ -e k.partial ] || fail "a killed run shows a data set, or left nothing to clear"
prepare --input data.txt --output k >/dev/null
diff -r data k >/dev/null || fail "after a kill, other data"
[ ! -e k.partial ] || fail "k.partial was left"

# --- memory does not grow with the input: some 60 MB of text in 400 MB of address space, of which threads take most
copies=$((60000000 / $(wc -c <data.txt) + 1))
for _ in $(seq "$copies"); do cat data.txt; done |
    (ulimit -v 400000; muster prepare model.yml --input - --output big --threads 2 >/dev/null 2>>talk) ||
    fail "60 MB in 400 MB of address space: $(tail -3 talk)"
