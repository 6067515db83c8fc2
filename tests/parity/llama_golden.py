"""Prints tests/unit/worker/model/golden_llama.h: small models of the Llama family in double precision, with weights that follow from
their index. By hand: needs torch and transformers, of a version that has Qwen3."""
import math

from models import llama_order, original_bounds
import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM

SIZES = dict(vocab_size=96, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             intermediate_size=96, max_position_embeddings=8, rms_norm_eps=1e-5, rope_theta=5000.0,
             tie_word_embeddings=False, attn_implementation="eager")
# name, class, what differs, the same in our words
FORMS = [
    ("llama", "Llama", {}, ""),
    ("qwen2, tied, one key", "Qwen2", dict(tie_word_embeddings=True, num_key_value_heads=1),
     ".kv_heads = 1, .tied_head = true, .unbiased = MU_UNBIASED_DENSE | MU_UNBIASED_MLP"),
    ("qwen3, head_dim apart", "Qwen3", dict(head_dim=24), ".head_dim = 24, .rotary_dims = 24, .qk_norm = true"),
    ("biases, llama3", "Llama", dict(
        attention_bias=True, mlp_bias=True, num_key_value_heads=4,
        rope_scaling=dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                          original_max_position_embeddings=4)),
     ".kv_heads = 4, .unbiased = NO_UNBIASED, .rope = {.type = MU_ROPE_LLAMA3, .factor = 4, .low_freq_factor = 1, "
     ".high_freq_factor = 4, .original_positions = 4}"),
    ("linear", "Llama", dict(rope_scaling=dict(rope_type="linear", factor=2.5)),
     ".rope = {.type = MU_ROPE_LINEAR, .factor = 2.5}"),
    ("yarn", "Llama", dict(rope_scaling=dict(rope_type="yarn", factor=2.0, original_max_position_embeddings=4)),
     ".rope = {.type = MU_ROPE_YARN, .factor = 2, .beta_fast = 32, .beta_slow = 1, .original_positions = 4, "
     ".truncate = true}"),
]


def sine(k, n, is_norm):
    u = np.sin(np.arange(n) * (1 + 0.1 * k) + 1.3 * k)
    return 1 + 0.1 * u if is_norm else 0.2 * u


def fill(model):
    """Element i of our tensor k is a sine of both."""
    named = dict(model.named_parameters())
    for k, (names, turn, _) in enumerate(llama_order(model)):
        count = [named[n].numel() for n in names]
        index = np.split(np.arange(sum(count)), np.cumsum(count)[:-1])
        place = turn(*[i.reshape(named[n].shape) for i, n in zip(index, names)]).ravel()
        theirs = np.empty(sum(count))
        theirs[place] = sine(k, sum(count), "norm" in names[0])
        for part, n in zip(np.split(theirs, np.cumsum(count)[:-1]), names):
            named[n].data.copy_(torch.tensor(part.reshape(named[n].shape)))


def row(name, kind, changes, ours):
    config = getattr(transformers, kind + "Config")(**{**SIZES, **changes})
    model = original_bounds(AutoModelForCausalLM.from_config(config, attn_implementation="eager")).double().eval()
    fill(model)
    t = torch.tensor([[(7 * j * j + 13 * i + 3 * i * i + 5) % 90 for i in range(9)] for j in range(2)])
    logits = model(t[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, 96), t[:, 1:].reshape(-1))
    loss.backward()
    named = dict(model.named_parameters())
    norms = [math.sqrt(sum(float(named[n].grad.pow(2).sum()) for n in names)) for names, _, _ in llama_order(model)]
    print(f'    {{"{name}",\n     {{{ours}}},\n     {loss.item():.9f},\n     {{{numbers(logits[0, 0, :4].detach())}}},')
    print(f"     {{{numbers(logits[1, 7, 92:].detach())}}},\n     {len(norms)},\n     {{{numbers(norms)}}}}},")


def numbers(values):
    return ", ".join("%.9g" % float(x) for x in values)


print("""/* Models of the Llama family in closed form: tests/parity/llama_golden.py made these numbers. */
#ifndef MU_TESTS_GOLDEN_LLAMA_H
#define MU_TESTS_GOLDEN_LLAMA_H

#include "common/model.h"

enum { GOLDEN_LLAMA_TENSORS = 32 };
enum { NO_UNBIASED = 16 }; /* a bit of `unbiased` that is not 0 and means nothing */

typedef struct golden_llama {
    const char *name;
    mu_model_t differs;            /* from the first; 0: does not */
    double loss, first[4], last[4]; /* logits [0][0][0..3] and [1][7][92..95] */
    int tensors;
    double gradients[GOLDEN_LLAMA_TENSORS]; /* the norm of each tensor's */
} golden_llama_t;

static const golden_llama_t golden_llamas[] = {""")
for form in FORMS:
    row(*form)
print("};\nenum { GOLDEN_LLAMAS = sizeof golden_llamas / sizeof *golden_llamas };\n\n#endif")
