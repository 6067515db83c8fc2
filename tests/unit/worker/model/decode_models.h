/* Models and sequences for tests of generation, on any device. */
#ifndef MU_TESTS_DECODE_MODELS_H
#define MU_TESTS_DECODE_MODELS_H

#include "worker/model/net.h"

enum { DECODE_VOCAB = 101 };

/* Widths that no vector divides; grouped queries; each position and block. */
static const mu_model_t decode_models[] = {
    {.layers = 2,
     .hidden = 36,
     .heads = 3,
     .ffn = 52,
     .seq_length = 64,
     .max_positions = 64,
     .vocab = DECODE_VOCAB,
     .residual = MU_RESIDUAL_PARALLEL,
     .activation = MU_GELU_ERF,
     .position = MU_POSITION_ROTARY,
     .rotary_dims = 4,
     .rotary_base = 10000,
     .norm_eps = 1e-5,
     .init = MU_INIT_NORMAL,
     .init_std = 0.1},
    {.layers = 2,
     .hidden = 64,
     .heads = 4,
     .ffn = 256,
     .seq_length = 64,
     .max_positions = 64,
     .vocab = DECODE_VOCAB,
     .residual = MU_RESIDUAL_SEQUENTIAL,
     .activation = MU_GELU_TANH,
     .position = MU_POSITION_LEARNED,
     .tied_head = true,
     .norm_eps = 1e-5,
     .init = MU_INIT_NORMAL,
     .init_std = 0.1},
    {.layers = 2,
     .hidden = 48,
     .heads = 6,
     .kv_heads = 2,
     .head_dim = 10,
     .ffn = 70,
     .seq_length = 64,
     .max_positions = 64,
     .vocab = DECODE_VOCAB,
     .residual = MU_RESIDUAL_SEQUENTIAL,
     .activation = MU_SWIGLU,
     .position = MU_POSITION_ROTARY,
     .rotary_dims = 10,
     .rotary_base = 10000,
     .norm = MU_NORM_RMS,
     .norm_eps = 1e-5,
     .qk_norm = true,
     .unbiased = MU_UNBIASED_ALL,
     .init = MU_INIT_NORMAL,
     .init_std = 0.1},
};
enum { DECODE_MODELS = sizeof decode_models / sizeof *decode_models };

/* Token `at` of a sequence. */
static inline int32_t decode_token(int sequence, int64_t at)
{
    return (int32_t)((at * at * 17 + (3 + 7 * sequence) * at + sequence) % DECODE_VOCAB);
}

#endif
