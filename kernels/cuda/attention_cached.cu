/* Attention of new tokens against a cache of keys and values. */
#include "kernels/cuda/cu.h"

enum { THREADS = 256 };

/* heads: of keys and values, `group` queries to each */
template <class T>
__global__ void append(T *cache, const T *qkv, int64_t tokens, int64_t first, int64_t heads, int64_t group,
                       int64_t dim)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, pair = i % (2 * dim),
            head = i / (2 * dim) % heads, token = i / (2 * dim * heads);
    if (token < tokens)
        cache[((first + token) * heads + head) * 2 * dim + pair] =
            qkv[((token * heads + head) * (group + 2) + group) * dim + pair];
}

enum { FEW = 8, WARPS = THREADS / MU_WARP, FEW_KEYS = 8192, MAX_DIM = MU_CUDA_MAX_DIM };

/* For the few queries of a step of generation a tile would stay nearly empty. So: a block a head and query
 * (blockIdx.y), its warps share the keys, its scores with all keys fit into shared memory. */
template <class T>
__global__ void attend_few(T *out, const T *qkv, const T *cache, int64_t first, int64_t heads, int64_t group,
                           int dim, float scale)
{
    MU_SHARED(float, score); /* [keys] */
    __shared__ float each[WARPS], part[WARPS * MAX_DIM];
    constexpr int OWN = MAX_DIM / MU_WARP;
    int lane = threadIdx.x % MU_WARP, warp = threadIdx.x / MU_WARP;
    int64_t head = blockIdx.x, query = blockIdx.y, keys = first + query + 1, kv = head / group;
    const T *q = qkv + (query * (heads + 2 * (heads / group)) + kv * (group + 2) + head % group) * dim;
    const T *k = cache + kv * 2 * dim, *v = k + dim;
    int64_t apart = heads / group * 2 * dim;
    float mine[OWN], max = -INFINITY, sum = 0;
    for (int i = 0; i < OWN; i++)
        mine[i] = lane + MU_WARP * i < dim ? scale * mu_float(q[lane + MU_WARP * i]) : 0;
    for (int64_t j = warp; j < keys; j += WARPS) {
        float product = 0;
        for (int i = 0; i < OWN; i++)
            if (lane + MU_WARP * i < dim)
                product += mine[i] * mu_float(k[j * apart + lane + MU_WARP * i]);
        product = mu_warp_sum(product);
        if (lane == 0)
            score[j] = product;
    }
    __syncthreads();
    for (int64_t j = threadIdx.x; j < keys; j += THREADS)
        max = fmaxf(max, score[j]);
    max = mu_block_max(max, each);
    for (int64_t j = threadIdx.x; j < keys; j += THREADS) {
        score[j] = expf(score[j] - max);
        sum += score[j];
    }
    sum = mu_block_sum(sum, each); /* after which all see all scores */
    for (int i = 0; i < OWN; i++)
        mine[i] = 0;
    for (int64_t j = warp; j < keys; j += WARPS)
        for (int i = 0; i < OWN; i++)
            if (lane + MU_WARP * i < dim)
                mine[i] += score[j] * mu_float(v[j * apart + lane + MU_WARP * i]);
    for (int i = 0; i < OWN; i++)
        part[warp * MAX_DIM + lane + MU_WARP * i] = mine[i];
    __syncthreads();
    for (int c = threadIdx.x; c < dim; c += THREADS) {
        float total = 0;
        for (int w = 0; w < WARPS; w++)
            total += part[w * MAX_DIM + c];
        out[(query * heads + head) * dim + c] = mu_from<T>(total / sum);
    }
}

void mu_cuda_attention_cached(mu_device_t *dev, mu_array_t out, mu_array_t cache, mu_array_t qkv,
                              int64_t first, const mu_attention_t *shape)
{
    int64_t keys = first + shape->seq, kv_heads = mu_attention_kv_heads(shape),
            group = shape->heads / kv_heads;
    bool few = shape->seq <= FEW && keys <= FEW_KEYS && shape->head_dim <= MAX_DIM;
    mu_by_type(qkv.type, [&](auto t) {
        using T = decltype(t);
        int64_t n = shape->seq * kv_heads * 2 * shape->head_dim;
        MU_LAUNCH(append<T>, mu_grid(mu_blocks(n, THREADS)), THREADS, 0, mu_stream(dev), (T *)cache.data,
                  (const T *)qkv.data, shape->seq, first, kv_heads, group, shape->head_dim);
        if (few)
            MU_LAUNCH(attend_few<T>, mu_grid(shape->heads, shape->seq), THREADS,
                      keys * (int64_t)sizeof(float), mu_stream(dev), (T *)out.data, (const T *)qkv.data,
                      (const T *)cache.data, first, shape->heads, group, (int)shape->head_dim,
                      (float)shape->scale);
    });
    mu_cuda_check(dev, "attention");
    if (!few)
        mu_cuda_plain_cached(dev, out, cache, qkv, first, shape);
}
