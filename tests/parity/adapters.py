#!/usr/bin/env python3
"""Fifty steps of training adapters against PEFT and PyTorch, and PEFT's files in both directions.

usage: adapters.py MUSTER DUMP [--quick] [FORM...]

A random model is saved by Transformers and imported. An adapter that PEFT makes of it is saved, imported onto it, and
trained by `muster run` beside the same adapter under torch.optim.AdamW. Losses must agree to 1e-4 relative at each step,
the adapter's weights at the end to 1e-3 of the distance that they went. The export must load as an adapter of the base
(PEFT) and, merged, as a whole model (Transformers), both with the logits of the trained one, and the base's weights must
be those that were imported. DUMP is not used. --quick makes it ten steps. Exits 77 where PyTorch, Transformers or PEFT
is absent.
"""
import json
import math
import os
import sys
import tempfile

import models
import training
from training import BATCH, run, sample_order, write_config, write_data
import torch
from transformers import AutoModelForCausalLM

try:
    from peft import LoraConfig, PeftModel, get_peft_model
except ImportError as why:
    print(f"skipped: {why}: tests/parity/install makes an environment that has it")
    sys.exit(77)

LOSS, WEIGHTS, LOGITS = 1e-4, 1e-3, 1e-4
FORMS = {
    "neox": (lambda: models.neox(), dict(r=4, lora_alpha=12, target_modules=["query_key_value"])),
    "neox-all": (lambda: models.neox(use_parallel_residual=False),
                 dict(r=8, lora_alpha=16, use_rslora=True,
                      target_modules=["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"])),
    "gpt2": (lambda: models.gpt2(),
             dict(r=4, lora_alpha=8, fan_in_fan_out=True,
                  target_modules=["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"])),
    "llama": (lambda: models.llama(), dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])),
    "llama-all": (lambda: models.llama("Qwen2", head_dim=8),
                  dict(r=3, lora_alpha=6, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                                                          "down_proj"])),
}
LAYOUTS = [(1, 1), (3, 1), (1, 2)]  # 3 divides the heads of the Llama forms
LAYOUTS_OF_FOUR = [(1, 1), (2, 2)]


def adapter_of(model, keys):
    torch.manual_seed(3)
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, bias="none", **keys))
    for name, parameter in adapted.named_parameters():  # an adapter whose B is 0 would hide half of what may go wrong
        if "lora_B" in name:
            parameter.data.normal_(0, 0.05)
    return adapted


def reference(adapted, samples):
    trained = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=training.LR, betas=(0.9, 0.95), eps=1e-8, weight_decay=training.DECAY)
    out = []
    for step in range(training.STEPS):
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate(step)
        optimizer.zero_grad()
        loss, _ = models.loss_of(adapted, samples[step * BATCH:(step + 1) * BATCH])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, training.CLIP)
        optimizer.step()
        out.append(loss.item())
    return out


def adapter_state(model):
    return {k: v.detach().clone() for k, v in model.state_dict().items() if "lora_" in k}


def configure(path, model, keys, here):
    write_config(path, model, here + "/data", here + "/adapter")
    with open(path) as f:
        lines = [line for line in f if not line.startswith("muster")]
    muster = (training.llama_keys if models.is_llama(model) else training.neox_keys)(model)[1]
    muster.update(device="cpu", threads_per_worker=1, max_restarts=0, lora_rank=keys["r"], lora_alpha=keys["lora_alpha"],
                  lora_targets=keys["target_modules"], lora_rslora=keys.get("use_rslora", False))
    with open(path, "w") as f:
        f.writelines(lines + ["muster: " + json.dumps(muster) + "\n"])


def logits_of(model, samples):
    model.eval()
    with torch.no_grad():
        return model(torch.tensor(samples[:4, :-1])).logits


def difference(got, want):
    return float((got - want).norm() / want.norm())


def compare(muster, name, tmp):
    make, keys = FORMS[name]
    here, failed = os.path.join(tmp, name), 0
    os.mkdir(here)
    torch.manual_seed(7)
    model = make()
    model.save_pretrained(here + "/hf")
    run(muster, "import", here + "/hf", "--output", here + "/ckpt")
    adapted = adapter_of(model, keys)
    adapted.save_pretrained(here + "/peft")
    run(muster, "import", here + "/peft", "--base", here + "/ckpt", "--output", here + "/adapter")
    samples = sample_order(write_data(here + "/data", model.config.vocab_size), training.STEPS * BATCH)
    configure(here + "/run.yml", model, keys, here)
    before, frozen = adapter_state(adapted), {k: v.clone() for k, v in adapted.state_dict().items() if "lora_" not in k}
    want = reference(adapted, samples)
    assert all(torch.equal(v, frozen[k]) for k, v in adapted.state_dict().items() if k in frozen)
    after, logits = adapter_state(adapted), logits_of(adapted, samples)
    way = sum(float((before[k] - v).double().pow(2).sum()) for k, v in after.items())
    print(f"{name}: loss {want[0]:.4f} to {want[-1]:.4f}", flush=True)
    for tp, dp in LAYOUTS if models.is_llama(model) else LAYOUTS_OF_FOUR:
        out = f"{here}/run-{tp}-{dp}"
        run(muster, "run", here + "/run.yml", f"model_parallel_size={tp}", "--workers", str(tp * dp), "--run-dir", out)
        rows = training.metrics(out)
        if None in rows:
            sys.exit(f"{name} tp {tp} dp {dp}: steps without a line in metrics.jsonl")
        run(muster, "export", out, "--output", out + "-peft")
        run(muster, "export", out, "--merge", "--output", out + "-hf")
        # PEFT loads what was exported onto the model as it was saved: a base that had moved would show in the logits
        loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(here + "/hf"), out + "-peft")
        got = adapter_state(loaded)
        assert sorted(got) == sorted(after), (sorted(got)[:2], sorted(after)[:2])
        off = sum(float((got[k] - v).double().pow(2).sum()) for k, v in after.items())
        merged = logits_of(AutoModelForCausalLM.from_pretrained(out + "-hf"), samples)
        own = logits_of(loaded, samples)
        errors = (training.worst([r["loss"] for r in rows], want), math.sqrt(off / way), difference(own, logits),
                  difference(merged, own))
        bad = any(not e <= limit for e, limit in zip(errors, (LOSS, WEIGHTS, 1e-3, LOGITS)))
        failed += bad
        print("%-6s %s tp %d dp %d: loss %.1e, weights %.1e, logits of the export %.1e, merged against it %.1e" %
              (("FAILED" if bad else "ok", name, tp, dp) + errors), flush=True)
    return failed


def main():
    words = [word for word in sys.argv[1:] if word != "--quick"]
    if "--quick" in sys.argv:
        training.STEPS = 10
    failed = 0
    with tempfile.TemporaryDirectory(prefix="muster-parity-") as tmp:
        for name in words[2:] or list(FORMS):
            failed += compare(words[0], name, tmp)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
