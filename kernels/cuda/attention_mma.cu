/*
 * Causal attention on the matrix units, for bf16 and fp16 with heads of up to 128 in steps of 16.
 *
 * A block of four warps takes ROWS queries (backward to keys: keys), a warp 16 of them, and the other side
 * passes by in tiles through shared memory. Scores live in registers, from one product's result to the next
 * product's operand (mma.h). Narrow heads are widened with zeros to the next D that there is a kernel for.
 * No atomics: gradients of queries and of keys are made by two kernels, which computes the scores twice and
 * gives the same bits every time.
 *
 * Names: T element type, D width of the tiles, W elements from one row of a tile to the next: eight more than
 * D, so that the eight rows that one access reads begin in different banks.
 */
#include "kernels/cuda/mma.h"

enum { WARPS = 4, THREADS = WARPS * MU_WARP, ROWS = 16 * WARPS };

typedef struct heads {
    const void *qkv, *dout; /* [tokens][heads][3][dim], [tokens][heads][dim] */
    void *out, *dqkv;
    float *lse, *delta; /* [batch][heads][seq] */
    int64_t seq, heads;
    int dim;
    float scale;
} heads_t;

static constexpr float LOG2E = 1.44269504F;

/* --- tiles in shared memory --- */

/* Rows from .. from + COUNT - 1 of `x`, `row` elements apart, zeros outside the sequence and the head. */
template <int COUNT, class T, int D>
__device__ static inline void copy_tile(T *tile, const T *x, int64_t from, int64_t row, const heads_t &h)
{
    constexpr int PIECES = D / 8;
    for (int i = threadIdx.x; i < COUNT * PIECES; i += THREADS) {
        int r = i / PIECES, c = i % PIECES * 8;
        bool valid = from + r < h.seq && c < h.dim;
        mu_copy16(tile + r * (D + 8) + c, valid ? x + (from + r) * row + c : x, valid);
    }
}

/* The row of a block of 16 x 16 that this lane names, so that the four parts are a[0..3], or, transposed, the
 * b0 and b1 of the first 8 columns and of the last. */
__device__ static inline int row_first(int lane)
{
    return lane % 16;
}
__device__ static inline int column_first(int lane)
{
    return lane / 16 * 8;
}
/* Likewise for b made of rows: parts are b0 and b1 of the first 8 rows, then of the last. */
__device__ static inline int row_second(int lane)
{
    return lane % 8 + lane / 16 * 8;
}
__device__ static inline int column_second(int lane)
{
    return lane / 8 % 2 * 8;
}

/* s (16 x 8N) = a b^T: a is this warp's 16 rows of a tile, b a tile of 8N rows. */
template <int N, class T, int D>
__device__ static inline void rows_by_rows(float s[N][4], const T *a, const T *b, int lane)
{
    constexpr int W = D + 8;
    for (int n = 0; n < N; n++)
        for (int i = 0; i < 4; i++)
            s[n][i] = 0;
    MU_UNROLL
    for (int c = 0; c < D; c += 16) {
        uint32_t fa[4];
        mu_blocks4<false>(fa, a + row_first(lane) * W + c + column_first(lane));
        MU_UNROLL
        for (int n = 0; n < N; n += 2) {
            uint32_t fb[4];
            mu_blocks4<false>(fb, b + (n * 8 + row_second(lane)) * W + c + column_second(lane));
            mu_mma<T>(s[n], fa, fb[0], fb[1]);
            mu_mma<T>(s[n + 1], fa, fb[2], fb[3]);
        }
    }
}

/* o (16 x D) += p b: p (16 x 8N) is rounded to T, b a tile of 8N rows. */
template <int N, class T, int D>
__device__ static inline void scores_by_rows(float o[D / 8][4], const float p[N][4], const T *b, int lane)
{
    constexpr int W = D + 8;
    MU_UNROLL
    for (int n = 0; n < N; n += 2) {
        uint32_t fa[4] = {mu_pair<T>(p[n][0], p[n][1]), mu_pair<T>(p[n][2], p[n][3]),
                          mu_pair<T>(p[n + 1][0], p[n + 1][1]), mu_pair<T>(p[n + 1][2], p[n + 1][3])};
        MU_UNROLL
        for (int c = 0; c < D; c += 16) {
            uint32_t fb[4];
            mu_blocks4<true>(fb, b + (n * 8 + row_first(lane)) * W + c + column_first(lane));
            mu_mma<T>(o[c / 8], fa, fb[0], fb[1]);
            mu_mma<T>(o[c / 8 + 1], fa, fb[2], fb[3]);
        }
    }
}

/* Rows g and g + 8 of this warp's 16, at `x` + row * `apart`, = o times a factor each. */
template <class T, int D>
__device__ static inline void store_rows(T *x, int64_t apart, const float o[D / 8][4], int64_t first,
                                         const float factor[2], const heads_t &h, int lane)
{
    for (int half = 0; half < 2; half++) {
        int64_t row = first + lane / 4 + 8 * half;
        if (row >= h.seq)
            continue;
        MU_UNROLL
        for (int n = 0; n < D / 8; n++) {
            int c = n * 8 + lane % 4 * 2;
            if (c < h.dim)
                *(uint32_t *)(x + row * apart + c) =
                    mu_pair<T>(o[n][2 * half] * factor[half], o[n][2 * half + 1] * factor[half]);
        }
    }
}

/* Over the four lanes that hold one row of a result. */
__device__ static inline float row_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(MU_FULL, x, 1));
    return fmaxf(x, __shfl_xor_sync(MU_FULL, x, 2));
}
__device__ static inline float row_sum(float x)
{
    x += __shfl_xor_sync(MU_FULL, x, 1);
    return x + __shfl_xor_sync(MU_FULL, x, 2);
}

/* --- forward --- */

/* Online softmax (Milakov and Gimelshein, 2018) over tiles, as FlashAttention-2 (Dao, 2023) orders it: while
 * the scores are made the values come, and while the values are used the next keys come. */
template <class T, int D> __global__ void __launch_bounds__(THREADS) forward(heads_t h)
{
    constexpr int W = D + 8, N = ROWS / 8;
    if constexpr (MU_BEFORE_SM_80 && !std::is_same_v<T, __half>)
        return;
    MU_SHARED(T, sq);
    T *sk = sq + ROWS * W, *sv = sk + ROWS * W;
    int lane = threadIdx.x % MU_WARP, warp = threadIdx.x / MU_WARP;
    int64_t b = blockIdx.y / h.heads, head = blockIdx.y % h.heads, apart = 3 * h.heads * h.dim;
    int tile = (int)(gridDim.x - 1 - blockIdx.x); /* long rows first */
    int64_t from = (int64_t)tile * ROWS;
    const T *q = (const T *)h.qkv + b * h.seq * apart + head * 3 * h.dim, *k = q + h.dim, *v = k + h.dim;
    copy_tile<ROWS, T, D>(sq, q, from, apart, h);
    copy_tile<ROWS, T, D>(sk, k, 0, apart, h);
    mu_copy_commit();
    float o[D / 8][4] = {}, max[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0}, c = h.scale * LOG2E;
    for (int at = 0; at <= tile; at++) {
        mu_copy_wait<0>();
        __syncthreads();
        copy_tile<ROWS, T, D>(sv, v, (int64_t)at * ROWS, apart, h);
        mu_copy_commit();
        float s[N][4];
        rows_by_rows<N, T, D>(s, sq + warp * 16 * W, sk, lane);
        mu_copy_wait<0>();
        __syncthreads();
        if (at < tile) {
            copy_tile<ROWS, T, D>(sk, k, (int64_t)(at + 1) * ROWS, apart, h);
            mu_copy_commit();
        }
        if (at == tile)
            for (int n = 0; n < N; n++)
                for (int i = 0; i < 4; i++)
                    if (n * 8 + lane % 4 * 2 + i % 2 > warp * 16 + lane / 4 + i / 2 * 8)
                        s[n][i] = -INFINITY;
        for (int half = 0; half < 2; half++) {
            float top = max[half];
            for (int n = 0; n < N; n++)
                top = fmaxf(top, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
            top = row_max(top);
            float shrink = mu_exp2((max[half] - top) * c), part = 0;
            max[half] = top;
            for (int n = 0; n < N; n++)
                for (int i = 2 * half; i < 2 * half + 2; i++) {
                    s[n][i] = mu_exp2(s[n][i] * c - top * c);
                    part += s[n][i];
                }
            sum[half] = sum[half] * shrink + part;
            for (int n = 0; n < D / 8; n++)
                for (int i = 2 * half; i < 2 * half + 2; i++)
                    o[n][i] *= shrink;
        }
        scores_by_rows<N, T, D>(o, s, sv, lane);
    }
    float factor[2];
    for (int half = 0; half < 2; half++) {
        sum[half] = row_sum(sum[half]);
        factor[half] = 1 / sum[half];
        int64_t row = from + warp * 16 + lane / 4 + 8 * half;
        if (lane % 4 == 0 && row < h.seq)
            h.lse[blockIdx.y * h.seq + row] = max[half] * h.scale + logf(sum[half]);
    }
    T *out = (T *)h.out + (b * h.seq * h.heads + head) * h.dim;
    store_rows<T, D>(out, h.heads * h.dim, o, from + warp * 16, factor, h, lane);
}

/* --- backward --- */

/* delta = the sum over a head of dout out: a warp a token and head. */
template <class T> __global__ void make_delta(heads_t h, int64_t tokens)
{
    int64_t i = (int64_t)blockIdx.x * WARPS + threadIdx.x / MU_WARP;
    if (i >= tokens * h.heads)
        return; /* the whole warp */
    const T *out = (const T *)h.out + i * h.dim, *dout = (const T *)h.dout + i * h.dim;
    float sum = 0;
    for (int c = threadIdx.x % MU_WARP; c < h.dim; c += MU_WARP)
        sum += mu_float(out[c]) * mu_float(dout[c]);
    sum = mu_warp_sum(sum);
    int64_t token = i / h.heads, head = i % h.heads;
    if (threadIdx.x % MU_WARP == 0)
        h.delta[(token / h.seq * h.heads + head) * h.seq + token % h.seq] = sum;
}

/* Gradients of queries: dq = scale sum over keys of p (dp - delta) k. */
template <class T, int D> __global__ void __launch_bounds__(THREADS) backward_q(heads_t h)
{
    constexpr int W = D + 8, N = ROWS / 8;
    if constexpr (MU_BEFORE_SM_80 && !std::is_same_v<T, __half>)
        return;
    MU_SHARED(T, sq);
    T *sg = sq + ROWS * W, *sk = sg + ROWS * W, *sv = sk + ROWS * W;
    int lane = threadIdx.x % MU_WARP, warp = threadIdx.x / MU_WARP;
    int64_t b = blockIdx.y / h.heads, head = blockIdx.y % h.heads, apart = 3 * h.heads * h.dim;
    int tile = (int)(gridDim.x - 1 - blockIdx.x);
    int64_t from = (int64_t)tile * ROWS, start = b * h.seq * apart + head * 3 * h.dim;
    const T *q = (const T *)h.qkv + start, *k = q + h.dim, *v = k + h.dim;
    const T *g = (const T *)h.dout + (b * h.seq * h.heads + head) * h.dim;
    copy_tile<ROWS, T, D>(sq, q, from, apart, h);
    copy_tile<ROWS, T, D>(sg, g, from, h.heads * h.dim, h);
    copy_tile<ROWS, T, D>(sk, k, 0, apart, h);
    copy_tile<ROWS, T, D>(sv, v, 0, apart, h);
    mu_copy_commit();
    float lse[2], delta[2], o[D / 8][4] = {}, c = h.scale * LOG2E;
    for (int half = 0; half < 2; half++) {
        int64_t row = from + warp * 16 + lane / 4 + 8 * half;
        lse[half] = row < h.seq ? h.lse[blockIdx.y * h.seq + row] * LOG2E : 0;
        delta[half] = row < h.seq ? h.delta[blockIdx.y * h.seq + row] : 0;
    }
    for (int at = 0; at <= tile; at++) {
        mu_copy_wait<0>();
        __syncthreads();
        float s[N][4], dp[N][4];
        rows_by_rows<N, T, D>(s, sq + warp * 16 * W, sk, lane);
        rows_by_rows<N, T, D>(dp, sg + warp * 16 * W, sv, lane);
        __syncthreads(); /* the values are done with */
        if (at < tile) {
            copy_tile<ROWS, T, D>(sv, v, (int64_t)(at + 1) * ROWS, apart, h);
            mu_copy_commit();
        }
        for (int n = 0; n < N; n++)
            for (int i = 0; i < 4; i++) {
                bool seen = at < tile || n * 8 + lane % 4 * 2 + i % 2 <= warp * 16 + lane / 4 + i / 2 * 8;
                s[n][i] = seen ? mu_exp2(s[n][i] * c - lse[i / 2]) * (dp[n][i] - delta[i / 2]) : 0;
            }
        scores_by_rows<N, T, D>(o, s, sk, lane);
        __syncthreads(); /* so are the keys */
        if (at < tile) {
            copy_tile<ROWS, T, D>(sk, k, (int64_t)(at + 1) * ROWS, apart, h);
            mu_copy_commit();
        }
    }
    float factor[2] = {h.scale, h.scale};
    store_rows<T, D>((T *)h.dqkv + start, apart, o, from + warp * 16, factor, h, lane);
}

/* Queries that pass by at a time in backward_kv, whose two results fill the registers. */
template <int D> static constexpr int PASSING = D <= 64 ? 64 : 32;

/* Gradients of keys and values: dk = scale sum over queries of p (dp - delta) q, dv = sum of p dout. Scores
 * are made transposed, keys by queries, so that they too go from register to register. Two tiles of queries
 * are in shared memory: one in use, one coming. */
template <class T, int D> __global__ void __launch_bounds__(THREADS) backward_kv(heads_t h)
{
    constexpr int W = D + 8, Q = PASSING<D>, N = Q / 8;
    if constexpr (MU_BEFORE_SM_80 && !std::is_same_v<T, __half>)
        return;
    MU_SHARED(T, sk);
    T *sv = sk + ROWS * W, *passing_q = sv + ROWS * W, *passing_g = passing_q + 2 * Q * W;
    int lane = threadIdx.x % MU_WARP, warp = threadIdx.x / MU_WARP;
    int64_t b = blockIdx.y / h.heads, head = blockIdx.y % h.heads, apart = 3 * h.heads * h.dim;
    int64_t from = (int64_t)blockIdx.x * ROWS, start = b * h.seq * apart + head * 3 * h.dim;
    const T *q = (const T *)h.qkv + start, *k = q + h.dim, *v = k + h.dim;
    const T *g = (const T *)h.dout + (b * h.seq * h.heads + head) * h.dim;
    const float *lse = h.lse + blockIdx.y * h.seq, *delta = h.delta + blockIdx.y * h.seq;
    copy_tile<ROWS, T, D>(sk, k, from, apart, h);
    copy_tile<ROWS, T, D>(sv, v, from, apart, h);
    copy_tile<Q, T, D>(passing_q, q, from, apart, h);
    copy_tile<Q, T, D>(passing_g, g, from, h.heads * h.dim, h);
    mu_copy_commit();
    float dk[D / 8][4] = {}, dv[D / 8][4] = {}, c = h.scale * LOG2E;
    int turn = 0;
    for (int64_t query = from; query < h.seq; query += Q, turn ^= 1) {
        mu_copy_wait<0>();
        __syncthreads(); /* this tile is here, and the one before is done with */
        const T *sq = passing_q + turn * Q * W, *sg = passing_g + turn * Q * W;
        if (query + Q < h.seq) {
            copy_tile<Q, T, D>(passing_q + (turn ^ 1) * Q * W, q, query + Q, apart, h);
            copy_tile<Q, T, D>(passing_g + (turn ^ 1) * Q * W, g, query + Q, h.heads * h.dim, h);
            mu_copy_commit();
        }
        float p[N][4], ds[N][4];
        rows_by_rows<N, T, D>(p, sk + warp * 16 * W, sq, lane);
        rows_by_rows<N, T, D>(ds, sv + warp * 16 * W, sg, lane);
        for (int n = 0; n < N; n++)
            for (int i = 0; i < 4; i++) {
                int64_t at = query + n * 8 + lane % 4 * 2 + i % 2,
                        key = from + warp * 16 + lane / 4 + i / 2 * 8;
                bool seen = at < h.seq && key <= at;
                p[n][i] = seen ? mu_exp2(p[n][i] * c - lse[at] * LOG2E) : 0;
                ds[n][i] = seen ? p[n][i] * (ds[n][i] - delta[at]) : 0;
            }
        scores_by_rows<N, T, D>(dv, p, sg, lane);
        scores_by_rows<N, T, D>(dk, ds, sq, lane);
    }
    float scale[2] = {h.scale, h.scale}, one[2] = {1, 1};
    T *to = (T *)h.dqkv + start;
    store_rows<T, D>(to + h.dim, apart, dk, from + warp * 16, scale, h, lane);
    store_rows<T, D>(to + 2 * h.dim, apart, dv, from + warp * 16, one, h, lane);
}

/* --- launching them --- */

/* Elements of shared memory to bytes, by the rows that a kernel keeps. */
template <class T, int D> static constexpr int64_t shared_bytes(int rows)
{
    return (int64_t)rows * (D + 8) * (int64_t)sizeof(T);
}

/* Calls f(T(), D) when there are kernels for this shape on this GPU; false when not. */
template <class F> static bool choose(mu_device_t *dev, mu_array_t qkv, const mu_attention_t *s, F f)
{
    int64_t d = s->head_dim;
    const mu_cuda_t *cuda = mu_cuda(dev);
    if (qkv.type == MU_DTYPE_F32 || d % 16 || d > 128 || (uintptr_t)qkv.data % 16 ||
        (qkv.type == MU_DTYPE_BF16 && cuda->capability < 80))
        return false;
    auto width = [&](auto t) {
        if (d <= 64)
            return f(t, std::integral_constant<int, 64>());
        if (d <= 80)
            return f(t, std::integral_constant<int, 80>());
        return f(t, std::integral_constant<int, 128>());
    };
    return qkv.type == MU_DTYPE_BF16 ? width(__nv_bfloat16()) : width(__half());
}

static heads_t heads_of(mu_array_t qkv, const mu_attention_t *s)
{
    heads_t h = {};
    h.qkv = qkv.data;
    h.seq = s->seq;
    h.heads = s->heads;
    h.dim = (int)s->head_dim;
    h.scale = (float)s->scale;
    return h;
}

bool mu_cuda_mma_forward(mu_device_t *dev, mu_array_t out, float *lse, mu_array_t qkv,
                         const mu_attention_t *shape)
{
    return choose(dev, qkv, shape, [&](auto t, auto width) {
        using T = decltype(t);
        constexpr int D = decltype(width)::value;
        int64_t shared = shared_bytes<T, D>(3 * ROWS);
        if (shared > mu_cuda(dev)->shared_limit)
            return false;
        heads_t h = heads_of(qkv, shape);
        h.out = out.data;
        h.lse = lse;
        if (mu_cuda_shared(dev, (const void *)forward<T, D>, shared, "attention"))
            MU_LAUNCH((forward<T, D>), mu_grid(mu_blocks(shape->seq, ROWS), shape->batch * shape->heads),
                      THREADS, shared, mu_stream(dev), h);
        mu_cuda_check(dev, "attention");
        return true;
    });
}

bool mu_cuda_mma_backward(mu_device_t *dev, mu_array_t dqkv, mu_array_t dout, mu_array_t qkv, mu_array_t out,
                          const float *lse, float *delta, const mu_attention_t *shape)
{
    if ((uintptr_t)dout.data % 16)
        return false;
    return choose(dev, qkv, shape, [&](auto t, auto width) {
        using T = decltype(t);
        constexpr int D = decltype(width)::value;
        int64_t shared_q = shared_bytes<T, D>(4 * ROWS),
                shared_kv = shared_bytes<T, D>(2 * ROWS + 4 * PASSING<D>);
        if (shared_q > mu_cuda(dev)->shared_limit || shared_kv > mu_cuda(dev)->shared_limit)
            return false;
        heads_t h = heads_of(qkv, shape);
        h.out = out.data;
        h.dout = dout.data;
        h.dqkv = dqkv.data;
        h.lse = const_cast<float *>(lse); /* read only */
        h.delta = delta;
        int64_t tokens = shape->batch * shape->seq;
        dim3 grid = mu_grid(mu_blocks(shape->seq, ROWS), shape->batch * shape->heads);
        MU_LAUNCH(make_delta<T>, mu_grid(mu_blocks(tokens * shape->heads, WARPS)), THREADS, 0, mu_stream(dev),
                  h, tokens);
        if (mu_cuda_shared(dev, (const void *)backward_q<T, D>, shared_q, "attention backward"))
            MU_LAUNCH((backward_q<T, D>), grid, THREADS, shared_q, mu_stream(dev), h);
        if (mu_cuda_shared(dev, (const void *)backward_kv<T, D>, shared_kv, "attention backward"))
            MU_LAUNCH((backward_kv<T, D>), grid, THREADS, shared_kv, mu_stream(dev), h);
        mu_cuda_check(dev, "attention backward");
        return true;
    });
}
