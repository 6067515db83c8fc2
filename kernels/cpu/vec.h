/*
 * The inner loops, compiled once for each instruction set (vec_base.c, vec_avx2.c, vec_avx512.c, each of
 * which includes vec_body.h) and chosen when the device is made. One call is one thread's part. All arrays
 * are float, rows dense unless a stride is given; meanings are those of kernels/device.h. Other types are
 * widened and narrowed around a call, in pieces that stay in the first cache (cpu.h); attention, which copies
 * what it reads anyway, takes them as they are.
 */
#ifndef MU_KERNELS_CPU_VEC_H
#define MU_KERNELS_CPU_VEC_H

#include "kernels/cpu/tiles.h"
#include "kernels/device.h"

/* Attention of one head: queries at positions first .. first + n - 1, keys and values at 0 .. first + n - 1.
 * Strides are elements from one token to the next. scratch: mu_vec_attention_scratch() floats, 64-byte
 * aligned. */
typedef struct mu_vec_attention {
    int64_t n, first, head_dim;
    float scale;
    mu_array_t q, k, v;
    int64_t q_stride, k_stride, v_stride;
    mu_array_t out;
    int64_t out_stride;
    float *lse;           /* [n]; may be NULL in forward */
    const int32_t *start; /* [n], with first = 0: the first key that a query sees, never falling; NULL: 0 */
    /* backward, with first = 0: of `group` (>= 1) queries that share the key and the value, side by side in q,
     * out, dout and dq (a head_dim apart) and in lse (n apart) */
    int64_t group;
    mu_array_t dout; /* out_stride */
    mu_array_t dq, dk, dv;
    int64_t d_stride;
    float *scratch;
    const mu_panels_t *panels;   /* what multiplies, where that is asked for */
    const mu_dropout_t *dropout; /* of the probabilities; NULL: none */
    uint64_t drop_at; /* number of the element of query 0 and key 0; of query q, key k q n + k more */
} mu_vec_attention_t;

enum { MU_VEC_ATTEND = 4 };

typedef struct mu_vec {
    const char *name;

    /* between float and a 16-bit type */
    void (*widen)(float *to, const uint16_t *from, int64_t n, mu_dtype_t type);
    void (*narrow)(uint16_t *to, const float *from, int64_t n, mu_dtype_t type);

    /* elementwise over n */
    void (*gelu)(float *y, const float *x, int64_t n, mu_activation_t act);
    void (*gelu_backward)(float *dx, const float *dy, const float *x, int64_t n, mu_activation_t act);
    void (*swiglu)(float *y, const float *gate, const float *up, int64_t n);
    void (*swiglu_backward)(float *dgate, float *dup, const float *dy, const float *gate, const float *up,
                            int64_t n);
    void (*add)(float *to, const float *from, int64_t n);
    void (*scale)(float *x, int64_t n, float factor);
    double (*sum_squares)(const float *x, int64_t n);
    void (*adamw)(float *p, float *m, float *v, const float *g, int64_t n, const mu_adamw_t *a);

    /* rows of cols; bias_gelu: bias may be NULL */
    void (*bias)(float *y, const float *bias, int64_t rows, int64_t cols);
    void (*bias_gelu)(float *y, float *pre, const float *bias, int64_t rows, int64_t cols,
                      mu_activation_t act);
    void (*residual)(float *y, const float *x, const float *branch, const float *b1, const float *b2,
                     int64_t rows, int64_t cols);
    /* to[j] += sum over rows of x[r * stride + j], j < cols */
    void (*column_sums)(float *to, const float *x, int64_t rows, int64_t stride, int64_t cols);
    void (*layernorm)(float *y, float *mean, float *rstd, const float *x, const float *w, const float *b,
                      int64_t rows, int64_t cols, double eps);
    void (*layernorm_backward)(float *dx, float *dw, float *db, const float *dy, const float *x,
                               const float *w, const float *mean, const float *rstd, int64_t rows,
                               int64_t cols, bool accumulate);
    void (*rmsnorm)(float *y, float *rstd, const float *x, const float *w, int64_t rows, int64_t cols,
                    double eps);
    void (*rmsnorm_backward)(float *dx, float *dw, const float *dy, const float *x, const float *w,
                             const float *rstd, int64_t rows, int64_t cols, bool accumulate);
    void (*rotary)(float *qkv, const mu_rotary_t *r, int64_t from, int64_t to, bool inverse);

    void (*attention)(const mu_vec_attention_t *a);
    void (*attention_backward)(const mu_vec_attention_t *a);
    /* The same with a->panels, of bfloat16, with first = 0. */
    void (*attention_panels)(const mu_vec_attention_t *a);
    void (*attention_panels_backward)(const mu_vec_attention_t *a);

    /* Generation. y[r * y_row + c] = x[r] . w[c], x [rows][in] floats, w [cols][in] of any type; attend: as attention,
     * of n <= MU_VEC_ATTEND queries, scratch: mu_vec_attend_scratch() floats. The bits of a row depend on it alone. */
    void (*dots)(float *y, int64_t y_row, const float *x, mu_array_t w, int64_t rows, int64_t cols,
                 int64_t in);
    void (*attend)(const mu_vec_attention_t *a);

    void (*row_max)(float *max, const float *x, int64_t rows, int64_t cols);
    /* x = exp(x - max); sum */
    void (*row_exp)(float *x, float *sum, const float *max, int64_t rows, int64_t cols);
} mu_vec_t;

/* Floats of scratch that attention of n keys needs. */
int64_t mu_vec_attention_scratch(int64_t keys, int64_t head_dim, bool backward);
int64_t mu_vec_attend_scratch(int64_t keys, int64_t head_dim);

/* The widest that this processor runs; `most` (a name: "base", "avx2", "avx512"; NULL for any) may hold it
 * back. */
const mu_vec_t *mu_vec_choose(const char *most);

extern const mu_vec_t mu_vec_base;
#if defined(__x86_64__)
extern const mu_vec_t mu_vec_avx2, mu_vec_avx512;
#endif

#endif
