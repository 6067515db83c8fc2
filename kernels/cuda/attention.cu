/* Causal attention in float for any type and any width of head up to 256. Narrow types whose heads fit the matrix
 * units go to attention_mma.cu, and all that cuDNN takes, where it is in use, to attention_cudnn.cu. */
#include "kernels/cuda/cu.h"

/* --- attention, in tiles of TILE queries by TILE keys ---
 *
 * Eight threads share a query (backward to keys: a key), which lie in one warp, so that what they agree on
 * needs a shuffle and no barrier. Tiles lie in shared memory as floats, rows one float longer than a head, so
 * that eight rows read at one column meet eight banks. The element type is looked at only when memory is
 * read or written: one kernel serves all. */

enum { SHARE = 8, MAX_DIM = MU_CUDA_MAX_DIM, MAX_OWN = MAX_DIM / SHARE };

typedef struct lines {
    void *data;
    int64_t row, group, head, batch; /* elements from one token, group, head of it, sequence to the next */
} lines_t;

typedef struct plain {
    mu_dtype_t type;
    lines_t q, k, v, out, dout, dq, dk, dv;
    float *lse, *delta, *unit;                  /* [batch][heads][queries] */
    const int32_t *start;                       /* [batch][queries]: the first key that one sees; NULL: 0 */
    mu_cuda_kept_t kept;                        /* of the probabilities */
    int64_t heads, group, queries, keys, first; /* heads of queries, to a key; query i sits at first + i */
    int dim;
    float scale;
} plain_t;

__device__ static inline float get(mu_dtype_t type, const void *p, int64_t i)
{
    if (type == MU_DTYPE_F32)
        return ((const float *)p)[i];
    if (type == MU_DTYPE_BF16)
        return mu_float(((const __nv_bfloat16 *)p)[i]);
    return mu_float(((const __half *)p)[i]);
}

__device__ static inline void put(mu_dtype_t type, void *p, int64_t i, float x)
{
    if (type == MU_DTYPE_F32)
        ((float *)p)[i] = x;
    else if (type == MU_DTYPE_BF16)
        ((__nv_bfloat16 *)p)[i] = mu_from<__nv_bfloat16>(x);
    else
        ((__half *)p)[i] = mu_from<__half>(x);
}

/* Where head number `which` of batch * heads begins, counted by queries. */
__device__ static inline int64_t base(const plain_t &a, const lines_t &l, int64_t which)
{
    int64_t head = which % a.heads;
    return which / a.heads * l.batch + head / a.group * l.group + head % a.group * l.head;
}

/* The first key that a query of head `which` sees; of rows after the queries 0. */
__device__ static inline int64_t first_key(const plain_t &a, int64_t which, int64_t query)
{
    return a.start && query < a.queries ? a.start[which / a.heads * a.queries + query] : 0;
}

/* What a probability counts after dropout, of a query that is one. */
__device__ static inline float keep(const plain_t &a, int64_t which, int64_t query, int64_t key)
{
    bool in =
        !a.kept.bits || a.kept.bits[(which * a.queries + query) * a.kept.row + key / 8] >> (int)(key % 8) & 1;
    return in ? a.kept.factor : 0;
}

/* Rows from .. from + TILE - 1 of head `which` of l into shared memory, zeros from row `count` on. */
template <int TILE>
__device__ static void load_tile(float *tile, const plain_t &a, const lines_t &l, int64_t which, int64_t from,
                                 int64_t count)
{
    int64_t at = base(a, l, which);
    for (int i = threadIdx.x; i < TILE * a.dim; i += TILE * SHARE) {
        int r = i / a.dim, c = i % a.dim;
        tile[r * (a.dim + 1) + c] = from + r < count ? get(a.type, l.data, at + (from + r) * l.row + c) : 0;
    }
}

/* Row `row` of head `which` of l = this thread's columns of x, times factor. */
__device__ static inline void store_row(const plain_t &a, const lines_t &l, int64_t which, int64_t row,
                                        int share, const float *x, float factor)
{
    int64_t at = base(a, l, which) + row * l.row;
    for (int i = 0; i < MAX_OWN; i++)
        if (share + SHARE * i < a.dim)
            put(a.type, l.data, at + share + SHARE * i, x[i] * factor);
}

__device__ static inline float dot(const float *x, const float *y, int n)
{
    float sum = 0;
    for (int c = 0; c < n; c++)
        sum += x[c] * y[c];
    return sum;
}

__device__ static inline float share_sum(float x)
{
    for (int lane = SHARE / 2; lane > 0; lane /= 2)
        x += __shfl_xor_sync(MU_FULL, x, lane);
    return x;
}

/* to += the sum over j of weights[j] tile[j], for this thread's columns */
template <int TILE>
__device__ static inline void add_rows(float *to, const float *weights, const float *tile, int dim, int share)
{
    for (int j = 0; j < TILE; j++) {
        float weight = weights[j];
        for (int i = 0; i < MAX_OWN; i++)
            if (share + SHARE * i < dim)
                to[i] += weight * tile[j * (dim + 1) + share + SHARE * i];
    }
}

template <int TILE> __global__ void plain_forward(plain_t a)
{
    MU_SHARED(float, q);                                              /* [TILE][dim + 1] */
    float *kv = q + TILE * (a.dim + 1), *p = kv + TILE * (a.dim + 1); /* p: [TILE][TILE + 1] */
    int row = threadIdx.x / SHARE, share = threadIdx.x % SHARE, width = a.dim + 1;
    int64_t from = (int64_t)(gridDim.x - 1 - blockIdx.x) * TILE; /* long rows first */
    int64_t position = a.first + from + row;
    int64_t end = a.first + from + TILE < a.keys ? a.first + from + TILE : a.keys;
    int64_t since = first_key(a, blockIdx.y, from + row),
            begin = first_key(a, blockIdx.y, from) / TILE * TILE;
    float own[MAX_OWN], max = -INFINITY, sum = 0;
    for (int i = 0; i < MAX_OWN; i++)
        own[i] = 0;
    load_tile<TILE>(q, a, a.q, blockIdx.y, from, a.queries);
    for (int64_t key = begin; key < end; key += TILE) {
        __syncthreads(); /* nobody reads the last values any more */
        load_tile<TILE>(kv, a, a.k, blockIdx.y, key, a.keys);
        __syncthreads();
        float score[TILE / SHARE], top = max;
        for (int j = 0; j < TILE / SHARE; j++) {
            int64_t other = key + share + SHARE * j;
            score[j] = other <= position && other >= since && other < a.keys
                           ? a.scale * dot(q + row * width, kv + (share + SHARE * j) * width, a.dim)
                           : -INFINITY;
            top = fmaxf(top, score[j]);
        }
        for (int lane = SHARE / 2; lane > 0; lane /= 2)
            top = fmaxf(top, __shfl_xor_sync(MU_FULL, top, lane));
        float old = max, part = 0;
        max = top;
        top = top == -INFINITY ? 0 : top; /* the row has seen no key of its document yet */
        float shrink = expf(old - top);
        for (int j = 0; j < TILE / SHARE; j++) {
            score[j] = expf(score[j] - top);
            part += score[j];
            if (from + row < a.queries)
                score[j] *= keep(a, blockIdx.y, from + row, key + share + SHARE * j);
            p[row * (TILE + 1) + share + SHARE * j] = score[j];
        }
        sum = sum * shrink + share_sum(part);
        for (int i = 0; i < MAX_OWN; i++)
            own[i] *= shrink;
        __syncthreads();
        load_tile<TILE>(kv, a, a.v, blockIdx.y, key, a.keys);
        __syncthreads();
        add_rows<TILE>(own, p + row * (TILE + 1), kv, a.dim, share);
    }
    if (from + row >= a.queries)
        return;
    store_row(a, a.out, blockIdx.y, from + row, share, own, 1 / sum);
    if (a.lse && share == 0)
        a.lse[blockIdx.y * a.queries + from + row] = max + logf(sum);
}

/* Backward to queries. The first pass over the keys makes two sums of each query: of p, which is 1 but for
 * the rounding of lse, and delta, of p dp, from the very numbers that it corrects (out has been rounded, and
 * the scores' gradients nearly cancel). */
template <int TILE> __global__ void plain_backward_q(plain_t a)
{
    MU_SHARED(float, q);
    int width = a.dim + 1, row = threadIdx.x / SHARE, share = threadIdx.x % SHARE;
    float *g = q + TILE * width, *k = g + TILE * width, *v = k + TILE * width, *ds = v + TILE * width;
    int64_t from = (int64_t)(gridDim.x - 1 - blockIdx.x) * TILE, i = from + row;
    int64_t end = from + TILE < a.keys ? from + TILE : a.keys;
    bool there = i < a.queries;
    int64_t since = first_key(a, blockIdx.y, i), begin = first_key(a, blockIdx.y, from) / TILE * TILE;
    float lse = there ? a.lse[blockIdx.y * a.queries + i] : 0, total = 0, delta = 0, own[MAX_OWN];
    for (int c = 0; c < MAX_OWN; c++)
        own[c] = 0;
    load_tile<TILE>(q, a, a.q, blockIdx.y, from, a.queries);
    load_tile<TILE>(g, a, a.dout, blockIdx.y, from, a.queries);
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t key = begin; key < end; key += TILE) {
            __syncthreads();
            load_tile<TILE>(k, a, a.k, blockIdx.y, key, a.keys);
            load_tile<TILE>(v, a, a.v, blockIdx.y, key, a.keys);
            __syncthreads();
            for (int j = share; j < TILE; j += SHARE) {
                bool seen = there && key + j <= i && key + j >= since;
                float p = seen ? expf(a.scale * dot(q + row * width, k + j * width, a.dim) - lse) : 0;
                float dp =
                    seen ? dot(g + row * width, v + j * width, a.dim) * keep(a, blockIdx.y, i, key + j) : 0;
                if (pass == 0) {
                    total += p;
                    delta += p * dp;
                } else {
                    ds[row * (TILE + 1) + j] = p * (dp - delta);
                }
            }
            __syncwarp();
            if (pass == 1)
                add_rows<TILE>(own, ds + row * (TILE + 1), k, a.dim, share);
        }
        if (pass == 0) {
            total = share_sum(total);
            delta = share_sum(delta) / total;
        }
    }
    if (!there)
        return;
    store_row(a, a.dq, blockIdx.y, i, share, own, a.scale / total);
    if (share == 0) {
        a.delta[blockIdx.y * a.queries + i] = delta;
        a.unit[blockIdx.y * a.queries + i] = 1 / total;
    }
}

/* Backward to keys: a thread's row is a key, and the queries from there on pass by, head by head of those that
 * share it. blockIdx.y is batch * key/value heads + key/value head. */
template <int TILE> __global__ void plain_backward_kv(plain_t a)
{
    MU_SHARED(float, k);
    int width = a.dim + 1, row = threadIdx.x / SHARE, share = threadIdx.x % SHARE;
    float *v = k + TILE * width, *q = v + TILE * width, *g = q + TILE * width, *p = g + TILE * width;
    float *ds = p + TILE * (TILE + 1);
    int64_t from = (int64_t)blockIdx.x * TILE, j = from + row, first = blockIdx.y * a.group;
    float own_k[MAX_OWN], own_v[MAX_OWN];
    for (int c = 0; c < MAX_OWN; c++)
        own_k[c] = own_v[c] = 0;
    load_tile<TILE>(k, a, a.k, first, from, a.keys);
    load_tile<TILE>(v, a, a.v, first, from, a.keys);
    for (int64_t head = first; head < first + a.group; head++) {
        const float *lse = a.lse + head * a.queries, *delta = a.delta + head * a.queries,
                    *unit = a.unit + head * a.queries;
        for (int64_t query = from; query < a.queries && first_key(a, head, query) < from + TILE;
             query += TILE) {
            __syncthreads();
            load_tile<TILE>(q, a, a.q, head, query, a.queries);
            load_tile<TILE>(g, a, a.dout, head, query, a.queries);
            __syncthreads();
            for (int i = share; i < TILE; i += SHARE) {
                bool seen = query + i < a.queries && j <= query + i && j >= first_key(a, head, query + i);
                float weight = 0, gradient = 0;
                if (seen) {
                    float score = a.scale * dot(k + row * width, q + i * width, a.dim);
                    weight = expf(score - lse[query + i]) * unit[query + i];
                    float kept = keep(a, head, query + i, j);
                    gradient =
                        weight * (dot(v + row * width, g + i * width, a.dim) * kept - delta[query + i]);
                    weight *= kept;
                }
                p[row * (TILE + 1) + i] = weight;
                ds[row * (TILE + 1) + i] = gradient;
            }
            __syncwarp();
            add_rows<TILE>(own_v, p + row * (TILE + 1), g, a.dim, share);
            add_rows<TILE>(own_k, ds + row * (TILE + 1), q, a.dim, share);
        }
    }
    if (j >= a.keys)
        return;
    store_row(a, a.dk, first, j, share, own_k, a.scale);
    store_row(a, a.dv, first, j, share, own_v, 1);
}

/* --- launching them --- */

/* Bytes of shared memory: `tiles` of rows and `squares` of scores. */
static int64_t shared_bytes(int tile, int tiles, int squares, int dim)
{
    return ((int64_t)tiles * tile * (dim + 1) + (int64_t)squares * tile * (tile + 1)) *
           (int64_t)sizeof(float);
}

/* One kernel for each size of tile. A block of more threads uses what it loads more often, so the largest that
 * fits is taken: 8 is for the widest heads on GPUs with 64 KiB of shared memory. */
typedef struct by_tile {
    void (*of32)(plain_t), (*of16)(plain_t), (*of8)(plain_t);
} by_tile_t;

bool mu_cuda_heads_fit(mu_device_t *dev, int64_t dim)
{
    if (dim > MAX_DIM)
        mu_cuda_host->error(dev,
                            mu_cuda_host->fail(MU_CONFIG, "cuda: heads of %lld elements; %d is the most here",
                                               (long long)dim, MAX_DIM));
    return dim <= MAX_DIM;
}

/* rows: of each of `heads` heads (of all sequences). */
static void launch(mu_device_t *dev, const by_tile_t &kernels, int tiles, int squares, const plain_t &a,
                   int64_t rows, int64_t heads, const char *doing)
{
    int limit = mu_cuda(dev)->shared_limit;
    if (!mu_cuda_heads_fit(dev, a.dim))
        return;
    int tile = a.dim <= 128 && shared_bytes(32, tiles, squares, a.dim) <= limit ? 32
               : shared_bytes(16, tiles, squares, a.dim) <= limit               ? 16
                                                                                : 8;
    int64_t shared = shared_bytes(tile, tiles, squares, a.dim);
    void (*kernel)(plain_t) = tile == 32 ? kernels.of32 : tile == 16 ? kernels.of16 : kernels.of8;
    if (!mu_cuda_shared(dev, (const void *)kernel, shared, doing))
        return;
    MU_LAUNCH(kernel, mu_grid(mu_blocks(rows, tile), heads), tile * SHARE, shared, mu_stream(dev), a);
    mu_cuda_check(dev, doing);
}

/* Lines of x laid out as [tokens][groups][parts][dim]: part number `part` of a group for its first head, and for
 * the next ones the same (`apart` 0) or `apart` parts further. */
static lines_t lines(mu_array_t x, const mu_attention_t *s, int64_t parts, int64_t part, int64_t apart)
{
    int64_t d = s->head_dim, row = mu_attention_kv_heads(s) * parts * d;
    return {mu_array_at(x, part * d).data, row, parts * d, apart * d, s->seq * row};
}
static int64_t group_of(const mu_attention_t *s)
{
    return s->heads / mu_attention_kv_heads(s);
}
/* The queries, keys or values in lines of qkv. */
enum { QUERY, KEY, VALUE };
static lines_t lines_in(mu_array_t qkv, const mu_attention_t *s, int which)
{
    int64_t group = group_of(s);
    return lines(qkv, s, group + 2, which == QUERY ? 0 : group + which - 1, which == QUERY ? 1 : 0);
}
/* Attention's output. */
static lines_t lines_out(mu_array_t out, const mu_attention_t *s)
{
    return lines(out, s, group_of(s), 0, 1);
}

static plain_t plain(mu_array_t qkv, const mu_attention_t *s)
{
    plain_t a = {};
    a.type = qkv.type;
    a.q = lines_in(qkv, s, QUERY);
    a.k = lines_in(qkv, s, KEY);
    a.v = lines_in(qkv, s, VALUE);
    a.heads = s->heads;
    a.group = group_of(s);
    a.queries = a.keys = s->seq;
    a.start = s->start;
    a.kept.factor = 1;
    a.dim = (int)s->head_dim;
    a.scale = (float)s->scale;
    return a;
}

void mu_cuda_attention_forward(mu_device_t *dev, mu_array_t out, float *lse, mu_array_t qkv,
                               const mu_attention_t *shape)
{
    if (mu_cuda_cudnn_forward(dev, out, lse, qkv, shape))
        return;
    int64_t bytes = mu_cuda_kept_bytes(shape);
    void *room = bytes > 0 ? mu_cuda_scratch(dev, bytes) : NULL;
    if (bytes > 0 && !room)
        return;
    mu_cuda_kept_t kept = mu_cuda_draw_kept(dev, room, shape);
    if (mu_cuda_mma_forward(dev, out, lse, qkv, &kept, shape))
        return;
    plain_t a = plain(qkv, shape);
    a.kept = kept;
    a.out = lines_out(out, shape);
    a.lse = lse;
    launch(dev, {plain_forward<32>, plain_forward<16>, plain_forward<8>}, 2, 1, a, shape->seq,
           shape->batch * shape->heads, "attention");
}

void mu_cuda_attention_backward(mu_device_t *dev, mu_array_t dqkv, mu_array_t dout, mu_array_t qkv,
                                mu_array_t out, const float *lse, const mu_attention_t *shape)
{
    if (mu_cuda_cudnn_backward(dev, dqkv, dout, qkv, out, lse, shape))
        return;
    int64_t count = shape->batch * shape->heads * shape->seq;
    float *delta =
        (float *)mu_cuda_scratch(dev, 2 * count * (int64_t)sizeof *delta + mu_cuda_kept_bytes(shape));
    if (!delta)
        return;
    mu_cuda_kept_t kept = mu_cuda_draw_kept(dev, delta + 2 * count, shape);
    if (mu_cuda_mma_backward(dev, dqkv, dout, qkv, out, lse, delta, &kept, shape))
        return;
    plain_t a = plain(qkv, shape);
    a.kept = kept;
    a.dout = lines_out(dout, shape);
    a.dq = lines_in(dqkv, shape, QUERY);
    a.dk = lines_in(dqkv, shape, KEY);
    a.dv = lines_in(dqkv, shape, VALUE);
    a.lse = const_cast<float *>(lse); /* read only */
    a.delta = delta;
    a.unit = delta + count;
    launch(dev, {plain_backward_q<32>, plain_backward_q<16>, plain_backward_q<8>}, 4, 1, a, shape->seq,
           shape->batch * shape->heads, "attention backward");
    launch(dev, {plain_backward_kv<32>, plain_backward_kv<16>, plain_backward_kv<8>}, 4, 2, a, shape->seq,
           shape->batch * mu_attention_kv_heads(shape), "attention backward");
}

/* Many queries against a cache whose keys and values are there already. */
void mu_cuda_plain_cached(mu_device_t *dev, mu_array_t out, mu_array_t cache, mu_array_t qkv, int64_t first,
                          const mu_attention_t *shape)
{
    plain_t a = plain(qkv, shape);
    a.k = lines(cache, shape, 2, 0, 0);
    a.v = lines(cache, shape, 2, 1, 0);
    a.out = lines_out(out, shape);
    a.first = first;
    a.keys = first + shape->seq;
    launch(dev, {plain_forward<32>, plain_forward<16>, plain_forward<8>}, 2, 1, a, shape->seq, shape->heads,
           "attention");
}
