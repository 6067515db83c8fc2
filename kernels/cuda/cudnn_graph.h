/*
 * Graphs of operations for cuDNN, and plans of them.
 *
 *     mu_cudnn_graph_t g;
 *     mu_cudnn_graph_begin(&g, lib, handle);
 *     a = mu_cudnn_memory(&g, UID_A, MU_CUDNN_BF16, shape); ...       what a plan reads and writes
 *     x = mu_cudnn_matmul(&g, a, b, mu_cudnn_virtual(&g, MU_CUDNN_F32, shape));
 *     if (mu_cudnn_plan(&g, most_workspace))
 *         mu_cudnn_run(&g, uids, pointers, n, workspace);             as often as wanted
 *     mu_cudnn_graph_end(&g);
 *
 * The first call that fails says why in g.why, and what follows does nothing: only mu_cudnn_plan() need be looked at.
 * A refusal is no error; nothing is logged.
 */
#ifndef MU_KERNELS_CUDA_CUDNN_GRAPH_H
#define MU_KERNELS_CUDA_CUDNN_GRAPH_H

#include "kernels/cuda/cudnn_api.h"

enum { MU_CUDNN_HELD = 192, MU_CUDNN_OPERATIONS = 32 };

/* Four dimensions, and elements from one to the next in each. */
typedef struct mu_cudnn_shape {
    int64_t dim[4], stride[4];
} mu_cudnn_shape_t;

typedef struct mu_cudnn_graph {
    const mu_cudnn_t *lib;
    mu_cudnn_handle_t handle;
    mu_cudnn_descriptor_t held[MU_CUDNN_HELD], operation[MU_CUDNN_OPERATIONS];
    int held_count, operations;
    int64_t next_uid; /* of virtual tensors */
    mu_cudnn_descriptor_t plan;
    int64_t workspace;     /* bytes that the plan needs */
    int64_t engine;        /* the plan's, as cuDNN numbers them for this graph */
    char why[MU_CUDA_WHY]; /* "" while all is well */
} mu_cudnn_graph_t;

void mu_cudnn_graph_begin(mu_cudnn_graph_t *g, const mu_cudnn_t *lib, mu_cudnn_handle_t handle);
void mu_cudnn_graph_end(mu_cudnn_graph_t *g);

/* --- tensors: on the device, aligned to 16 bytes; between operations; a number from the host, given to each run --- */

mu_cudnn_descriptor_t mu_cudnn_memory(mu_cudnn_graph_t *g, int64_t uid, int type, mu_cudnn_shape_t shape);
mu_cudnn_descriptor_t mu_cudnn_virtual(mu_cudnn_graph_t *g, int type, mu_cudnn_shape_t shape);
mu_cudnn_descriptor_t mu_cudnn_number(mu_cudnn_graph_t *g, int64_t uid, int type);

/* Rows [b][h][m][n], one after the other. */
mu_cudnn_shape_t mu_cudnn_dense(int64_t b, int64_t h, int64_t m, int64_t n);
/* The last two dimensions exchanged. */
mu_cudnn_shape_t mu_cudnn_transposed(mu_cudnn_shape_t shape);

/* --- operations, computed in fp32: each returns its result, the last argument --- */

mu_cudnn_descriptor_t mu_cudnn_matmul(mu_cudnn_graph_t *g, mu_cudnn_descriptor_t a, mu_cudnn_descriptor_t b,
                                      mu_cudnn_descriptor_t c);
/* y = mode(x), mode(x, b) or, for SELECT, t ? x : b; b and t may be NULL. */
mu_cudnn_descriptor_t mu_cudnn_pointwise(mu_cudnn_graph_t *g, int mode, mu_cudnn_descriptor_t x,
                                         mu_cudnn_descriptor_t b, mu_cudnn_descriptor_t t,
                                         mu_cudnn_descriptor_t y);
/* y = the index of each element of x along a dimension. */
mu_cudnn_descriptor_t mu_cudnn_index(mu_cudnn_graph_t *g, int64_t axis, mu_cudnn_descriptor_t x,
                                     mu_cudnn_descriptor_t y);
/* Over the dimensions that are 1 in y. */
mu_cudnn_descriptor_t mu_cudnn_reduce(mu_cudnn_graph_t *g, int how, mu_cudnn_descriptor_t x,
                                      mu_cudnn_descriptor_t y);
/* y = x, looked at in another shape. */
mu_cudnn_descriptor_t mu_cudnn_reshape(mu_cudnn_graph_t *g, mu_cudnn_descriptor_t x, mu_cudnn_descriptor_t y);

/* --- plans --- */

/* The first plan of those that cuDNN proposes whose results have the same bits in each run, and whose workspace is at
 * most so large. */
bool mu_cudnn_plan(mu_cudnn_graph_t *g, int64_t most_workspace);
/* Enqueued on the handle's stream. pointers: the device's, of numbers the host's, which are read before the call
 * returns. The status of cuDNN. */
int mu_cudnn_run(const mu_cudnn_graph_t *g, const int64_t *uids, void *const *pointers, int n,
                 void *workspace);

#endif
