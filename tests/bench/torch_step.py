"""One training step of a GPT-NeoX, GPT-2 or Llama shape in PyTorch (Transformers' classes): forward, loss, backward,
clipping, AdamW. Prints milliseconds a step and tokens per second: the mean of STEPS, after some not counted.

    torch_step.py SHAPE MICRO_BATCH THREADS SEQ [compile] [cuda] [bf16] [cpu]

On the CPU in fp32. cpu: the time of the calling thread instead of the wall's, for one thread on a busy machine. cuda: on the first GPU, with fused attention, TF32 products allowed; bf16: autocast, so weights and
their updates are fp32, as muster's masters are. Prints the most memory that PyTorch had allocated on the GPU, too.
"""
import sys
import time

import torch
from transformers import (GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig,
                          LlamaForCausalLM)

SHAPES = {  # layers, hidden, heads, vocabulary: those of tests/bench/step.c
    "quick": (6, 192, 6, 8192),
    "14m": (6, 128, 4, 50304),
    "70m": (6, 512, 8, 50304),
    "160m": (12, 768, 12, 50304),
    "410m": (24, 1024, 16, 50304),
    "1.4b": (24, 2048, 16, 50304),
    "2.8b": (32, 2560, 32, 50304),
}


def smollm2(seq):
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=49152, hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        intermediate_size=1536, rms_norm_eps=1e-5, rope_theta=100000.0, tie_word_embeddings=True,
        max_position_embeddings=seq, use_cache=False))


def gpt2(_):
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=50304, n_positions=1024, n_embd=768, n_layer=12, n_head=12, use_cache=False,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))


def neox(name, seq, cuda):
    layers, hidden, heads, vocab = SHAPES[name]
    config = GPTNeoXConfig(
        vocab_size=vocab, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * hidden, hidden_act="gelu_new", rotary_pct=0.25, max_position_embeddings=seq,
        use_parallel_residual=True, use_cache=False, attention_dropout=0.0, hidden_dropout=0.0)
    if cuda:
        config._attn_implementation = "sdpa"
    return GPTNeoXForCausalLM(config)


def main():
    name, batch, threads, seq = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    compiled, cuda, bf16 = (word in sys.argv[5:] for word in ("compile", "cuda", "bf16"))
    clock = time.thread_time if "cpu" in sys.argv[5:] else time.perf_counter
    steps, warm = (20, 5) if cuda else (5, 2)
    device = "cuda" if cuda else "cpu"
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high" if cuda else "highest")
    other = {"smollm2": smollm2, "gpt2": gpt2}
    model = (other[name](seq) if name in other else neox(name, seq, cuda)).to(device)
    step_of = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    tokens = torch.randint(0, model.config.vocab_size, (batch, seq), device=device)

    def step():
        with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
            loss = step_of(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        return loss

    def wait():
        if cuda:
            torch.cuda.synchronize()

    for _ in range(warm):
        step()
    wait()
    began = clock()
    for _ in range(steps):
        loss = step()
        if not cuda:
            loss.item()
    wait()
    mean = (clock() - began) / steps
    memory = f", peak {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB" if cuda else ""
    where = torch.cuda.get_device_name() if cuda else f"{threads} threads"
    print(f"{1000 * mean:.1f} ms a step, {batch * seq / mean:.0f} tokens/s{memory} (PyTorch {torch.__version__}, "
          f"{where}{', bf16' if bf16 else ''}{', compiled' if compiled else ''})")


main()
