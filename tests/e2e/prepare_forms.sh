#!/usr/bin/env bash
# muster prepare: archives, tables, several members, tags, the split by digest and the filters, as an example has them:
# TextGameGen's novels, dialogues and quests, each with its own token.
. "$(dirname "$0")/lib.sh"
make_data "$scratch/data"
cd "$scratch"
prepare() { muster prepare model.yml padded_vocab_size=1024 "$@" 2>>talk; }
# number FILE MEMBER...: one number of a JSON object, by jq's path without jq
number() {
    local file=$1
    shift
    /usr/bin/python3 -c 'import json, sys
value = json.load(open(sys.argv[1]))
for key in sys.argv[2:]:
    value = value[int(key) if key.lstrip("-").isdigit() else key]
print(value)' "$file" "$@"
}

# --- three sources of other forms, and nothing but generated text
mkdir sources
for i in $(seq 200); do printf 'The rider of chapter %d turned back.\nIt was late.\n\n' "$i"; done >sources/novels.txt
{
    printf 'id\tcategory\ttopic\tcontent\r\n'
    for i in $(seq 150); do printf '%d\tgreeting\tBalmora\t"""Well"", said she,\r\nnumber %d."\r\n' "$i" "$i"; done
} >sources/dialogues.tsv
for i in $(seq 120); do printf '{"stage": %d, "title": "Quest %d", "text": ["Find the %d keys.", "Return."]}\n' "$i" "$i" "$i"; done |
    gzip -c >sources/quests.jsonl.gz
specials=(--special '<|action|>' --special '<|dialogue|>' --special '<|quest|>')
three=(--tag '<|action|>' --input sources/novels.txt --tag '<|dialogue|>' --input sources/dialogues.tsv --tag '<|quest|>'
    --input sources/quests.jsonl.gz --column content --template '{title}\n{text}')
prepare "${specials[@]}" "${three[@]}" --split-by hash split=90,5,5 --output hash --json >hash.json || fail "$(tail -5 talk)"
for tag in 0 1 2; do
    for part in train valid test; do
        [ "$(number hash.json tags $tag documents $part)" -gt 0 ] || fail "tag $tag has nothing in $part: $(cat hash.json)"
    done
done
# by position the last part is all quests, and that is shown beside
[ "$(number hash.json tags 0 tag)" = '<|action|>' ] || fail "the tags: $(cat hash.json)"
[ "$(number hash.json tags 0 by_position test)" = 0 ] && [ "$(number hash.json tags 2 by_position test)" -gt 20 ] ||
    fail "by position: $(cat hash.json)"
prepare "${specials[@]}" "${three[@]}" --split-by hash split=90,5,5 --output hash >text
grep -q '^<|quest|> .*test [0-9]* ([0-9]*)$' text || fail "the counts by tag are not shown: $(cat text)"
prepare "${specials[@]}" "${three[@]}" split=90,5,5 --output order >/dev/null
grep -q 'novels.txt: all its 200 documents fall into train; --split-by hash' talk || fail "one part alone is not reported"
expect_exit 78 muster prepare model.yml "${three[@]}" --output none 2>said
grep -q "<|action|>" said || fail "a tag that is no token: $(cat said)"

# --- another end than <|endoftext|>
printf 'if (x)' >end.txt
muster tokenizer encode --tokenizer data.json --input end.txt >end.ids
prepare --input end.txt --special '</s>' --end '</s>' --output end --json split=1 >end.json
[ "$(number end.json train tokens)" = $(($(wc -l <end.ids) + 1)) ] || fail "$(cat end.json)"
expect_exit 73 muster prepare model.yml padded_vocab_size=1024 --input end.txt --special '</s>' --output end split=1 2>said
grep -q 'end was "</s>"' said || fail "another end: $(cat said)"
expect_exit 78 prepare --input end.txt --end '<none>' --output none

# --- a document keeps its part when data is added
for i in $(seq 300); do printf 'More text, number %d.\n\n' "$i"; done >sources/more.txt
prepare "${specials[@]}" --input sources/more.txt "${three[@]}" --split-by hash split=90,5,5 --output more --json >more.json
for part in train valid test; do
    [ "$(number more.json groups 1 documents $part)" = "$(number hash.json groups 0 documents $part)" ] ||
        fail "added data moved documents of $part"
done

# --- the tokens: tag, text, end
if /usr/bin/python3 -c 'import h5py' 2>/dev/null; then
    printf 'Quest 7\nFind the 7 keys.\n\nReturn.' >quest
    printf '"Well", said she,\r\nnumber 7.' >dialogue
    for text in quest dialogue; do muster tokenizer encode --tokenizer hash/tokenizer.json --input $text --json; done >ids
    /usr/bin/python3 - <<'PY' || fail "other tokens than tag, text, end"
import h5py, json
vocab = {t["content"]: t["id"] for t in json.load(open("hash/tokenizer.json"))["added_tokens"]}
texts = [json.loads(line) for line in open("ids")]
documents = []
for shard in json.load(open("hash/manifest.json"))["shards"]:
    with h5py.File("hash/" + shard["file"]) as f:
        tokens, at = f["tokens"][:].tolist(), f["documents"][:].tolist()
        documents += [tokens[a:b] for a, b in zip(at, at[1:])]
for tag, text in zip(("<|quest|>", "<|dialogue|>"), texts):
    assert [vocab[tag]] + text + [vocab["<|endoftext|>"]] in documents, tag
tags = [vocab[t] for t in ("<|action|>", "<|dialogue|>", "<|quest|>")]
assert [sum(d[0] == t for d in documents) for t in tags] == [200, 150, 120]
PY
else
    echo "h5py is not there: it does not read the tokens"
fi

# --- archives of them give the same data, from a file and from a pipe; what is no data in them is counted
mkdir tree && cp sources/novels.txt tree/novels.txt && cp sources/quests.jsonl.gz tree/ && echo 'read me' >tree/README.md
prepare --input tree --document blank --output tree.data >/dev/null
ln -s novels.txt tree/link.txt
for form in tar tar.gz tar.xz tar.zst; do
    tar -C tree --sort=name -caf "t.$form" .
    prepare --input "t.$form" --document blank --output "$form.data" --json >"$form.json"
    [ "$(number "$form.json" version)" = "$(number tree.data/manifest.json version)" ] || fail "$form: other data than its files"
    [ "$(number "$form.json" links)$(number "$form.json" left_out)$(number "$form.json" members)" = 112 ] || fail "$(cat "$form.json")"
    cat "t.$form" | prepare --input - --document blank --output "$form.pipe" >/dev/null
    [ "$(number "$form.pipe/manifest.json" version)" = "$(number "$form.json" version)" ] || fail "$form: other data by a pipe"
done
head -c 5000 t.tar >cut.tar
expect_exit 65 prepare --input cut.tar --output none
grep -q 'cut.tar: ./novels.txt: damaged tar archive' talk || fail "the cut member is not named: $(tail -2 talk)"

# --- filters, each counted
printf 'same\n\nsame\n\nx\n\nkept \001document\n\n%s\n' "$(printf 'long%.0s' $(seq 100))" >filtered.txt
prepare --input filtered.txt --output filtered --json split=1 --drop-duplicates --strip-control --min-chars 2 --max-chars 100 >f.json
[ "$(number f.json train documents)" = 2 ] && [ "$(number f.json duplicates)" = 1 ] && [ "$(number f.json too_short)" = 1 ] &&
    [ "$(number f.json too_long)" = 1 ] && [ "$(number f.json control)" = 1 ] || fail "$(cat f.json)"
[ "$(number filtered/manifest.json made counts duplicates)" = 1 ] || fail "the manifest does not hold the counts"
[ "$(number filtered/manifest.json made inputs 0 name)" = filtered.txt ] || fail "the manifest does not name its input"

# --- tables that are wrong, with their place
printf 'id,content\n1,"a\n2,b\n' >open.csv
expect_exit 65 prepare --input open.csv --column content --output none
grep -q 'open.csv:2:3: ' talk || fail "the open quote is not placed: $(tail -1 talk)"
printf 'id,content\n1,a,b\n2,b\n' >ragged.csv
expect_exit 65 prepare --input ragged.csv --column content --output none split=1
grep -q 'ragged.csv:2:1: ' talk || fail "the ragged record is not placed: $(tail -1 talk)"
prepare --input ragged.csv --column content --output ragged --skip-bad 1 --json split=1 | grep -q '"bad": 1,' || fail "not counted"
expect_exit 65 prepare --input ragged.csv --column words --output none
expect_exit 65 prepare --input data.txt --column content --output none
expect_exit 2 prepare --input ragged.csv --delimiter ';' --output none
expect_exit 2 prepare --input ragged.csv --column content --delimiter '""' --output none
expect_exit 2 prepare --input data.txt --template '{a' --output none
[ ! -e none ] && [ ! -e none.partial ] || fail "a failed run left something"
