#!/usr/bin/env python3
"""Fifty steps of training in fp32 against PyTorch, in every layout.

usage: training.py MUSTER DUMP [--quick] [FORM...]

A random model is saved by Transformers, imported, and trained by `muster run` on a .bin/.idx pair, beside the same
model under torch.optim.AdamW. The order of the samples, the learning rate and the clipping are computed here from
gpt-neox's definitions, with numpy's own generator. Losses must agree to 1e-4 relative at each step, gradient norms to
1e-3, and the weights at the end (through an export) to 1e-3 of the distance that they went. DUMP is not used.
--quick makes it ten steps. Exits 77 where PyTorch or Transformers is absent.
"""
import json
import math
import os
import struct
import subprocess
import sys
import tempfile

from models import FORMS, is_gpt2, is_llama, loss_of, make, rotary
import numpy as np
import torch
from transformers import AutoModelForCausalLM

STEPS, BATCH, LENGTH, SEED = 50, 16, 24, 4321
LR, MIN_LR, WARMUP, DECAY, CLIP = 3e-3, 3e-4, 0.1, 0.1, 0.5
LOSS, NORM, WEIGHTS = 1e-4, 1e-3, 1e-3
ALL = [(tp, dp) for tp in (1, 2, 4) for dp in (1, 2, 4)]
SOME = [(1, 1), (2, 2)]
BLENDED = "blended data"
GROUPED = "groups of parameters"
GROUPS = ["muster.no_decay=[norms, embeddings, layers.1.mlp.*]", "muster.lr_scale=[head=0.25, biases=2, layers.0.*.weight=0.5]"]


def write_data(prefix, vocab, seed=11):
    """Documents of a language with structure: each token is one of a few that may follow the last."""
    random = np.random.RandomState(seed)
    follow = random.randint(0, vocab, (vocab, 4))
    documents = []
    for _ in range(60):
        tokens = [int(random.randint(vocab))]
        while len(tokens) < random.randint(20, 400):
            tokens.append(int(follow[tokens[-1], random.randint(4)]))
        documents.append(np.array(tokens, np.uint16))
    np.concatenate(documents).tofile(prefix + ".bin")
    sizes = np.array([len(d) for d in documents], np.int32)
    with open(prefix + ".idx", "wb") as f:
        f.write(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, len(sizes), len(sizes) + 1))
        f.write(sizes.tobytes())
        f.write((2 * np.concatenate([[0], np.cumsum(sizes[:-1], dtype=np.int64)])).astype(np.int64).tobytes())
        f.write(np.arange(len(sizes) + 1, dtype=np.int64).tobytes())
    return documents


def sample_order(documents, samples):
    """gpt-neox's packed samples: documents of all epochs shuffled as one array, joined, cut, and shuffled again."""
    per_epoch = sum(len(d) for d in documents)
    epochs = 1
    while (epochs * per_epoch - 1) // LENGTH < samples:
        epochs += 1
    random = np.random.RandomState(SEED)
    order = np.tile(np.arange(len(documents), dtype=np.int32), epochs)
    random.shuffle(order)
    stream = np.concatenate([documents[d] for d in order]).astype(np.int64)
    shuffled = np.arange((epochs * per_epoch - 1) // LENGTH, dtype=np.uint32)
    random.shuffle(shuffled)
    return np.stack([stream[i * LENGTH:i * LENGTH + LENGTH + 1] for i in shuffled.astype(np.int64)[:samples]])


def blend(sets, weights, samples):
    """gpt-neox's blend: each sample from the set that is most in arrears, in that set's own order."""
    weights = np.array(weights) / sum(weights)
    orders = [sample_order(s, math.ceil(samples * w * 1.005)) for s, w in zip(sets, weights)]
    weights /= np.sum(weights)
    taken, out = np.zeros(len(sets)), []
    for i in range(samples):
        k = int(np.argmax(weights * max(i, 1) - taken))
        out.append(orders[k][int(taken[k])])
        taken[k] += 1
    return np.stack(out)


def learning_rate(done):
    warm = WARMUP * STEPS
    if done <= warm:
        return LR * max(1, done) / warm
    return max(MIN_LR, MIN_LR + (LR - MIN_LR) / 2 * (math.cos(math.pi * (done - warm) / (STEPS - warm)) + 1))


def usual_groups(model):
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    return [{"params": matrices, "weight_decay": DECAY, "scale": 1}, {"params": vectors, "weight_decay": 0.0, "scale": 1}]


def written_groups(model):
    """What GROUPS says of a GPT-NeoX, by the names that Transformers has; a group for each parameter."""
    out = []
    for name, p in model.named_parameters():
        norm, layer = "layernorm" in name or "layer_norm" in name, ".layers.0." in name
        decays = not (norm or "embed_in" in name or ".layers.1.mlp." in name)
        scale = (0.25 if "lm_head" in name or "embed_out" in name else 2 if name.endswith(".bias") and not norm
                 else 0.5 if layer and name.endswith(".weight") else 1)
        out.append({"params": [p], "weight_decay": DECAY if decays else 0.0, "scale": scale})
    return out


def reference(model, samples, groups=usual_groups):
    """[(loss, norm of the gradient before clipping)], one a step; the model is trained in place."""
    optimizer = torch.optim.AdamW(groups(model), lr=LR, betas=(0.9, 0.95), eps=1e-8)
    out = []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step) * group["scale"]
        optimizer.zero_grad()
        loss, _ = loss_of(model, samples[step * BATCH:(step + 1) * BATCH])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        out.append((loss.item(), norm.item()))
    return out


WEIGHTS_OF_TWO = [0.7, 0.2]


def blended(path, here, vocab):
    """Makes the run's data two sets; returns its samples."""
    sets = [write_data(here + "/data", vocab), write_data(here + "/more", vocab, 12)]
    with open(path) as f:
        lines = [line for line in f if not line.startswith(("data_path", "split"))]
    paths = {"train_data_paths": [here + "/data", here + "/more"], "valid_data_paths": [], "test_data_paths": [],
             "train_data_weights": WEIGHTS_OF_TWO}
    with open(path, "w") as f:
        f.writelines(lines + [f"{key}: {json.dumps(value)}\n" for key, value in paths.items()])
    return blend(sets, WEIGHTS_OF_TWO, STEPS * BATCH)


def llama_keys(model):
    """The model in gpt-neox's keys."""
    c = model.config
    rope = getattr(c, "rope_parameters", None) or {}
    scaling = {k: v for k, v in (rope or getattr(c, "rope_scaling", None) or {}).items() if k != "rope_theta"}
    head_dim = model.model.layers[0].self_attn.o_proj.weight.shape[1] // c.num_attention_heads
    muster = {"head_dim": head_dim, "qkv_bias": c.model_type == "qwen2", "model_type": c.model_type}
    if scaling.get("rope_type", "default") != "default":
        muster["rope_scaling"] = {"type": scaling.pop("rope_type"), **scaling}
        muster["rope_scaling"].pop("type_", None)
    return {
        "num_layers": c.num_hidden_layers, "hidden_size": c.hidden_size, "num_attention_heads": c.num_attention_heads,
        "num_kv_heads": c.num_key_value_heads, "intermediate_size": 3 * c.intermediate_size,
        "max_position_embeddings": c.max_position_embeddings, "pos_emb": "rotary", "norm": "rmsnorm",
        "rms_norm_epsilon": c.rms_norm_eps, "activation": "swiglu",
        "rotary_emb_base": rope.get("rope_theta") or c.rope_theta, "no_weight_tying": not c.tie_word_embeddings,
        "use_bias_in_norms": False, "use_bias_in_attn_linear": bool(getattr(c, "attention_bias", False)),
        "use_bias_in_mlp": bool(getattr(c, "mlp_bias", False)), "use_qk_layernorm": c.model_type == "qwen3",
    }, muster


def neox_keys(model):
    c = model.config
    gpt2 = is_gpt2(model)
    layers, hidden, heads = (c.n_layer, c.n_embd, c.n_head) if gpt2 else (
        c.num_hidden_layers, c.hidden_size, c.num_attention_heads)
    ffn = (c.n_inner or 4 * hidden) if gpt2 else c.intermediate_size
    act = c.activation_function if gpt2 else c.hidden_act
    lines = {
        "num_layers": layers, "hidden_size": hidden, "num_attention_heads": heads, "intermediate_size": ffn,
        "max_position_embeddings": c.n_positions if gpt2 else c.max_position_embeddings,
        "pos_emb": "learned" if gpt2 else "rotary", "no_weight_tying": not c.tie_word_embeddings,
        "gpt_j_residual": not gpt2 and c.use_parallel_residual, "bias_gelu_fusion": act != "gelu",
        "layernorm_epsilon": c.layer_norm_epsilon if gpt2 else c.layer_norm_eps,
    }
    if not gpt2:
        lines["rotary_pct"], lines["rotary_emb_base"] = rotary(c)
    return lines, {}


def write_config(path, model, data, checkpoint):
    keys, muster = (llama_keys if is_llama(model) else neox_keys)(model)
    lines = {
        **keys, "seq_length": LENGTH,
        "optimizer": {"type": "Adam", "params": {"lr": LR, "betas": [0.9, 0.95], "eps": 1e-8}},
        "weight_decay": DECAY, "gradient_clipping": CLIP, "lr_decay_style": "cosine", "min_lr": MIN_LR,
        "warmup": WARMUP, "precision": "fp32", "train_batch_size": BATCH, "train_iters": STEPS, "seed": SEED,
        "split": "1,0,0", "eval_interval": 1000, "eval_iters": 0, "checkpoint_factor": STEPS, "data_path": data,
        "load": checkpoint, "finetune": True,
        "muster": {"device": "cpu", "threads_per_worker": 1, "max_restarts": 0, **muster},
    }
    with open(path, "w") as f:
        f.write("\n".join(f"{key}: {json.dumps(value)}" for key, value in lines.items()) + "\n")


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}:\n{done.stdout}")


def metrics(path):
    by_step = {}
    with open(os.path.join(path, "metrics.jsonl")) as f:
        for line in f:
            row = json.loads(line)
            by_step[row["step"]] = row
    return [by_step.get(step + 1) for step in range(STEPS)]


def worst(got, want):
    return max((abs(a - b) / abs(b) if math.isfinite(a) else math.inf) for a, b in zip(got, want))


def moved(directory, trained, before):
    """The difference of the weights at the end, as a part of the distance they went."""
    got = AutoModelForCausalLM.from_pretrained(directory).state_dict()
    off = sum(float((got[k] - v).double().pow(2).sum()) for k, v in trained.items())
    way = sum(float((before[k] - v).double().pow(2).sum()) for k, v in trained.items())
    return math.sqrt(off / way)


def compare(muster, name, form, layouts, tmp):
    failed = 0
    model = make(form)
    here = os.path.join(tmp, name)
    os.mkdir(here)
    model.save_pretrained(here + "/hf")
    run(muster, "import", here + "/hf", "--output", here + "/ckpt")
    documents = write_data(here + "/data", model.config.vocab_size)
    write_config(here + "/run.yml", model, here + "/data", here + "/ckpt")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    samples = (blended(here + "/run.yml", here, model.config.vocab_size) if name == BLENDED
               else sample_order(documents, STEPS * BATCH))
    grouped = name == GROUPED
    want = reference(model, samples, written_groups if grouped else usual_groups)
    print(f"{name}: loss {want[0][0]:.4f} to {want[-1][0]:.4f}, gradient norm {want[0][1]:.3f} to {want[-1][1]:.3f}")
    for tp, dp in layouts:
        out = f"{here}/run-{tp}-{dp}"
        keys = GROUPS + ["zero_optimization.stage=1"] if grouped else []
        run(muster, "run", here + "/run.yml", f"model_parallel_size={tp}", "--workers", str(tp * dp), "--run-dir", out, *keys)
        rows = metrics(out)
        if None in rows:
            sys.exit(f"{name} tp {tp} dp {dp}: steps without a line in metrics.jsonl")
        run(muster, "export", out, "--output", out + "-hf")
        errors = (worst([r["loss"] for r in rows], [w[0] for w in want]),
                  worst([r["grad_norm"] for r in rows], [w[1] for w in want]),
                  worst([r["lr"] for r in rows], [learning_rate(s) for s in range(STEPS)]),
                  moved(out + "-hf", model.state_dict(), before))
        bad = any(not e <= limit for e, limit in zip(errors, (LOSS, NORM, 1e-12, WEIGHTS)))
        failed += bad
        print("%-6s %s tp %d dp %d: loss %.1e, gradient norm %.1e, lr %.1e, weights %.1e" %
              (("FAILED" if bad else "ok", name, tp, dp) + errors), flush=True)
    return failed


def main():
    global STEPS
    words = [word for word in sys.argv[1:] if word != "--quick"]
    muster, forms = words[0], words[2:] or list(FORMS)
    if "--quick" in sys.argv:
        STEPS = 10
    failed = 0
    with tempfile.TemporaryDirectory(prefix="muster-parity-") as tmp:
        for form in forms:
            failed += compare(muster, form, form, ALL if form == "neox-parallel" else SOME, tmp)
        if "neox-parallel" in forms:
            failed += compare(muster, BLENDED, "neox-parallel", SOME, tmp)
            failed += compare(muster, GROUPED, "neox-parallel", SOME + [(1, 2)], tmp)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
