/* RMS norms of queries and keys, head by head: a warp takes a head of one token, in lines of qkv. */
#include "kernels/cuda/cu.h"

enum { THREADS = 256, WARPS = THREADS / MU_WARP };

template <class T> struct heads {
    const T *raw, *wq, *wk;
    float *rstd;
    int64_t lines, group, dim; /* lines: rows * key/value heads; group: queries of a line */
};

/* Sum of x^2 and what it makes of a head: every lane gets 1 / sqrt(mean + eps). */
template <class T, int N> __device__ static inline float rstd_of(const T *x, int64_t dim, float eps)
{
    float squares = 0;
    for (int64_t c = threadIdx.x % MU_WARP * N; c < dim; c += MU_WARP * N) {
        mu_pack<T, N> v = mu_load<T, N>(x + c);
        for (int k = 0; k < N; k++)
            squares += v.v[k] * v.v[k];
    }
    return rsqrtf(mu_warp_sum(squares) / (float)dim + eps);
}

/* The queries and the key of a line are normed, the value, its last part, is copied. */
template <class T, int N> __global__ void qk_norm(heads<T> h, T *qkv, float eps)
{
    int64_t i = (int64_t)blockIdx.x * WARPS + threadIdx.x / MU_WARP, parts = h.group + 2;
    int64_t line = i / parts, part = i % parts;
    if (line >= h.lines)
        return; /* the whole warp */
    const T *x = h.raw + i * h.dim, *w = part < h.group ? h.wq : h.wk;
    bool value = part > h.group;
    float rs = value ? 1 : rstd_of<T, N>(x, h.dim, eps);
    for (int64_t c = threadIdx.x % MU_WARP * N; c < h.dim; c += MU_WARP * N) {
        mu_pack<T, N> v = mu_load<T, N>(x + c), scale = mu_load<T, N>(w + c);
        for (int k = 0; k < N && !value; k++)
            v.v[k] *= rs * scale.v[k];
        mu_store(qkv + i * h.dim + c, v);
    }
    if (!value && threadIdx.x % MU_WARP == 0)
        h.rstd[line * (h.group + 1) + part] = rs;
}

/* Each warp takes every (gridDim.x * WARPS)-th head. A lane has the same columns of every head, so its sums of both
 * weights' gradients lie in shared memory without anybody else writing there; at the end the block adds them in
 * order. */
template <class T, int N> __global__ void qk_norm_backward(heads<T> h, T *dqkv, float *partial)
{
    MU_SHARED(float, sums); /* [WARPS][dwq, dwk][dim] */
    int64_t normed = h.group + 1, from = threadIdx.x % MU_WARP * N, step = MU_WARP * N;
    float *own = sums + threadIdx.x / MU_WARP * 2 * h.dim;
    for (int64_t c = from; c < h.dim; c += step)
        for (int k = 0; k < N; k++)
            own[c + k] = own[h.dim + c + k] = 0;
    for (int64_t i = (int64_t)blockIdx.x * WARPS + threadIdx.x / MU_WARP; i < h.lines * normed;
         i += (int64_t)gridDim.x * WARPS) {
        int64_t part = i % normed, at = (i / normed * (h.group + 2) + part) * h.dim;
        const T *x = h.raw + at, *w = part < h.group ? h.wq : h.wk;
        float rs = h.rstd[i], with = 0, *dw = part < h.group ? own : own + h.dim;
        for (int64_t c = from; c < h.dim; c += step) {
            mu_pack<T, N> v = mu_load<T, N>(x + c), g = mu_load<T, N>(dqkv + at + c),
                          scale = mu_load<T, N>(w + c);
            for (int k = 0; k < N; k++) {
                float part_of_dw = g.v[k] * v.v[k] * rs;
                dw[c + k] += part_of_dw;
                with += part_of_dw * scale.v[k];
            }
        }
        with = mu_warp_sum(with) / (float)h.dim;
        for (int64_t c = from; c < h.dim; c += step) {
            mu_pack<T, N> v = mu_load<T, N>(x + c), g = mu_load<T, N>(dqkv + at + c),
                          scale = mu_load<T, N>(w + c);
            for (int k = 0; k < N; k++)
                g.v[k] = rs * (g.v[k] * scale.v[k] - v.v[k] * rs * with);
            mu_store(dqkv + at + c, g);
        }
    }
    __syncthreads();
    for (int64_t c = threadIdx.x; c < 2 * h.dim; c += THREADS) {
        float sum = 0;
        for (int w = 0; w < WARPS; w++)
            sum += sums[w * 2 * h.dim + c];
        partial[blockIdx.x * 2 * h.dim + c] = sum;
    }
}

template <class T>
static heads<T> heads_of(mu_array_t raw, mu_array_t wq, mu_array_t wk, float *rstd, const mu_qk_norm_t *s)
{
    return {(const T *)raw.data,   (const T *)wq.data,     (const T *)wk.data, rstd,
            s->rows * s->kv_heads, s->heads / s->kv_heads, s->head_dim};
}

/* Whether heads may be moved by 16 bytes. */
template <class T> static bool wide(const heads<T> &h, const void *qkv)
{
    return mu_wide<T>(h.dim, h.raw) && mu_wide<T>(h.dim, h.wq) && mu_wide<T>(h.dim, h.wk) &&
           mu_wide<T>(h.dim, qkv);
}

void mu_cuda_qk_norm_forward(mu_device_t *dev, mu_array_t qkv, float *rstd, mu_array_t raw, mu_array_t wq,
                             mu_array_t wk, const mu_qk_norm_t *shape)
{
    mu_by_type(qkv.type, [&](auto t) {
        using T = decltype(t);
        heads<T> h = heads_of<T>(raw, wq, wk, rstd, shape);
        dim3 grid = mu_grid(mu_blocks(h.lines * (h.group + 2), WARPS));
        if (wide(h, qkv.data))
            MU_LAUNCH((qk_norm<T, 16 / sizeof(T)>), grid, THREADS, 0, mu_stream(dev), h, (T *)qkv.data,
                      (float)shape->eps);
        else
            MU_LAUNCH((qk_norm<T, 1>), grid, THREADS, 0, mu_stream(dev), h, (T *)qkv.data, (float)shape->eps);
    });
    mu_cuda_check(dev, "norms of queries and keys");
}

template <class T, int N>
static void launch_backward(mu_device_t *dev, const heads<T> &h, T *dqkv, float *partial, int64_t blocks)
{
    int64_t shared = WARPS * 2 * h.dim * (int64_t)sizeof(float);
    const char *doing = "norms of queries and keys backward";
    if (mu_cuda_shared(dev, (const void *)qk_norm_backward<T, N>, shared, doing))
        MU_LAUNCH((qk_norm_backward<T, N>), mu_grid(blocks), THREADS, shared, mu_stream(dev), h, dqkv,
                  partial);
    mu_cuda_check(dev, doing);
}

void mu_cuda_qk_norm_backward(mu_device_t *dev, mu_array_t dqkv, float *dwq, float *dwk, mu_array_t raw,
                              mu_array_t wq, mu_array_t wk, const float *rstd, const mu_qk_norm_t *shape)
{
    int64_t normed = shape->rows * (shape->heads + shape->kv_heads), d = shape->head_dim;
    int64_t blocks = mu_min_i64(mu_blocks(normed, WARPS), 4 * (int64_t)mu_cuda(dev)->processors);
    float *partial = (float *)mu_cuda_scratch(dev, blocks * 2 * d * (int64_t)sizeof *partial);
    if (!partial)
        return;
    mu_by_type(dqkv.type, [&](auto t) {
        using T = decltype(t);
        heads<T> h = heads_of<T>(raw, wq, wk, const_cast<float *>(rstd), shape); /* read only from here on */
        if (wide(h, dqkv.data))
            launch_backward<T, 16 / sizeof(T)>(dev, h, (T *)dqkv.data, partial, blocks);
        else
            launch_backward<T, 1>(dev, h, (T *)dqkv.data, partial, blocks);
    });
    float *const to[] = {dwq, dwk};
    mu_cuda_add_blocks(dev, to, 2, partial, blocks, d);
    mu_cuda_check(dev, "norms of queries and keys backward");
}
