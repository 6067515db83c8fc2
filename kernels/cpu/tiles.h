/*
 * Generation: products of a few rows of bfloat16 with the processor's tile unit (AMX), in which the bits of a row
 * depend on that row alone. Weights are read where they lie, once for up to 16 rows.
 *
 *     tiles->pack(packed, x, rows, in, 0, mu_tiles_blocks(in));    a part of the blocks by each thread
 *     tiles->begin(rows);                                          in each thread
 *     tiles->dots(y, y_row, packed, w, rows, cols, in);
 *     tiles->end();
 * A sum runs over blocks of 32 elements: in each, those of even and of odd number are added apart, then both to the
 * sum. Subnormal numbers count as 0.
 *
 * Training: products of bfloat16 whose operands are packed into panels first. A panel consists of strips of 16 rows of
 * the left operand, or of 16 columns of the right one. A strip has a tile of 1 KiB for each 32 of what is summed over,
 * with zeros where the operand has ended.
 *
 *     panels->pack_left(left, a, m, k);
 *     panels->pack_right(right, b, k, n);
 *     panels->multiply(c, c_stride, left, right, m, n, k, accumulate);      any thread, at any time
 *
 * The bits of an element depend on its row, its column, and on what the caller sums at a time.
 */
#ifndef MU_KERNELS_CPU_TILES_H
#define MU_KERNELS_CPU_TILES_H

#include "common/num.h"
#include "kernels/cpu/gemm.h"

enum { MU_TILES_ROWS = 16, MU_TILES_BLOCK = 32 };

typedef struct mu_panels {
    /* a [m][k]; packed: mu_panel_elements(m, k) */
    void (*pack_left)(uint16_t *packed, mu_gemm_half_t a, int64_t m, int64_t k);
    /* b [k][n]; packed: mu_panel_elements(n, k) */
    void (*pack_right)(uint16_t *packed, mu_gemm_half_t b, int64_t k, int64_t n);
    /* c [m][n] = a b (+ c) */
    void (*multiply)(float *c, int64_t c_stride, const uint16_t *left, const uint16_t *right, int64_t m,
                     int64_t n, int64_t k, bool accumulate);
} mu_panels_t;

typedef struct mu_tiles {
    /* Blocks from .. to - 1 of all rows of x [rows][in]; packed: mu_tiles_packed() elements. */
    void (*pack)(uint16_t *packed, const uint16_t *x, int64_t rows, int64_t in, int64_t from, int64_t to);
    void (*begin)(int64_t rows);
    /* y[r * y_row + c] = x[r] . w[c], w [cols][in]; y has room for a multiple of 16 columns. */
    void (*dots)(float *y, int64_t y_row, const uint16_t *packed, const uint16_t *w, int64_t rows,
                 int64_t cols, int64_t in);
    void (*end)(void);
    const mu_panels_t *panels;
} mu_tiles_t;

/* NULL: the processor has no such unit, the kernel does not lend it, or `most` (as of mu_vec_choose(); "amx" is more
 * than "avx512") holds it back. */
const mu_tiles_t *mu_tiles_choose(const char *most);

/* Rows that are computed together: where there are more than a tile has, the last ones are padded to that many. */
static inline int64_t mu_tiles_width(int64_t rows)
{
    return mu_min_i64(rows, MU_TILES_ROWS);
}
static inline int64_t mu_tiles_blocks(int64_t in)
{
    return (in + MU_TILES_BLOCK - 1) / MU_TILES_BLOCK;
}
static inline int64_t mu_tiles_packed(int64_t rows, int64_t in)
{
    return (rows + MU_TILES_ROWS - 1) / MU_TILES_ROWS * mu_tiles_width(rows) * mu_tiles_blocks(in) *
           MU_TILES_BLOCK;
}

static inline int64_t mu_panel_elements(int64_t lines, int64_t k)
{
    return (lines + MU_TILES_ROWS - 1) / MU_TILES_ROWS * MU_TILES_ROWS * mu_tiles_blocks(k) * MU_TILES_BLOCK;
}

#if defined(__x86_64__)
extern const mu_tiles_t mu_tiles_amx;
extern const mu_panels_t mu_panels_amx; /* of it */
#endif

#endif
