"""The models that the parity tests compare, and how one of ours is laid out beside one of Hugging Face's.

Everything here is written from the definitions (docs/numbers.md), not from muster's sources.
"""
import sys

try:
    import numpy as np
    import torch
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
    model = FORMS[form]()
    with torch.no_grad():
        for name, p in model.named_parameters():
            is_norm = any(part in name for part in ("layernorm", "layer_norm", "ln_"))
            if p.dim() == 2:
                p.normal_(0, 0.08)
            else:
                p.normal_(1.0 if is_norm and name.endswith("weight") else 0.0, 0.1)
    model.eval()
    return model


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
