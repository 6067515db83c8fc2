#!/usr/bin/env python3
"""Families of tokenizers, made with the tokenizers library itself, beside `muster tokenizer`: ids and decoded text.

usage: families.py MUSTER [--chars N] [--seed S] [--only NAME...] [--file TOKENIZER_JSON...]
       families.py MUSTER --write DIR     small ones with golden ids, for tests/unit/dataset/tokenizer

Each family has the normalizer, pre-tokenizer, decoder, post-processor, model settings and flags of added tokens that its
published files have; the vocabulary is trained here on generated text. Then N characters (default 1,000,000 in all) of
mixed scripts and hostile sequences are encoded and decoded by both. --file compares a tokenizer.json that is there.
Exit 0: no difference; 1: some; 77: no module 'tokenizers'.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata

try:
    import tokenizers
except ImportError:
    print("families.py: skipped: no Python module 'tokenizers'")
    sys.exit(77)

os.environ["TOKENIZERS_PARALLELISM"] = "false"
SHOWN = 5

CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = CL100K % r"\p{N}{1,3}"
QWEN2 = CL100K % r"\p{N}"
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
CL100K_TIKTOKEN = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")


def byte_level(prefix=False, regex=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(key, *parts):
    return {"type": "Sequence", key: list(parts)}


def pre(*parts):
    return sequence("pretokenizers", *parts)


def template(*tokens):
    """<token> A: the ids are filled in when they are known."""
    return {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": t, "type_id": 0}} for t in tokens] + [{"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {t: None for t in tokens}}


def metaspace(scheme, split=True):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


SENTENCEPIECE = {
    "normalizer": sequence("normalizers", {"type": "Prepend", "prepend": "▁"},
                           {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}),
    "pre_tokenizer": None,
    "decoder": sequence("decoders", {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                        {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}),
    "post_processor": template("<s>"),
    "model": {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True},
    "specials": ["<unk>", "<s>", "</s>"],
}

# name -> what differs from GPT-2's: normalizer, pre_tokenizer, post_processor, decoder, model, specials (added tokens)
FAMILIES = {
    "gpt2": {"specials": ["<|endoftext|>"]},
    "neox": {"normalizer": {"type": "NFC"}, "specials": ["<|endoftext|>", "<|padding|>"],
             "plain": [(" " * n, {"normalized": True}) for n in range(24, 1, -1)]},
    "pythia-saved-again": {"normalizer": {"type": "NFC"}, "specials": ["<|endoftext|>", "<|padding|>"],
                           "post_processor": template()},
    "olmo": {"normalizer": {"type": "NFC"}, "pre_tokenizer": byte_level(),
             "specials": ["|||IP_ADDRESS|||", "<|endoftext|>", "<|padding|>"],
             "plain": [("|||EMAIL_ADDRESS|||", {"normalized": True}), (" " * 9, {"normalized": True})]},
    "llama3": {"pre_tokenizer": pre(split(LLAMA3), byte_level(regex=False)), "model": {"ignore_merges": True},
               "specials": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|eot_id|>"],
               "post_processor": sequence("processors", byte_level(), template("<|begin_of_text|>"))},
    "qwen2": {"normalizer": {"type": "NFC"}, "pre_tokenizer": pre(split(QWEN2), byte_level(regex=False)),
              "specials": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]},
    "qwen3": {"normalizer": {"type": "NFC"}, "pre_tokenizer": pre(split(QWEN2), byte_level(regex=False)),
              "specials": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
              "plain": [("<tool_call>", {}), ("<think>", {}), ("</think>", {})]},
    "smollm2": {"pre_tokenizer": pre({"type": "Digits", "individual_digits": True}, byte_level()),
                "specials": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>"]},
    "smollm2-gguf": {"normalizer": sequence("normalizers"), "post_processor": template("<|im_start|>"),
                     "decoder": sequence("decoders", {"type": "ByteFallback"}, {"type": "Fuse"},
                                         {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, byte_level(True)),
                     "model": {"unk_token": "<|endoftext|>", "fuse_unk": True, "byte_fallback": True},
                     "specials": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]},
    "llama2": SENTENCEPIECE,
    "mistral-v3": dict(SENTENCEPIECE, normalizer=None, pre_tokenizer=metaspace("first", split=False),
                       specials=["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]),
    "gemma": dict(SENTENCEPIECE, normalizer={"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
                  pre_tokenizer=split(" ", "MergedWithPrevious", kind="String"),
                  decoder=sequence("decoders", {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                                   {"type": "ByteFallback"}, {"type": "Fuse"})),
    "o200k": {"pre_tokenizer": pre(split(O200K), byte_level(regex=False)), "specials": ["<|endoftext|>"]},
    "deepseek": {"normalizer": sequence("normalizers"),
                 "pre_tokenizer": pre(split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK), byte_level(regex=False)),
                 "specials": ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"],
                 "post_processor": template("<｜begin▁of▁sentence｜>")},
    "bloom": {"pre_tokenizer": pre(split(BLOOM), byte_level(regex=False)), "specials": ["<unk>", "<s>", "</s>", "<pad>"]},
    "tiktoken": {"pre_tokenizer": pre(split(CL100K_TIKTOKEN, "Removed", True), byte_level(regex=False)),
                 "specials": ["<|endoftext|>"]},
    "roberta": {"pre_tokenizer": byte_level(prefix=True), "specials": ["<s>", "</s>"],
                "plain": [("<mask>", {"lstrip": True, "special": True, "normalized": False})],
                "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", None], "cls": ["<s>", None],
                                   "trim_offsets": True, "add_prefix_space": True}},
}

# No published family, but what the parts can do: behaviors, inverts, classes of characters, forms.
OTHERS = {
    "gaps": {"model": {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}, "specials": ["<unk>"], "alphabet": False},
    "metaspace": dict(SENTENCEPIECE, normalizer={"type": "NFKC"}, pre_tokenizer=metaspace("always"),
                      decoder=metaspace("always"), model={"unk_token": "<unk>", "fuse_unk": False}),
    "lower": dict(SENTENCEPIECE, normalizer=sequence("normalizers", {"type": "NFD"}, {"type": "Lowercase"},
                                                     {"type": "Strip", "strip_left": True, "strip_right": True}),
                  pre_tokenizer=pre({"type": "Whitespace"}, {"type": "Punctuation", "behavior": "MergedWithNext"}),
                  model={"unk_token": "<unk>", "fuse_unk": True, "end_of_word_suffix": "</w>"}, decoder={"type": "Fuse"}),
    "subwords": dict(SENTENCEPIECE, normalizer={"type": "NFKD"},
                     pre_tokenizer=pre({"type": "WhitespaceSplit"}, {"type": "Punctuation", "behavior": "Isolated"}),
                     model={"unk_token": "<unk>", "continuing_subword_prefix": "##"}, decoder={"type": "Fuse"}),
    "regex": {"normalizer": {"type": "Replace", "pattern": {"Regex": r"\s{2,}|[\u200b-\u200f]"}, "content": " "},
              "pre_tokenizer": pre(split(r"(?<=[a-z])(?=[A-Z])|\d+(?>\.\d+)*", "Contiguous"),
                                   split(r"\w+(?:-\w+)*", "MergedWithNext", True),
                                   split(r"^[^\S\n]+|,$", "MergedWithPrevious"), {"type": "Digits", "individual_digits": False}, byte_level()),
              "specials": ["<|endoftext|>"]},
    "flags": {"normalizer": {"type": "NFC"}, "specials": ["<|endoftext|>"],
              "plain": [("<l>", {"lstrip": True}), ("<r>", {"rstrip": True}), ("cat", {"single_word": True}),
                        ("e\u0301x", {"normalized": True}), ("  w", {"normalized": True, "rstrip": True})]},
}
for n, behavior in enumerate(["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]):
    for invert in (False, True):
        OTHERS[f"{behavior}{'-inverted' * invert}"] = {
            "pre_tokenizer": pre(split(r"[aeiou]|\s+", behavior, invert), byte_level(regex=n % 2 == 0)),
            "specials": ["<|endoftext|>"]}

WORDS = ("the of and to in is that for it as was with be by on not he his but at are this have from or had an they which one "
         "you were all her she there would their we him been has when who will no more if out so said what up its about into "
         "than them can only other time new some could these two may first then do any like my now over such our man me even "
         "most made after also did many before must through years where much your way well down should because each just those "
         "people how too little state good very make world still own see men work long get here between both life being under "
         "never day same another know while last might us great old year off come since against go came right used take three").split()
SCRIPTS = ["你好世界这是一个测试", "日本語のテキストとカタカナ", "한국어 텍스트", "العربية نص مع تشكيل َُِ", "हिन्दी पाठ क्षत्रिय", "ไทยภาษา", "עברית",
           "русский текст", "ελληνικά", "தமிழ்", "বাংলা", "ქართული", "አማርኛ"]
ODD = ["don't I'M YOU'RE we'Ll 'ſ ''s", "e\u0301 é n\u0303 Å \u212b ﬁ ß İ ŉ ǆ", "👩‍👩‍👧‍👦 🇩🇪 👍🏽 ❤️", "\r\n", "\r", "\n\n\n", "\t\t x", "\u00a0", "\u3000",
       "\u2028", "\u0085", "\u180e", "\u200b", "\ufeff", "\ufffd", "\x00", "\x1b[0m", "12345 1,000.50 ٣٤٥ १२३ ４５６ ²½Ⅷ 𝟘𝟙", "=" * 70, "-" * 33,
       " " * 41, "\n \n \t", "a" * 200, "ab" * 90, "你" * 80, "x" * 30 + "\n", "http://a.b/c?d=e&f=%20#g", "def f(x):\n    return x\n",
       "<|endoftext|>", "<s>", "</s>", " <s> ", "<unk>", "<0x0A>", "▁", " ▁ ▁▁", "<mask> x", "x <mask>", "<|im_start|>user\n", "<|eot_id|>",
       "[INST]", "<think>", "<l>", " <l>", "<r>  ", "cat", "concat", "_cat_", "e\u0301x", "\u00e9x", "  w  ", "<|begin_of_text|>", "<|end",
       "﷽ ﷺ ㎏ ㍿ ㋿ ＡＢＣ １２", "\u0f71\u0f72 \u09c7\u09be \u1112\u1161\u11ab", "_$|~^`", "“quoted” — dash… «g» ¿q? ،؛।", "a-b--c", "CamelCase HTTPServer3"]


def sample(rng):
    parts = []
    for _ in range(rng.randint(1, 30)):
        kind = rng.random()
        if kind < 0.45:
            parts.append(" ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 6))))
        elif kind < 0.6:
            script = rng.choice(SCRIPTS)
            start = rng.randrange(len(script))
            parts.append(script[start:start + rng.randint(1, 12)])
        elif kind < 0.85:
            parts.append(rng.choice(ODD))
        elif kind < 0.9:
            parts.append(chr(rng.choice(ASSIGNED)))
        elif kind < 0.95:
            parts.append("".join(chr(rng.randint(32, 126)) for _ in range(rng.randint(1, 25))))
        else:
            parts.append(rng.choice(WORDS).title() + chr(rng.choice(MARKS)))
        parts.append(rng.choice(["", " ", " ", " ", "  ", "\n", ". ", ", "]))
    return "".join(parts)


# What both engines' Unicode knows: the library's may be older or newer than that of the distribution.
ASSIGNED = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cs", "Cn")]
MARKS = [c for c in ASSIGNED if unicodedata.category(chr(c)) in ("Mn", "Mc")]


def texts_of(chars, seed):
    rng, texts, n = random.Random(seed), [], 0
    while n < chars:
        texts.append(sample(rng))
        n += len(texts[-1])
    return texts


def broken(texts, seed):
    """The same as bytes, some of them not UTF-8, and as the text that U+FFFD makes of them."""
    rng, out = random.Random(seed), []
    for t in texts:
        b = bytearray(t.encode())
        for _ in range(rng.randint(0, 3)):
            if b:
                b[rng.randrange(len(b))] = rng.randrange(256)
        out.append(bytes(b))
    return out


def build(name, family, folder, size=2500, alphabet=400):
    """Trains the family's vocabulary and writes its tokenizer.json."""
    decoder = family.get("decoder", byte_level())
    bytes_too = "ByteLevel" in json.dumps(decoder)
    model = dict(family.get("model", {}))
    specials = family.get("specials", [])
    empty = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": family.get("normalizer"),
             "pre_tokenizer": family.get("pre_tokenizer", byte_level()), "post_processor": None, "decoder": None,
             "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                       "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": {}, "merges": []}}
    if family.get("pre_tokenizer", 1) is None or "Prepend" in json.dumps(empty["normalizer"]):
        empty["normalizer"] = None  # words to learn from: what SentencePiece does
        empty["pre_tokenizer"] = metaspace("always")
    if name == "gemma" or name == "mistral-v3":
        empty["normalizer"], empty["pre_tokenizer"] = None, metaspace("always")
    library = tokenizers.Tokenizer.from_str(json.dumps(empty))
    names = specials + (["<0x%02X>" % b for b in range(256)] if model.get("byte_fallback") and not bytes_too else [])
    extra = {k: model[k] for k in ("continuing_subword_prefix", "end_of_word_suffix") if k in model}
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size, special_tokens=names, show_progress=False, limit_alphabet=80 if not family.get("alphabet", True) else max(alphabet, 256 * bytes_too),
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()[9:200] if not family.get("alphabet", True)
        else tokenizers.pre_tokenizers.ByteLevel.alphabet() if bytes_too else ["▁"], **extra)
    library.train_from_iterator([t.replace("\0", "") for t in texts_of(150000, 7)], trainer)  # a JSON key cannot hold NUL
    made = json.loads(library.to_str())
    made["normalizer"], made["pre_tokenizer"] = family.get("normalizer"), family.get("pre_tokenizer", byte_level())
    made["decoder"], made["model"] = decoder, dict(made["model"], **model)
    made["added_tokens"] = [a for a in made["added_tokens"] if a["content"] in specials]
    last = max(made["model"]["vocab"].values())
    for content, flags in family.get("plain", []):
        known = made["model"]["vocab"].get(content)
        last += known is None
        made["added_tokens"].append({"id": last if known is None else known, "content": content, "single_word": False,
                                     "lstrip": False, "rstrip": False, "normalized": False, "special": False, **flags})
    ids = {a["content"]: a["id"] for a in made["added_tokens"]}
    post = json.loads(json.dumps(family.get("post_processor", byte_level() if bytes_too else None)))
    for p in post.get("processors", [post]) if post else []:
        for t in p.get("special_tokens", {}):
            p["special_tokens"][t] = {"id": t, "ids": [ids[t]], "tokens": [t]}
        for key in ("sep", "cls"):
            if key in p:
                p[key][1] = ids[p[key][0]]
    made["post_processor"] = post
    path = os.path.join(folder, name + ".json")
    with open(path, "w") as f:
        json.dump(made, f, ensure_ascii=False)
    return path


class Failed(Exception):
    """muster ended with an error, and this is what it said."""


def muster(command, arguments, stdin=None):
    done = subprocess.run([command, "tokenizer"] + arguments, stdout=subprocess.PIPE, input=stdin, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise Failed(done.stderr.decode())
    return done.stdout


def compare_ids(name, command, path, texts, folder):
    library = tokenizers.Tokenizer.from_file(path)
    jsonl = os.path.join(folder, "texts.jsonl")
    with open(jsonl, "w") as f:
        for t in texts:
            f.write(json.dumps({"text": t}) + "\n")
    lines = muster(command, ["encode", "--tokenizer", path, "--input", jsonl, "--documents"]).decode().split("\n")[:-1]
    wrong = abs(len(lines) - len(texts))
    for text, line in zip(texts, lines):
        want, got = library.encode(text, add_special_tokens=False).ids, [int(x) for x in line.split()]
        if want != got:
            wrong += 1
            if wrong <= SHOWN:
                at = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
                near = library.decode(want[max(0, at - 4):at + 6], skip_special_tokens=False)
                print(f"{name}: id {at} of {len(want)}, near {near!r}\n  muster     {got[max(0, at - 4):at + 8]}\n"
                      f"  tokenizers {want[max(0, at - 4):at + 8]}")
    return wrong


def compare_text(name, command, path, texts, folder):
    """A list of ids back to text; then a whole file at once, with bytes that are not UTF-8."""
    library = tokenizers.Tokenizer.from_file(path)
    wrong = 0
    for raw in [b"".join(broken(texts[:400], 3)), b" leading", "的,é".encode(), b"\xff\xfe<s> x"]:
        file = os.path.join(folder, "bytes")
        with open(file, "wb") as f:
            f.write(raw)
        got = json.loads(muster(command, ["encode", "--tokenizer", path, "--input", file, "--json"]))
        want = library.encode(raw.decode("utf-8", "replace"), add_special_tokens=False).ids
        if got != want:
            wrong += 1
            at = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
            print(f"{name}: file: id {at}: muster {got[max(0, at - 4):at + 8]} tokenizers {want[max(0, at - 4):at + 8]}")
        back = muster(command, ["decode", "--tokenizer", path, "--input", "-"], json.dumps(want).encode())
        text = library.decode(want, skip_special_tokens=False)
        if back.decode("utf-8", "replace") != text:
            wrong += 1
            back = back.decode("utf-8", "replace")
            at = next((i for i, (a, b) in enumerate(zip(text, back)) if a != b), min(len(text), len(back)))
            print(f"{name}: text {at}: muster {back[max(0, at - 10):at + 20]!r} tokenizers {text[max(0, at - 10):at + 20]!r}")
    return wrong


GOLDEN = ["the Time I'M 12345 don't  they'LL\n\n  x\r\n\t=y;", "caf\u00e9 cafe\u0301 \u00c5\u212b ﬁ ½² ٣٤٥६७", "你好，世界 日本語テスト 한국어 हिन्दी עברית",
          "👩‍👩‍👧 🇩🇪\u00a0nbsp\u3000wide\u200bzero ▁ <0x41>", "x <s>y</s> <|endoftext|>z<|im_start|>user <mask> [INST] <|eot_id|>", "   ", "a", "", " a  b "]


def write(folder):
    """Each family with a vocabulary as small as it can be, and what the library makes of some texts, a JSON object a line."""
    os.makedirs(folder, exist_ok=True)
    for name, family in FAMILIES.items():
        library = tokenizers.Tokenizer.from_file(build(name, family, folder, 380, 60))
        with open(os.path.join(folder, name + ".jsonl"), "w") as f:
            for text in GOLDEN:
                ids = library.encode(text, add_special_tokens=False).ids
                whole = library.encode(text).ids
                f.write(json.dumps({"text": text, "ids": ids, "whole": whole,
                                    "back": library.decode(ids, skip_special_tokens=False)}) + "\n")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("muster")
    p.add_argument("--chars", type=int, default=1000000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--only", nargs="*")
    p.add_argument("--file", nargs="*", default=[])
    p.add_argument("--write")
    a = p.parse_args()
    wrong = 0
    if a.write:
        write(a.write)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        chosen = {n: f for n, f in {**FAMILIES, **OTHERS}.items() if not a.only or n in a.only}
        texts = texts_of(a.chars, a.seed)

        def both(name, path, few):
            try:
                n = compare_ids(name, a.muster, path, few, folder) + compare_text(name, a.muster, path, texts, folder)
            except Failed as error:
                print(f"{name}: {error}")
                n = 1
            print(f"{name}: {sum(map(len, few))} characters, {n} different", flush=True)
            return n

        for name, family in ({} if a.file else chosen).items():
            path = build(name, family, folder)
            wrong += both(name, path, texts if name in FAMILIES else texts[:len(texts) // 5])
        for path in a.file:
            wrong += both(path, path, texts)
    return 1 if wrong else 0


sys.exit(main())
