/* Cross entropy over a slice of the vocabulary: a block a row. The logits are read twice and written once: for the
 * largest and the sums, and when they become their gradient. */
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

/* From which a row's exponentials are counted: its largest, unless it has no finite logit. */
__device__ static inline float base_of(float top)
{
    return top == -INFINITY ? 0 : top;
}

/* Largest logit and sum of exponentials in one reading: a thread's sum shrinks when its largest grows (Milakov and
 * Gimelshein, 2018). Then those of the block. The largest of this slice goes into the second half of sums. */
template <class T, int N>
__global__ void row_sums(float *max, float *sums, const T *logits, int64_t rows, int64_t vocab)
{
    __shared__ float each[THREADS / MU_WARP];
    const T *x = logits + blockIdx.x * vocab;
    float top = -INFINITY, sum = 0;
    for (int64_t c = (int64_t)threadIdx.x * N; c < vocab; c += (int64_t)THREADS * N) {
        mu_pack<T, N> v = mu_load<T, N>(x + c);
        float old = top;
        for (int k = 0; k < N; k++)
            top = fmaxf(top, v.v[k]);
        float base = base_of(top);
        sum *= expf(old - base);
        for (int k = 0; k < N; k++)
            sum += expf(v.v[k] - base);
    }
    float most = mu_block_max(top, each);
    sum = mu_block_sum(sum * expf(top - base_of(most)), each);
    if (threadIdx.x == 0) {
        max[blockIdx.x] = sums[rows + blockIdx.x] = most;
        sums[blockIdx.x] = sum;
    }
}

void mu_cuda_cross_entropy_max(mu_device_t *dev, float *max, float *sums, mu_array_t logits, int64_t rows,
                               int64_t vocab)
{
    by_width(logits, vocab, [&](auto t, auto each) {
        using T = decltype(t);
        constexpr int N = decltype(each)::value;
        MU_LAUNCH((row_sums<T, N>), mu_grid(rows), THREADS, 0, mu_stream(dev), max, sums,
                  (const T *)logits.data, rows, vocab);
    });
    mu_cuda_check(dev, "largest logits");
}

/* A thread a row: the slice's sum as a part of the whole row's, and the label's logit. */
template <class T>
__global__ void join_slices(float *sums, const float *max, const T *logits, const int32_t *labels,
                            int64_t rows, int64_t vocab, int64_t first)
{
    int64_t r = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (r >= rows)
        return;
    int64_t label = labels[r] - first;
    float top = max[r], own = sums[rows + r];
    if (own != top)
        sums[r] *= expf(own - top);
    sums[rows + r] = label >= 0 && label < vocab ? mu_float(logits[r * vocab + label]) - top : 0;
}

void mu_cuda_cross_entropy_exp(mu_device_t *dev, mu_array_t logits, float *sums, const float *max,
                               const int32_t *labels, int64_t rows, int64_t vocab, int64_t first)
{
    mu_by_type(logits.type, [&](auto t) {
        using T = decltype(t);
        MU_LAUNCH((join_slices<T>), mu_grid(mu_blocks(rows, THREADS)), THREADS, 0, mu_stream(dev), sums, max,
                  (const T *)logits.data, labels, rows, vocab, first);
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
__global__ void gradient(T *logits, const float *sums, const float *max, const float *weights,
                         const int32_t *labels, int64_t vocab, int64_t first, double factor)
{
    int64_t r = blockIdx.x, c = ((int64_t)blockIdx.y * THREADS + threadIdx.x) * N, label = labels[r] - first;
    if (c >= vocab)
        return;
    float weight = (float)(factor * (double)weights[r]), scale = weight / sums[r], top = max[r];
    T *x = logits + r * vocab + c;
    mu_pack<T, N> v = mu_load<T, N>(x);
    for (int k = 0; k < N; k++)
        v.v[k] = expf(v.v[k] - top) * scale - (c + k == label ? weight : 0);
    mu_store(x, v);
}

void mu_cuda_cross_entropy_backward(mu_device_t *dev, mu_array_t logits, const float *sums, const float *max,
                                    const float *weights, const int32_t *labels, int64_t rows, int64_t vocab,
                                    int64_t first, double factor)
{
    by_width(logits, vocab, [&](auto t, auto each) {
        using T = decltype(t);
        constexpr int N = decltype(each)::value;
        MU_LAUNCH((gradient<T, N>), mu_grid(rows, mu_blocks(vocab, THREADS * N)), THREADS, 0, mu_stream(dev),
                  (T *)logits.data, sums, max, weights, labels, vocab, first, factor);
    });
    mu_cuda_check(dev, "gradient of logits");
}
