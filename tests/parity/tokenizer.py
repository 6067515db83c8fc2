#!/usr/bin/env python3
"""Compares `muster tokenizer` with the tokenizers library: ids of text, and a training run.

usage: tokenizer.py MUSTER TOKENIZER_JSON [--fuzz N] [--variants N] [--seed S] [--text FILE...] [--train-text FILE --vocab-size N]
                    [--speed FILE] [--classes [STEP]]
       tokenizer.py MUSTER TOKENIZER_JSON --suite | --quick

Needs `tokenizers` from PyPI; exits 77 without it. Any difference is printed and makes the exit code 1.
--text      whole files (read as UTF-8), cut into documents of some lines
--fuzz      random strings: words, code, scripts, combining marks, white space, special tokens, any code point
--variants  N random strings with each of some changes of the file: prefix space, no pattern, no NFC, merges as
            pairs, added tokens of every kind
--classes   every code point (or every STEP-th), alone and between others
--train-text  trains with both on the lines of FILE and compares the files
--speed     tokens a second of both on FILE, one thread each, taking turns
--suite     all of that but speed: on Python's own sources and manual, and on Webster's dictionary where its package
            (dict-gcide) is installed; 100,000 random strings. --quick: a tenth of it, without the dictionary
"""
import argparse
import gzip
import json
import os
import pydoc_data.topics
import random
import subprocess
import sys
import tempfile
import time
import typing
import unicodedata

try:
    import tokenizers
except ImportError:
    print("tokenizer.py: skipped: no Python module 'tokenizers'")
    sys.exit(77)

os.environ["TOKENIZERS_PARALLELISM"] = "false"
MAX_SHOWN = 20


def assigned():
    """Code points that Python's Unicode knows, without surrogates."""
    return [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cs", "Cn")]


def muster_ids(muster, tokenizer, texts, folder):
    path = os.path.join(folder, "texts.jsonl")
    with open(path, "w") as f:
        for t in texts:
            f.write(json.dumps({"text": t}) + "\n")
    out = subprocess.run([muster, "tokenizer", "encode", "--tokenizer", tokenizer, "--input", path, "--documents"],
                         check=True, stdout=subprocess.PIPE).stdout
    lines = out.decode().split("\n")[:-1]
    assert len(lines) == len(texts), (len(lines), len(texts))
    return [[int(x) for x in line.split()] for line in lines]


def compare(name, muster, tokenizer, texts, folder):
    texts = [t for t in texts if t]
    library = tokenizers.Tokenizer.from_file(tokenizer)
    ours = muster_ids(muster, tokenizer, texts, folder)
    wrong, tokens = 0, 0
    for text, got in zip(texts, ours):
        want = library.encode(text).ids
        tokens += len(want)
        if got != want:
            wrong += 1
            if wrong <= MAX_SHOWN:
                print(f"{name}: {text[:200]!r} ({text[:8].encode('unicode_escape').decode()})\n"
                      f"  muster     {got[:40]}\n  tokenizers {want[:40]}")
    print(f"{name}: {len(texts)} texts, {tokens} tokens, {wrong} different", flush=True)
    return wrong


PIECES = ["the", " The", "don't", "I'M", "'s", "'ll", "''re", "12345", " 3.14", "def f(x):\n    return", "==", "->",
          "  ", "   ", "\n", "\n\n", "\t", "\r\n", " \n ", "\u00a0", "\u3000", "\u2003", "\u0085", "\u200b", "\ufeff",
          "é", "e\u0301", "ñ", "Å", "\u212b", "ﬁ", "ß", "İ", "你好", "日本語", "テスト", "한국어", "\u1112\u1161\u11ab",
          "हिन्दी", "ไทย", "العربية", "עברית", "ру́сский", "😀", "👩‍👩‍👧", "🇩🇪", "²", "½", "Ⅷ", "٣", "\u0301", "\u0327",
          "\u0f71\u0f72", "\u09c7\u09be", "<|endoftext|>", "<|padding|>", "<|end", "_", "$", "<b>", "http://a.b/c?d=e",
          "\x00", "\x1b[0m", "\ufffd", "𝒳", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "-" * 40, "=" * 90]


def fuzz(n, seed, pieces=PIECES):
    rng = random.Random(seed)
    everything = assigned()
    marks = [c for c in everything if unicodedata.combining(chr(c)) or unicodedata.category(chr(c)) == "Mc"]
    out = []
    for _ in range(n):
        parts = []
        for _ in range(rng.randint(1, 12)):
            kind = rng.random()
            if kind < 0.5:
                parts.append(rng.choice(pieces))
            elif kind < 0.6:
                parts.append(" " * rng.randint(1, 40))
            elif kind < 0.7:
                parts.append(chr(rng.choice(everything)))
            elif kind < 0.8:
                parts.append("".join(chr(rng.randint(32, 126)) for _ in range(rng.randint(1, 20))))
            elif kind < 0.9:
                parts.append(chr(rng.choice(marks)))
            else:
                parts.append("".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(1, 150))))
        out.append("".join(parts))
    return out


def documents(path):
    with open(path, "rb") as f:
        text = f.read().decode("utf-8", "replace")
    lines = text.splitlines(keepends=True)
    return ["".join(lines[i:i + 50]) for i in range(0, len(lines), 50)]


def train(muster, path, size, folder):
    ours = os.path.join(folder, "ours.json")
    subprocess.run([muster, "tokenizer", "train", "--input", path, "--vocab-size", str(size), "--output", ours],
                   check=True)
    t = tokenizers.Tokenizer(tokenizers.models.BPE())
    t.normalizer = tokenizers.normalizers.NFC()
    t.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, special_tokens=["<|endoftext|>", "<|padding|>"], show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet())
    start = time.time()
    with open(path) as f:
        # documents as the reader cuts them: runs of lines that are not blank
        blocks, block = [], []
        for line in f.read().split("\n"):
            if line.strip():
                block.append(line)
            elif block:
                blocks.append("\n".join(block))
                block = []
        if block:
            blocks.append("\n".join(block))
    t.train_from_iterator(blocks, trainer)
    print(f"train: tokenizers took {time.time() - start:.1f} s")
    a = json.load(open(ours))["model"]
    b = json.loads(t.to_str())["model"]
    merges = [m.split(" ") for m in a["merges"]], [list(m) if isinstance(m, list) else m.split(" ") for m in b["merges"]]
    same = a["vocab"] == b["vocab"] and merges[0] == merges[1]
    if not same:
        first = next((i for i, (x, y) in enumerate(zip(*merges)) if x != y), min(map(len, merges)))
        print(f"train: {len(a['vocab'])} and {len(b['vocab'])} ids; merges differ from number {first} on: "
              f"{merges[0][first:first + 3]} {merges[1][first:first + 3]}")
    print(f"train: {size} ids, {'the same' if same else 'DIFFERENT'}")
    return ours, 0 if same else 1


def variants(tokenizer, folder):
    """The same tokenizer with other settings and with added tokens of every kind."""
    def write(name, edit):
        t = json.load(open(tokenizer))
        edit(t)
        path = os.path.join(folder, name + ".json")
        json.dump(t, open(path, "w"))
        return path

    def added(t):
        # the library numbers new tokens itself: after the last one
        last = max(max(t["model"]["vocab"].values()), max(a["id"] for a in t["added_tokens"]))
        for content, special, normalized, lstrip, rstrip, single in [
                ("<mask>", True, False, True, False, False), ("<r>", True, False, False, True, False),
                ("<both>", True, False, True, True, False), ("cat", False, True, False, False, True),
                ("e\u0301x", False, True, False, False, False), ("e\u0301y", False, False, False, False, False),
                ("<mask", False, False, False, False, False), ("  w", False, False, False, True, False),
                ("\n\n\n", False, True, True, False, False), ("a\u212b", False, True, False, False, True),
                ("\u00e9", False, False, False, False, True), (" dog", False, True, False, False, True)]:
            if any(a["content"] == content for a in t["added_tokens"]):
                continue
            known = t["model"]["vocab"].get(content)
            last += known is None
            t["added_tokens"].append({"id": last if known is None else known, "content": content, "special": special, "normalized": normalized,
                                      "lstrip": lstrip, "rstrip": rstrip, "single_word": single})

    def pairs(t):
        t["model"]["merges"] = [m.split(" ") if isinstance(m, str) else m for m in t["model"]["merges"]]

    def prefix_and_added(t):
        t["pre_tokenizer"]["add_prefix_space"] = True
        added(t)

    return [write("prefix", lambda t: t["pre_tokenizer"].update(add_prefix_space=True)),
            write("whole", lambda t: t["pre_tokenizer"].update(use_regex=False)),
            write("raw", lambda t: t.update(normalizer=None)), write("pairs", pairs), write("added", added),
            write("prefix-added", prefix_and_added)]


SPECIALS = ["<|quest|>", "<|endoftext|>", "<|réponse|>", "<| a b |>"]


def special(muster, tokenizer, folder):
    """Special tokens added by `muster prepare` and by the library: the same ids."""
    path, data = os.path.join(folder, "special.yml"), os.path.join(folder, "special")
    with open(path, "w") as f:
        json.dump({"num_layers": 1, "hidden_size": 8, "num_attention_heads": 1, "seq_length": 8,
                   "max_position_embeddings": 8, "vocab_file": tokenizer, "split": "1,0,0"}, f)
    with open(os.path.join(folder, "special.txt"), "w") as f:
        f.write("text\n")
    subprocess.run([muster, "prepare", path, "--input", f.name, "--output", data, "--force"] +
                   [word for name in SPECIALS for word in ("--special", name)], check=True, stdout=subprocess.DEVNULL)
    library = tokenizers.Tokenizer.from_file(tokenizer)
    library.add_special_tokens(SPECIALS)
    written = tokenizers.Tokenizer.from_file(os.path.join(data, "tokenizer.json"))
    ids = [(library.token_to_id(name), written.token_to_id(name)) for name in SPECIALS]
    wrong = sum(a != b for a, b in ids) + (library.get_vocab_size() != written.get_vocab_size())
    print(f"special: ids {ids}, {wrong} different")
    return wrong + compare("special", muster, os.path.join(data, "tokenizer.json"),
                           fuzz(2000, 5, PIECES + SPECIALS * 10), folder)


VARIANT_PIECES = ["<mask>", " <mask> ", "<r>", "<r>\n ", "<both>", "\u3000<both>\u2003", "cat", "cat's", "_cat", "e\u0301x",
                  "\u00e9x", "e\u0301y", "\u00e9y", "\u00e9", " \u00e9 ", "<mask", "  w", "a\u212b", "a\u00c5", " dog", "x dog", "dog"]


def speed(muster, tokenizer, path):
    """Both read the file whole and tokenize it as one list of documents; loading is measured apart and taken off."""
    library = tokenizers.Tokenizer.from_file(tokenizer)
    docs = documents(path)
    best = [1e9, 1e9]
    empty = 1e9
    tokens = 0
    command = [muster, "tokenizer", "encode", "--tokenizer", tokenizer, "--input"]
    for _ in range(3):
        start = time.time()
        subprocess.run(command + ["/dev/null"], check=True, stdout=subprocess.DEVNULL)
        empty = min(empty, time.time() - start)
        start = time.time()
        subprocess.run(command + [path], check=True, stdout=subprocess.DEVNULL)
        best[0] = min(best[0], time.time() - start)
        start = time.time()
        tokens = sum(len(library.encode(d).ids) for d in docs)
        best[1] = min(best[1], time.time() - start)
    ours, theirs = tokens / (best[0] - empty), tokens / best[1]
    print(f"speed: {tokens} tokens: muster {ours / 1e6:.2f} M tokens/s (ids printed, start of {empty * 1e3:.0f} ms taken "
          f"off), tokenizers {tokenizers.__version__} {theirs / 1e6:.2f} M tokens/s: ratio {ours / theirs:.1f}")


DICTIONARY = "/usr/share/dictd/gcide.dict.dz"


def fill_suite(a, folder):
    a.text = [pydoc_data.topics.__file__, typing.__file__, argparse.__file__]
    a.train_text, a.vocab_size = pydoc_data.topics.__file__, 4000
    a.fuzz, a.variants, a.classes = (10000, 1000, 16) if a.quick else (100000, 20000, 1)
    if a.suite and os.path.exists(DICTIONARY):
        a.text.append(os.path.join(folder, "dictionary.txt"))
        with gzip.open(DICTIONARY) as f, open(a.text[-1], "wb") as out:
            out.write(f.read())


def main():
    p = argparse.ArgumentParser()
    p.add_argument("muster")
    p.add_argument("tokenizer")
    p.add_argument("--fuzz", type=int, default=0)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--variants", type=int, default=0)
    p.add_argument("--text", nargs="*", default=[])
    p.add_argument("--train-text")
    p.add_argument("--vocab-size", type=int, default=8000)
    p.add_argument("--speed")
    p.add_argument("--classes", type=int, nargs="?", const=1)
    p.add_argument("--suite", action="store_true")
    p.add_argument("--quick", action="store_true")
    a = p.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        if a.suite or a.quick:
            fill_suite(a, folder)
        used = [a.tokenizer]
        if a.train_text:
            ours, differs = train(a.muster, a.train_text, a.vocab_size, folder)
            used.append(ours)
            wrong += differs
        for t in used:
            for path in a.text:
                wrong += compare(path, a.muster, t, documents(path), folder)
            if a.fuzz:
                wrong += compare("fuzz", a.muster, t, fuzz(a.fuzz, a.seed), folder)
            if a.suite or a.quick:
                wrong += special(a.muster, t, folder)
            if a.variants:
                for v in variants(t, folder):
                    wrong += compare("variant " + os.path.basename(v), a.muster, v,
                                     fuzz(a.variants, a.seed + 1, PIECES + VARIANT_PIECES * 3), folder)
            if a.classes:
                every = [chr(c) for c in range(0, 0x110000, a.classes) if not 0xD800 <= c < 0xE000]
                wrong += compare("alone", a.muster, t, every, folder)
                wrong += compare("class", a.muster, t, [f"a{c}b1{c}2 {c}.{c},  {c}" for c in every], folder)
            if a.speed:
                speed(a.muster, t, a.speed)
    return 1 if wrong else 0


sys.exit(main())
