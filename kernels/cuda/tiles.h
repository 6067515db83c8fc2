/*
 * Attention on the matrix units, from the inside: tiles of rows in shared memory, and their products.
 *
 * A block of four warps takes the rows of one side (queries; backward to keys: keys), a warp M groups of 16 of
 * them, and the other side passes by in tiles through shared memory. Scores live in registers, from one
 * product's result to the next product's operand (mma.h). What a warp reads of a passing tile serves all its M
 * groups: shared memory delivers a fragment in about the time of two and a half products of one group, so
 * with one group it is the limit, with two it is not.
 *
 * One block of four warps leaves a multiprocessor idle while it waits. So where two blocks of the larger kind
 * exceed its shared memory (two_fit()), a smaller kind is taken: one group a warp, its rows in registers, shorter
 * tiles.
 *
 * Narrow heads are widened with zeros to the next D that there is a kernel for. No atomics: gradients of
 * queries and of keys are made by two kernels, which computes the scores twice and gives the same bits every
 * time.
 *
 * Names: T element type, D width of the tiles, W elements from one row of a tile to the next: eight more than
 * D, so that the eight rows that one access reads begin in different banks.
 */
#ifndef MU_KERNELS_CUDA_TILES_H
#define MU_KERNELS_CUDA_TILES_H

#include "kernels/cuda/mma.h"

enum { WARPS = 4, THREADS = WARPS * MU_WARP };

typedef struct heads {
    const void *qkv, *dout; /* [tokens][heads / group][group queries, k, v][dim], [tokens][heads][dim] */
    void *out, *dqkv;       /* out is read on the way back */
    float *lse, *delta;     /* [batch][heads][seq] */
    const int32_t *start;   /* [batch][seq]: the first key that a query sees, never falling; NULL: 0 */
    mu_cuda_kept_t kept;    /* of the probabilities */
    int seq, heads, group, dim;
    float scale;
} heads_t;

/* Elements of qkv in a token. */
__device__ static inline int64_t token_of(const heads_t &h)
{
    return (int64_t)(h.heads / h.group) * (h.group + 2) * h.dim;
}
/* From the beginning of a token to the query of a head; from there to its key and, one dim further, its value. */
__device__ static inline int64_t query_at(const heads_t &h, int head)
{
    return (int64_t)(head / h.group * (h.group + 2) + head % h.group) * h.dim;
}
__device__ static inline int64_t key_after(const heads_t &h, int head)
{
    return (int64_t)(h.group - head % h.group) * h.dim;
}

/* The first key that a query of sequence b sees; of rows after the sequence 0. */
__device__ static inline int first_key(const heads_t &h, int64_t b, int query)
{
    return h.start && query < h.seq ? h.start[b * h.seq + query] : 0;
}

/* The bits of what is kept of a query of head `which` of batch * heads; the byte of key 0. */
__device__ static inline const uint8_t *kept_of(const heads_t &h, int64_t which, int query)
{
    return h.kept.bits + (which * h.seq + query) * h.kept.row;
}

static constexpr float LOG2E = 1.44269504F;

/* Rows of a block whose warps take M groups each. */
template <int M> static constexpr int BLOCK_ROWS = 16 * M *WARPS;

/* --- tiles --- */

/* Rows from .. from + COUNT - 1 of `x`, `row` elements apart, zeros outside the sequence and the head. SIDE threads
 * share a row, STEP rows are copied at a time. The number of turns is known to the compiler and a thread's place is no
 * part of it, so the loop is unrolled, and each copy's place in the tile is a constant after the first one's. */
template <int COUNT, class T, int D>
__device__ static inline void copy_tile(T *tile, const T *x, int from, int64_t row, const heads_t &h)
{
    constexpr int PIECES = D / 8, SIDE = PIECES & -PIECES, STEP = THREADS / SIDE;
    int r = (int)threadIdx.x / SIDE, c = (int)threadIdx.x % SIDE * 8, left = h.seq - from - r;
    const T *p = x + (from + r) * row + c;
    tile += r * (D + 8) + c;
    MU_UNROLL
    for (int turn = 0; turn < COUNT; turn += STEP, p += STEP * row)
        if (COUNT % STEP == 0 || turn + r < COUNT)
            for (int piece = 0; piece < D; piece += SIDE * 8)
                mu_copy16(tile + turn * (D + 8) + piece, p + piece, turn < left && c + piece < h.dim);
}

/* The operands a of this warp's 16 M rows from `first` on, straight from memory, zeros outside the sequence and the
 * head: for rows that stay in registers while the other side passes. */
template <int M, class T, int D>
__device__ static inline void fetch_rows(uint32_t f[D / 16][M][4], const T *x, int first, int64_t apart,
                                         const heads_t &h, int lane)
{
    MU_UNROLL
    for (int at = 0; at < D / 16; at++)
        for (int m = 0; m < M; m++)
            for (int i = 0; i < 4; i++) {
                int row = first + m * 16 + i % 2 * 8 + lane / 4, c = at * 16 + i / 2 * 8 + lane % 4 * 2;
                bool valid = row < h.seq && c < h.dim;
                f[at][m][i] = valid ? *(const uint32_t *)(x + row * apart + c) : 0;
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

/* The operand a of columns c .. c + 15 of this warp's 16 M rows. */
template <int M, class T, int D>
__device__ static inline void take_rows(uint32_t f[M][4], const T *a, int c, int lane)
{
    MU_UNROLL
    for (int m = 0; m < M; m++)
        mu_blocks4<false>(f[m], a + (m * 16 + row_first(lane)) * (D + 8) + c + column_first(lane));
}

/* --- products of tiles --- */

/* s (16M x 8N) += the columns c .. c + 15 of a b^T: b is a tile of 8N rows. */
template <int M, int N, class T, int D>
__device__ static inline void add_columns(float s[M][N][4], const uint32_t a[M][4], const T *b, int c,
                                          int lane)
{
    MU_UNROLL
    for (int n = 0; n < N; n += 2) {
        uint32_t fb[4];
        mu_blocks4<false>(fb, b + (n * 8 + row_second(lane)) * (D + 8) + c + column_second(lane));
        MU_UNROLL
        for (int m = 0; m < M; m++) {
            mu_mma<T>(s[m][n], a[m], fb[0], fb[1]);
            mu_mma<T>(s[m][n + 1], a[m], fb[2], fb[3]);
        }
    }
}

template <int M, int N> __device__ static inline void clear(float s[M][N][4])
{
    MU_UNROLL
    for (int i = 0; i < 4 * M * N; i++)
        s[i / (4 * N)][i / 4 % N][i % 4] = 0;
}

/* s (16M x 8N) = a b^T: a is this warp's 16M rows of a tile, b a tile of 8N rows. */
template <int M, int N, class T, int D>
__device__ static inline void rows_by_rows(float s[M][N][4], const T *a, const T *b, int lane)
{
    clear<M, N>(s);
    MU_UNROLL
    for (int c = 0; c < D; c += 16) {
        uint32_t fa[M][4];
        take_rows<M, T, D>(fa, a, c, lane);
        add_columns<M, N, T, D>(s, fa, b, c, lane);
    }
}

/* The same with the rows of a in registers, as fetch_rows() gave them. */
template <int M, int N, class T, int D>
__device__ static inline void kept_by_rows(float s[M][N][4], const uint32_t a[D / 16][M][4], const T *b,
                                           int lane)
{
    clear<M, N>(s);
    MU_UNROLL
    for (int c = 0; c < D; c += 16)
        add_columns<M, N, T, D>(s, a[c / 16], b, c, lane);
}

/* o (16M x D) += p b: p (16M x 8N) is rounded to T, b a tile of 8N rows. */
template <int M, int N, class T, int D>
__device__ static inline void scores_by_rows(float o[M][D / 8][4], const float p[M][N][4], const T *b,
                                             int lane)
{
    MU_UNROLL
    for (int n = 0; n < N; n += 2) {
        uint32_t fa[M][4];
        MU_UNROLL
        for (int m = 0; m < M; m++)
            for (int i = 0; i < 4; i++)
                fa[m][i] = mu_pair<T>(p[m][n + i / 2][i % 2 * 2], p[m][n + i / 2][i % 2 * 2 + 1]);
        MU_UNROLL
        for (int c = 0; c < D; c += 16) {
            uint32_t fb[4];
            mu_blocks4<true>(fb, b + (n * 8 + row_first(lane)) * (D + 8) + c + column_first(lane));
            MU_UNROLL
            for (int m = 0; m < M; m++) {
                mu_mma<T>(o[m][c / 8], fa[m], fb[0], fb[1]);
                mu_mma<T>(o[m][c / 8 + 1], fa[m], fb[2], fb[3]);
            }
        }
    }
}

/* Of a result's group m, the row and the column that value i of its block n has for this lane. */
__device__ static inline int row_of(int m, int i, int lane)
{
    return m * 16 + i / 2 * 8 + lane / 4;
}
__device__ static inline int column_of(int n, int i, int lane)
{
    return n * 8 + lane % 4 * 2 + i % 2;
}

/* Of this warp's scores with the keys `key` .. key + 8N - 1, those of keys that a row does not see become `value`: keys
 * after it, and keys before its document. Rows are the queries own .. of sequence b; the last of them sees no key
 * before `most`. */
template <int M, int N>
__device__ static inline void hide_scores(float s[M][N][4], float value, const heads_t &h, int64_t b, int own,
                                          int key, int most, int lane)
{
    if (key + 8 * N > own + 1) {
        MU_UNROLL
        for (int m = 0; m < M; m++)
            for (int n = 0; n < N; n++)
                for (int i = 0; i < 4; i++)
                    if (key + column_of(n, i, lane) > own + row_of(m, i, lane))
                        s[m][n][i] = value;
    }
    if (key < most) {
        MU_UNROLL
        for (int m = 0; m < M; m++)
            for (int half = 0; half < 2; half++) {
                int since = first_key(h, b, own + row_of(m, 2 * half, lane));
                for (int n = 0; n < N; n++)
                    for (int i = 2 * half; i < 2 * half + 2; i++)
                        if (key + column_of(n, i, lane) < since)
                            s[m][n][i] = value;
            }
    }
}

/* Of this warp's scores with the keys `key` .. key + 8N - 1, those that dropout drops become 0: rows are the queries
 * own .. of head blockIdx.y. */
template <int M, int N>
__device__ static inline void drop_scores(float s[M][N][4], const heads_t &h, int own, int key, int lane)
{
    MU_UNROLL
    for (int m = 0; m < M; m++)
        for (int half = 0; half < 2; half++) {
            int row = own + row_of(m, 2 * half, lane);
            if (row >= h.seq)
                continue;
            const uint8_t *kept = kept_of(h, blockIdx.y, row) + key / 8;
            MU_UNROLL
            for (int n = 0; n < N; n++) {
                unsigned byte = kept[n] >> column_of(0, 0, lane);
                for (int i = 0; i < 2; i++)
                    if (!(byte >> i & 1))
                        s[m][n][2 * half + i] = 0;
            }
        }
}

/* Rows first .. of `x`, `apart` elements from one to the next, = o times a factor for each of a lane's rows. */
template <int M, class T, int D>
__device__ static inline void store_rows(T *x, int64_t apart, const float o[M][D / 8][4], int first,
                                         const float factor[M][2], const heads_t &h, int lane)
{
    MU_UNROLL
    for (int m = 0; m < M; m++)
        for (int half = 0; half < 2; half++) {
            int row = first + row_of(m, 2 * half, lane);
            if (row >= h.seq)
                continue;
            MU_UNROLL
            for (int n = 0; n < D / 8; n++) {
                int c = column_of(n, 0, lane);
                if (c < h.dim)
                    *(uint32_t *)(x + row * apart + c) = mu_pair<T>(o[m][n][2 * half] * factor[m][half],
                                                                    o[m][n][2 * half + 1] * factor[m][half]);
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

/* --- launching --- */

/* Bytes of shared memory of `rows` rows. */
template <class T, int D> static constexpr int64_t shared_bytes(int rows)
{
    return (int64_t)rows * (D + 8) * (int64_t)sizeof(T);
}

/* Whether a block may have that much on this GPU. */
static inline bool fits(const mu_device_t *dev, int64_t bytes)
{
    return bytes <= mu_cuda(dev)->shared_limit;
}

/* Whether a multiprocessor of this GPU holds two blocks with that much each. CUDA takes 1 KiB more for a block. Two
 * blocks' registers fit on every GPU. */
static inline bool two_fit(const mu_device_t *dev, int64_t bytes)
{
    return 2 * (bytes + 1024) <= mu_cuda(dev)->shared_processor;
}

/* Calls f(T(), D) when there are kernels for this shape on this GPU; false when not. */
template <class F> static bool choose(mu_device_t *dev, mu_array_t qkv, const mu_attention_t *s, F f)
{
    int64_t d = s->head_dim;
    const mu_cuda_t *cuda = mu_cuda(dev);
    if (qkv.type == MU_DTYPE_F32 || d % 16 || d > 256 || (uintptr_t)qkv.data % 16 ||
        (qkv.type == MU_DTYPE_BF16 && cuda->capability < 80))
        return false;
    auto width = [&](auto t) {
        if (d <= 64)
            return f(t, std::integral_constant<int, 64>());
        if (d <= 80)
            return f(t, std::integral_constant<int, 80>());
        if (d <= 96)
            return f(t, std::integral_constant<int, 96>());
        if (d <= 128)
            return f(t, std::integral_constant<int, 128>());
        return f(t, std::integral_constant<int, 256>());
    };
    return qkv.type == MU_DTYPE_BF16 ? width(__nv_bfloat16()) : width(__half());
}

static inline heads_t heads_of(mu_array_t qkv, const mu_cuda_kept_t *kept, const mu_attention_t *s)
{
    heads_t h = {};
    h.kept = *kept;
    h.qkv = qkv.data;
    h.start = s->start;
    h.seq = (int)s->seq;
    h.heads = (int)s->heads;
    h.group = (int)(s->heads / mu_attention_kv_heads(s));
    h.dim = (int)s->head_dim;
    h.scale = (float)s->scale;
    return h;
}

#endif
