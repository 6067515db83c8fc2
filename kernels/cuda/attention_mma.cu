/* Causal attention forward on the matrix units, for bf16 and fp16 with heads of up to 256 in steps of 16. */
#include "kernels/cuda/tiles.h"

/* Online softmax (Milakov and Gimelshein, 2018) over tiles of KEYS keys, as FlashAttention-2 (Dao, 2023) orders it:
 * while the scores are made the values come, and while the values are used the next keys come. */
template <class T, int D, int M, int KEYS> __global__ void __launch_bounds__(THREADS) forward(heads_t h)
{
    constexpr int W = D + 8, ROWS = BLOCK_ROWS<M>, N = KEYS / 8;
    if constexpr (MU_BEFORE_SM_80 && !std::is_same_v<T, __half>)
        return;
    MU_SHARED(T, sq);
    T *sk = sq + ROWS * W, *sv = sk + KEYS * W;
    int lane = threadIdx.x % MU_WARP, warp = threadIdx.x / MU_WARP;
    int head = (int)(blockIdx.y % h.heads);
    int64_t b = blockIdx.y / h.heads, apart = token_of(h);
    int from = (int)(gridDim.x - 1 - blockIdx.x) * ROWS; /* long rows first */
    int own = from + warp * 16 * M, end = from + ROWS < h.seq ? from + ROWS : h.seq;
    const T *q = (const T *)h.qkv + b * h.seq * apart + query_at(h, head), *k = q + key_after(h, head),
            *v = k + h.dim;
    copy_tile<ROWS, T, D>(sq, q, from, apart, h);
    int begin = first_key(h, b, from) / KEYS * KEYS; /* what lies before is seen by no row */
    int least = first_key(h, b, own),
        most = first_key(h, b, own + 16 * M < h.seq ? own + 16 * M - 1 : h.seq - 1);
    copy_tile<KEYS, T, D>(sk, k, begin, apart, h);
    mu_copy_commit();
    float o[M][D / 8][4] = {}, s[M][N][4], max[M][2], sum[M][2], c = h.scale * LOG2E;
    MU_UNROLL
    for (int i = 0; i < 2 * M; i++) {
        max[i / 2][i % 2] = -INFINITY;
        sum[i / 2][i % 2] = 0;
    }
    for (int key = begin; key < end; key += KEYS) {
        bool seen = key < own + 16 * M && key + KEYS > least; /* by a row of this warp */
        mu_copy_wait<0>();
        __syncthreads();
        copy_tile<KEYS, T, D>(sv, v, key, apart, h);
        mu_copy_commit();
        if (seen)
            rows_by_rows<M, N, T, D>(s, sq + warp * 16 * M * W, sk, lane);
        mu_copy_wait<0>();
        __syncthreads();
        if (key + KEYS < end) {
            copy_tile<KEYS, T, D>(sk, k, key + KEYS, apart, h);
            mu_copy_commit();
        }
        if (!seen)
            continue;
        hide_scores<M, N>(s, -INFINITY, h, b, own, key, most, lane);
        MU_UNROLL
        for (int m = 0; m < M; m++)
            for (int half = 0; half < 2; half++) {
                float top = max[m][half];
                for (int n = 0; n < N; n++)
                    top = fmaxf(top, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
                top = row_max(top);
                float old = max[m][half];
                max[m][half] = top;
                top = top == -INFINITY ? 0 : top; /* the row has seen no key of its document yet */
                float shrink = mu_exp2((old - top) * c), part = 0;
                for (int n = 0; n < N; n++)
                    for (int i = 2 * half; i < 2 * half + 2; i++) {
                        s[m][n][i] = mu_exp2(s[m][n][i] * c - top * c);
                        part += s[m][n][i];
                    }
                sum[m][half] = sum[m][half] * shrink + part;
                for (int n = 0; n < D / 8; n++)
                    for (int i = 2 * half; i < 2 * half + 2; i++)
                        o[m][n][i] *= shrink;
            }
        if (h.kept.bits)
            drop_scores<M, N>(s, h, own, key, lane);
        scores_by_rows<M, N, T, D>(o, s, sv, lane);
    }
    float factor[M][2];
    MU_UNROLL
    for (int m = 0; m < M; m++)
        for (int half = 0; half < 2; half++) {
            float total = row_sum(sum[m][half]);
            int row = own + row_of(m, 2 * half, lane);
            factor[m][half] = h.kept.factor / total;
            if (lane % 4 == 0 && row < h.seq)
                h.lse[(int64_t)blockIdx.y * h.seq + row] = max[m][half] * h.scale + logf(total);
        }
    T *out = (T *)h.out + (b * h.seq * h.heads + head) * h.dim;
    store_rows<M, T, D>(out, (int64_t)h.heads * h.dim, o, own, factor, h, lane);
}

template <class T, int D, int M, int KEYS>
static constexpr int64_t shared_of = shared_bytes<T, D>(BLOCK_ROWS<M> + 2 * KEYS);

template <class T, int D, int M, int KEYS>
static void launch(mu_device_t *dev, const heads_t &h, const mu_attention_t *shape)
{
    constexpr int64_t shared = shared_of<T, D, M, KEYS>;
    dim3 grid = mu_grid(mu_blocks(shape->seq, BLOCK_ROWS<M>), shape->batch * shape->heads);
    if (mu_cuda_shared(dev, (const void *)forward<T, D, M, KEYS>, shared, "attention"))
        MU_LAUNCH((forward<T, D, M, KEYS>), grid, THREADS, shared, mu_stream(dev), h);
    mu_cuda_check(dev, "attention");
}

bool mu_cuda_mma_forward(mu_device_t *dev, mu_array_t out, float *lse, mu_array_t qkv,
                         const mu_cuda_kept_t *kept, const mu_attention_t *shape)
{
    return choose(dev, qkv, shape, [&](auto t, auto width) {
        using T = decltype(t);
        constexpr int D = decltype(width)::value;
        heads_t h = heads_of(qkv, kept, shape);
        h.out = out.data;
        h.lse = lse;
        if constexpr (D <= 80) { /* two blocks fit from sm_80 on */
            launch<T, D, 2, 64>(dev, h, shape);
        } else if constexpr (D <= 128) {
            if (two_fit(dev, shared_of<T, D, 2, 64>))
                launch<T, D, 2, 64>(dev, h, shape);
            else
                launch<T, D, 1, 48>(dev, h, shape);
        } else { /* the results of two groups exceed the registers */
            bool most = two_fit(dev, shared_of<T, D, 1, 64>) || !two_fit(dev, shared_of<T, D, 1, 32>);
            if (!fits(dev, shared_of<T, D, 1, 64>))
                return false;
            if (most)
                launch<T, D, 1, 64>(dev, h, shape);
            else
                launch<T, D, 1, 32>(dev, h, shape);
        }
        return true;
    });
}
