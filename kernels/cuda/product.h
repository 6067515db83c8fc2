/*
 * Products of cuBLASLt: what linear.cu asks for, and the ways of them that tune.cu times.
 *
 *     mu_cuda_product_t p = mu_cuda_forward_product(MU_PRODUCT_FORWARD, y, x, w, bias, rows, in, out);
 *     if (!mu_cuda_try_product(dev, &p))      the library has no algorithm with this epilogue,
 *         ...                                 or the way of the operation is without it
 *
 * cuBLASLt counts by columns: a row-major [rows][in] is its in x rows. So y = x w^T is asked for as y^T = w x^T, and no
 * array is ever transposed in memory.
 *
 * A way is named by whether the operation's epilogue is fused into the product, and by the algorithm's configuration:
 * "fused 66.15.1.0.0.0.35.0.0" (algorithm, tile, split of the sum, reduction, swizzling, option, stages, inner shape,
 * cluster). The algorithms are those that the library proposes for the shape, MU_CUDA_CANDIDATES at most. Without a way
 * the first of them is taken, fused where that is possible. A way that was taken holds for every variant of the
 * operation, with bias or without, replacing or adding. A variant that its algorithm is not proposed for takes the
 * first one.
 */
#ifndef MU_KERNELS_CUDA_PRODUCT_H
#define MU_KERNELS_CUDA_PRODUCT_H

#include "kernels/cuda/cu.h"

enum { MU_CUDA_CANDIDATES = 8 };

/* d = op(a) op(b) (+ plus), m x n, k summed, in cuBLASLt's order of columns; every array is dense. */
typedef struct mu_cuda_product {
    mu_product_op_t op;       /* of the operation that it belongs to */
    mu_array_t a, b, d, plus; /* plus: absent, d, or another of d's type */
    bool trans_a, trans_b;
    int64_t m, n, k;
    cublasLtEpilogue_t epilogue;
    mu_array_t bias; /* of BIAS: m elements, read; of BGRADB: n floats, written */
    void *aux;       /* of GELU_AUX and DGELU: m x n of d's type */
} mu_cuda_product_t;

/* A candidate while it is timed. */
typedef struct mu_cuda_trial {
    bool on;
    bool alone;                          /* without the operation's epilogue */
    int candidate;                       /* of those that the library proposes */
    bool beyond;                         /* set by a product: there are not so many */
    char ran[sizeof mu_product_t().way]; /* set by a product: its way; "" when it did not run */
} mu_cuda_trial_t;

/* y = x w^T (+ bias), dx = dy w, dw = dy^T x, without epilogues but the bias's. */
mu_cuda_product_t mu_cuda_forward_product(mu_product_op_t op, mu_array_t y, mu_array_t x, mu_array_t w,
                                          mu_array_t bias, int64_t rows, int64_t in, int64_t out);
mu_cuda_product_t mu_cuda_input_product(mu_product_op_t op, mu_array_t dx, mu_array_t dy, mu_array_t w,
                                        int64_t rows, int64_t in, int64_t out);
mu_cuda_product_t mu_cuda_weight_product(mu_array_t dw, mu_array_t dy, mu_array_t x, int64_t rows, int64_t in,
                                         int64_t out);

/* The epilogue that an operation may do without. (GELU's product keeps its bias either way.) */
bool mu_cuda_optional_epilogue(const mu_cuda_product_t *p);
/* rows, in and out of the operation. */
mu_product_t mu_cuda_operation_of(const mu_cuda_product_t *p);
/* The product that an operation makes of dense arrays that begin where CUDA allocates; false: such an operation has
 * none that is fused. */
bool mu_cuda_sample_product(const mu_product_t *o, bool fused, mu_cuda_product_t *out);

/* Whether cuBLASLt's GELU may be fused into a product of this type and width, its input kept. */
bool mu_cuda_fusible(mu_dtype_t type, int64_t width, mu_activation_t act);

/* Whether it is enqueued; then the device has the error, if there is one. */
bool mu_cuda_try_product(mu_device_t *dev, const mu_cuda_product_t *p);
/* The same of one that must be possible. */
void mu_cuda_multiply(mu_device_t *dev, const mu_cuda_product_t *p);

mu_cuda_trial_t *mu_cuda_trial(mu_device_t *dev);
/* What was planned is asked for again: after trials. */
void mu_cuda_plans_forget(mu_device_t *dev);

#endif
