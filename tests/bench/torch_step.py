"""One training step of a GPT-NeoX shape in PyTorch (Transformers' GPTNeoXForCausalLM), on CPU, in fp32: forward, loss,
backward, clipping, AdamW. Prints milliseconds a step and tokens per second: the mean of five, after two not counted.

    torch_step.py 14m|70m|quick MICRO_BATCH THREADS SEQ [compile]
"""
import sys
import time

import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

SHAPES = {  # layers, hidden, heads, vocabulary: those of tests/bench/step.c
    "quick": (6, 192, 6, 8192),
    "14m": (6, 128, 4, 50304),
    "70m": (6, 512, 8, 50304),
}


def main():
    name, batch, threads, seq = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    layers, hidden, heads, vocab = SHAPES[name]
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    config = GPTNeoXConfig(
        vocab_size=vocab, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * hidden, hidden_act="gelu_new", rotary_pct=0.25, max_position_embeddings=seq,
        use_parallel_residual=True, use_cache=False, attention_dropout=0.0, hidden_dropout=0.0)
    model = GPTNeoXForCausalLM(config)
    step_of = torch.compile(model) if "compile" in sys.argv[5:] else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    tokens = torch.randint(0, vocab, (batch, seq))

    def step():
        loss = step_of(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        return loss.item()

    step()
    step()
    began = time.perf_counter()
    for _ in range(5):
        step()
    mean = (time.perf_counter() - began) / 5
    print(f"{1000 * mean:.1f} ms a step, {batch * seq / mean:.0f} tokens/s (PyTorch {torch.__version__}, "
          f"{threads} threads{', compiled' if 'compile' in sys.argv[5:] else ''})")


main()
