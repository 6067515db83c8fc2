/* Training's products with the tile unit; compiled for the processors that have it, and called on them alone. */
#include "kernels/cpu/tiles.h"

#if defined(__x86_64__)

#include "kernels/cpu/tiles_transpose.h"
#include <string.h>

enum {
    STRIP = MU_TILES_ROWS,
    BLOCK = MU_TILES_BLOCK,
    TILE = STRIP * BLOCK, /* elements */
    PAIR = 2 * STRIP,     /* rows or columns of two strips */
    DEPTH = 16, /* blocks that are summed in registers: two left strips of them stay in the first cache */
};

/* Elements p, p + 1 of each of 32 lines that lie side by side in memory, in two halves. Number i of `low` is of line
 * 8 (i / 4) + i % 4, number i of `high` of the one 4 further. */
static inline __attribute__((always_inline)) void interleave(mu_gemm_half_t a, int64_t p, int64_t k,
                                                             int64_t line, __mmask32 there, __m512i *low,
                                                             __m512i *high)
{
    const uint16_t *from = a.data + p * a.stride + line;
    if (p + BLOCK + 1 <
        k) { /* each line of memory is on a page of its own, which the processor does not foresee */
        _mm_prefetch((const char *)(from + BLOCK * a.stride), _MM_HINT_T0);
        _mm_prefetch((const char *)(from + (BLOCK + 1) * a.stride), _MM_HINT_T0);
    }
    __m512i even = p < k ? _mm512_maskz_loadu_epi16(there, from) : _mm512_setzero_si512(),
            odd = p + 1 < k ? _mm512_maskz_loadu_epi16(there, from + a.stride) : _mm512_setzero_si512();
    *low = _mm512_unpacklo_epi16(even, odd);
    *high = _mm512_unpackhi_epi16(even, odd);
}

/* 16 lines from `line` on, each with a block of the sum in a row. */
static inline __attribute__((always_inline)) void load_lines(__m512i out[STRIP], mu_gemm_half_t a,
                                                             int64_t line, int64_t lines, int64_t p,
                                                             int64_t k)
{
    __mmask32 there = mu_tiles_there(k - p);
    UNROLL
    for (int64_t r = 0; r < STRIP; r++)
        out[r] = line + r < lines ? _mm512_maskz_loadu_epi16(there, a.data + (line + r) * a.stride + p)
                                  : _mm512_setzero_si512();
}

/* Left tiles: [row][32]. */
static void pack_left_rows(uint16_t *packed, mu_gemm_half_t a, int64_t m, int64_t k)
{
    __m512i line[STRIP];
    for (int64_t i = 0; i < m; i += STRIP)
        for (int64_t p = 0; p < k; p += BLOCK, packed += TILE) {
            load_lines(line, a, i, m, p, k);
            UNROLL
            for (int r = 0; r < STRIP; r++)
                _mm512_storeu_si512(packed + r * BLOCK, line[r]);
        }
}

/* A tile of each of two strips; the second one may not be there. */
static void pack_left_pair(uint16_t *to, mu_gemm_half_t a, int64_t i, int64_t p, int64_t m, int64_t k,
                           int64_t strip)
{
    __m512i low[STRIP], high[STRIP];
    UNROLL
    for (int q = 0; q < STRIP; q++)
        interleave(a, p + 2 * q, k, i, mu_tiles_there(m - i), &low[q], &high[q]);
    mu_tiles_transpose(low);
    mu_tiles_transpose(high);
    UNROLL
    for (int t = 0; t < STRIP / 2; t++) {
        int row = 8 * (t / 4) + t % 4;
        _mm512_storeu_si512(to + row * BLOCK, low[t]);
        _mm512_storeu_si512(to + (row + 4) * BLOCK, high[t]);
    }
    if (m - i <= STRIP)
        return;
    UNROLL
    for (int t = 0; t < STRIP / 2; t++) {
        int row = 8 * (t / 4) + t % 4;
        _mm512_storeu_si512(to + strip + row * BLOCK, low[STRIP / 2 + t]);
        _mm512_storeu_si512(to + strip + (row + 4) * BLOCK, high[STRIP / 2 + t]);
    }
}

/* In the order of the rows in memory. */
static void pack_left_columns(uint16_t *packed, mu_gemm_half_t a, int64_t m, int64_t k)
{
    int64_t strip = mu_tiles_blocks(k) * TILE;
    for (int64_t p = 0; p < k; p += BLOCK, packed += TILE)
        for (int64_t i = 0; i < m; i += PAIR)
            pack_left_pair(packed + i / STRIP * strip, a, i, p, m, k, strip);
}

static void pack_left(uint16_t *packed, mu_gemm_half_t a, int64_t m, int64_t k)
{
    (a.transposed ? pack_left_columns : pack_left_rows)(packed, a, m, k);
}

/* Right tiles: [pair of the sum][column][2]. */
static void pack_right_columns(uint16_t *packed, mu_gemm_half_t b, int64_t k, int64_t n)
{
    __m512i line[STRIP];
    for (int64_t j = 0; j < n; j += STRIP)
        for (int64_t p = 0; p < k; p += BLOCK, packed += TILE) {
            load_lines(line, b, j, n, p, k);
            mu_tiles_transpose(line);
            UNROLL
            for (int q = 0; q < STRIP; q++)
                _mm512_storeu_si512(packed + q * PAIR, line[q]);
        }
}

static void pack_right_pair(uint16_t *to, mu_gemm_half_t b, int64_t p, int64_t j, int64_t k, int64_t n,
                            int64_t strip)
{
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11),
                  second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    __m512i low, high;
    for (int q = 0; q < STRIP; q++) {
        interleave(b, p + 2 * q, k, j, mu_tiles_there(n - j), &low, &high);
        _mm512_storeu_si512(to + q * PAIR, _mm512_permutex2var_epi64(low, first, high));
        if (n - j > STRIP)
            _mm512_storeu_si512(to + strip + q * PAIR, _mm512_permutex2var_epi64(low, second, high));
    }
}

static void pack_right_rows(uint16_t *packed, mu_gemm_half_t b, int64_t k, int64_t n)
{
    int64_t strip = mu_tiles_blocks(k) * TILE;
    for (int64_t p = 0; p < k; p += BLOCK, packed += TILE)
        for (int64_t j = 0; j < n; j += PAIR)
            pack_right_pair(packed + j / STRIP * strip, b, p, j, k, n, strip);
}

static void pack_right(uint16_t *packed, mu_gemm_half_t b, int64_t k, int64_t n)
{
    (b.transposed ? pack_right_columns : pack_right_rows)(packed, b, k, n);
}

static void begin(void)
{
    struct {
        uint8_t palette, start, none[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        shape.rows[i] = STRIP;
        shape.bytes[i] = 2 * BLOCK;
    }
    __asm__ volatile("" : : "r"(&shape) : "memory"); /* gcc 12 believes that one pointer of it is read */
    _tile_loadconfig(&shape);
}

/* Sums of one or two strips of rows with one or two of columns over `blocks` tiles. Tiles 0 to 3: sums; 4, 5: left; 6,
 * 7: right. */
static inline __attribute__((always_inline)) void sums(const bool rows, const bool cols, float *c,
                                                       int64_t c_stride, const uint16_t *left,
                                                       const uint16_t *right, int64_t strip, int64_t blocks,
                                                       bool fresh)
{
    size_t line = (size_t)c_stride * sizeof *c;
    float *below = c + STRIP * c_stride;
    if (fresh) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, c, line);
        if (cols)
            _tile_loadd(1, c + STRIP, line);
        if (rows)
            _tile_loadd(2, below, line);
        if (rows && cols)
            _tile_loadd(3, below + STRIP, line);
    }
    for (int64_t b = 0; b < blocks; b++, left += TILE, right += TILE) {
        _tile_loadd(4, left, 2 * BLOCK);
        _tile_loadd(6, right, 2 * BLOCK);
        _tile_dpbf16ps(0, 4, 6);
        if (cols) {
            _tile_loadd(7, right + strip, 2 * BLOCK);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (rows) {
            _tile_loadd(5, left + strip, 2 * BLOCK);
            _tile_dpbf16ps(2, 5, 6);
        }
        if (rows && cols)
            _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, line);
    if (cols)
        _tile_stored(1, c + STRIP, line);
    if (rows)
        _tile_stored(2, below, line);
    if (rows && cols)
        _tile_stored(3, below + STRIP, line);
}

/* The same of m rows and n columns, at most 32 each, that may end within a strip. */
static void sums_of(float *c, int64_t c_stride, const uint16_t *left, const uint16_t *right, int64_t strip,
                    int64_t blocks, int64_t m, int64_t n, bool fresh)
{
    float edge[PAIR * PAIR] __attribute__((aligned(64)));
    bool whole = m % STRIP == 0 && n % STRIP == 0;
    float *to = whole ? c : edge;
    int64_t stride = whole ? c_stride : PAIR;
    for (int64_t i = 0; !whole && !fresh && i < m; i++)
        memcpy(edge + i * PAIR, c + i * c_stride, (size_t)n * sizeof *c);
    if (m > STRIP && n > STRIP)
        sums(true, true, to, stride, left, right, strip, blocks, fresh);
    else if (m > STRIP)
        sums(true, false, to, stride, left, right, strip, blocks, fresh);
    else if (n > STRIP)
        sums(false, true, to, stride, left, right, strip, blocks, fresh);
    else
        sums(false, false, to, stride, left, right, strip, blocks, fresh);
    for (int64_t i = 0; !whole && i < m; i++)
        memcpy(c + i * c_stride, edge + i * PAIR, (size_t)n * sizeof *c);
}

static void multiply(float *c, int64_t c_stride, const uint16_t *left, const uint16_t *right, int64_t m,
                     int64_t n, int64_t k, bool accumulate)
{
    int64_t blocks = mu_tiles_blocks(k), strip = blocks * TILE;
    begin();
    for (int64_t b = 0; b < blocks; b += DEPTH)
        for (int64_t i = 0; i < m; i += PAIR)
            for (int64_t j = 0; j < n; j += PAIR)
                sums_of(c + i * c_stride + j, c_stride, left + i / STRIP * strip + b * TILE,
                        right + j / STRIP * strip + b * TILE, strip, mu_min_i64(DEPTH, blocks - b),
                        mu_min_i64(PAIR, m - i), mu_min_i64(PAIR, n - j), b == 0 && !accumulate);
    _tile_release();
}

const mu_panels_t mu_panels_amx = {pack_left, pack_right, multiply};

#else
typedef int mu_panels_amx_is_x86_only;
#endif
