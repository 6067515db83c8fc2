/* The CPU device from the inside: its state, and the operations that its files give to the table in cpu.c. */
#ifndef MU_KERNELS_CPU_CPU_H
#define MU_KERNELS_CPU_CPU_H

#include "kernels/cpu/pool.h"
#include "kernels/cpu/tiles.h"
#include "kernels/cpu/vec.h"
#include "kernels/cpu/ways.h"

typedef struct mu_cpu {
    mu_pool_t *pool;
    const mu_vec_t *vec;
    const mu_tiles_t *tiles; /* NULL: without them */
    bool native_bfloat16;    /* products of bfloat16 need no widening */
    bool fp16;               /* asked for: no product of it is native, and training in it is for tests */
    float *scratch;          /* grows; one piece a thread, or one for all, as the operation divides it */
    int64_t scratch_floats;
    mu_ways_t ways;
} mu_cpu_t;

static inline mu_cpu_t *mu_cpu(mu_device_t *dev)
{
    return dev->impl;
}
static inline const mu_vec_t *mu_cpu_vec(mu_device_t *dev)
{
    return mu_cpu(dev)->vec;
}
static inline float *mu_f32(mu_array_t a)
{
    return a.data;
}

/*
 * The inner loops work on floats. Around a call:
 *     const float *x = mu_cpu_read(dev, a, at, n, stage);     elements at .. at + n - 1 of a
 *     float *y = mu_cpu_begin(b, at, stage2);                 where they go; mu_cpu_change() with what is there
 *     ... loop(y, x) ...
 *     mu_cpu_end(dev, b, at, n, y);
 * Arrays of floats are worked on in place and the stage is not touched; others go through the stage, of n
 * floats. An absent array is NULL.
 */
enum { MU_CPU_PIECE = 4096 }; /* elements: what flat loops stage at a time, on the stack */

static inline const float *mu_cpu_read(mu_device_t *dev, mu_array_t a, int64_t at, int64_t n, float *stage)
{
    if (a.type == MU_DTYPE_F32 || !a.data)
        return a.data ? mu_f32(a) + at : NULL;
    mu_cpu_vec(dev)->widen(stage, mu_array_at(a, at).data, n, a.type);
    return stage;
}
static inline float *mu_cpu_begin(mu_array_t a, int64_t at, float *stage)
{
    return a.type == MU_DTYPE_F32 ? mu_f32(a) + at : stage;
}
static inline float *mu_cpu_change(mu_device_t *dev, mu_array_t a, int64_t at, int64_t n, float *stage)
{
    if (a.type == MU_DTYPE_F32)
        return mu_f32(a) + at;
    mu_cpu_vec(dev)->widen(stage, mu_array_at(a, at).data, n, a.type);
    return stage;
}
static inline void mu_cpu_end(mu_device_t *dev, mu_array_t a, int64_t at, int64_t n, const float *y)
{
    if (a.type != MU_DTYPE_F32)
        mu_cpu_vec(dev)->narrow(mu_array_at(a, at).data, y, n, a.type);
}
/* How many of `n` rows or elements a loop takes at once: all when nothing is staged. */
static inline int64_t mu_cpu_step(mu_dtype_t type, int64_t n, int64_t staged)
{
    return type == MU_DTYPE_F32 || n < staged ? n : staged;
}

/* At least `floats` of scratch, valid until the next call; NULL after an error, which the device keeps. */
float *mu_cpu_scratch(mu_device_t *dev, int64_t floats);
/* mu_pool_run() on the device's pool. */
void mu_cpu_run(mu_device_t *dev, int64_t n, int64_t grain, mu_pool_job_t job, void *arg);

/* linear.c */
void mu_cpu_linear_forward(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t w, mu_array_t bias,
                           mu_array_t plus, int64_t rows, int64_t in, int64_t out);
void mu_cpu_linear_gelu_forward(mu_device_t *dev, mu_array_t y, mu_array_t pre, mu_array_t x, mu_array_t w,
                                mu_array_t bias, int64_t rows, int64_t in, int64_t out, mu_activation_t act);
void mu_cpu_linear_backward_input(mu_device_t *dev, mu_array_t dx, mu_array_t dy, mu_array_t w, int64_t rows,
                                  int64_t in, int64_t out, bool accumulate);
void mu_cpu_linear_gelu_backward_input(mu_device_t *dev, mu_array_t dpre, mu_array_t dy, mu_array_t w,
                                       mu_array_t pre, int64_t rows, int64_t in, int64_t out,
                                       mu_activation_t act);
void mu_cpu_linear_backward_weight(mu_device_t *dev, float *dw, float *dbias, mu_array_t dy, mu_array_t x,
                                   int64_t rows, int64_t in, int64_t out, bool fresh);

/* linear_half.c: the same of 16-bit arrays */
void mu_cpu_half_forward(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t w, mu_array_t bias,
                         mu_array_t plus, int64_t rows, int64_t in, int64_t out);
void mu_cpu_half_gelu_forward(mu_device_t *dev, mu_array_t y, mu_array_t pre, mu_array_t x, mu_array_t w,
                              mu_array_t bias, int64_t rows, int64_t in, int64_t out, mu_activation_t act);
void mu_cpu_half_backward_input(mu_device_t *dev, mu_array_t dx, mu_array_t dy, mu_array_t w, int64_t rows,
                                int64_t in, int64_t out, bool accumulate);
void mu_cpu_half_gelu_backward_input(mu_device_t *dev, mu_array_t dpre, mu_array_t dy, mu_array_t w,
                                     mu_array_t pre, int64_t rows, int64_t in, int64_t out,
                                     mu_activation_t act);
void mu_cpu_half_backward_weight(mu_device_t *dev, float *dw, float *dbias, mu_array_t dy, mu_array_t x,
                                 int64_t rows, int64_t in, int64_t out, bool fresh);

/* rows.c */
void mu_cpu_embedding_forward(mu_device_t *dev, mu_array_t x, mu_array_t table, const int32_t *ids,
                              int64_t rows, int64_t hidden, int64_t first, int64_t count);
void mu_cpu_embedding_backward(mu_device_t *dev, float *dtable, mu_array_t dx, const int32_t *ids,
                               int64_t rows, int64_t hidden, int64_t first, int64_t count);
void mu_cpu_position_forward(mu_device_t *dev, mu_array_t x, mu_array_t table, const int32_t *start,
                             int64_t rows, int64_t seq, int64_t first, int64_t hidden);
void mu_cpu_position_backward(mu_device_t *dev, float *dtable, mu_array_t dx, const int32_t *start,
                              int64_t rows, int64_t seq, int64_t hidden);
void mu_cpu_layernorm_forward(mu_device_t *dev, mu_array_t y, float *mean, float *rstd, mu_array_t x,
                              mu_array_t w, mu_array_t b, int64_t rows, int64_t hidden, double eps);
void mu_cpu_layernorm_backward(mu_device_t *dev, mu_array_t dx, float *dw, float *db, mu_array_t dy,
                               mu_array_t x, mu_array_t w, const float *mean, const float *rstd, int64_t rows,
                               int64_t hidden, bool accumulate);
void mu_cpu_layernorm_pair_forward(mu_device_t *dev, mu_array_t y1, mu_array_t y2, float *mean, float *rstd,
                                   mu_array_t x, mu_array_t w1, mu_array_t b1, mu_array_t w2, mu_array_t b2,
                                   int64_t rows, int64_t hidden, double eps);
void mu_cpu_layernorm_pair_backward(mu_device_t *dev, mu_array_t dx, float *dw1, float *db1, float *dw2,
                                    float *db2, mu_array_t dy1, mu_array_t dy2, mu_array_t x, mu_array_t w1,
                                    mu_array_t w2, const float *mean, const float *rstd, int64_t rows,
                                    int64_t hidden, bool accumulate);
void mu_cpu_rmsnorm_forward(mu_device_t *dev, mu_array_t y, float *rstd, mu_array_t x, mu_array_t w,
                            int64_t rows, int64_t hidden, double eps);
void mu_cpu_rmsnorm_backward(mu_device_t *dev, mu_array_t dx, float *dw, mu_array_t dy, mu_array_t x,
                             mu_array_t w, const float *rstd, int64_t rows, int64_t hidden, bool accumulate);
void mu_cpu_residual(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t branch, mu_array_t bias1,
                     mu_array_t bias2, int64_t rows, int64_t hidden);

/* qk_norm.c */
void mu_cpu_qk_norm_forward(mu_device_t *dev, mu_array_t qkv, float *rstd, mu_array_t raw, mu_array_t wq,
                            mu_array_t wk, const mu_qk_norm_t *shape);
void mu_cpu_qk_norm_backward(mu_device_t *dev, mu_array_t dqkv, float *dwq, float *dwk, mu_array_t raw,
                             mu_array_t wq, mu_array_t wk, const float *rstd, const mu_qk_norm_t *shape);

/* elementwise.c */
void mu_cpu_gelu_forward(mu_device_t *dev, mu_array_t y, mu_array_t x, int64_t n, mu_activation_t act);
void mu_cpu_gelu_backward(mu_device_t *dev, mu_array_t dx, mu_array_t dy, mu_array_t x, int64_t n,
                          mu_activation_t act);
void mu_cpu_swiglu_forward(mu_device_t *dev, mu_array_t y, mu_array_t gate, mu_array_t up, int64_t n);
void mu_cpu_swiglu_backward(mu_device_t *dev, mu_array_t dgate, mu_array_t dup, mu_array_t dy,
                            mu_array_t gate, mu_array_t up, int64_t n);
void mu_cpu_add(mu_device_t *dev, mu_array_t to, mu_array_t from, int64_t n);
void mu_cpu_scale(mu_device_t *dev, float *x, int64_t n, double factor);
void mu_cpu_adamw(mu_device_t *dev, mu_array_t p, float *master, float *m, float *v, const float *g,
                  int64_t n, const mu_adamw_t *params);
void mu_cpu_sum_squares(mu_device_t *dev, double *out, const float *x, int64_t n);

/* dropout.c */
void mu_cpu_dropout(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t plus, int64_t rows, int64_t cols,
                    const mu_dropout_t *dropout);

/* qkv.c */
void mu_cpu_qkv_add(mu_device_t *dev, mu_array_t qkv, mu_array_t from, int part, const mu_qkv_t *shape);
void mu_cpu_qkv_take(mu_device_t *dev, mu_array_t out, mu_array_t qkv, int part, const mu_qkv_t *shape);

/* attention.c */
void mu_cpu_rotary(mu_device_t *dev, mu_array_t qkv, const mu_rotary_t *r, bool inverse);
void mu_cpu_attention_forward(mu_device_t *dev, mu_array_t out, float *lse, mu_array_t qkv,
                              const mu_attention_t *shape);
void mu_cpu_attention_backward(mu_device_t *dev, mu_array_t dqkv, mu_array_t dout, mu_array_t qkv,
                               mu_array_t out, const float *lse, const mu_attention_t *shape);
void mu_cpu_attention_cached(mu_device_t *dev, mu_array_t out, mu_array_t cache, mu_array_t qkv,
                             int64_t first, const mu_attention_t *shape);

/* decode.c */
void mu_cpu_linear_rows(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t w, mu_array_t bias,
                        mu_array_t plus, int64_t rows, int64_t in, int64_t out);
void mu_cpu_attention_pieces(mu_device_t *dev, mu_array_t out, mu_array_t cache, mu_array_t qkv,
                             const mu_cached_piece_t *pieces, int64_t count, const mu_attention_t *shape);

/* loss.c */
void mu_cpu_cross_entropy_max(mu_device_t *dev, float *max, float *sums, mu_array_t logits, int64_t rows,
                              int64_t vocab);
void mu_cpu_cross_entropy_exp(mu_device_t *dev, mu_array_t logits, float *sums, const float *max,
                              const int32_t *labels, int64_t rows, int64_t vocab, int64_t first);
void mu_cpu_cross_entropy_loss(mu_device_t *dev, double *loss, const float *sums, const float *weights,
                               int64_t rows);
void mu_cpu_cross_entropy_backward(mu_device_t *dev, mu_array_t logits, const float *sums, const float *max,
                                   const float *weights, const int32_t *labels, int64_t rows, int64_t vocab,
                                   int64_t first, double factor);

#endif
