/*
 * Small matrix products for attention's tiles; included by vec_body.h.
 *
 * c [m][n] = a [m][k] b [k][n] (+ c): n is a multiple of 16, b and c are 64-byte aligned with rows that are
 * multiples of 16; a may have any strides, so that a transposed tile needs no transposing. A block of c stays
 * in registers over k.
 */

typedef struct vec_a {
    const float *data;
    int64_t row, col; /* strides */
} vec_a_t;

#if MU_VEC_WIDTH == 16
enum {
    VEC_BLOCK_WIDE = 4,
    VEC_BLOCK_ROWS_WIDE = 6,
    VEC_BLOCK_ROWS = 8
}; /* 24 or 16 of 32 registers hold c */
#else
enum { VEC_BLOCK_WIDE = 2, VEC_BLOCK_ROWS_WIDE = 6, VEC_BLOCK_ROWS = 6 }; /* 12 of 16 */
#endif

#if defined(__clang__)
#define VEC_UNROLL _Pragma("unroll")
#else
#define VEC_UNROLL _Pragma("GCC unroll 8")
#endif

/* rows and wide are constants at every call, so that c is registers. */
static inline __attribute__((always_inline)) void vec_block(const int rows, const int wide, float *c,
                                                            int64_t c_row, vec_a_t a, const float *b,
                                                            int64_t b_row, int64_t k, bool accumulate)
{
    vec_f sum[8][4];
    VEC_UNROLL
    for (int i = 0; i < rows; i++) {
        VEC_UNROLL
        for (int j = 0; j < wide; j++)
            sum[i][j] = accumulate ? *(const vec_f *)(c + i * c_row + j * MU_VEC_WIDTH) : (vec_f){0};
    }
    /* three pointers, so that each row is one of them and a stride that an address can hold */
    const float *base[3] = {a.data, a.data + 3 * a.row, a.data + 6 * a.row};
    for (int64_t p = 0; p < k; p++, b += b_row) {
        vec_f line[4];
        VEC_UNROLL
        for (int j = 0; j < wide; j++)
            line[j] = *(const vec_f *)(b + j * MU_VEC_WIDTH);
        VEC_UNROLL
        for (int i = 0; i < rows; i++) {
            float one = base[i / 3][i % 3 * a.row];
            VEC_UNROLL
            for (int j = 0; j < wide; j++)
                sum[i][j] += one * line[j];
        }
        VEC_UNROLL
        for (int i = 0; i < 3; i++)
            base[i] += a.col;
    }
    VEC_UNROLL
    for (int i = 0; i < rows; i++) {
        VEC_UNROLL
        for (int j = 0; j < wide; j++)
            *(vec_f *)(c + i * c_row + j * MU_VEC_WIDTH) = sum[i][j];
    }
}

/* All rows of `wide` vectors of columns. */
static inline __attribute__((always_inline)) void vec_strip(const int rows, const int wide, float *c,
                                                            int64_t c_row, vec_a_t a, const float *b,
                                                            int64_t b_row, int64_t m, int64_t k,
                                                            bool accumulate)
{
    int64_t i = 0;
    for (; i + rows <= m; i += rows)
        vec_block(rows, wide, c + i * c_row, c_row, (vec_a_t){a.data + i * a.row, a.row, a.col}, b, b_row, k,
                  accumulate);
    for (; i + 4 <= m; i += 4)
        vec_block(4, wide, c + i * c_row, c_row, (vec_a_t){a.data + i * a.row, a.row, a.col}, b, b_row, k,
                  accumulate);
    for (; i < m; i++)
        vec_block(1, wide, c + i * c_row, c_row, (vec_a_t){a.data + i * a.row, a.row, a.col}, b, b_row, k,
                  accumulate);
}

static void vec_product(float *c, int64_t c_row, vec_a_t a, const float *b, int64_t b_row, int64_t m,
                        int64_t n, int64_t k, bool accumulate)
{
    int64_t j = 0, step = VEC_BLOCK_WIDE * MU_VEC_WIDTH;
    for (; j + step <= n; j += step)
        vec_strip(VEC_BLOCK_ROWS_WIDE, VEC_BLOCK_WIDE, c + j, c_row, a, b + j, b_row, m, k, accumulate);
#if MU_VEC_WIDTH == 16
    if (j + 32 <= n) {
        vec_strip(VEC_BLOCK_ROWS, 2, c + j, c_row, a, b + j, b_row, m, k, accumulate);
        j += 32;
    }
#endif
    for (; j < n; j += MU_VEC_WIDTH)
        vec_strip(VEC_BLOCK_ROWS, 1, c + j, c_row, a, b + j, b_row, m, k, accumulate);
}
