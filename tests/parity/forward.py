#!/usr/bin/env python3
"""Logits, loss and every gradient of imported models against Transformers, and exports against what was imported.

usage: forward.py MUSTER DUMP [--quick] [FORM...]

MUSTER is the program, DUMP the built tests/parity/dump.c. --quick is taken and changes nothing. Exits 77 where PyTorch or Transformers is absent.
"""
import json
import os
import subprocess
import sys
import tempfile

from models import FORMS, loss_of, make, our_order, relative
import numpy as np
from safetensors.torch import load_file, save_file
import torch
from transformers import AutoModelForCausalLM

STYLES = {"neox-parallel": ["sharded", "half", "bf16", "head"], "neox-parallel-tanh": ["new"], "gpt2": ["half", "sharded"]}
LOGITS, LOSS, GRADIENT, EXPORT = 1e-4, 1e-5, 1e-4, 1e-6
failures = 0


def check(what, error, limit):
    global failures
    bad = not error <= limit
    failures += bad
    print(f"{'FAILED' if bad else 'ok':6} {what:60} {error:.2e} (limit {limit:.0e})")


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}:\n{done.stdout}")


def new_style(directory):
    """Rewrites config.json as Transformers 5 does: rope_parameters, dtype."""
    path = os.path.join(directory, "config.json")
    with open(path) as f:
        config = json.load(f)
    if "rope_parameters" in config:
        return
    rope = {"rope_type": "default", "rope_theta": config.pop("rotary_emb_base"),
            "partial_rotary_factor": config.pop("rotary_pct")}
    for old in ("rope_theta", "rope_scaling", "partial_rotary_factor", "torch_dtype"):
        config.pop(old, None)
    config.update(rope_parameters=rope, dtype="float32")
    with open(path, "w") as f:
        json.dump(config, f)


def save(model, directory, style):
    if style in ("half", "bf16"):
        model.to(torch.float16 if style == "half" else torch.bfloat16)
    model.save_pretrained(directory, max_shard_size="60KB" if style == "sharded" else "1GB")
    if style == "new":
        new_style(directory)
    if style == "head":  # as Transformers 5 does without its conversion to the names of old
        path = os.path.join(directory, "model.safetensors")
        save_file({"lm_head.weight" if name == "embed_out.weight" else name: tensor
                   for name, tensor in load_file(path).items()}, path)
    if style not in ("half", "bf16"):
        return model
    # anew, since .to() has rounded the rotary frequencies too
    return AutoModelForCausalLM.from_pretrained(directory, torch_dtype=torch.float32, attn_implementation="eager")


def compare(muster, dump, form, style, tmp):
    model, name = make(form), f"{form} {style}"
    theirs, ours, back, out = (os.path.join(tmp, f"{form}-{style}-{x}") for x in ("hf", "ckpt", "back", "out"))
    model = save(model, theirs, style)
    run(muster, "import", theirs, "--output", ours)
    tokens = np.random.RandomState(3).randint(0, model.config.vocab_size, (3, 33)).astype(np.int32)
    tokens.tofile(os.path.join(tmp, "tokens"))
    run(dump, ours, os.path.join(tmp, "tokens"), "3", out)
    model.double()
    loss, logits = loss_of(model, tokens.astype(np.int64))
    loss.backward()
    got = np.fromfile(os.path.join(out, "logits"), np.float32).reshape(logits.shape)
    check(f"{name}: logits", relative(got, logits.detach()), LOGITS)
    check(f"{name}: loss", relative(np.fromfile(os.path.join(out, "loss")), [loss.item()]), LOSS)
    check_gradients(name, model, np.fromfile(os.path.join(out, "gradients"), np.float32))
    run(muster, "export", ours, "--output", back)
    check_export(name, model, back, tokens)


def check_gradients(name, model, got):
    named, at, worst, which = dict(model.named_parameters()), 0, 0.0, ""
    for tensor, turn in our_order(model):
        want = turn(named[tensor].grad.numpy())
        error = relative(got[at:at + want.size].reshape(want.shape), want)
        at += want.size
        if not error <= worst:
            worst, which = error, tensor
    check(f"{name}: worst gradient, {which}", worst if at == got.size else np.inf, GRADIENT)


def check_export(name, model, directory, tokens):
    again = AutoModelForCausalLM.from_pretrained(directory, attn_implementation="eager")
    model.float()
    same = all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values()))
    check(f"{name}: export, weights that differ", 0 if same and type(again) is type(model) else 1, 0)
    inputs = torch.as_tensor(tokens[:, :-1].astype(np.int64))
    with torch.no_grad():
        check(f"{name}: export, logits", relative(again(inputs).logits, model(inputs).logits), EXPORT)


def main():
    muster, dump, *forms = [word for word in sys.argv[1:] if word != "--quick"]
    forms = forms or list(FORMS)
    with tempfile.TemporaryDirectory(prefix="muster-parity-") as tmp:
        for form in forms:
            for style in STYLES.get(form, []) + ["plain"]:
                compare(muster, dump, form, style, tmp)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
