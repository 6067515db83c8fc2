/* What cuDNN's engines match is the order and the kind of these operations. Backward writes the queries' gradient
 * straight from the product, without a buffer in which blocks add: this is the form whose engines give the same bits in
 * each run. */
#include "kernels/cuda/attention_graph.h"

static mu_cudnn_shape_t lines(int64_t heads, const mu_cuda_fused_t *k, const int64_t stride[3])
{
    return {{k->batch, heads, k->seq, k->dim}, {stride[0], stride[1], stride[2], 1}};
}

/* A number a row, of each head. */
static mu_cudnn_shape_t rows(const mu_cuda_fused_t *k)
{
    return mu_cudnn_dense(k->batch, k->heads, k->seq, 1);
}

static mu_cudnn_descriptor_t between(mu_cudnn_graph_t *g, const mu_cudnn_shape_t &shape)
{
    return mu_cudnn_virtual(g, MU_CUDNN_F32, shape);
}

/* One operation on whole scores. */
static mu_cudnn_descriptor_t on_scores(mu_cudnn_graph_t *g, const mu_cuda_fused_t *k, int mode,
                                       mu_cudnn_descriptor_t x, mu_cudnn_descriptor_t b)
{
    return mu_cudnn_pointwise(g, mode, x, b, NULL,
                              between(g, mu_cudnn_dense(k->batch, k->heads, k->seq, k->seq)));
}

/* Scores of keys after their query become minus infinity. */
static mu_cudnn_descriptor_t causal(mu_cudnn_graph_t *g, const mu_cuda_fused_t *k, mu_cudnn_descriptor_t x)
{
    const mu_cudnn_shape_t square = mu_cudnn_dense(k->batch, k->heads, k->seq, k->seq);
    mu_cudnn_descriptor_t query = mu_cudnn_index(g, 2, x, mu_cudnn_virtual(g, MU_CUDNN_I32, square));
    mu_cudnn_descriptor_t key = mu_cudnn_index(g, 3, x, mu_cudnn_virtual(g, MU_CUDNN_I32, square));
    mu_cudnn_descriptor_t seen = mu_cudnn_pointwise(g, MU_CUDNN_GREATER_EQUAL, query, key, NULL,
                                                    mu_cudnn_virtual(g, MU_CUDNN_BOOL, square));
    return mu_cudnn_pointwise(g, MU_CUDNN_SELECT, x, mu_cudnn_number(g, MU_FUSED_MASKED, MU_CUDNN_F32), seen,
                              between(g, square));
}

void mu_cuda_forward_graph(mu_cudnn_graph_t *g, const mu_cuda_fused_t *k)
{
    const mu_cudnn_shape_t pairs = lines(k->kv_heads, k, k->kv_stride);
    const mu_cudnn_shape_t square = mu_cudnn_dense(k->batch, k->heads, k->seq, k->seq);
    mu_cudnn_descriptor_t q = mu_cudnn_memory(g, MU_FUSED_QUERIES, k->type, lines(k->heads, k, k->q_stride));
    mu_cudnn_descriptor_t kt = mu_cudnn_memory(g, MU_FUSED_KEYS, k->type, mu_cudnn_transposed(pairs));
    mu_cudnn_descriptor_t s = mu_cudnn_matmul(g, q, kt, between(g, square));
    s = on_scores(g, k, MU_CUDNN_MUL, s, mu_cudnn_number(g, MU_FUSED_SCALE, MU_CUDNN_F32));
    s = causal(g, k, s);
    mu_cudnn_descriptor_t top = mu_cudnn_reduce(g, MU_CUDNN_REDUCE_MAX, s, between(g, rows(k)));
    mu_cudnn_descriptor_t e = on_scores(g, k, MU_CUDNN_EXP, on_scores(g, k, MU_CUDNN_SUB, s, top), NULL);
    mu_cudnn_descriptor_t sum = mu_cudnn_reduce(g, MU_CUDNN_REDUCE_ADD, e, between(g, rows(k)));
    mu_cudnn_descriptor_t log = mu_cudnn_pointwise(g, MU_CUDNN_LOG, sum, NULL, NULL, between(g, rows(k)));
    mu_cudnn_pointwise(g, MU_CUDNN_ADD, top, log, NULL,
                       mu_cudnn_memory(g, MU_FUSED_LOG_SUMS, MU_CUDNN_F32, rows(k)));
    mu_cudnn_descriptor_t p =
        mu_cudnn_pointwise(g, MU_CUDNN_DIV, e, sum, NULL, mu_cudnn_virtual(g, k->type, square));
    mu_cudnn_matmul(g, p, mu_cudnn_memory(g, MU_FUSED_VALUES, k->type, pairs),
                    mu_cudnn_memory(g, MU_FUSED_OUT, k->type, lines(k->heads, k, k->out_stride)));
}

/* The gradient of keys or values: x^T y, summed over the queries that share a head. */
static void gradient_of_pairs(mu_cudnn_graph_t *g, const mu_cuda_fused_t *k, int64_t uid,
                              mu_cudnn_descriptor_t x, mu_cudnn_descriptor_t y)
{
    const mu_cudnn_shape_t square = mu_cudnn_dense(k->batch, k->heads, k->seq, k->seq);
    mu_cudnn_descriptor_t xt =
        mu_cudnn_reshape(g, x, mu_cudnn_virtual(g, k->type, mu_cudnn_transposed(square)));
    mu_cudnn_descriptor_t out = mu_cudnn_memory(g, uid, k->type, lines(k->kv_heads, k, k->kv_stride));
    if (k->heads == k->kv_heads) {
        mu_cudnn_matmul(g, xt, y, out);
        return;
    }
    mu_cudnn_descriptor_t each = mu_cudnn_matmul(
        g, xt, y, mu_cudnn_virtual(g, k->type, mu_cudnn_dense(k->batch, k->heads, k->seq, k->dim)));
    mu_cudnn_reduce(g, MU_CUDNN_REDUCE_ADD, each, out);
}

void mu_cuda_backward_graph(mu_cudnn_graph_t *g, const mu_cuda_fused_t *k)
{
    const mu_cudnn_shape_t pairs = lines(k->kv_heads, k, k->kv_stride),
                           out = lines(k->heads, k, k->out_stride);
    const mu_cudnn_shape_t square = mu_cudnn_dense(k->batch, k->heads, k->seq, k->seq);
    mu_cudnn_descriptor_t q = mu_cudnn_memory(g, MU_FUSED_QUERIES, k->type, lines(k->heads, k, k->q_stride));
    mu_cudnn_descriptor_t kt = mu_cudnn_memory(g, MU_FUSED_KEYS, k->type, mu_cudnn_transposed(pairs));
    mu_cudnn_descriptor_t vt = mu_cudnn_memory(g, MU_FUSED_VALUES, k->type, mu_cudnn_transposed(pairs));
    mu_cudnn_descriptor_t dout = mu_cudnn_memory(g, MU_FUSED_DOUT, k->type, out);
    mu_cudnn_descriptor_t scale = mu_cudnn_number(g, MU_FUSED_SCALE, MU_CUDNN_F32);

    mu_cudnn_descriptor_t both =
        mu_cudnn_pointwise(g, MU_CUDNN_MUL, dout, mu_cudnn_memory(g, MU_FUSED_OUT, k->type, out), NULL,
                           between(g, mu_cudnn_dense(k->batch, k->heads, k->seq, k->dim)));
    mu_cudnn_descriptor_t delta = mu_cudnn_reduce(g, MU_CUDNN_REDUCE_ADD, both, between(g, rows(k)));
    delta = mu_cudnn_pointwise(g, MU_CUDNN_MUL, delta, mu_cudnn_number(g, MU_FUSED_ONE, MU_CUDNN_F32), NULL,
                               mu_cudnn_memory(g, MU_FUSED_DELTA, MU_CUDNN_F32, rows(k)));

    mu_cudnn_descriptor_t s = mu_cudnn_matmul(g, q, kt, between(g, square));
    s = on_scores(g, k, MU_CUDNN_MUL, s, scale);
    s = on_scores(g, k, MU_CUDNN_SUB, s, mu_cudnn_memory(g, MU_FUSED_LOG_SUMS, MU_CUDNN_F32, rows(k)));
    mu_cudnn_descriptor_t p = on_scores(g, k, MU_CUDNN_EXP, causal(g, k, s), NULL);
    gradient_of_pairs(g, k, MU_FUSED_DVALUES, p, dout);

    mu_cudnn_descriptor_t ds = mu_cudnn_matmul(g, dout, vt, between(g, square));
    ds = on_scores(g, k, MU_CUDNN_SUB, ds, delta);
    ds = on_scores(g, k, MU_CUDNN_MUL, ds, p);
    ds = on_scores(g, k, MU_CUDNN_MUL, ds, scale);
    gradient_of_pairs(g, k, MU_FUSED_DKEYS, ds, q);
    mu_cudnn_matmul(g, ds, mu_cudnn_reshape(g, kt, mu_cudnn_virtual(g, k->type, pairs)),
                    mu_cudnn_memory(g, MU_FUSED_DQUERIES, k->type, lines(k->heads, k, k->q_stride)));
}
