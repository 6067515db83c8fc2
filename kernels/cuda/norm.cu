/* Layer norm. */
#include "kernels/cuda/cu.h"

enum { THREADS = 256, ROWS = THREADS / MU_WARP };

/* A warp a row. The row is read three times, but from memory once: it stays in the first-level cache. The
 * variance is of the differences from the mean, which keeps its digits when the mean is large. */
template <class T, int N>
__global__ void layernorm(T *y, float *mean, float *rstd, const T *x, const T *w, const T *b, int64_t rows,
                          int64_t hidden, float eps)
{
    int64_t r = (int64_t)blockIdx.x * ROWS + threadIdx.x / MU_WARP;
    if (r >= rows)
        return; /* the whole warp */
    int64_t from = threadIdx.x % MU_WARP * N, step = MU_WARP * N;
    x += r * hidden;
    y += r * hidden;
    float sum = 0, squares = 0;
    for (int64_t c = from; c < hidden; c += step) {
        mu_pack<T, N> v = mu_load<T, N>(x + c);
        for (int k = 0; k < N; k++)
            sum += v.v[k];
    }
    float mu = mu_warp_sum(sum) / (float)hidden;
    for (int64_t c = from; c < hidden; c += step) {
        mu_pack<T, N> v = mu_load<T, N>(x + c);
        for (int k = 0; k < N; k++)
            squares += (v.v[k] - mu) * (v.v[k] - mu);
    }
    float rs = rsqrtf(mu_warp_sum(squares) / (float)hidden + eps);
    for (int64_t c = from; c < hidden; c += step) {
        mu_pack<T, N> v = mu_load<T, N>(x + c), scale = mu_load<T, N>(w + c), shift = mu_load<T, N>(b + c);
        for (int k = 0; k < N; k++)
            v.v[k] = (v.v[k] - mu) * rs * scale.v[k] + shift.v[k];
        mu_store(y + c, v);
    }
    if (from == 0) {
        mean[r] = mu;
        rstd[r] = rs;
    }
}

/* Rows of T may be moved by 16 bytes when all of these may. */
template <class T> static bool wide(int64_t hidden, std::initializer_list<const void *> p)
{
    for (const void *each : p)
        if (!mu_wide<T>(hidden, each))
            return false;
    return true;
}

void mu_cuda_layernorm_forward(mu_device_t *dev, mu_array_t y, float *mean, float *rstd, mu_array_t x,
                               mu_array_t w, mu_array_t b, int64_t rows, int64_t hidden, double eps)
{
    mu_by_type(y.type, [&](auto t) {
        using T = decltype(t);
        dim3 grid = mu_grid(mu_blocks(rows, ROWS));
        if (wide<T>(hidden, {y.data, x.data, w.data, b.data}))
            MU_LAUNCH((layernorm<T, 16 / sizeof(T)>), grid, THREADS, 0, mu_stream(dev), (T *)y.data, mean,
                      rstd, (const T *)x.data, (const T *)w.data, (const T *)b.data, rows, hidden,
                      (float)eps);
        else
            MU_LAUNCH((layernorm<T, 1>), grid, THREADS, 0, mu_stream(dev), (T *)y.data, mean, rstd,
                      (const T *)x.data, (const T *)w.data, (const T *)b.data, rows, hidden, (float)eps);
    });
    mu_cuda_check(dev, "layer norm");
}

/* A block a row, and every gridDim.x-th row after it. A thread has the same columns in every row, so the
 * block's sums of dw and db lie in shared memory without anybody else writing there; neighbours' sums lie
 * side by side (column c + k at [k][c / N]), so that a warp meets every bank. dx may be dy: a thread reads
 * what it overwrites, after the sums over the row are made. */
template <class T, int N>
__global__ void layernorm_backward(T *dx, float *partial, const T *dy, const T *x, const T *w,
                                   const float *mean, const float *rstd, int64_t rows, int64_t hidden,
                                   bool accumulate)
{
    MU_SHARED(float, dw); /* [2][hidden] */
    __shared__ float each[THREADS / MU_WARP], each2[THREADS / MU_WARP];
    float *db = dw + hidden;
    int64_t from = (int64_t)threadIdx.x * N, step = (int64_t)THREADS * N, apart = hidden / N;
    for (int64_t c = from; c < hidden; c += step)
        for (int k = 0; k < N; k++)
            dw[k * apart + c / N] = db[k * apart + c / N] = 0;
    for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
        float mu = mean[r], rs = rstd[r], sum = 0, sum_x = 0;
        for (int64_t c = from; c < hidden; c += step) {
            mu_pack<T, N> g = mu_load<T, N>(dy + r * hidden + c), v = mu_load<T, N>(x + r * hidden + c),
                          scale = mu_load<T, N>(w + c);
            for (int k = 0; k < N; k++) {
                float hat = (v.v[k] - mu) * rs;
                dw[k * apart + c / N] += g.v[k] * hat;
                db[k * apart + c / N] += g.v[k];
                sum += g.v[k] * scale.v[k];
                sum_x += g.v[k] * scale.v[k] * hat;
            }
        }
        sum = mu_block_sum(sum, each) / (float)hidden;
        sum_x = mu_block_sum(sum_x, each2) / (float)hidden;
        for (int64_t c = from; c < hidden; c += step) {
            mu_pack<T, N> g = mu_load<T, N>(dy + r * hidden + c), v = mu_load<T, N>(x + r * hidden + c),
                          scale = mu_load<T, N>(w + c), old = {};
            if (accumulate)
                old = mu_load<T, N>(dx + r * hidden + c);
            for (int k = 0; k < N; k++) {
                float hat = (v.v[k] - mu) * rs;
                v.v[k] = rs * (g.v[k] * scale.v[k] - sum - hat * sum_x) + old.v[k];
            }
            mu_store(dx + r * hidden + c, v);
        }
    }
    partial += (int64_t)blockIdx.x * 2 * hidden;
    for (int64_t c = from; c < hidden; c += step) {
        for (int k = 0; k < N; k++) {
            partial[c + k] = dw[k * apart + c / N];
            partial[hidden + c + k] = db[k * apart + c / N];
        }
    }
}

/* dw and db += the blocks' parts, in order. 8 rows of threads take every 8th block each. */
__global__ void add_blocks(float *dw, float *db, const float *partial, int64_t blocks, int64_t hidden)
{
    __shared__ float part[THREADS / MU_WARP][MU_WARP];
    int lane = threadIdx.x % MU_WARP, row = threadIdx.x / MU_WARP;
    int64_t c = (int64_t)blockIdx.x * MU_WARP + lane;
    float sum = 0;
    if (c < 2 * hidden)
        for (int64_t b = row; b < blocks; b += THREADS / MU_WARP)
            sum += partial[b * 2 * hidden + c];
    part[row][lane] = sum;
    __syncthreads();
    if (row > 0 || c >= 2 * hidden)
        return;
    for (int i = 1; i < THREADS / MU_WARP; i++)
        sum += part[i][lane];
    if (c < hidden)
        dw[c] += sum;
    else
        db[c - hidden] += sum;
}

template <class T, int N>
static void backward(mu_device_t *dev, T *dx, float *partial, const T *dy, const T *x, const T *w,
                     const float *mean, const float *rstd, int64_t rows, int64_t hidden, bool accumulate,
                     int64_t blocks)
{
    int64_t shared = 2 * hidden * (int64_t)sizeof(float);
    if (mu_cuda_shared(dev, (const void *)layernorm_backward<T, N>, shared, "layer norm backward"))
        MU_LAUNCH((layernorm_backward<T, N>), mu_grid(blocks), THREADS, shared, mu_stream(dev), dx, partial,
                  dy, x, w, mean, rstd, rows, hidden, accumulate);
}

void mu_cuda_layernorm_backward(mu_device_t *dev, mu_array_t dx, float *dw, float *db, mu_array_t dy,
                                mu_array_t x, mu_array_t w, const float *mean, const float *rstd,
                                int64_t rows, int64_t hidden, bool accumulate)
{
    int64_t blocks = mu_min_i64(rows, 4 * (int64_t)mu_cuda(dev)->processors);
    float *partial = (float *)mu_cuda_scratch(dev, blocks * 2 * hidden * (int64_t)sizeof *partial);
    if (!partial)
        return;
    mu_by_type(dx.type, [&](auto t) {
        using T = decltype(t);
        T *to = (T *)dx.data;
        const T *g = (const T *)dy.data, *in = (const T *)x.data, *scale = (const T *)w.data;
        if (wide<T>(hidden, {to, g, in, scale}))
            backward<T, 16 / sizeof(T)>(dev, to, partial, g, in, scale, mean, rstd, rows, hidden, accumulate,
                                        blocks);
        else
            backward<T, 1>(dev, to, partial, g, in, scale, mean, rstd, rows, hidden, accumulate, blocks);
    });
    MU_LAUNCH(add_blocks, mu_grid(mu_blocks(2 * hidden, MU_WARP)), THREADS, 0, mu_stream(dev), dw, db,
              partial, blocks, hidden);
    mu_cuda_check(dev, "layer norm backward");
}
