#!/usr/bin/env python3
"""Models of the Llama family against Transformers: logits, loss and every gradient in tensor-parallel layouts, with and
without recomputation; bf16; exports; and ten steps of training.

usage: llama.py MUSTER DUMP [--quick] [FORM...]

The sequences are longer than the positions that scaled rotary frequencies begin from. --quick is taken and changes
nothing. Exits 77 where PyTorch or Transformers is absent.
"""
import filecmp
import json
import os
import subprocess
import sys
import tempfile

from models import LLAMA_FORMS, llama_order, loss_of, make, name_stand_in, original_bounds, relative
import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM
import training

LOGITS, HALF, LOSS, GRADIENT = 1e-4, 2e-2, 1e-5, 1e-4
ROWS, LENGTH = 2, 48
STYLES = {"llama": "sharded", "llama-llama3": "new", "llama-yarn": "new", "qwen2-tied": "half", "mistral": "bf16"}
HERE = os.path.dirname(os.path.abspath(__file__))
failures = 0


def check(what, error, limit):
    global failures
    bad = not error <= limit
    failures += bad
    print(f"{'FAILED' if bad else 'ok':6} {what:70} {error:.2e} (limit {limit:.0e})", flush=True)


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}:\n{done.stdout}")
    return done.stdout


def save(model, directory, style):
    """As published files are: sharded, in 16 bits, with rotary positions in the words of Transformers 5."""
    if style in ("half", "bf16"):
        model.to(torch.float16 if style == "half" else torch.bfloat16)
    model.save_pretrained(directory, max_shard_size="60KB" if style == "sharded" else "1GB")
    path = os.path.join(directory, "config.json")
    with open(path) as f:
        config = json.load(f)
    old = {"rope_theta", "rope_scaling"} & set(config)
    if style == "new" and old:
        config["rope_parameters"] = {"rope_theta": config.pop("rope_theta", 10000.0), **(config.pop("rope_scaling") or {})}
    with open(path, "w") as f:
        json.dump(config, f)
    name_stand_in(model, directory)
    if style not in ("half", "bf16"):
        return model
    # anew, since .to() has rounded the rotary frequencies too
    return original_bounds(
        AutoModelForCausalLM.from_pretrained(directory, torch_dtype=torch.float32, attn_implementation="eager"))


def wanted(model, tokens):
    """(logits, loss, [(name, gradient in our shape, axis)]) in double precision."""
    model.double()
    loss, logits = loss_of(model, tokens.astype(np.int64))
    model.zero_grad()
    loss.backward()
    named = dict(model.named_parameters())
    grads = [(names[0], turn(*[named[n].grad.numpy() for n in names]), axis) for names, turn, axis in llama_order(model)]
    return logits.detach().numpy(), loss.item(), grads


def cut(a, axis, tp, rank, spread=None):
    """A rank's slice, as docs/numbers.md divides tensors. spread: heads, key/value heads and head_dim of a
    query_key_value whose key/value heads are fewer than the ranks."""
    if axis is None or tp == 1:
        return a
    if spread:
        heads, kv, size = spread
        group = a.reshape(kv, heads // kv + 2, size, -1)[rank * kv // tp]
        own, turn = heads // tp, rank % (tp // kv)
        return np.concatenate([group[turn * own:(turn + 1) * own], group[-2:]]).reshape(-1, *a.shape[1:])
    each = -(-a.shape[axis] // tp)
    return a.take(range(each * rank, min(each * (rank + 1), a.shape[axis])), axis)


def check_gradients(name, out, grads, tp, config, size):
    """Of copied keys and values each rank has its own queries' part: the copies' sum is what is wanted."""
    heads, kv = config.num_attention_heads, config.num_key_value_heads
    spread, copies = (heads, kv, size) if tp > kv else None, {}
    worst, which = 0.0, ""
    for rank in range(tp):
        got, at = np.fromfile(os.path.join(out, f"gradients-{rank}" if rank else "gradients"), np.float32), 0
        for tensor, whole, axis in grads:
            is_qkv = "q_proj" in tensor
            want = cut(whole, axis, tp, rank, spread if is_qkv else None)
            if spread and is_qkv:
                part = got[at:at + want.size].reshape(want.shape)
                keys = copies.setdefault((tensor, rank * kv // tp), np.zeros_like(part[-2 * size:], np.float64))
                keys += part[-2 * size:]
                part = np.concatenate([part[:-2 * size], want[-2 * size:]])  # queries now, the sum of the copies at the end
                if rank % (tp // kv) == tp // kv - 1:
                    part[-2 * size:] = keys
                error = np.linalg.norm(part - want) / np.linalg.norm(whole)
                at += want.size
                if not error <= worst:
                    worst, which = error, tensor
                continue
            # a part whose gradient cancels is judged by the whole tensor's
            error = np.linalg.norm(got[at:at + want.size].reshape(want.shape) - want) / np.linalg.norm(whole)
            at += want.size
            if not error <= worst:
                worst, which = error, tensor
        worst = worst if at == got.size else np.inf
    check(f"{name}: worst gradient, {which}", worst, GRADIENT)


def compare(muster, dump, form, tmp):
    model, style = make(form), STYLES.get(form, "plain")
    theirs, ours, back, again = (os.path.join(tmp, f"{form}-{x}") for x in ("hf", "ckpt", "back", "again"))
    model = save(model, theirs, style)
    run(muster, "import", theirs, "--output", ours)
    c = model.config
    tokens = np.random.RandomState(3).randint(0, c.vocab_size, (ROWS, LENGTH + 1)).astype(np.int32)
    tokens.tofile(os.path.join(tmp, "tokens"))
    logits, loss, grads = wanted(model, tokens)
    kv, size = c.num_key_value_heads, dict(model.named_parameters())["model.layers.0.self_attn.o_proj.weight"].shape[1]
    size //= c.num_attention_heads
    fits = lambda tp: c.num_attention_heads % tp == 0 and (kv % tp == 0 or tp % kv == 0) and c.vocab_size % tp == 0  # noqa: E731
    for tp in filter(fits, (1, 2, 3, 4, 6)):
        for recompute in ([], ["recompute"]):
            name, out = f"{form} {style} tp {tp} {' '.join(recompute)}".rstrip(), os.path.join(tmp, "out")
            ranks = [os.path.join(HERE, "..", "mpi", "run"), str(tp)] if tp > 1 else []
            run(*(["bash"] + ranks if ranks else []), dump, ours, os.path.join(tmp, "tokens"), str(ROWS), out, *recompute)
            got = np.fromfile(os.path.join(out, "logits"), np.float32).reshape(logits.shape)
            check(f"{name}: logits", relative(got, logits), LOGITS)
            check(f"{name}: loss", relative(np.fromfile(os.path.join(out, "loss")), [loss]), LOSS)
            check_gradients(name, out, grads, tp, c, size)
    run(dump, ours, os.path.join(tmp, "tokens"), str(ROWS), os.path.join(tmp, "out"), "bf16")
    got = np.fromfile(os.path.join(tmp, "out", "logits"), np.float32).reshape(logits.shape)
    check(f"{form}: logits in bf16", relative(got, logits), HALF)
    check_export(muster, form, model, ours, back, again, tokens)


def check_export(muster, form, model, ours, back, again, tokens):
    """Transformers reads the same class and bits; and our own import of it is the same checkpoint."""
    run(muster, "export", ours, "--output", back)
    run(muster, "import", back, "--output", again)
    with open(os.path.join(back, "config.json")) as f:
        kind = json.load(f)["model_type"]
    check(f"{form}: export, class {kind}", kind != model.config.model_type, 0)
    if hasattr(transformers, kind.capitalize() + "Config"):
        other = original_bounds(AutoModelForCausalLM.from_pretrained(back, attn_implementation="eager")).float()
        named = dict(model.float().named_parameters())
        off = sum(not torch.equal(p, named[name]) for name, p in other.named_parameters())
        check(f"{form}: export, weights that differ", off + (type(other) is not type(model)), 0)
        inputs = torch.as_tensor(tokens[:, :-1].astype(np.int64))
        with torch.no_grad():
            check(f"{form}: export, logits", relative(other(inputs).logits, model(inputs).logits), 1e-6)
    twice = back + "-2"
    run(muster, "export", again, "--output", twice)
    same = [filecmp.cmp(os.path.join(back, name), os.path.join(twice, name), shallow=False)
            for name in ("model.safetensors", "config.json")]
    check(f"{form}: exported, imported and exported again, files that differ", same.count(False), 0)


def main():
    muster, dump, *forms = [word for word in sys.argv[1:] if word != "--quick"]
    training.STEPS, failed = 10, 0
    with tempfile.TemporaryDirectory(prefix="muster-parity-") as tmp:
        for form in forms or list(LLAMA_FORMS):
            compare(muster, dump, form, tmp)
        for form, layouts in {"llama-llama3": [(1, 1), (3, 1)], "qwen3-tied-even": [(2, 1), (1, 2)]}.items():
            if "qwen3" in form and not hasattr(transformers, "Qwen3Config"):
                print(f"{form}: not trained: this version of Transformers cannot load what training writes")
            elif not forms or form in forms:
                failed += training.compare(muster, form, form, layouts, tmp)
    sys.exit(1 if failures or failed else 0)


if __name__ == "__main__":
    main()
