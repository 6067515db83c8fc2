"""documents.py MUSTER TOKENIZER: what `muster prepare` makes of archives and tables is what Python's tarfile, zipfile and
csv read. Python reads each file, writes the texts as JSON Lines, and both must become the same data version."""
import csv
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import zipfile

muster, tokenizer = (os.path.abspath(path) for path in sys.argv[1:3])
draw = random.Random(20)
NOTE = "note, \"more\""  # a column's name


def text(most):
    words = ("the", "rider", "naïve", "日本", "\U0001f600", "\"quoted\"", "a,b", "c;d", "tab\there", "line\nfeed", "crlf\r\nend", "'", "", " ")
    return " ".join(draw.choice(words) for _ in range(draw.randrange(most)))


def name(i):
    part = "".join(draw.choice("abcdefgh-_é日") for _ in range(draw.choice((3, 20, 90))))
    return "/".join([part] * draw.choice((1, 1, 2, 4))) + "-%d%s" % (i, draw.choice((".txt", ".jsonl")))


def version(*arguments):
    with tempfile.TemporaryDirectory() as out:
        answer = subprocess.run([muster, "prepare", "c.yml", *arguments, "--output", out + "/d", "--json"], stdout=subprocess.PIPE, check=True)
    return json.loads(answer.stdout)["version"]


def compare(what, texts, *arguments):
    with open("python.jsonl", "w") as f:
        f.writelines(json.dumps({"text": t}) + "\n" for t in texts)
    wanted = version("--input", "python.jsonl")
    found = version(*arguments)
    assert found == wanted, "%s: %s where Python's documents are %s" % (what, found, wanted)
    print("%-28s %d documents, the same" % (what, sum(t != "" for t in texts)))


def members(read):
    """The texts of (name, bytes) as prepare takes them."""
    texts = []
    for path, content in read:
        if path.endswith(".jsonl"):
            texts += [json.loads(line)["text"] for line in content.decode().split("\n") if line.strip()]
        else:
            texts.append(content.decode())
    return texts


def archives():
    files = {}
    for i in range(120):
        path = name(i)
        if path.endswith(".jsonl"):
            files[path] = "".join(json.dumps({"text": text(20)}) + "\n" for _ in range(3)).encode()
        else:
            files[path] = text(40 if i else 30000).encode()
    for form, kind in (("pax", tarfile.PAX_FORMAT), ("gnu", tarfile.GNU_FORMAT)):
        for mode, suffix in (("w", ".tar"), ("w:gz", ".tar.gz"), ("w:xz", ".tar.xz"), ("w:bz2", ".tar.bz2")):
            path = form + suffix
            with tarfile.open(path, mode, format=kind) as tar:
                for member, content in files.items():
                    info = tarfile.TarInfo(member)
                    info.size, info.mtime = len(content), draw.random() * 2e9
                    tar.addfile(info, io.BytesIO(content))
                for i, special in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)):
                    info = tarfile.TarInfo("special-%d.txt" % i)
                    info.type, info.linkname = special, next(iter(files))
                    tar.addfile(info)
            with tarfile.open(path) as tar:
                compare(path, members((m.name, tar.extractfile(m).read()) for m in tar if m.isreg()), "--input", path)
    for method in ("STORED", "DEFLATED", "BZIP2", "LZMA"):
        path = method + ".zip"
        with zipfile.ZipFile(path, "w", getattr(zipfile, "ZIP_" + method)) as zipped:
            for member, content in files.items():
                if content or method != "LZMA":  # libarchive 3.6 reads no empty member of that method
                    zipped.writestr(member, content)
        with zipfile.ZipFile(path) as zipped:
            compare(path, members((m, zipped.read(m)) for m in zipped.namelist()), "--input", path)


def tables():
    rows = [[str(i), text(8), text(20), text(3)] for i in range(500)]
    for what, suffix, options in (
        ("excel", ".csv", {}),
        ("excel-tab", ".tsv", {"dialect": "excel-tab"}),
        ("all quoted", ".csv", {"quoting": csv.QUOTE_ALL}),
        ("semicolons, line feeds", ".csv", {"delimiter": ";", "lineterminator": "\n"}),
    ):
        path = "table" + suffix
        with open(path, "w", newline="") as f:
            csv.writer(f, **options).writerows([["id", "topic", "content", NOTE]] + rows)
        reading = {k: v for k, v in options.items() if k in ("dialect", "delimiter")}
        delimiter = ["--delimiter", options["delimiter"]] if "delimiter" in options else []
        with open(path, newline="") as f:
            table = list(csv.DictReader(f, **reading))
        compare(what, [row["content"] for row in table], "--input", path, "--column", "content", *delimiter)
        compare(what + ", a template", [row["topic"] + ": " + row[NOTE] if row["topic"] + row[NOTE] else "" for row in table], "--input", path, "--template",
                "{topic}: {" + NOTE + "}", *delimiter)
    with open("bare.csv", "w", newline="") as f:
        csv.writer(f).writerows(rows)
    compare("without names", [row[2] for row in rows], "--input", "bare.csv", "--column", "#3")


with tempfile.TemporaryDirectory() as scratch:
    os.chdir(scratch)
    with open("c.yml", "w") as f:
        json.dump({"num_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "seq_length": 16, "max_position_embeddings": 16,
                   "vocab_file": tokenizer, "split": "1,0,0", "train_iters": 1}, f)
    archives()
    tables()
