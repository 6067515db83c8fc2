/* Attention of new tokens against a cache of keys and values. */
#include "kernels/cuda/cu.h"

enum { THREADS = 256, WARPS = THREADS / MU_WARP, FEW = 8, MAX_DIM = MU_CUDA_MAX_DIM };
enum { ROOM = 8192 }; /* scores that a block holds at a time */

/* Where the tokens of a call sit in a cache: in slots of `capacity` tokens, each with a position of its own, which a
 * kernel reads when it runs, as a graph needs it; or, without `slot`, one after the other from `first` on. */
typedef struct where {
    const int32_t *slot, *start;
    int64_t capacity, first;
} where_t;

/* The cache's token at which the sequence of token i begins. */
__device__ static inline int64_t sequence_of(const where_t &at, int64_t i)
{
    return at.slot ? at.slot[i] * at.capacity : 0;
}
__device__ static inline int64_t position_of(const where_t &at, int64_t i)
{
    return at.slot ? -(int64_t)at.start[i] : at.first + i;
}

/* heads: of keys and values, `group` queries to each */
template <class T>
__global__ void append(T *cache, const T *qkv, where_t at, int64_t tokens, int64_t heads, int64_t group,
                       int64_t dim)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, pair = i % (2 * dim),
            head = i / (2 * dim) % heads, token = i / (2 * dim * heads);
    if (token < tokens)
        cache[((sequence_of(at, token) + position_of(at, token)) * heads + head) * 2 * dim + pair] =
            qkv[((token * heads + head) * (group + 2) + group) * dim + pair];
}

/* For the few queries of a step of generation a tile would stay nearly empty. So: a block a head and query
 * (blockIdx.y), its warps share the keys, `room` of its scores at a time lie in shared memory. */
template <class T>
__global__ void attend_few(T *out, const T *qkv, const T *cache, where_t at, int64_t heads, int64_t group,
                           int dim, float scale, int room)
{
    MU_SHARED(float, score); /* [room] */
    __shared__ float each[WARPS], part[WARPS * MAX_DIM];
    constexpr int OWN = MAX_DIM / MU_WARP;
    int lane = threadIdx.x % MU_WARP, warp = threadIdx.x / MU_WARP;
    int64_t head = blockIdx.x, query = blockIdx.y, keys = position_of(at, query) + 1, kv = head / group;
    int64_t apart = heads / group * 2 * dim;
    const T *q = qkv + (query * (heads + 2 * (heads / group)) + kv * (group + 2) + head % group) * dim;
    const T *k = cache + sequence_of(at, query) * apart + kv * 2 * dim, *v = k + dim;
    float mine[OWN], own[OWN], max = -INFINITY, sum = 0;
    for (int i = 0; i < OWN; i++) {
        mine[i] = lane + MU_WARP * i < dim ? scale * mu_float(q[lane + MU_WARP * i]) : 0;
        own[i] = 0;
    }
    for (int64_t from = 0; from < keys; from += room, k += room * apart, v += room * apart) {
        int count = keys - from < room ? (int)(keys - from) : room;
        __syncthreads(); /* nobody reads the last scores any more */
        for (int j = warp; j < count; j += WARPS) {
            float product = 0;
            for (int i = 0; i < OWN; i++)
                if (lane + MU_WARP * i < dim)
                    product += mine[i] * mu_float(k[j * apart + lane + MU_WARP * i]);
            product = mu_warp_sum(product);
            if (lane == 0)
                score[j] = product;
        }
        __syncthreads();
        float top = max, more = 0;
        for (int j = threadIdx.x; j < count; j += THREADS)
            top = fmaxf(top, score[j]);
        top = mu_block_max(top, each);
        for (int j = threadIdx.x; j < count; j += THREADS) {
            score[j] = expf(score[j] - top);
            more += score[j];
        }
        more = mu_block_sum(more, each); /* after which all see all scores */
        float shrink = expf(max - top);
        max = top;
        sum = sum * shrink + more;
        for (int i = 0; i < OWN; i++)
            own[i] *= shrink;
        for (int j = warp; j < count; j += WARPS)
            for (int i = 0; i < OWN; i++)
                if (lane + MU_WARP * i < dim)
                    own[i] += score[j] * mu_float(v[j * apart + lane + MU_WARP * i]);
    }
    for (int i = 0; i < OWN; i++)
        part[warp * MAX_DIM + lane + MU_WARP * i] = own[i];
    __syncthreads();
    for (int c = threadIdx.x; c < dim; c += THREADS) {
        float total = 0;
        for (int w = 0; w < WARPS; w++)
            total += part[w * MAX_DIM + c];
        out[(query * heads + head) * dim + c] = mu_from<T>(total / sum);
    }
}

/* Keys and values of `tokens` new tokens into the cache; then, if there are few, what these attend to. keys: of the
 * longest sequence. */
static void step(mu_device_t *dev, mu_array_t out, mu_array_t cache, mu_array_t qkv, const where_t &at,
                 int64_t tokens, int64_t keys, bool few, const mu_attention_t *shape)
{
    int64_t kv_heads = mu_attention_kv_heads(shape), group = shape->heads / kv_heads;
    int room = (int)mu_min_i64(keys, ROOM);
    mu_by_type(qkv.type, [&](auto t) {
        using T = decltype(t);
        int64_t n = tokens * kv_heads * 2 * shape->head_dim;
        MU_LAUNCH(append<T>, mu_grid(mu_blocks(n, THREADS)), THREADS, 0, mu_stream(dev), (T *)cache.data,
                  (const T *)qkv.data, at, tokens, kv_heads, group, shape->head_dim);
        if (few)
            MU_LAUNCH(attend_few<T>, mu_grid(shape->heads, tokens), THREADS, room * (int64_t)sizeof(float),
                      mu_stream(dev), (T *)out.data, (const T *)qkv.data, (const T *)cache.data, at,
                      shape->heads, group, (int)shape->head_dim, (float)shape->scale, room);
    });
    mu_cuda_check(dev, "attention");
}

void mu_cuda_attention_cached(mu_device_t *dev, mu_array_t out, mu_array_t cache, mu_array_t qkv,
                              int64_t first, const mu_attention_t *shape)
{
    bool few = shape->seq <= FEW && shape->head_dim <= MAX_DIM;
    step(dev, out, cache, qkv, {NULL, NULL, 0, first}, shape->seq, first + shape->seq, few, shape);
    if (!few)
        mu_cuda_plain_cached(dev, out, cache, qkv, first, shape);
}

void mu_cuda_attention_rows(mu_device_t *dev, mu_array_t out, mu_array_t cache, mu_array_t qkv,
                            const int32_t *slot, const int32_t *start, int64_t capacity,
                            const mu_attention_t *shape)
{
    if (mu_cuda_heads_fit(dev, shape->head_dim))
        step(dev, out, cache, qkv, {slot, start, capacity, 0}, shape->batch, capacity, true, shape);
}
