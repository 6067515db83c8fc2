/*
 * A device: the operations that a model needs, as one table of functions, and an allocator that counts bytes.
 *
 * Calling sequence:
 *     mu_device_t *device;
 *     mu_device_cpu_new(threads, &device);
 *     mu_device_alloc(device, MU_MEM_WEIGHTS, bytes, &w);     zeroed, 64-byte aligned
 *     device->ops->put(device, w, host, bytes);
 *     device->ops->linear_forward(device, ...);               enqueued
 *     device->ops->get(device, host, y, bytes);               waits, then the host has the bytes
 *     mu_device_free(device, w);
 *     mu_device_close(device);
 *
 * Order. Operations are enqueued and take effect in the order of the calls; `sync` waits for all of them.
 * Only `get`, `get_beside` and `sync` wait. Pointers named here are the device's own (opaque to the host) unless said
 * "host"; model code never follows one. The host's buffers may be reused as soon as `put` returns.
 *
 * Errors. An operation returns nothing: the first failure is logged, kept, and returned by every later `get`
 * and `sync` (MU_GPU, MU_NOMEM or MU_BUG); results are then undefined. Allocation reports its own.
 *
 * Arrays. A mu_array_t is an address and an element type; shapes are arguments, in elements, row-major and
 * dense. Types: activations and weights may be any type that `supports` accepts (all arrays of one call have
 * the same type unless said); gradients of parameters, statistics and optimizer state are float. Arithmetic
 * is in float or wider; what is stored in a narrower type is rounded to nearest, ties to even, and what an
 * fp16 cannot hold becomes an infinity, which loss scaling looks for. No two arguments may overlap unless
 * said "may be".
 *
 * Results. The same calls on the same device with the same number of threads give the same bits.
 *
 * Thread safety: one thread uses a device, but for get_beside.
 */
#ifndef MU_KERNELS_DEVICE_H
#define MU_KERNELS_DEVICE_H

#include "common/model.h"
#include "common/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mu_dtype { MU_DTYPE_F32, MU_DTYPE_BF16, MU_DTYPE_F16 } mu_dtype_t;

typedef struct mu_array {
    void *data; /* NULL: absent, where an argument may be */
    mu_dtype_t type;
} mu_array_t;

#define MU_NO_ARRAY ((mu_array_t){NULL, MU_DTYPE_F32})

const char *mu_dtype_name(mu_dtype_t type); /* "fp32", "bf16", "fp16" */
static inline int64_t mu_dtype_size(mu_dtype_t type)
{
    return type == MU_DTYPE_F32 ? 4 : 2;
}
static inline mu_array_t mu_array_f32(float *data)
{
    return (mu_array_t){data, MU_DTYPE_F32};
}
/* The array that begins `elements` after the start of `a`. */
static inline mu_array_t mu_array_at(mu_array_t a, int64_t elements)
{
    return (mu_array_t){(char *)a.data + elements * mu_dtype_size(a.type), a.type};
}

/* What an allocation is for. */
typedef enum mu_memory {
    MU_MEM_WEIGHTS,
    MU_MEM_GRADIENTS,
    MU_MEM_OPTIMIZER,
    MU_MEM_ACTIVATIONS, /* kept from forward to backward; the key/value cache */
    MU_MEM_WORKSPACE,   /* scratch, tokens, tables */
    MU_MEM_COMMUNICATION,
    MU_MEM_KINDS
} mu_memory_t;

typedef struct mu_memory_count {
    int64_t current, peak; /* bytes */
} mu_memory_count_t;

/* Decoupled AdamW (reference: Loshchilov and Hutter, 2019; gpt-neox type "Adam"):
 *     g' = grad_scale g;  m = beta1 m + (1 - beta1) g';  v = beta2 v + (1 - beta2) g'^2
 *     p -= lr ( (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay p )
 */
typedef struct mu_adamw {
    double lr, beta1, beta2, eps, weight_decay;
    double grad_scale; /* clipping and 1 / loss scale; 1 for none */
    int64_t t;         /* this update's number, from 1 */
} mu_adamw_t;

/* What becomes of an array [rows][cols] of a larger one, in which row 0 is row `first` and column 0 column `column` of
 * `columns`. Element e = row * columns + column of the larger one becomes 0 with probability `rate`, else is multiplied
 * by `factor`. Which of the two follows from (seed, place, e) alone: Philox 4x32-10 (Salmon et al., 2011) with the key
 * `seed` and the counter (e / 4, place) gives four words, and e becomes 0 where word e % 4 is less than rate * 2^32.
 * rate 0: nothing is drawn. */
typedef struct mu_dropout {
    double rate, factor;
    uint64_t seed, place;
    int64_t first, column, columns;
} mu_dropout_t;

/* Shape of attention: `batch` sequences of `seq` tokens; qkv is [batch * seq][kv_heads][queries of the group, k,
 * v][head_dim], with heads / kv_heads queries in a group: one each is [heads][q, k, v]. */
typedef struct mu_attention {
    int64_t batch, seq, heads, head_dim;
    double scale;     /* of the scores: 1 / sqrt(head_dim) */
    int64_t kv_heads; /* divides heads; 0: as many as heads */
    /* Borders between documents, a number a row [batch * seq]: a query sees the positions of its sequence from that
     * one on, to its own. It never falls within a sequence. NULL: from 0 on. A cache has none. */
    const int32_t *start;
    /* Of the probabilities, in forward and backward; NULL: none. `first` is the number of the first sequence, `column`
     * that of the first head, of `columns`: of sequence b, head h, query q and key k the element is
     * (((first + b) columns + column + h) seq + q) seq + k. */
    const mu_dropout_t *dropout;
} mu_attention_t;

/* `rows` lines of qkv from `row` on: positions first, first + 1, ... of one sequence, whose keys and values lie in a
 * cache from its token `base` on. */
typedef struct mu_cached_piece {
    int64_t row, rows, first, base;
} mu_cached_piece_t;

/* Where `rows` lines of qkv sit: row r is position first + r % seq, less start[r] where there is a start. Table:
 * mu_rotary_table(). */
typedef struct mu_rotary {
    const float *table;
    int64_t rows, seq, first, heads, head_dim, dims;
    int64_t kv_heads;     /* as in mu_attention_t */
    const int32_t *start; /* [rows], or NULL */
} mu_rotary_t;

/* Norms of the queries and keys in `rows` lines of qkv, laid out as in mu_attention_t. */
typedef struct mu_qk_norm {
    int64_t rows, heads, kv_heads, head_dim;
    double eps;
} mu_qk_norm_t;

/* `rows` lines of qkv, laid out as in mu_attention_t, whose queries, keys or values are wanted. */
typedef struct mu_qkv {
    int64_t rows, heads, kv_heads, head_dim;
} mu_qkv_t;

typedef struct mu_device mu_device_t;

/* Operations that were recorded once and are enqueued again as one: see graph_record. */
typedef struct mu_graph {
    int64_t operations, bytes; /* bytes: of the device's memory, counted as workspace */
    uint64_t epoch;            /* the implementation's, as is impl */
    void *impl;
} mu_graph_t;

struct mu_product;

typedef struct mu_device_ops {
    const char *name; /* "cpu", "cuda" */
    bool (*supports)(const mu_device_t *dev, mu_dtype_t type);
    void (*close)(mu_device_t *dev);

    /* memory; model code calls mu_device_alloc() and mu_device_free(), which count */
    void *(*alloc)(mu_device_t *dev, int64_t bytes); /* zeroed; NULL when there is none */
    void (*free)(mu_device_t *dev, void *p);
    void (*put)(mu_device_t *dev, void *to, const void *host, int64_t bytes);
    mu_status_t (*get)(mu_device_t *dev, void *host, const void *from, int64_t bytes);
    /* As get, for one other thread, beside the operations of the one that uses the device: of memory that none of them
     * changes, and which all before have finished with. Leaves the device's status as it is. Errors: MU_GPU. */
    mu_status_t (*get_beside)(mu_device_t *dev, void *host, const void *from, int64_t bytes);
    /* Makes that memory of the host faster to get into, until it is unpinned; false where the system refuses. */
    bool (*pin)(mu_device_t *dev, void *host, int64_t bytes);
    void (*unpin)(mu_device_t *dev, void *host);
    void (*copy)(mu_device_t *dev, void *to, const void *from, int64_t bytes);
    void (*zero)(mu_device_t *dev, void *p, int64_t bytes);
    mu_status_t (*sync)(mu_device_t *dev);

    /* --- linear layers: x [rows][in], w [out][in], y [rows][out] --- */

    /* y = x w^T (+ bias[out]) (+ plus). bias and plus may be absent; plus may be y. */
    void (*linear_forward)(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t w, mu_array_t bias,
                           mu_array_t plus, int64_t rows, int64_t in, int64_t out);
    /* pre = x w^T + bias; y = gelu(pre). bias may be absent. */
    void (*linear_gelu_forward)(mu_device_t *dev, mu_array_t y, mu_array_t pre, mu_array_t x, mu_array_t w,
                                mu_array_t bias, int64_t rows, int64_t in, int64_t out, mu_activation_t act);
    /* dx = dy w (+ dx when accumulate). */
    void (*linear_backward_input)(mu_device_t *dev, mu_array_t dx, mu_array_t dy, mu_array_t w, int64_t rows,
                                  int64_t in, int64_t out, bool accumulate);
    /* dpre = (dy w) gelu'(pre), for w's input y = gelu(pre) [rows][in]. */
    void (*linear_gelu_backward_input)(mu_device_t *dev, mu_array_t dpre, mu_array_t dy, mu_array_t w,
                                       mu_array_t pre, int64_t rows, int64_t in, int64_t out,
                                       mu_activation_t act);
    /* dw += dy^T x, or = when fresh; dbias += column sums of dy (dbias may be NULL). */
    void (*linear_backward_weight)(mu_device_t *dev, float *dw, float *dbias, mu_array_t dy, mu_array_t x,
                                   int64_t rows, int64_t in, int64_t out, bool fresh);

    /* --- embeddings: table [count][hidden] holds the vocabulary's rows first .. first + count - 1 --- */

    /* x[r] = table[ids[r] - first], zeros for an id outside the slice. */
    void (*embedding_forward)(mu_device_t *dev, mu_array_t x, mu_array_t table, const int32_t *ids,
                              int64_t rows, int64_t hidden, int64_t first, int64_t count);
    /* dtable[ids[r] - first] += dx[r], in the order of r. */
    void (*embedding_backward)(mu_device_t *dev, float *dtable, mu_array_t dx, const int32_t *ids,
                               int64_t rows, int64_t hidden, int64_t first, int64_t count);
    /* x[r] += table[first + r % seq - start[r]]; start [rows] may be NULL, which is 0 everywhere */
    void (*position_forward)(mu_device_t *dev, mu_array_t x, mu_array_t table, const int32_t *start,
                             int64_t rows, int64_t seq, int64_t first, int64_t hidden);
    /* dtable[r % seq - start[r]] += dx[r] */
    void (*position_backward)(mu_device_t *dev, float *dtable, mu_array_t dx, const int32_t *start,
                              int64_t rows, int64_t seq, int64_t hidden);

    /* --- layer norm over [rows][hidden], biased variance --- */

    /* y = (x - mean) rstd w + b; mean and rstd [rows] are kept. */
    void (*layernorm_forward)(mu_device_t *dev, mu_array_t y, float *mean, float *rstd, mu_array_t x,
                              mu_array_t w, mu_array_t b, int64_t rows, int64_t hidden, double eps);
    /* dx = gradient (+ dx when accumulate); dw += ..., db += .... dx may be dy when not accumulating. */
    void (*layernorm_backward)(mu_device_t *dev, mu_array_t dx, float *dw, float *db, mu_array_t dy,
                               mu_array_t x, mu_array_t w, const float *mean, const float *rstd, int64_t rows,
                               int64_t hidden, bool accumulate);

    /* Two norms of one input, which have the same mean and rstd. Neither dy1 nor dy2 may be dx. */
    void (*layernorm_pair_forward)(mu_device_t *dev, mu_array_t y1, mu_array_t y2, float *mean, float *rstd,
                                   mu_array_t x, mu_array_t w1, mu_array_t b1, mu_array_t w2, mu_array_t b2,
                                   int64_t rows, int64_t hidden, double eps);
    void (*layernorm_pair_backward)(mu_device_t *dev, mu_array_t dx, float *dw1, float *db1, float *dw2,
                                    float *db2, mu_array_t dy1, mu_array_t dy2, mu_array_t x, mu_array_t w1,
                                    mu_array_t w2, const float *mean, const float *rstd, int64_t rows,
                                    int64_t hidden, bool accumulate);

    /* RMS norm: y = x rstd w with rstd = 1 / sqrt(mean of x^2 + eps), kept; no bias. As layernorm otherwise. */
    void (*rmsnorm_forward)(mu_device_t *dev, mu_array_t y, float *rstd, mu_array_t x, mu_array_t w,
                            int64_t rows, int64_t hidden, double eps);
    void (*rmsnorm_backward)(mu_device_t *dev, mu_array_t dx, float *dw, mu_array_t dy, mu_array_t x,
                             mu_array_t w, const float *rstd, int64_t rows, int64_t hidden, bool accumulate);

    /* RMS norms over head_dim of each query and each key: qkv = raw, its queries normed with wq and its keys with wk
     * [head_dim]; rstd [rows][heads + kv_heads] is kept, a group's queries before its key. */
    void (*qk_norm_forward)(mu_device_t *dev, mu_array_t qkv, float *rstd, mu_array_t raw, mu_array_t wq,
                            mu_array_t wk, const mu_qk_norm_t *shape);
    /* dqkv, the gradient of qkv, becomes that of raw; dwq and dwk += .... */
    void (*qk_norm_backward)(mu_device_t *dev, mu_array_t dqkv, float *dwq, float *dwk, mu_array_t raw,
                             mu_array_t wq, mu_array_t wk, const float *rstd, const mu_qk_norm_t *shape);

    /* --- elementwise --- */

    /* y = gelu(x); y may be x. tanh: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). erf: x Phi(x). */
    void (*gelu_forward)(mu_device_t *dev, mu_array_t y, mu_array_t x, int64_t n, mu_activation_t act);
    /* dx = dy gelu'(x); dx may be dy. */
    void (*gelu_backward)(mu_device_t *dev, mu_array_t dx, mu_array_t dy, mu_array_t x, int64_t n,
                          mu_activation_t act);
    /* y = silu(gate) up, with silu(x) = x / (1 + e^-x); y may be either. */
    void (*swiglu_forward)(mu_device_t *dev, mu_array_t y, mu_array_t gate, mu_array_t up, int64_t n);
    /* dgate = dy up silu'(gate); dup = dy silu(gate); either may be dy. */
    void (*swiglu_backward)(mu_device_t *dev, mu_array_t dgate, mu_array_t dup, mu_array_t dy,
                            mu_array_t gate, mu_array_t up, int64_t n);
    /* y = x + branch (+ bias1) (+ bias2), rows of `hidden`; y may be x or branch; biases may be absent. */
    void (*residual)(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t branch, mu_array_t bias1,
                     mu_array_t bias2, int64_t rows, int64_t hidden);
    /* y = x, dropped out (+ plus); y may be x or plus. */
    void (*dropout)(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t plus, int64_t rows, int64_t cols,
                    const mu_dropout_t *dropout);
    /* The queries (part 0), keys (1) or values (2) of qkv += those in `from` [rows][heads or kv_heads][head_dim]; and
     * out = those of qkv. */
    void (*qkv_add)(mu_device_t *dev, mu_array_t qkv, mu_array_t from, int part, const mu_qkv_t *shape);
    void (*qkv_take)(mu_device_t *dev, mu_array_t out, mu_array_t qkv, int part, const mu_qkv_t *shape);
    /* to += from; the types may differ. */
    void (*add)(mu_device_t *dev, mu_array_t to, mu_array_t from, int64_t n);
    void (*scale)(mu_device_t *dev, float *x, int64_t n, double factor);

    /* --- attention --- */

    /* Turns the first `dims` of each q and k in place, in the half layout of GPT-NeoX: pairs (i, i + dims/2)
     * by the table's angle, and multiplies by its scale. inverse: the transposed product, which is the gradient. */
    void (*rotary)(mu_device_t *dev, mu_array_t qkv, const mu_rotary_t *r, bool inverse);
    /* out [batch * seq][heads][head_dim] = softmax(scale q k^T, causal) v; lse [batch][heads][seq] = log of
     * the softmax's sum, kept for backward. Scores live in tiles only. */
    void (*attention_forward)(mu_device_t *dev, mu_array_t out, float *lse, mu_array_t qkv,
                              const mu_attention_t *shape);
    /* dqkv, from dout and what forward had and made. Writes all of dqkv. */
    void (*attention_backward)(mu_device_t *dev, mu_array_t dqkv, mu_array_t dout, mu_array_t qkv,
                               mu_array_t out, const float *lse, const mu_attention_t *shape);
    /* Generation of many sequences at once, where a row's bits must not depend on the others: NULL on a device that
     * cannot promise that, where linear_forward and attention_cached do the work. As linear_forward; */
    void (*linear_rows)(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t w, mu_array_t bias,
                        mu_array_t plus, int64_t rows, int64_t in, int64_t out);
    /* as attention_cached of each piece; `pieces` are the host's. shape->seq: rows of all. */
    void (*attention_pieces)(mu_device_t *dev, mu_array_t out, mu_array_t cache, mu_array_t qkv,
                             const mu_cached_piece_t *pieces, int64_t count, const mu_attention_t *shape);
    /* One sequence against a cache: shape->batch 1, shape->seq new tokens at positions first, first + 1, ....
     * Their k and v are appended to the cache [capacity][kv_heads][k, v][head_dim]; out as in forward.
     * first + seq <= capacity. */
    void (*attention_cached)(mu_device_t *dev, mu_array_t out, mu_array_t cache, mu_array_t qkv,
                             int64_t first, const mu_attention_t *shape);

    /* Rows of many sequences: row r, of shape->batch (shape->seq is 1), is the token at position -start[r] (as
     * mu_rotary_t has it with seq 1 and first 0) of the sequence in slot[r] of the cache
     * [slots][capacity][kv_heads][k, v][head_dim]. slot and start [batch] are the device's. Otherwise as
     * attention_cached; NULL on a device where that, or attention_pieces, does the work. */
    void (*attention_rows)(mu_device_t *dev, mu_array_t out, mu_array_t cache, mu_array_t qkv,
                           const int32_t *slot, const int32_t *start, int64_t capacity,
                           const mu_attention_t *shape);

    /* --- cross entropy over a slice of the vocabulary: logits [rows][vocab], columns first .. first + vocab
     * - 1 of the whole. Between the pieces the caller reduces `max` (MAX) and `sums` (SUM) over the tp group:
     *     max;  reduce max;  exp;  reduce sums;  loss;  backward
     * Until backward, what logits hold is the device's own: exponentials, or still logits. --- */

    /* max[r] = the largest of row r. sums [2 * rows] holds what the device wants to know again in exp. */
    void (*cross_entropy_max)(mu_device_t *dev, float *max, float *sums, mu_array_t logits, int64_t rows,
                              int64_t vocab);
    /* sums[r] = the sum of exp(logits - max); sums[rows + r] = logits[r][label] - max when the label lies in the
     * slice, else 0. */
    void (*cross_entropy_exp)(mu_device_t *dev, mu_array_t logits, float *sums, const float *max,
                              const int32_t *labels, int64_t rows, int64_t vocab, int64_t first);
    /* *loss += sum over r of weights[r] (log sums[r] - sums[rows + r]); a double on the device */
    void (*cross_entropy_loss)(mu_device_t *dev, double *loss, const float *sums, const float *weights,
                               int64_t rows);
    /* logits (as exp left them) become their gradient: factor weights[r] (exp(logits - max[r]) / sums[r] - [label]). */
    void (*cross_entropy_backward)(mu_device_t *dev, mu_array_t logits, const float *sums, const float *max,
                                   const float *weights, const int32_t *labels, int64_t rows, int64_t vocab,
                                   int64_t first, double factor);

    /* --- optimizer --- */

    /* p may be of another type than float: then master (float) holds it, and p is its rounded copy; else
     * master is NULL. */
    void (*adamw)(mu_device_t *dev, mu_array_t p, float *master, float *m, float *v, const float *g,
                  int64_t n, const mu_adamw_t *params);
    /* *out += sum of x^2; a double on the device */
    void (*sum_squares)(mu_device_t *dev, double *out, const float *x, int64_t n);

    /* --- graphs: NULL on a device that has none --- */

    /* Calls enqueue(arg), whose operations are recorded and not carried out. Arguments are recorded by value: what is
     * to differ from one run to the next is read from the device's memory. Not allowed there: put, get, sync, memory
     * that is made or given back. NULL, with the reason in `why`: what was enqueued cannot be recorded; the device is
     * as before, and whatever was enqueued is to be enqueued again. */
    mu_graph_t *(*graph_record)(mu_device_t *dev, void (*enqueue)(void *arg), void *arg, char *why,
                                size_t size);
    /* Enqueues what was recorded. False, nothing is enqueued: memory was given back since, or ways of products were
     * taken, which it may name. */
    bool (*graph_run)(mu_device_t *dev, const mu_graph_t *graph);
    void (*graph_free)(mu_device_t *dev, mu_graph_t *graph);

    /* --- ways of products (kernels/products.h) --- */

    /* Times the candidates of a product until `deadline` (mu_now_ns()), at least the default, and fills way and rate.
     * Called by mu_products_tune(). */
    void (*tune_product)(mu_device_t *dev, struct mu_product *product, int64_t deadline);
    /* Whether the product has such a way on this device, which is then taken; else nothing changes. */
    bool (*take_way)(mu_device_t *dev, const struct mu_product *product);
    /* Writes the way that the product takes now. */
    void (*way_of)(mu_device_t *dev, struct mu_product *product);
} mu_device_ops_t;

struct mu_device {
    const mu_device_ops_t *ops;
    char description[128];    /* what bits depend on: "cpu, 2 threads, avx512, oneDNN 2.6.3" */
    char instruction_set[32]; /* of it: "avx512 with bf16", "sm_90" */
    int threads;
    int64_t logits; /* that the head makes at a time: `most` of mu_model_logit_rows() */
    mu_memory_count_t memory[MU_MEM_KINDS], total;
    mu_status_t status;   /* first failure of an operation */
    struct mu_held *held; /* device.c only */
    int held_count, held_cap;
    void *impl;
};

/* The CPU with `threads` (>= 1) threads of its own, the caller's included. It has fp32 and bf16; fp16, which
 * it only widens and narrows, when the environment has MUSTER_CPU_FP16 (tests). Errors: MU_NOMEM. */
mu_status_t mu_device_cpu_new(int threads, mu_device_t **out);
void mu_device_close(mu_device_t *dev); /* NULL is nothing; everything allocated must be freed before */

/* Zeroed bytes. Errors: MU_NOMEM, naming kind, size and what is held already. */
mu_status_t mu_device_alloc(mu_device_t *dev, mu_memory_t kind, int64_t bytes, void **out);
void mu_device_free(mu_device_t *dev, void *p); /* NULL is nothing */
static inline int64_t mu_attention_kv_heads(const mu_attention_t *a)
{
    return a->kv_heads > 0 ? a->kv_heads : a->heads;
}
const char *mu_memory_name(mu_memory_t kind);
/* For implementations: keeps the first failure of an operation (already logged). */
void mu_device_error(mu_device_t *dev, mu_status_t status);
/* For implementations: counts memory that was not made by mu_device_alloc(); bytes < 0: given back. */
void mu_device_count(mu_device_t *dev, mu_memory_t kind, int64_t bytes);

/* Cosines and sines, times `scale`, of the angles of positions 0 .. positions - 1: pair i of dims / 2 turns by
 * frequency[i] (common/rope.h) with each position. Host, out [positions][cos, sin][dims / 2], computed in double
 * and rounded once. */
void mu_rotary_table(int64_t positions, int64_t dims, const double *frequency, double scale, float *out);

#endif
