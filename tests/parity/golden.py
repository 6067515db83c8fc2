#!/usr/bin/env python3
"""Writes tests/data/hf: small models as others save them, and what Transformers computes with them in double precision.

usage: golden.py DIRECTORY

unit.hf_golden and unit.pt check muster against these files where there is no Python. Per model: the files of
save_pretrained(), and expected.json with tokens, logits, loss, and of every gradient (in muster's order and layout)
its norm and its product with cos(0), cos(1), ... `neox-pt` is the model `neox` as gpt-neox saves it at tensor-parallel
width 2, `neox-pp0` the same without pipeline stages.
"""
import argparse
import json
import os
import random
import sys
from collections import OrderedDict

from models import LLAMA3, YARN, gpt2, is_llama, llama, llama_order, loss_of, neox, neox_head, our_order
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

SMALL = dict(vocab_size=24, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
             max_position_embeddings=12)
ROWS, LENGTH = 2, 6
# Two queries to a key, heads wider than hidden_size / heads, and rotary positions scaled from four of the six.
LLAMA_SMALL = dict(vocab_size=24, hidden_size=8, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                   head_dim=6, intermediate_size=10, max_position_embeddings=16)
LLAMAS = {
    "llama": lambda: llama(**LLAMA_SMALL, rope_scaling={**LLAMA3, "original_max_position_embeddings": 4}),
    "llama-biased": lambda: llama(**LLAMA_SMALL, attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
                                  rope_scaling=dict(rope_type="linear", factor=3.0)),
    "mistral": lambda: llama("Mistral", **LLAMA_SMALL, sliding_window=8),
    "qwen2": lambda: llama("Qwen2", **{**LLAMA_SMALL, "head_dim": 2}, tie_word_embeddings=True),
    "qwen3": lambda: llama("Qwen3", **LLAMA_SMALL, use_sliding_window=False,
                           rope_scaling={**YARN, "original_max_position_embeddings": 4}),
}

CONFIG = """# what gpt-neox keeps beside a checkpoint
{
  "num_layers": 2, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16,
  "seq_length": 12, "max_position_embeddings": 12, "pos_emb": "rotary", "rotary_pct": 0.5,
  "no_weight_tying": true, "gpt_j_residual": true, "bias_gelu_fusion": false,
  "model_parallel_size": 2, "pipe_parallel_size": 1, "make_vocab_size_divisible_by": 4,
  "precision": "fp16"
}
"""


def fill(model, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            is_norm = any(part in name for part in ("layernorm", "layer_norm", "ln_", "norm"))
            p.normal_(1.0 if p.dim() == 1 and is_norm and name.endswith("weight") else 0.0, 0.4 if p.dim() == 2 else 0.2)
    return model.eval()


def expect(directory, **reading):
    """In double precision, of the weights as they were saved."""
    model = AutoModelForCausalLM.from_pretrained(directory, torch_dtype=torch.float32, attn_implementation="eager",
                                                 **reading).double()
    tokens = np.random.RandomState(5).randint(0, model.config.vocab_size, (ROWS, LENGTH + 1))
    loss, logits = loss_of(model, tokens)
    loss.backward()
    named, gradients = dict(model.named_parameters()), []
    order = [(names, turn) for names, turn, _ in llama_order(model)] if is_llama(model) else [
        ([name], turn) for name, turn in our_order(model)]
    for names, turn in order:
        g = turn(*[named[name].grad.numpy() for name in names]).reshape(-1)
        gradients.append([float(np.linalg.norm(g)), float(g @ np.cos(np.arange(g.size)))])
    with open(os.path.join(directory, "expected.json"), "w") as f:
        json.dump({"tokens": tokens.reshape(-1).tolist(), "rows": ROWS, "loss": loss.item(),
                   "logits": [float(f"{x:.9g}") for x in logits.detach().reshape(-1)], "gradients": gradients}, f,
                  separators=(",", ":"))
        f.write("\n")


def old_gpt2(directory):
    """As the first published files: no prefix, and the mask among the tensors."""
    path = os.path.join(directory, "model.safetensors")
    tensors = {name.removeprefix("transformer."): t.contiguous() for name, t in load_file(path).items()}
    for i in range(2):
        tensors[f"h.{i}.attn.bias"] = torch.tril(torch.ones(12, 12, dtype=torch.uint8)).view(1, 1, 12, 12)
    save_file(tensors, path)


def neox_layers(model, width, parallel=True):
    """(number, rank, tensors) of each layer of gpt-neox, from a GPTNeoXForCausalLM."""
    state, layers = model.state_dict(), model.config.num_hidden_layers
    specs = {0: {"word_embeddings.weight": ("gpt_neox.embed_in.weight", 0)},
             layers + 3: {"norm.weight": ("gpt_neox.final_layer_norm.weight", None),
                          "norm.bias": ("gpt_neox.final_layer_norm.bias", None)}}
    if not model.config.tie_word_embeddings:
        specs[layers + 4] = {"final_linear.weight": (neox_head(model), 0)}
    for i in range(layers):
        at = f"gpt_neox.layers.{i}."
        specs[i + 2] = {
            "input_layernorm.weight": (at + "input_layernorm.weight", None),
            "input_layernorm.bias": (at + "input_layernorm.bias", None),
            "attention.query_key_value.weight": (at + "attention.query_key_value.weight", 0),
            "attention.query_key_value.bias": (at + "attention.query_key_value.bias", 0),
            "attention.dense.weight": (at + "attention.dense.weight", 1),
            "attention.dense.bias": (at + "attention.dense.bias", "sum"),
            "post_attention_layernorm.weight": (at + "post_attention_layernorm.weight", None),
            "post_attention_layernorm.bias": (at + "post_attention_layernorm.bias", None),
            ("mlp.linear1" if i else "mlp.dense_h_to_4h") + ".weight": (at + "mlp.dense_h_to_4h.weight", 0),
            ("mlp.linear1" if i else "mlp.dense_h_to_4h") + ".bias": (at + "mlp.dense_h_to_4h.bias", 0),
            ("mlp.linear2" if i else "mlp.dense_4h_to_h") + ".weight": (at + "mlp.dense_4h_to_h.weight", 1),
            ("mlp.linear2" if i else "mlp.dense_4h_to_h") + ".bias": (at + "mlp.dense_4h_to_h.bias", "sum"),
        }
    for index, tensors in specs.items():
        for rank in range(width):
            out = OrderedDict()
            for name, (source, how) in tensors.items():
                t = state[source]
                if how == "sum":
                    t = t / width if parallel else t
                elif how is not None:
                    t = t.chunk(width, how)[rank]
                out[name] = t.detach().clone().contiguous()
            if "attention.dense.bias" in out:
                out["attention.rotary_emb.inv_freq"] = torch.ones(1)
            out._metadata = OrderedDict({"": {"version": 1}})
            yield index, rank, out


def neox_files(model, directory, width, parallel=True):
    """layer_XX-model_YY-model_states.pt of gpt-neox, from a GPTNeoXForCausalLM."""
    os.makedirs(directory)
    for index, rank, tensors in neox_layers(model, width, parallel):
        torch.save(tensors, os.path.join(directory, f"layer_{index:02d}-model_{rank:02d}-model_states.pt"))


def neox_states(model, directory, width, parallel=True):
    """mp_rank_YY_model_states.pt of gpt-neox without pipeline stages: the weights are one member of what DeepSpeed and
    gpt-neox keep of a run."""
    os.makedirs(directory)
    modules = [OrderedDict() for _ in range(width)]
    for index, rank, tensors in neox_layers(model, width, parallel):
        modules[rank].update((f"sequential.{index}.{name}", t) for name, t in tensors.items())
    for rank, module in enumerate(modules):
        module._metadata = OrderedDict({"": {"version": 1}})
        torch.save({
            "module": module, "buffer_names": ["sequential.2.attention.rotary_emb.inv_freq"], "optimizer": None,
            "param_shapes": [OrderedDict((name, t.shape) for name, t in module.items())], "frozen_param_shapes": None,
            "shared_params": OrderedDict(), "lr_scheduler": {"start_lr": 1e-4, "num_iters": 15, "decay_style": "cosine"},
            "data_sampler": None, "sparse_tensor_module_names": set(), "skipped_steps": 0, "global_steps": 15,
            "ds_config": {"train_batch_size": 4, "fp16": {"enabled": True}, "zero": None}, "ds_version": "0.3.15",
            "iteration": 15, "args": argparse.Namespace(num_layers=2, attention_config=["global"] * 2), "dtype": torch.half,
            "random_rng_state": random.getstate(), "np_rng_state": np.random.get_state(),
            "torch_rng_state": torch.get_rng_state(), "rng_tracker_states": {"model-parallel-rng": torch.get_rng_state()},
        }, os.path.join(directory, f"mp_rank_{rank:02d}_model_states.pt"))


LLAMA_CONFIG = """# tests/data/hf/llama in gpt-neox's keys
{
  "num_layers": 2, "hidden_size": 8, "num_attention_heads": 4, "num_kv_heads": 2, "intermediate_size": 30,
  "seq_length": 16, "max_position_embeddings": 16, "pos_emb": "rotary", "rotary_emb_base": 5000,
  "norm": "rmsnorm", "rms_norm_epsilon": 1.0e-5, "activation": "swiglu", "no_weight_tying": true,
  "use_bias_in_norms": false, "use_bias_in_attn_linear": false, "use_bias_in_mlp": false,
  "model_parallel_size": 2, "pipe_parallel_size": 1, "make_vocab_size_divisible_by": 1,
  "muster": {"head_dim": 6, "rope_scaling": {"type": "llama3", "factor": 4.0, "original_max_position_embeddings": 4,
    "low_freq_factor": 1.0, "high_freq_factor": 4.0}}
}
"""


def llama_files(model, directory, width):
    """layer_XX-model_YY-model_states.pt of gpt-neox, from a LlamaForCausalLM with grouped queries: a slice's
    query_key_value is [its queries][its keys][its values], and its linear1 [up][gate]."""
    state, layers = model.state_dict(), model.config.num_hidden_layers
    os.makedirs(directory)
    for rank in range(width):
        def rows(*names):
            return torch.cat([state[name].chunk(width, 0)[rank] for name in names])

        specs = {0: {"word_embeddings.weight": rows("model.embed_tokens.weight")},
                 layers + 3: {"norm.scale": state["model.norm.weight"]},
                 layers + 4: {"final_linear.weight": rows("lm_head.weight")}}
        for i in range(layers):
            at = f"model.layers.{i}."
            specs[i + 2] = {
                "input_layernorm.scale": state[at + "input_layernorm.weight"],
                "attention.query_key_value.weight": rows(*(f"{at}self_attn.{x}_proj.weight" for x in "qkv")),
                "attention.dense.weight": state[at + "self_attn.o_proj.weight"].chunk(width, 1)[rank],
                "post_attention_layernorm.scale": state[at + "post_attention_layernorm.weight"],
                "mlp.linear1.weight": rows(at + "mlp.up_proj.weight", at + "mlp.gate_proj.weight"),
                "mlp.linear2.weight": state[at + "mlp.down_proj.weight"].chunk(width, 1)[rank],
            }
        for index, tensors in specs.items():
            out = OrderedDict((name, t.detach().clone().contiguous()) for name, t in tensors.items())
            torch.save(out, os.path.join(directory, f"layer_{index:02d}-model_{rank:02d}-model_states.pt"))


def main():
    top = sys.argv[1]
    where = {name: os.path.join(top, name) for name in ("neox", "neox-sequential", "gpt2", "neox-pt", "neox-pp0")}

    model = fill(neox(rotary_pct=0.5, **SMALL), 1).half()
    model.save_pretrained(where["neox"])
    neox_files(model, where["neox-pt"], 2)
    neox_states(model, where["neox-pp0"], 2)
    os.makedirs(os.path.join(where["neox-pt"], "configs"))
    with open(os.path.join(where["neox-pt"], "configs", "model.yml"), "w") as f:
        f.write(CONFIG)

    changes = dict(rotary_pct=1.0, use_parallel_residual=False, hidden_act="gelu_new", tie_word_embeddings=True)
    fill(neox(**{**SMALL, **changes}), 2).bfloat16().save_pretrained(where["neox-sequential"], max_shard_size="2KB")

    fill(gpt2(vocab_size=24, n_embd=8, n_layer=2, n_head=2, n_inner=16, n_positions=12), 3).half().save_pretrained(
        where["gpt2"])
    for seed, (name, make) in enumerate(LLAMAS.items()):
        where[name] = os.path.join(top, name)
        model = fill(make(), 11 + seed).bfloat16()
        model.save_pretrained(where[name])
        if name == "llama":
            llama_files(model, where[name] + "-pt", 2)
            os.makedirs(os.path.join(where[name] + "-pt", "configs"))
            with open(os.path.join(where[name] + "-pt", "configs", "model.yml"), "w") as f:
                f.write(LLAMA_CONFIG)
    for name in ("neox", "neox-sequential", "gpt2", *LLAMAS):
        expect(where[name])
        os.unlink(os.path.join(where[name], "generation_config.json"))
    old_gpt2(where["gpt2"])


if __name__ == "__main__":
    main()
