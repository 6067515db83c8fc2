"""The models that the parity tests compare, and how one of ours is laid out beside one of Hugging Face's.

Everything here is written from the definitions (docs/numbers.md), not from muster's sources.
"""
import inspect
import json
import os
import sys

try:
    import numpy as np
    from safetensors.numpy import load_file, save_file
    import torch
    import transformers
    from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM
    from transformers import logging as transformers_logging
except ImportError as why:
    print(f"skipped: {why}: tests/parity/install makes an environment that has it")
    sys.exit(77)

torch.set_num_threads(1)
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()

VOCAB, HIDDEN, LAYERS, HEADS, POSITIONS = 128, 64, 2, 4, 64


def neox(**changes):
    keys = dict(vocab_size=VOCAB, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                intermediate_size=4 * HIDDEN, max_position_embeddings=POSITIONS, rotary_pct=0.25, hidden_act="gelu",
                use_parallel_residual=True, tie_word_embeddings=False, attn_implementation="eager")
    return GPTNeoXForCausalLM(GPTNeoXConfig(**{**keys, **changes}))


def gpt2(**changes):
    keys = dict(vocab_size=VOCAB, n_embd=HIDDEN, n_layer=LAYERS, n_head=HEADS, n_positions=POSITIONS, resid_pdrop=0.0,
                embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation="eager")
    return GPT2LMHeadModel(GPT2Config(**{**keys, **changes}))


# Odd sizes: heads that are wider than hidden_size / heads, three queries to a key, a vocabulary that 3 divides.
LLAMA = dict(vocab_size=129, hidden_size=72, num_hidden_layers=2, num_attention_heads=9, num_key_value_heads=3, head_dim=80,
             intermediate_size=90, max_position_embeddings=96, rms_norm_eps=1e-5, rope_theta=5000.0,
             tie_word_embeddings=False, attn_implementation="eager")
LLAMA3 = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
YARN = dict(rope_type="yarn", factor=6.0, original_max_position_embeddings=16)


def original_bounds(model):
    """yarn's bounds follow from the original length. Older versions of Transformers take max_position_embeddings in its
    place: their frequencies are made anew."""
    from transformers import modeling_rope_utils as rope
    scaling = getattr(model.config, "rope_scaling", None) or {}
    if scaling.get("rope_type") != "yarn" or "original_max_position_embeddings" in inspect.getsource(rope._compute_yarn_parameters):
        return model
    longest = model.config.max_position_embeddings
    model.config.max_position_embeddings = scaling["original_max_position_embeddings"]
    for part in model.modules():
        if hasattr(part, "inv_freq"):
            frequencies, _ = rope._compute_yarn_parameters(model.config, part.inv_freq.device)
            part.inv_freq = part.original_inv_freq = frequencies
    model.config.max_position_embeddings = longest
    return model


class HeadNorm(torch.nn.Module):
    """A linear layer and Qwen3's norm of each of its heads, for versions of Transformers that have no Qwen3."""

    def __init__(self, linear, size, eps):
        super().__init__()
        self.linear, self.size, self.eps = linear, size, eps
        self.norm = torch.nn.Parameter(torch.ones(size))

    def forward(self, x):
        y = self.linear(x)
        heads = y.view(*y.shape[:-1], -1, self.size)
        heads = heads * torch.rsqrt(heads.pow(2).mean(-1, keepdim=True) + self.eps) * self.norm
        return heads.reshape(y.shape)


def name_stand_in(model, directory):
    """The files of the stand-in for Qwen3, by Qwen3's names; those of other models stay as they are."""
    if not any(isinstance(p, HeadNorm) for p in model.modules()):
        return
    path = os.path.join(directory, "config.json")
    with open(path) as f:
        config = json.load(f)
    config.update(model_type="qwen3", architectures=["Qwen3ForCausalLM"], use_sliding_window=False)
    with open(path, "w") as f:
        json.dump(config, f)
    path = os.path.join(directory, "model.safetensors")
    save_file({name.replace("_proj.linear.", "_proj.").replace("q_proj.norm", "q_norm.weight").replace(
        "k_proj.norm", "k_norm.weight"): a for name, a in load_file(path).items()}, path)


def llama(kind="Llama", **changes):
    keys = {**LLAMA, **changes}
    if kind == "Qwen3" and not hasattr(transformers, "Qwen3Config"):
        keys.pop("use_sliding_window", None)
        model = llama("Llama", **keys)
        for layer in model.model.layers:
            for name in ("q_proj", "k_proj"):
                linear = getattr(layer.self_attn, name)
                setattr(layer.self_attn, name, HeadNorm(linear, keys["head_dim"], keys["rms_norm_eps"]))
        model.config.model_type = "qwen3"
        return model
    return getattr(transformers, kind + "ForCausalLM")(getattr(transformers, kind + "Config")(**keys))


# Of the Llama family: Qwen2 has no head_dim of its own in old versions of Transformers.
LLAMA_FORMS = {
    "llama": lambda: llama(),
    "llama-biased-tied": lambda: llama(attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    "llama-linear": lambda: llama(rope_scaling=dict(rope_type="linear", factor=3.0)),
    "llama-llama3": lambda: llama(rope_scaling=LLAMA3),
    "llama-yarn": lambda: original_bounds(llama(rope_scaling=YARN)),
    "llama-even": lambda: llama(num_attention_heads=6, num_key_value_heads=2, head_dim=16, vocab_size=128),
    "mistral": lambda: llama("Mistral", sliding_window=64),
    "mistral-one-key": lambda: llama("Mistral", sliding_window=None, num_key_value_heads=1),
    "qwen2-tied": lambda: llama("Qwen2", head_dim=8, tie_word_embeddings=True),
    "qwen3": lambda: llama("Qwen3", use_sliding_window=False),
    "qwen3-tied-even": lambda: llama("Qwen3", use_sliding_window=False, tie_word_embeddings=True, vocab_size=128,
                                     num_attention_heads=6, num_key_value_heads=2, head_dim=20),
}

FORMS = {
    "neox-parallel": lambda: neox(),
    "neox-parallel-tanh": lambda: neox(hidden_act="gelu_new", rotary_pct=1.0, rotary_emb_base=5000),
    "neox-sequential": lambda: neox(use_parallel_residual=False, rotary_pct=1.0, layer_norm_eps=1e-4),
    "neox-sequential-tied": lambda: neox(use_parallel_residual=False, hidden_act="gelu_new", tie_word_embeddings=True,
                                         intermediate_size=96),
    "gpt2": lambda: gpt2(),
    "gpt2-erf-untied": lambda: gpt2(activation_function="gelu", tie_word_embeddings=False, n_inner=96),
}


def make(form, seed=7):
    """A random model, larger weights than a fresh one's, so that every part of it matters."""
    torch.manual_seed(seed)
    model = {**FORMS, **LLAMA_FORMS}[form]()
    with torch.no_grad():
        for name, p in model.named_parameters():
            is_norm = any(part in name for part in ("layernorm", "layer_norm", "ln_", "norm"))
            if p.dim() == 2:
                p.normal_(0, 0.08)
            else:
                p.normal_(1.0 if is_norm and name.endswith("weight") else 0.0, 0.1)
    model.eval()
    return model


def is_llama(model):
    return model.config.model_type in ("llama", "mistral", "qwen2", "qwen3")


def llama_order(model):
    """[(their names, function from their arrays to ours, the axis that tensor parallelism divides)]."""
    c = model.config
    heads, kv, named = c.num_attention_heads, c.num_key_value_heads, dict(model.named_parameters())
    size = named["model.layers.0.self_attn.o_proj.weight"].shape[1] // heads

    def same(a):
        return a

    def groups(q, k, v):  # [head, size] each -> [key/value head][its queries, k, v][size]
        rest = q.shape[1:]
        parts = [x.reshape(kv, -1, size, *rest) for x in (q, k, v)]
        return np.concatenate(parts, 1).reshape(-1, *rest)

    def inner(name):  # of a HeadNorm
        return name if name in named else name.replace("_proj.", "_proj.linear.")

    out = [(["model.embed_tokens.weight"], same, 0)]
    for i in range(c.num_hidden_layers):
        at = f"model.layers.{i}."
        rows = [([at + "input_layernorm.weight"], same, None), ([at + "post_attention_layernorm.weight"], same, None)]
        rows += [([inner(at + f"self_attn.{x}_proj.{kind}") for x in "qkv"], groups, 0) for kind in ("weight", "bias")]
        for x in "qk":
            name = at + f"self_attn.{x}_norm.weight"
            rows.append(([name if name in named else at + f"self_attn.{x}_proj.norm"], same, None))
        rows += [([at + "self_attn.o_proj.weight"], same, 1), ([at + "self_attn.o_proj.bias"], same, None)]
        for part, axis in (("gate", 0), ("up", 0), ("down", 1)):
            rows.append(([at + f"mlp.{part}_proj.weight"], same, axis))
            rows.append(([at + f"mlp.{part}_proj.bias"], same, axis if axis == 0 else None))
        out += [row for row in rows if row[0][0] in named]
    out.append((["model.norm.weight"], same, None))
    if not c.tie_word_embeddings:
        out.append((["lm_head.weight"], same, 0))
    return out


def is_gpt2(model):
    return model.config.model_type == "gpt2"


def rotary(config):
    """(share, base) of a GPT-NeoX's config: Transformers 5 keeps them in rope_parameters."""
    rope = getattr(config, "rope_parameters", None)
    return (rope["partial_rotary_factor"], rope["rope_theta"]) if rope else (config.rotary_pct, config.rotary_emb_base)


def neox_head(model):
    """The name of an untied GPT-NeoX's head: Transformers 5 calls it as all models do, but for its files."""
    return "embed_out.weight" if hasattr(model, "embed_out") else "lm_head.weight"


def our_order(model):
    """[(their name, function from their array to ours)] in the order of muster's list of tensors."""
    def same(a):
        return a

    out = []
    if not is_gpt2(model):
        out.append(("gpt_neox.embed_in.weight", same))
        for i in range(model.config.num_hidden_layers):
            for part in ("input_layernorm", "post_attention_layernorm", "attention.query_key_value", "attention.dense",
                         "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"):
                out += [(f"gpt_neox.layers.{i}.{part}.{kind}", same) for kind in ("weight", "bias")]
        out += [("gpt_neox.final_layer_norm.weight", same), ("gpt_neox.final_layer_norm.bias", same)]
        head = neox_head(model)
    else:
        heads, size = model.config.n_head, model.config.n_embd // model.config.n_head

        def turned(a):
            return a.T

        def qkv(a):  # [in, (q k v, head, size)] -> [(head, q k v, size), in]; a bias has no `in`
            b = a.T.reshape(3, heads, size, *a.shape[:-1])
            return b.swapaxes(0, 1).reshape(-1, *a.shape[:-1])

        out += [("transformer.wte.weight", same), ("transformer.wpe.weight", same)]
        for i in range(model.config.n_layer):
            for part, weight, bias in (("ln_1", same, same), ("ln_2", same, same), ("attn.c_attn", qkv, qkv),
                                       ("attn.c_proj", turned, same), ("mlp.c_fc", turned, same),
                                       ("mlp.c_proj", turned, same)):
                out += [(f"transformer.h.{i}.{part}.weight", weight), (f"transformer.h.{i}.{part}.bias", bias)]
        out += [("transformer.ln_f.weight", same), ("transformer.ln_f.bias", same)]
        head = "lm_head.weight"
    if not model.config.tie_word_embeddings:
        out.append((head, same))
    return out


def loss_of(model, tokens):
    """Mean cross entropy of tokens [rows, n + 1], float or double as the model is; and the logits."""
    logits = model(torch.as_tensor(tokens[:, :-1])).logits
    labels = torch.as_tensor(tokens[:, 1:]).reshape(-1)
    return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels), logits


def relative(got, want):
    """The difference as a part of the norm of what is wanted."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if got.shape != want.shape:
        return np.inf
    norm = np.linalg.norm(want)
    return float(np.linalg.norm(got - want) / (norm if norm > 0 else 1.0))
