/*
 * Generation: products of a few rows, in which the bits of a row depend on that row alone; included by vec_body.h.
 *
 * A sum runs over the lanes of one register from the first element to the last. Then its lanes are added, each to that
 * half of them away, until one is left. How many rows or columns are computed beside it changes nothing of that, so a
 * sequence gets the same bits alone and among others, with any number of threads.
 *
 * Weights are read once for up to VEC_DOTS_ROWS rows. A strip is as many columns as make one register of results, or
 * two, with the rows that are computed together. Its sums are made in blocks that stay in registers.
 */
#if MU_VEC_WIDTH == 16
enum { VEC_DOTS_ROWS = 8 };
#else
enum { VEC_DOTS_ROWS = 4 };
#endif
enum {
    VEC_DOTS_SUMS = 16,
    VEC_DOTS_NEAR = 16
}; /* sums of a strip at most; columns that stay in a cache for all rows */

/* VEC_FIRST_n(0): of the lanes of two registers, numbered one after the other, the first n of each 2 n; VEC_FIRST_n(n):
 * the others. */
#if MU_VEC_WIDTH == 16
#define VEC_FIRST_8(h)                                                                                       \
    0 + h, 1 + h, 2 + h, 3 + h, 4 + h, 5 + h, 6 + h, 7 + h, 16 + h, 17 + h, 18 + h, 19 + h, 20 + h, 21 + h,  \
        22 + h, 23 + h
#define VEC_FIRST_4(h)                                                                                       \
    0 + h, 1 + h, 2 + h, 3 + h, 8 + h, 9 + h, 10 + h, 11 + h, 16 + h, 17 + h, 18 + h, 19 + h, 24 + h,        \
        25 + h, 26 + h, 27 + h
#define VEC_FIRST_2(h)                                                                                       \
    0 + h, 1 + h, 4 + h, 5 + h, 8 + h, 9 + h, 12 + h, 13 + h, 16 + h, 17 + h, 20 + h, 21 + h, 24 + h,        \
        25 + h, 28 + h, 29 + h
#define VEC_FIRST_1(h)                                                                                       \
    0 + h, 2 + h, 4 + h, 6 + h, 8 + h, 10 + h, 12 + h, 14 + h, 16 + h, 18 + h, 20 + h, 22 + h, 24 + h,       \
        26 + h, 28 + h, 30 + h
#elif MU_VEC_WIDTH == 8
#define VEC_FIRST_4(h) 0 + h, 1 + h, 2 + h, 3 + h, 8 + h, 9 + h, 10 + h, 11 + h
#define VEC_FIRST_2(h) 0 + h, 1 + h, 4 + h, 5 + h, 8 + h, 9 + h, 12 + h, 13 + h
#define VEC_FIRST_1(h) 0 + h, 2 + h, 4 + h, 6 + h, 8 + h, 10 + h, 12 + h, 14 + h
#else
#define VEC_FIRST_2(h) 0 + h, 1 + h, 4 + h, 5 + h
#define VEC_FIRST_1(h) 0 + h, 2 + h, 4 + h, 6 + h
#endif

/* Adds to each lane that h lanes on, in n registers, and puts what is left of two into one. */
#define VEC_FOLD(x, n, first, h)                                                                             \
    do {                                                                                                     \
        VEC_UNROLL                                                                                           \
        for (int i = 0; i < (n) / 2; i++)                                                                    \
            (x)[i] = __builtin_shufflevector((x)[2 * i], (x)[2 * i + 1], first(0)) +                         \
                     __builtin_shufflevector((x)[2 * i], (x)[2 * i + 1], first(h));                          \
    } while (0)

/* The sums over the lanes of MU_VEC_WIDTH registers, in their order. */
static inline vec_f vec_fold(const vec_f *sums)
{
    vec_f x[MU_VEC_WIDTH];
    memcpy(x, sums, sizeof x);
#if MU_VEC_WIDTH == 16
    VEC_FOLD(x, 16, VEC_FIRST_8, 8);
#endif
#if MU_VEC_WIDTH >= 8
    VEC_FOLD(x, 8, VEC_FIRST_4, 4);
#endif
    VEC_FOLD(x, 4, VEC_FIRST_2, 2);
    VEC_FOLD(x, 2, VEC_FIRST_1, 1);
    return x[0];
}

/* MU_VEC_WIDTH elements from number i on. */
static inline __attribute__((always_inline)) vec_f vec_load_any(const void *from, int64_t i,
                                                                const mu_dtype_t type)
{
    if (type == MU_DTYPE_F32)
        return vec_load((const float *)from + i);
    vec_h x = *(const vec_h *)((const uint16_t *)from + i);
    return type == MU_DTYPE_BF16 ? vec_of_bfloat16(x) : vec_of_half(x);
}

/* The n < MU_VEC_WIDTH elements from number i on, the other lanes 0. Seldom called, and long where it is inlined. */
static __attribute__((noinline)) vec_f vec_load_any_part(const void *from, int64_t i, int64_t n,
                                                         mu_dtype_t type)
{
    if (type == MU_DTYPE_F32)
        return vec_load_part((const float *)from + i, n, 0);
    uint16_t lane[MU_VEC_WIDTH] = {0};
    memcpy(lane, (const uint16_t *)from + i, (size_t)n * sizeof *lane);
    vec_h x = *(const vec_h *)lane;
    return type == MU_DTYPE_BF16 ? vec_of_bfloat16(x) : vec_of_half(x);
}

/* to[i * to_row + j]: the lanes of row i times column j. rows, cols and type are constants at every call, so that the
 * sums are registers. */
static inline __attribute__((always_inline)) void vec_dots_block(const int rows, const int cols,
                                                                 const mu_dtype_t type, vec_f *to, int to_row,
                                                                 const float *x, const void *w, int64_t in)
{
    vec_f sum[8][4];
    int64_t k = 0;
    VEC_UNROLL
    for (int i = 0; i < rows; i++) {
        VEC_UNROLL
        for (int j = 0; j < cols; j++)
            sum[i][j] = (vec_f){0};
    }
    for (; k + MU_VEC_WIDTH <= in; k += MU_VEC_WIDTH) {
        vec_f weight[4];
        VEC_UNROLL
        for (int j = 0; j < cols; j++)
            weight[j] = vec_load_any(w, j * in + k, type);
        VEC_UNROLL
        for (int i = 0; i < rows; i++) {
            vec_f line = vec_load(x + i * in + k);
            VEC_UNROLL
            for (int j = 0; j < cols; j++)
                sum[i][j] += line * weight[j];
        }
    }
    if (k < in) {
        vec_f weight[4];
        VEC_UNROLL
        for (int j = 0; j < cols; j++)
            weight[j] = vec_load_any_part(w, j * in + k, in - k, type);
        VEC_UNROLL
        for (int i = 0; i < rows; i++) {
            vec_f line = vec_load_any_part(x, i * in + k, in - k, MU_DTYPE_F32);
            VEC_UNROLL
            for (int j = 0; j < cols; j++)
                sum[i][j] += line * weight[j];
        }
    }
    VEC_UNROLL
    for (int i = 0; i < rows; i++) {
        VEC_UNROLL
        for (int j = 0; j < cols; j++)
            to[i * to_row + j] = sum[i][j];
    }
}

/* The columns of a strip, `valid` of which there are. */
static inline __attribute__((always_inline)) void vec_dots_strip(const int rows, const mu_dtype_t type,
                                                                 float *y, int64_t y_row, const float *x,
                                                                 const void *w, int64_t valid, int64_t in)
{
    const int strip = MU_VEC_WIDTH / rows > 2 ? MU_VEC_WIDTH / rows : 2, block = strip < 4 ? strip : 4;
    int64_t size = mu_dtype_size(type);
    vec_f sums[VEC_DOTS_SUMS] = {0};
    float got[VEC_DOTS_SUMS];
    if (valid >= strip)
        for (int j = 0; j < strip; j += block)
            vec_dots_block(rows, block, type, sums + j, strip, x, (const char *)w + j * in * size, in);
    else
        for (int64_t j = 0; j < valid; j++)
            vec_dots_block(rows, 1, type, sums + j, strip, x, (const char *)w + j * in * size, in);
    for (int at = 0; at < rows * strip; at += MU_VEC_WIDTH)
        vec_store(got + at, vec_fold(sums + at));
    for (int i = 0; i < rows; i++)
        for (int64_t j = 0; j < mu_min_i64(valid, strip); j++)
            y[i * y_row + j] = got[i * strip + j];
}

/* As many groups of rows as there are; returns how many rows those are. */
static inline __attribute__((always_inline)) int64_t vec_dots_rows(const int group, const mu_dtype_t type,
                                                                   float *y, int64_t y_row, const float *x,
                                                                   const void *w, int64_t rows, int64_t cols,
                                                                   int64_t in)
{
    const int strip = MU_VEC_WIDTH / group > 2 ? MU_VEC_WIDTH / group : 2;
    int64_t r = 0, size = mu_dtype_size(type);
    for (; r + group <= rows; r += group)
        for (int64_t c = 0; c < cols; c += strip)
            vec_dots_strip(group, type, y + r * y_row + c, y_row, x + r * in, (const char *)w + c * in * size,
                           cols - c, in);
    return r;
}

static inline __attribute__((always_inline)) void vec_dots_of(const mu_dtype_t type, float *y, int64_t y_row,
                                                              const float *x, const void *w, int64_t rows,
                                                              int64_t cols, int64_t in)
{
    int64_t r = 0;
    if (VEC_DOTS_ROWS == 8)
        r += vec_dots_rows(8, type, y, y_row, x, w, rows, cols, in);
    r += vec_dots_rows(4, type, y + r * y_row, y_row, x + r * in, w, rows - r, cols, in);
    r += vec_dots_rows(2, type, y + r * y_row, y_row, x + r * in, w, rows - r, cols, in);
    vec_dots_rows(1, type, y + r * y_row, y_row, x + r * in, w, rows - r, cols, in);
}

static void vec_dots(float *y, int64_t y_row, const float *x, mu_array_t w, int64_t rows, int64_t cols,
                     int64_t in)
{
    for (int64_t c = 0; c < cols; c += VEC_DOTS_NEAR) {
        int64_t n = mu_min_i64(VEC_DOTS_NEAR, cols - c);
        const void *from = mu_array_at(w, c * in).data;
        if (w.type == MU_DTYPE_F32)
            vec_dots_of(MU_DTYPE_F32, y + c, y_row, x, from, rows, n, in);
        else if (w.type == MU_DTYPE_BF16)
            vec_dots_of(MU_DTYPE_BF16, y + c, y_row, x, from, rows, n, in);
        else
            vec_dots_of(MU_DTYPE_F16, y + c, y_row, x, from, rows, n, in);
    }
}
