/*
 * Causal attention backward on the matrix units: one kernel for the gradients of queries, which also makes the
 * sums that both need, and one for those of keys and values.
 */
#include "kernels/cuda/tiles.h"

/* Keys that pass by at a time for M groups a warp, so that two products' scores and the result fit the
 * registers. */
template <int D> static constexpr int KEYS = D <= 64 ? 64 : D <= 128 ? 32 : 16;

/* The sum over a head of dout out, for the row that four lanes share. */
template <class T> __device__ static inline float product_of(const T *dout, const T *out, int dim, int lane)
{
    float sum = 0;
    for (int c = lane % 4 * 8; c < dim; c += 32) {
        mu_pack<T, 8> g = mu_load<T, 8>(dout + c), x = mu_load<T, 8>(out + c);
        for (int k = 0; k < 8; k++)
            sum += g.v[k] * x.v[k];
    }
    return sum;
}

/* Gradients of queries: dq = scale sum over keys of p (dp - delta) k, and delta = the sum over a head of dout
 * out. Two tiles of keys and values are in shared memory: one in use, one coming. A warp's queries and dout are there
 * too, or, with one group, in registers (KEEP). */
template <class T, int D, int M, bool KEEP> __global__ void __launch_bounds__(THREADS) backward_q(heads_t h)
{
    constexpr int W = D + 8, ROWS = BLOCK_ROWS<M>, K = KEYS<D>, N = K / 8;
    if constexpr (MU_BEFORE_SM_80 && !std::is_same_v<T, __half>)
        return;
    MU_SHARED(T, passing_k);
    T *passing_v = passing_k + 2 * K * W, *sq = passing_v + 2 * K * W, *sg = sq + ROWS * W;
    int lane = threadIdx.x % MU_WARP, warp = threadIdx.x / MU_WARP, head = (int)(blockIdx.y % h.heads);
    int64_t b = blockIdx.y / h.heads, apart = token_of(h);
    int64_t start = b * h.seq * apart + query_at(h, head), line = (int64_t)h.heads * h.dim;
    int from = (int)(gridDim.x - 1 - blockIdx.x) * ROWS; /* long rows first */
    int own = from + warp * 16 * M, end = from + ROWS < h.seq ? from + ROWS : h.seq;
    const T *q = (const T *)h.qkv + start, *k = q + key_after(h, head), *v = k + h.dim;
    const T *g = (const T *)h.dout + (b * h.seq * h.heads + head) * h.dim;
    const T *out = (const T *)h.out + (b * h.seq * h.heads + head) * h.dim;
    if constexpr (!KEEP) {
        copy_tile<ROWS, T, D>(sq, q, from, apart, h);
        copy_tile<ROWS, T, D>(sg, g, from, line, h);
    }
    int begin = first_key(h, b, from) / K * K; /* what lies before is seen by no row */
    int least = first_key(h, b, own),
        most = first_key(h, b, own + 16 * M < h.seq ? own + 16 * M - 1 : h.seq - 1);
    copy_tile<K, T, D>(passing_k, k, begin, apart, h);
    copy_tile<K, T, D>(passing_v, v, begin, apart, h);
    mu_copy_commit();
    uint32_t kept_q[KEEP ? D / 16 : 1][M][4], kept_g[KEEP ? D / 16 : 1][M][4];
    if constexpr (KEEP) {
        fetch_rows<M, T, D>(kept_q, q, own, apart, h, lane);
        fetch_rows<M, T, D>(kept_g, g, own, line, h, lane);
    }
    float lse[M][2], delta[M][2], o[M][D / 8][4] = {}, c = h.scale * LOG2E;
    MU_UNROLL
    for (int m = 0; m < M; m++)
        for (int half = 0; half < 2; half++) {
            int row = own + row_of(m, 2 * half, lane);
            int64_t at = (int64_t)blockIdx.y * h.seq + row;
            bool there = row < h.seq;
            lse[m][half] = there ? h.lse[at] * LOG2E : 0;
            delta[m][half] = row_sum(there ? product_of(g + row * line, out + row * line, h.dim, lane) : 0);
            if (there && lane % 4 == 0)
                h.delta[at] = delta[m][half];
        }
    int turn = 0;
    for (int key = begin; key < end; key += K, turn ^= 1) {
        mu_copy_wait<0>();
        __syncthreads(); /* this tile is here, and the one before is done with */
        const T *sk = passing_k + turn * K * W, *sv = passing_v + turn * K * W;
        if (key + K < end) {
            copy_tile<K, T, D>(passing_k + (turn ^ 1) * K * W, k, key + K, apart, h);
            copy_tile<K, T, D>(passing_v + (turn ^ 1) * K * W, v, key + K, apart, h);
            mu_copy_commit();
        }
        if (key >= own + 16 * M || key + K <= least)
            continue; /* seen by no row of this warp */
        float s[M][N][4], dp[M][N][4];
        if constexpr (KEEP) {
            kept_by_rows<M, N, T, D>(s, kept_q, sk, lane);
            kept_by_rows<M, N, T, D>(dp, kept_g, sv, lane);
        } else {
            rows_by_rows<M, N, T, D>(s, sq + warp * 16 * M * W, sk, lane);
            rows_by_rows<M, N, T, D>(dp, sg + warp * 16 * M * W, sv, lane);
        }
        if (h.kept.bits)
            drop_scores<M, N>(dp, h, own, key, lane);
        MU_UNROLL
        for (int m = 0; m < M; m++)
            for (int n = 0; n < N; n++)
                for (int i = 0; i < 4; i++)
                    s[m][n][i] = mu_exp2(s[m][n][i] * c - lse[m][i / 2]) *
                                 (dp[m][n][i] * h.kept.factor - delta[m][i / 2]);
        hide_scores<M, N>(s, 0, h, b, own, key, most, lane);
        scores_by_rows<M, N, T, D>(o, s, sk, lane);
    }
    float factor[M][2];
    MU_UNROLL
    for (int i = 0; i < 2 * M; i++)
        factor[i / 2][i % 2] = h.scale;
    store_rows<M, T, D>((T *)h.dqkv + start, apart, o, own, factor, h, lane);
}

/* Of gradients of keys and values: what one kernel makes. Both at once where the registers hold both. */
enum { DK = 1, DV = 2 };

/* Queries that pass by at a time, groups of keys that a warp takes, and whether its keys and values fit its registers
 * beside their gradients. */
template <int D> static constexpr int QUERIES = D <= 64 ? 64 : D <= 128 ? 32 : 16;
template <int D> static constexpr int KEY_GROUPS = D <= 64 ? 2 : 1;
template <int D> static constexpr bool KEYS_KEPT = D <= 128;

/* Gradients of keys and values: dk = scale sum over queries of p (dp - delta) q, dv = sum of p dout, over the queries
 * of all heads that share the keys, one head after the other. blockIdx.y is batch * key/value heads + key/value head.
 * Scores are made transposed, keys by queries, 16 queries at a time, so that they too go from register to register.
 * Two tiles of queries are in shared memory: one in use, one coming; and a warp's keys and values, where they are not
 * kept in registers. */
template <class T, int D, int PARTS> __global__ void __launch_bounds__(THREADS) backward_kv(heads_t h)
{
    constexpr int W = D + 8, M = KEY_GROUPS<D>, ROWS = BLOCK_ROWS<M>, Q = QUERIES<D>, N = 2;
    constexpr bool KEEP = KEYS_KEPT<D>, K_TOO = (PARTS & DK) != 0, V_TOO = (PARTS & DV) != 0;
    if constexpr (MU_BEFORE_SM_80 && !std::is_same_v<T, __half>)
        return;
    MU_SHARED(T, passing_q);
    T *passing_g = passing_q + 2 * Q * W, *sk = passing_g + 2 * Q * W, *sv = sk + ROWS * W;
    int lane = threadIdx.x % MU_WARP, warp = threadIdx.x / MU_WARP, kv_heads = h.heads / h.group;
    int head = (int)(blockIdx.y % kv_heads) * h.group; /* the first that shares the keys */
    int64_t b = blockIdx.y / kv_heads, apart = token_of(h);
    int64_t start = b * h.seq * apart + query_at(h, head), line = (int64_t)h.heads * h.dim;
    int from = (int)blockIdx.x * ROWS, own = from + warp * 16 * M;
    const T *q = (const T *)h.qkv + start, *k = q + key_after(h, head), *v = k + h.dim;
    const T *g = (const T *)h.dout + (b * h.seq * h.heads + head) * h.dim;
    const float *lse = h.lse + (b * h.heads + head) * h.seq, *delta = h.delta + (b * h.heads + head) * h.seq;
    if constexpr (!KEEP) {
        copy_tile<ROWS, T, D>(sk, k, from, apart, h);
        copy_tile<ROWS, T, D>(sv, v, from, apart, h);
        sk += warp * 16 * M * W;
        sv += warp * 16 * M * W;
    }
    copy_tile<Q, T, D>(passing_q, q, from, apart, h);
    copy_tile<Q, T, D>(passing_g, g, from, line, h);
    mu_copy_commit();
    uint32_t kept_k[KEEP ? D / 16 : 1][M][4], kept_v[KEEP ? D / 16 : 1][M][4];
    if constexpr (KEEP) {
        fetch_rows<M, T, D>(kept_k, k, own, apart, h, lane);
        fetch_rows<M, T, D>(kept_v, v, own, apart, h, lane);
    }
    float dk[K_TOO ? M : 1][D / 8][4] = {}, dv[V_TOO ? M : 1][D / 8][4] = {}, c = h.scale * LOG2E;
    int turn = 0, left = h.group; /* heads that have not passed */
    for (int tile = from, next; left > 0; tile = next, turn ^= 1) {
        mu_copy_wait<0>();
        __syncthreads(); /* this tile is here, and the one before is done with */
        /* of its head: the queries after it see no key of this block */
        bool last = tile + Q >= h.seq || first_key(h, b, tile + Q) >= from + ROWS;
        next = last ? from : tile + Q;
        if (last) {
            q += h.dim;
            g += h.dim;
            left--;
        }
        if (left > 0) {
            copy_tile<Q, T, D>(passing_q + (turn ^ 1) * Q * W, q, next, apart, h);
            copy_tile<Q, T, D>(passing_g + (turn ^ 1) * Q * W, g, next, line, h);
            mu_copy_commit();
        }
        for (int query = tile; query < tile + Q; query += 8 * N) {
            if (query + 8 * N <= own || query >= h.seq || first_key(h, b, query) >= own + 16 * M)
                continue; /* they see no key of this warp */
            const T *sq = passing_q + (turn * Q + query - tile) * W;
            const T *sg = passing_g + (turn * Q + query - tile) * W;
            float p[M][N][4], ds[M][N][4];
            if constexpr (KEEP)
                kept_by_rows<M, N, T, D>(p, kept_k, sq, lane);
            else
                rows_by_rows<M, N, T, D>(p, sk, sq, lane);
            if constexpr (K_TOO && KEEP)
                kept_by_rows<M, N, T, D>(ds, kept_v, sg, lane);
            else if constexpr (K_TOO)
                rows_by_rows<M, N, T, D>(ds, sv, sg, lane);
            MU_UNROLL
            for (int j = 0; j < 2 * N; j++) {
                int at = query + column_of(j / 2, j % 2, lane);
                float minus = at < h.seq ? lse[at] * LOG2E : INFINITY, mean = at < h.seq ? delta[at] : 0;
                int since = first_key(h, b, at);
                const uint8_t *kept =
                    h.kept.bits && at < h.seq ? kept_of(h, b * h.heads + head, at) + own / 8 : NULL;
                for (int i = 0; i < 2 * M; i++) {
                    float *x = &p[i / 2][j / 2][i % 2 * 2 + j % 2], *y = &ds[i / 2][j / 2][i % 2 * 2 + j % 2];
                    *x = mu_exp2(*x * c - minus);
                    if (query < own + 16 * M - 1 && own + row_of(i / 2, i % 2 * 2, lane) > at)
                        *x = 0;
                    if (own + row_of(i / 2, i % 2 * 2, lane) < since)
                        *x = 0;
                    bool in = !kept || kept[i] >> lane / 4 & 1; /* key own + row_of(): eight of them a byte */
                    if constexpr (K_TOO)
                        *y = *x * ((in ? *y * h.kept.factor : 0) - mean);
                    if (!in)
                        *x = 0;
                }
            }
            if constexpr (V_TOO)
                scores_by_rows<M, N, T, D>(dv, p, sg, lane);
            if constexpr (K_TOO)
                scores_by_rows<M, N, T, D>(dk, ds, sq, lane);
        }
        if (last) {
            lse += h.seq;
            delta += h.seq;
            head++;
        }
    }
    float factor[M][2], kept_factor[M][2];
    MU_UNROLL
    for (int i = 0; i < 2 * M; i++) {
        factor[i / 2][i % 2] = h.scale;
        kept_factor[i / 2][i % 2] = h.kept.factor;
    }
    T *to = (T *)h.dqkv + start + (int64_t)h.group * h.dim; /* after the queries that share them */
    if constexpr (K_TOO)
        store_rows<M, T, D>(to, apart, dk, own, factor, h, lane);
    if constexpr (V_TOO)
        store_rows<M, T, D>(to + h.dim, apart, dv, own, kept_factor, h, lane);
}

/* --- launching them --- */

template <class T, int D, int M, bool KEEP>
static constexpr int64_t shared_q = shared_bytes<T, D>((KEEP ? 0 : 2 * BLOCK_ROWS<M>)+4 * KEYS<D>);
template <class T, int D>
static constexpr int64_t shared_kv = shared_bytes<T, D>((KEYS_KEPT<D> ? 0 : 2 * BLOCK_ROWS<KEY_GROUPS<D>>)+4 *
                                                        QUERIES<D>);

template <class T, int D, int M, bool KEEP>
static void launch_q(mu_device_t *dev, const heads_t &h, const mu_attention_t *shape)
{
    constexpr int64_t shared = shared_q<T, D, M, KEEP>;
    dim3 grid = mu_grid(mu_blocks(shape->seq, BLOCK_ROWS<M>), shape->batch * shape->heads);
    if (mu_cuda_shared(dev, (const void *)backward_q<T, D, M, KEEP>, shared, "attention backward"))
        MU_LAUNCH((backward_q<T, D, M, KEEP>), grid, THREADS, shared, mu_stream(dev), h);
}

template <class T, int D, int PARTS>
static void launch_kv(mu_device_t *dev, const heads_t &h, const mu_attention_t *shape)
{
    constexpr int64_t shared = shared_kv<T, D>;
    dim3 grid = mu_grid(mu_blocks(shape->seq, BLOCK_ROWS<KEY_GROUPS<D>>),
                        shape->batch * mu_attention_kv_heads(shape));
    if (mu_cuda_shared(dev, (const void *)backward_kv<T, D, PARTS>, shared, "attention backward"))
        MU_LAUNCH((backward_kv<T, D, PARTS>), grid, THREADS, shared, mu_stream(dev), h);
}

bool mu_cuda_mma_backward(mu_device_t *dev, mu_array_t dqkv, mu_array_t dout, mu_array_t qkv, mu_array_t out,
                          const float *lse, float *delta, const mu_cuda_kept_t *kept,
                          const mu_attention_t *shape)
{
    if ((uintptr_t)dout.data % 16 || (uintptr_t)out.data % 16)
        return false;
    return choose(dev, qkv, shape, [&](auto t, auto width) {
        using T = decltype(t);
        constexpr int D = decltype(width)::value;
        if constexpr (D > 128)
            if (!fits(dev, shared_q<T, D, 1, false>) || !fits(dev, shared_kv<T, D>))
                return false;
        heads_t h = heads_of(qkv, kept, shape);
        h.out = out.data;
        h.dout = dout.data;
        h.dqkv = dqkv.data;
        h.lse = const_cast<float *>(lse); /* read only */
        h.delta = delta;
        if constexpr (D > 128) {
            launch_q<T, D, 1, false>(dev, h, shape);
            launch_kv<T, D, DK>(dev, h, shape);
            launch_kv<T, D, DV>(dev, h, shape);
        } else {
            if (two_fit(dev, shared_q<T, D, 2, false>))
                launch_q<T, D, 2, false>(dev, h, shape);
            else
                launch_q<T, D, 1, true>(dev, h, shape);
            launch_kv<T, D, DK | DV>(dev, h, shape);
        }
        mu_cuda_check(dev, "attention backward");
        return true;
    });
}
