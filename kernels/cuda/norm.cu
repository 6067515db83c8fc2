/* Layer norm and RMS norm: kernels for P norms of one input, 1 or 2, which read it once. RMS: the mean is not taken off
 * and there is no bias. */
#include "kernels/cuda/cu.h"

enum { THREADS = 256, ROWS = THREADS / MU_WARP };

/* What differs from norm to norm: forward y = ... w + b, backward dy. */
template <class T, int P> struct outputs {
    T *y[P];
    const T *w[P], *b[P], *dy[P];
};
/* Sums that a norm's parameters need: dw, db. */
template <bool RMS> static constexpr int SUMS = RMS ? 1 : 2;

/* A warp a row. The row is read three times, but from memory once: it stays in the first-level cache. The
 * variance is of the differences from the mean, which keeps its digits when the mean is large. */
template <class T, int N, int P, bool RMS>
__global__ void layernorm(outputs<T, P> o, float *mean, float *rstd, const T *x, int64_t rows, int64_t hidden,
                          float eps)
{
    int64_t r = (int64_t)blockIdx.x * ROWS + threadIdx.x / MU_WARP;
    if (r >= rows)
        return; /* the whole warp */
    int64_t from = threadIdx.x % MU_WARP * N, step = MU_WARP * N;
    x += r * hidden;
    float sum = 0, squares = 0, mu = 0;
    if constexpr (!RMS) {
        for (int64_t c = from; c < hidden; c += step) {
            mu_pack<T, N> v = mu_load<T, N>(x + c);
            for (int k = 0; k < N; k++)
                sum += v.v[k];
        }
        mu = mu_warp_sum(sum) / (float)hidden;
    }
    for (int64_t c = from; c < hidden; c += step) {
        mu_pack<T, N> v = mu_load<T, N>(x + c);
        for (int k = 0; k < N; k++)
            squares += (v.v[k] - mu) * (v.v[k] - mu);
    }
    float rs = rsqrtf(mu_warp_sum(squares) / (float)hidden + eps);
    for (int64_t c = from; c < hidden; c += step) {
        mu_pack<T, N> v = mu_load<T, N>(x + c), y;
        for (int p = 0; p < P; p++) {
            mu_pack<T, N> scale = mu_load<T, N>(o.w[p] + c), shift = {};
            if constexpr (!RMS)
                shift = mu_load<T, N>(o.b[p] + c);
            for (int k = 0; k < N; k++)
                y.v[k] = (v.v[k] - mu) * rs * scale.v[k] + shift.v[k];
            mu_store(o.y[p] + r * hidden + c, y);
        }
    }
    if (from == 0) {
        if constexpr (!RMS)
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

template <class T, int P, bool RMS>
static void forward(mu_device_t *dev, const outputs<T, P> &o, float *mean, float *rstd, const T *x,
                    int64_t rows, int64_t hidden, double eps)
{
    constexpr int N = 16 / sizeof(T);
    bool all = wide<T>(hidden, {x});
    for (int p = 0; p < P; p++)
        all = all && wide<T>(hidden, {o.y[p], o.w[p], o.b[p]});
    dim3 grid = mu_grid(mu_blocks(rows, ROWS));
    if (all)
        MU_LAUNCH((layernorm<T, N, P, RMS>), grid, THREADS, 0, mu_stream(dev), o, mean, rstd, x, rows, hidden,
                  (float)eps);
    else
        MU_LAUNCH((layernorm<T, 1, P, RMS>), grid, THREADS, 0, mu_stream(dev), o, mean, rstd, x, rows, hidden,
                  (float)eps);
    mu_cuda_check(dev, "norm");
}

void mu_cuda_layernorm_forward(mu_device_t *dev, mu_array_t y, float *mean, float *rstd, mu_array_t x,
                               mu_array_t w, mu_array_t b, int64_t rows, int64_t hidden, double eps)
{
    mu_by_type(y.type, [&](auto t) {
        using T = decltype(t);
        outputs<T, 1> o = {{(T *)y.data}, {(const T *)w.data}, {(const T *)b.data}, {}};
        forward<T, 1, false>(dev, o, mean, rstd, (const T *)x.data, rows, hidden, eps);
    });
}

void mu_cuda_layernorm_pair_forward(mu_device_t *dev, mu_array_t y1, mu_array_t y2, float *mean, float *rstd,
                                    mu_array_t x, mu_array_t w1, mu_array_t b1, mu_array_t w2, mu_array_t b2,
                                    int64_t rows, int64_t hidden, double eps)
{
    mu_by_type(x.type, [&](auto t) {
        using T = decltype(t);
        outputs<T, 2> o = {{(T *)y1.data, (T *)y2.data},
                           {(const T *)w1.data, (const T *)w2.data},
                           {(const T *)b1.data, (const T *)b2.data},
                           {}};
        forward<T, 2, false>(dev, o, mean, rstd, (const T *)x.data, rows, hidden, eps);
    });
}

void mu_cuda_rmsnorm_forward(mu_device_t *dev, mu_array_t y, float *rstd, mu_array_t x, mu_array_t w,
                             int64_t rows, int64_t hidden, double eps)
{
    mu_by_type(y.type, [&](auto t) {
        using T = decltype(t);
        outputs<T, 1> o = {{(T *)y.data}, {(const T *)w.data}, {}, {}};
        forward<T, 1, true>(dev, o, NULL, rstd, (const T *)x.data, rows, hidden, eps);
    });
}

/* A block a row, and every gridDim.x-th row after it. A thread has the same columns in every row, so the
 * block's sums of each dw and db lie in shared memory without anybody else writing there; neighbours' sums lie
 * side by side (column c + k at [k][c / N]), so that a warp meets every bank. dx may be dy: a thread reads
 * what it overwrites, after the sums over the row are made. */
template <class T, int N, int P, bool RMS>
__global__ void layernorm_backward(T *dx, float *partial, outputs<T, P> o, const T *x, const float *mean,
                                   const float *rstd, int64_t rows, int64_t hidden, bool accumulate)
{
    constexpr int S = SUMS<RMS>;
    MU_SHARED(float, sums); /* [P][dw, db][hidden] */
    __shared__ float each[THREADS / MU_WARP], each2[THREADS / MU_WARP];
    int64_t from = (int64_t)threadIdx.x * N, step = (int64_t)THREADS * N, apart = hidden / N;
    for (int64_t c = from; c < hidden; c += step)
        for (int i = 0; i < S * P * N; i++)
            sums[i / N * hidden + i % N * apart + c / N] = 0;
    for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
        float mu = RMS ? 0 : mean[r], rs = rstd[r], sum = 0, sum_x = 0;
        for (int64_t c = from; c < hidden; c += step) {
            mu_pack<T, N> v = mu_load<T, N>(x + r * hidden + c);
            for (int p = 0; p < P; p++) {
                mu_pack<T, N> g = mu_load<T, N>(o.dy[p] + r * hidden + c), scale = mu_load<T, N>(o.w[p] + c);
                float *dw = sums + S * p * hidden + c / N, *db = dw + hidden;
                for (int k = 0; k < N; k++) {
                    float hat = (v.v[k] - mu) * rs;
                    dw[k * apart] += g.v[k] * hat;
                    if constexpr (!RMS) {
                        db[k * apart] += g.v[k];
                        sum += g.v[k] * scale.v[k];
                    }
                    sum_x += g.v[k] * scale.v[k] * hat;
                }
            }
        }
        if constexpr (!RMS)
            sum = mu_block_sum(sum, each) / (float)hidden;
        sum_x = mu_block_sum(sum_x, each2) / (float)hidden;
        for (int64_t c = from; c < hidden; c += step) {
            mu_pack<T, N> v = mu_load<T, N>(x + r * hidden + c), old = {}, g = {};
            if (accumulate)
                old = mu_load<T, N>(dx + r * hidden + c);
            for (int p = 0; p < P; p++) {
                mu_pack<T, N> dy = mu_load<T, N>(o.dy[p] + r * hidden + c), scale = mu_load<T, N>(o.w[p] + c);
                for (int k = 0; k < N; k++)
                    g.v[k] += dy.v[k] * scale.v[k];
            }
            for (int k = 0; k < N; k++)
                v.v[k] = rs * (g.v[k] - sum - (v.v[k] - mu) * rs * sum_x) + old.v[k];
            mu_store(dx + r * hidden + c, v);
        }
    }
    partial += (int64_t)blockIdx.x * S * P * hidden;
    for (int64_t c = from; c < hidden; c += step)
        for (int i = 0; i < S * P * N; i++)
            partial[i / N * hidden + c + i % N] = sums[i / N * hidden + i % N * apart + c / N];
}

/* Each of `to` += the blocks' parts, in order. 8 rows of threads take every 8th block each. */
struct parts {
    float *to[MU_CUDA_MOST_SUMS];
};
__global__ void add_blocks(parts o, int64_t count, const float *partial, int64_t blocks, int64_t width)
{
    __shared__ float part[THREADS / MU_WARP][MU_WARP];
    int lane = threadIdx.x % MU_WARP, row = threadIdx.x / MU_WARP;
    int64_t c = (int64_t)blockIdx.x * MU_WARP + lane, all = count * width;
    float sum = 0;
    if (c < all)
        for (int64_t b = row; b < blocks; b += THREADS / MU_WARP)
            sum += partial[b * all + c];
    part[row][lane] = sum;
    __syncthreads();
    if (row > 0 || c >= all)
        return;
    for (int i = 1; i < THREADS / MU_WARP; i++)
        sum += part[i][lane];
    o.to[c / width][c % width] += sum;
}

void mu_cuda_add_blocks(mu_device_t *dev, float *const *to, int count, const float *partial, int64_t blocks,
                        int64_t width)
{
    parts o = {};
    for (int i = 0; i < count; i++)
        o.to[i] = to[i];
    MU_LAUNCH(add_blocks, mu_grid(mu_blocks(count * width, MU_WARP)), THREADS, 0, mu_stream(dev), o, count,
              partial, blocks, width);
}

template <class T, int N, int P, bool RMS>
static void launch_backward(mu_device_t *dev, T *dx, float *partial, const outputs<T, P> &o, const T *x,
                            const float *mean, const float *rstd, int64_t rows, int64_t hidden,
                            bool accumulate, int64_t blocks)
{
    int64_t shared = SUMS<RMS> * P * hidden * (int64_t)sizeof(float);
    if (mu_cuda_shared(dev, (const void *)layernorm_backward<T, N, P, RMS>, shared, "norm backward"))
        MU_LAUNCH((layernorm_backward<T, N, P, RMS>), mu_grid(blocks), THREADS, shared, mu_stream(dev), dx,
                  partial, o, x, mean, rstd, rows, hidden, accumulate);
}

/* to: dw and, of layer norms, db of each norm. */
template <class T, int P, bool RMS>
static void backward(mu_device_t *dev, T *dx, float *const (&to)[P * SUMS<RMS>], const outputs<T, P> &o,
                     const T *x, const float *mean, const float *rstd, int64_t rows, int64_t hidden,
                     bool accumulate)
{
    int64_t blocks = mu_min_i64(rows, 4 * (int64_t)mu_cuda(dev)->processors);
    float *partial =
        (float *)mu_cuda_scratch(dev, blocks * SUMS<RMS> * P * hidden * (int64_t)sizeof *partial);
    if (!partial)
        return;
    bool all = wide<T>(hidden, {dx, x});
    for (int p = 0; p < P; p++)
        all = all && wide<T>(hidden, {o.dy[p], o.w[p]});
    if (all)
        launch_backward<T, 16 / sizeof(T), P, RMS>(dev, dx, partial, o, x, mean, rstd, rows, hidden,
                                                   accumulate, blocks);
    else
        launch_backward<T, 1, P, RMS>(dev, dx, partial, o, x, mean, rstd, rows, hidden, accumulate, blocks);
    mu_cuda_add_blocks(dev, to, P * SUMS<RMS>, partial, blocks, hidden);
    mu_cuda_check(dev, "norm backward");
}

void mu_cuda_layernorm_backward(mu_device_t *dev, mu_array_t dx, float *dw, float *db, mu_array_t dy,
                                mu_array_t x, mu_array_t w, const float *mean, const float *rstd,
                                int64_t rows, int64_t hidden, bool accumulate)
{
    mu_by_type(dx.type, [&](auto t) {
        using T = decltype(t);
        outputs<T, 1> o = {{}, {(const T *)w.data}, {}, {(const T *)dy.data}};
        backward<T, 1, false>(dev, (T *)dx.data, {dw, db}, o, (const T *)x.data, mean, rstd, rows, hidden,
                              accumulate);
    });
}

void mu_cuda_rmsnorm_backward(mu_device_t *dev, mu_array_t dx, float *dw, mu_array_t dy, mu_array_t x,
                              mu_array_t w, const float *rstd, int64_t rows, int64_t hidden, bool accumulate)
{
    mu_by_type(dx.type, [&](auto t) {
        using T = decltype(t);
        outputs<T, 1> o = {{}, {(const T *)w.data}, {}, {(const T *)dy.data}};
        backward<T, 1, true>(dev, (T *)dx.data, {dw}, o, (const T *)x.data, NULL, rstd, rows, hidden,
                             accumulate);
    });
}

void mu_cuda_layernorm_pair_backward(mu_device_t *dev, mu_array_t dx, float *dw1, float *db1, float *dw2,
                                     float *db2, mu_array_t dy1, mu_array_t dy2, mu_array_t x, mu_array_t w1,
                                     mu_array_t w2, const float *mean, const float *rstd, int64_t rows,
                                     int64_t hidden, bool accumulate)
{
    /* the sums over a row, each and each2, are shared memory too */
    int64_t shared = (4 * hidden + 2 * (THREADS / MU_WARP)) * (int64_t)sizeof(float);
    if (shared > mu_cuda(dev)->shared_limit) { /* both at once are too wide */
        mu_cuda_layernorm_backward(dev, dx, dw1, db1, dy1, x, w1, mean, rstd, rows, hidden, accumulate);
        mu_cuda_layernorm_backward(dev, dx, dw2, db2, dy2, x, w2, mean, rstd, rows, hidden, true);
        return;
    }
    mu_by_type(dx.type, [&](auto t) {
        using T = decltype(t);
        outputs<T, 2> o = {
            {}, {(const T *)w1.data, (const T *)w2.data}, {}, {(const T *)dy1.data, (const T *)dy2.data}};
        backward<T, 2, false>(dev, (T *)dx.data, {dw1, db1, dw2, db2}, o, (const T *)x.data, mean, rstd, rows,
                              hidden, accumulate);
    });
}
