/*
 * The graphs of attention for cuDNN, forward and backward, as single operations: the form in which cuDNN 9 recognizes
 * attention and computes it in fused kernels.
 */
#ifndef MU_KERNELS_CUDA_ATTENTION_GRAPH_H
#define MU_KERNELS_CUDA_ATTENTION_GRAPH_H

#include "kernels/cuda/cudnn_graph.h"

/* What a run's pointers are known by in a graph. */
enum {
    MU_FUSED_QUERIES = 1,
    MU_FUSED_KEYS,
    MU_FUSED_VALUES,
    MU_FUSED_OUT,
    MU_FUSED_LOG_SUMS, /* float [batch][heads][seq] */
    MU_FUSED_SCALE,    /* numbers of the host */
    MU_FUSED_MASKED,
    MU_FUSED_ONE,
    MU_FUSED_DOUT,
    MU_FUSED_DQUERIES,
    MU_FUSED_DKEYS,
    MU_FUSED_DVALUES,
    MU_FUSED_DELTA, /* float [batch][heads][seq]: the row sums of dout and out */
    MU_FUSED_MOST_POINTERS = MU_FUSED_DELTA
};

/* What decides about a plan. Compared by bytes, so it is cleared before it is filled. Strides: elements to the next
 * sequence (of the plan), head and token. */
typedef struct mu_cuda_fused {
    int64_t batch, heads, kv_heads, seq, dim;
    int64_t q_stride[3], kv_stride[3], out_stride[3];
    int32_t type, backward;
} mu_cuda_fused_t;

/* out = softmax(scale q k^T, causal) v, and log_sums = the largest score + log(sum of exponentials less it). */
void mu_cuda_forward_graph(mu_cudnn_graph_t *g, const mu_cuda_fused_t *k);
/* With p = exp(scale q k^T - log_sums), causal: dv = p^T dout; ds = scale p (dout v^T - delta); dk = ds^T q;
 * dq = ds k. */
void mu_cuda_backward_graph(mu_cudnn_graph_t *g, const mu_cuda_fused_t *k);

#endif
