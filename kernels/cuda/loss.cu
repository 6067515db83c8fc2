/* Cross entropy over a slice of the vocabulary: a block a row. */
#include "kernels/cuda/cu.h"

enum { THREADS = 512 };

/* Calls launch(T(), vector width). */
template <class F> static void by_width(mu_array_t logits, int64_t vocab, F launch)
{
    mu_by_type(logits.type, [&](auto t) {
        using T = decltype(t);
        if (mu_wide<T>(vocab, logits.data))
            launch(t, std::integral_constant<int, 16 / sizeof(T)>());
        else
            launch(t, std::integral_constant<int, 1>());
    });
}

template <class T, int N> __global__ void row_max(float *max, const T *logits, int64_t vocab)
{
    __shared__ float each[THREADS / MU_WARP];
    const T *x = logits + blockIdx.x * vocab;
    float top = -INFINITY;
    for (int64_t c = (int64_t)threadIdx.x * N; c < vocab; c += (int64_t)THREADS * N) {
        mu_pack<T, N> v = mu_load<T, N>(x + c);
        for (int k = 0; k < N; k++)
            top = fmaxf(top, v.v[k]);
    }
    top = mu_block_max(top, each);
    if (threadIdx.x == 0)
        max[blockIdx.x] = top;
}

void mu_cuda_cross_entropy_max(mu_device_t *dev, float *max, mu_array_t logits, int64_t rows, int64_t vocab)
{
    by_width(logits, vocab, [&](auto t, auto each) {
        using T = decltype(t);
        constexpr int N = decltype(each)::value;
        MU_LAUNCH((row_max<T, N>), mu_grid(rows), THREADS, 0, mu_stream(dev), max, (const T *)logits.data,
                  vocab);
    });
    mu_cuda_check(dev, "largest logits");
}

/* The label's logit is read before anybody overwrites it. */
template <class T, int N>
__global__ void row_exp(T *logits, float *sums, const float *max, const int32_t *labels, int64_t rows,
                        int64_t vocab, int64_t first)
{
    __shared__ float each[THREADS / MU_WARP];
    int64_t r = blockIdx.x, label = labels[r] - first;
    T *x = logits + r * vocab;
    float top = max[r], sum = 0;
    if (threadIdx.x == 0)
        sums[rows + r] = label >= 0 && label < vocab ? mu_float(x[label]) - top : 0;
    __syncthreads();
    for (int64_t c = (int64_t)threadIdx.x * N; c < vocab; c += (int64_t)THREADS * N) {
        mu_pack<T, N> v = mu_load<T, N>(x + c);
        for (int k = 0; k < N; k++) {
            v.v[k] = expf(v.v[k] - top);
            sum += v.v[k];
        }
        mu_store(x + c, v);
    }
    sum = mu_block_sum(sum, each);
    if (threadIdx.x == 0)
        sums[r] = sum;
}

void mu_cuda_cross_entropy_exp(mu_device_t *dev, mu_array_t logits, float *sums, const float *max,
                               const int32_t *labels, int64_t rows, int64_t vocab, int64_t first)
{
    by_width(logits, vocab, [&](auto t, auto each) {
        using T = decltype(t);
        constexpr int N = decltype(each)::value;
        MU_LAUNCH((row_exp<T, N>), mu_grid(rows), THREADS, 0, mu_stream(dev), (T *)logits.data, sums, max,
                  labels, rows, vocab, first);
    });
    mu_cuda_check(dev, "exponentials of logits");
}

/* One block adds all rows: they are few, and so the order is fixed. */
__global__ void add_losses(double *loss, const float *sums, const float *weights, int64_t rows)
{
    __shared__ double each[THREADS / MU_WARP];
    double sum = 0;
    for (int64_t r = threadIdx.x; r < rows; r += THREADS)
        if (weights[r] != 0)
            sum += (double)weights[r] * (log((double)sums[r]) - (double)sums[rows + r]);
    sum = mu_block_sum(sum, each);
    if (threadIdx.x == 0)
        *loss += sum;
}

void mu_cuda_cross_entropy_loss(mu_device_t *dev, double *loss, const float *sums, const float *weights,
                                int64_t rows)
{
    MU_LAUNCH(add_losses, 1, THREADS, 0, mu_stream(dev), loss, sums, weights, rows);
    mu_cuda_check(dev, "loss");
}

/* blockIdx.x is the row; blockIdx.y and the thread choose N columns. */
template <class T, int N>
__global__ void gradient(T *logits, const float *sums, const float *weights, const int32_t *labels,
                         int64_t vocab, int64_t first, double factor)
{
    int64_t r = blockIdx.x, c = ((int64_t)blockIdx.y * THREADS + threadIdx.x) * N, label = labels[r] - first;
    if (c >= vocab)
        return;
    float weight = (float)(factor * (double)weights[r]), scale = weight / sums[r];
    T *x = logits + r * vocab + c;
    mu_pack<T, N> v = mu_load<T, N>(x);
    for (int k = 0; k < N; k++)
        v.v[k] = v.v[k] * scale - (c + k == label ? weight : 0);
    mu_store(x, v);
}

void mu_cuda_cross_entropy_backward(mu_device_t *dev, mu_array_t logits, const float *sums,
                                    const float *weights, const int32_t *labels, int64_t rows, int64_t vocab,
                                    int64_t first, double factor)
{
    by_width(logits, vocab, [&](auto t, auto each) {
        using T = decltype(t);
        constexpr int N = decltype(each)::value;
        MU_LAUNCH((gradient<T, N>), mu_grid(rows, mu_blocks(vocab, THREADS * N)), THREADS, 0, mu_stream(dev),
                  (T *)logits.data, sums, weights, labels, vocab, first, factor);
    });
    mu_cuda_check(dev, "gradient of logits");
}
