#!/usr/bin/env python3
"""chat.py MUSTER [--quick]: ids and label masks of `muster prepare --chat` against those of Transformers'
apply_chat_template(return_assistant_tokens_mask=True), for four templates with two tokenizers each, over generated
conversations. The Jinja texts here are the templates with {% generation %} put around answers and their ends."""
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

import numpy as np
from transformers import PreTrainedTokenizerFast

HERE = os.path.dirname(os.path.abspath(__file__))
TOKENIZERS = os.path.join(HERE, "..", "data", "tokenizers")

TEMPLATES = {
    "chatml": ("{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<|im_start|>assistant\\n' }}{% generation %}"
               "{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}{% else %}{{ '<|im_start|>' + m['role'] + '\\n' + "
               "m['content'] + '<|im_end|>\\n' }}{% endif %}{% endfor %}"),
    "llama3": ("{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' }}"
               "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] | trim + '<|eot_id|>' }}{% endgeneration %}"
               "{% else %}{{ m['content'] | trim + '<|eot_id|>' }}{% endif %}{% endfor %}"),
    "mistral": ("{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
                "{% else %}{% generation %}{{ m['content'] + eos_token }}{% endgeneration %}{% endif %}{% endfor %}"),
    "zephyr": ("{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' }}{% if m['role'] == 'assistant' %}{% generation %}"
               "{{ m['content'] + eos_token }}{% endgeneration %}{{ '\\n' }}{% else %}{{ m['content'] + eos_token + '\\n' }}"
               "{% endif %}{% endfor %}"),
}
TOKENS = ["<s>", "</s>", "<|begin_of_text|>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>",
          "<|eot_id|>"]
WORDS = ("the a parcel refund is late I'm don't naïve café 東京 Привет 🙂 1234 3.14 (see) [INST] user: assistant\n "
         "<b> \t tab x=y; \n\n    indent e\u0301 \u00a0 \u3000 ... -- “quoted” don’t").split(" ")


def text(rng, most, answer=False):
    """Transformers finds no token for the white space that a byte-level tokenizer trims from its offsets, and then leaves
    the whole answer out of the mask: so answers here do not begin with it."""
    words = [rng.choice(WORDS) for _ in range(rng.randint(0, most))]
    before, after = rng.choice(["", "", " ", "\n", "  "]), rng.choice(["", "", " ", "\n", "\n\n"])
    whole = before + " ".join(words) + after
    return whole.lstrip() if answer else whole


def conversation(rng, system):
    messages = [{"role": "system", "content": text(rng, 8)}] if system and rng.random() < 0.3 else []
    for _ in range(rng.randint(1, 4)):
        messages.append({"role": "user", "content": text(rng, 12)})
        messages.append({"role": "assistant", "content": text(rng, 12, True)})
    if rng.random() < 0.1:
        messages.append({"role": "user", "content": text(rng, 5)})
    return messages


def written(messages, rng):
    """One of the forms in which such a conversation is brought."""
    form = rng.randint(0, 2)
    if form == 0:
        return {"messages": messages, "id": rng.randint(0, 9)}
    if form == 1:
        names = {"system": "system", "user": "human", "assistant": "gpt"}
        return {"conversations": [{"from": names[m["role"]], "value": m["content"]} for m in messages]}
    if [m["role"] for m in messages] == ["user", "assistant"]:
        return {"prompt": messages[0]["content"], "completion": messages[1]["content"]}
    return {"messages": [{"role": m["role"], "content": [{"type": "text", "text": m["content"]}]} for m in messages]}


def shards(folder, manifest):
    for shard in manifest["shards"]:
        with open(os.path.join(folder, shard["file"]), "rb") as f:
            data = f.read()
        width, n, d = manifest["token_bytes"], shard["tokens"], shard["documents"]
        ids = np.frombuffer(data, "<u%d" % width, n, shard["tokens_at"])
        labels = np.frombuffer(data, "u1", n, shard["labels_at"])
        starts = np.frombuffer(data, "<i8", d + 1, shard["documents_at"])
        for i in range(d):
            yield ids[starts[i]:starts[i + 1]].tolist(), labels[starts[i]:starts[i + 1]].tolist()


def check(muster, name, tokenizer_file, count, folder):
    rng = random.Random(name + tokenizer_file)
    tok = PreTrainedTokenizerFast(tokenizer_file=os.path.join(TOKENIZERS, tokenizer_file))
    tok.add_special_tokens({"bos_token": "<|begin_of_text|>" if name == "llama3" else "<s>", "eos_token": "</s>",
                            "additional_special_tokens": TOKENS})
    place = os.path.join(folder, name + "-" + tokenizer_file[:-5])
    os.makedirs(place)
    tok.save_pretrained(place)
    tok.chat_template = TEMPLATES[name]
    chats = [conversation(rng, name != "mistral") for _ in range(count)]
    lines = os.path.join(place, "chats.jsonl")
    with open(lines, "w", encoding="utf-8") as f:
        for messages in chats:
            f.write(json.dumps(written(messages, rng), ensure_ascii=rng.random() < 0.5) + "\n")
    config = os.path.join(place, "config.yml")
    with open(config, "w", encoding="utf-8") as f:
        f.write("vocab_file: %s\nsplit: '1,0,0'\nmuster: {chat_template: %s}\n" % (json.dumps(place), name))
    out = os.path.join(place, "data")
    subprocess.run([muster, "prepare", config, "--chat", "--input", lines, "--output", out], check=True,
                   stdout=subprocess.DEVNULL)
    with open(os.path.join(out, "manifest.json"), encoding="utf-8") as f:
        manifest = json.load(f)
    found = list(shards(out, manifest))
    assert len(found) == count, (name, tokenizer_file, len(found), count)
    tokens = counted = 0
    for i, (messages, (ids, labels)) in enumerate(zip(chats, found)):
        want = tok.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
        if ids != want["input_ids"] or labels != want["assistant_masks"]:
            k = next((k for k in range(min(len(ids), len(want["input_ids"])))
                      if (ids[k], labels[k]) != (want["input_ids"][k], want["assistant_masks"][k])), -1)
            sys.exit("%s with %s: conversation %d differs at token %d of %d and %d: %r, wanted %r: %s" % (
                name, tokenizer_file, i, k, len(ids), len(want["input_ids"]), (ids[k], labels[k]),
                (want["input_ids"][k], want["assistant_masks"][k]), json.dumps(messages)))
        tokens += len(ids)
        counted += sum(labels)
    print("%-8s %-16s %d conversations, %d tokens, %d count: equal" % (name, tokenizer_file, count, tokens, counted))


def main():
    muster = os.path.abspath(sys.argv[1])
    count = 200 if "--quick" in sys.argv else 1000
    with tempfile.TemporaryDirectory() as folder:
        for name in TEMPLATES:
            for tokenizer_file in ("smollm2.json", "mistral-v3.json" if name in ("mistral", "zephyr") else "llama3.json"):
                check(muster, name, tokenizer_file, count, folder)


main()
