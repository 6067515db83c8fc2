#!/usr/bin/env python3
"""Files as gpt-neox saves them with and without pipeline stages, of several widths and types, imported and exported: the same
weights.

usage: neox.py MUSTER DUMP [--quick]

DUMP is not used. --quick takes each width with one type, not with all of them. Exits 77 where PyTorch or Transformers is absent.
"""
import os
import subprocess
import sys
import tempfile

from models import FORMS, make, rotary
from golden import neox_files, neox_states
import torch
from transformers import AutoModelForCausalLM


def config_of(c):
    return f"""
num_layers: {c.num_hidden_layers}
hidden_size: {c.hidden_size}
num_attention_heads: {c.num_attention_heads}
intermediate_size: {c.intermediate_size}
seq_length: {c.max_position_embeddings}
max_position_embeddings: {c.max_position_embeddings}
pos_emb: rotary
rotary_pct: {rotary(c)[0]}
rotary_emb_base: {rotary(c)[1]}
layernorm_epsilon: {c.layer_norm_eps}
gpt_j_residual: {c.use_parallel_residual}
no_weight_tying: {not c.tie_word_embeddings}
bias_gelu_fusion: {c.hidden_act != "gelu"}
"""


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}:\n{done.stdout}")


def same(muster, form, width, dtype, tmp, write):
    model = make(form).to(dtype)
    here = os.path.join(tmp, f"{form}-{width}-{dtype}-{write.__name__}")
    write(model, here, width, parallel=model.config.use_parallel_residual)
    with open(here + ".yml", "w") as f:
        f.write(config_of(model.config))
    run(muster, "import", here, "--output", here + "-ckpt", "--config", here + ".yml")
    run(muster, "export", here + "-ckpt", "--output", here + "-hf")
    back = AutoModelForCausalLM.from_pretrained(here + "-hf")
    off = [k for (k, a), b in zip(model.state_dict().items(), back.state_dict().values())
           if "rotary" not in k and not torch.equal(a.float(), b)]
    keys = ("use_parallel_residual", "layer_norm_eps", "hidden_act", "tie_word_embeddings", "intermediate_size")
    off += ["rotary"] * (rotary(model.config) != rotary(back.config))
    off += [k for k in keys if getattr(model.config, k) != getattr(back.config, k)]
    print(f"{'FAILED' if off else 'ok':6} {form}, width {width}, {dtype}, {write.__name__} {off or ''}")
    return bool(off)


def main():
    failed = 0
    with tempfile.TemporaryDirectory(prefix="muster-parity-") as tmp:
        for form in (name for name in FORMS if name.startswith("neox")):
            for i, width in enumerate((1, 2, 4)):
                types = (torch.float16, torch.bfloat16, torch.float32)
                for dtype in types[i:i + 1] if "--quick" in sys.argv else types:
                    failed += same(sys.argv[1], form, width, dtype, tmp, neox_files if (i + len(form)) % 2 else neox_states)
                    if "--quick" not in sys.argv:
                        failed += same(sys.argv[1], form, width, dtype, tmp, neox_states if (i + len(form)) % 2 else neox_files)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
