/* The tile unit's products; compiled for the processors that have it, and called on them alone. */
#include "kernels/cpu/tiles.h"

#if defined(__x86_64__)

#include "common/num.h"
#include "kernels/cpu/tiles_transpose.h"
#include <string.h>

enum { TILE = MU_TILES_ROWS, PAIRS = 16, BLOCK = MU_TILES_BLOCK, FOUR = 4 * TILE };

/* [group of rows][block][pair][row][2] */
static void pack(uint16_t *packed, const uint16_t *x, int64_t rows, int64_t in, int64_t from, int64_t to)
{
    int64_t width = mu_tiles_width(rows), blocks = mu_tiles_blocks(in);
    __mmask16 lanes = (__mmask16)((1U << width) - 1);
    for (int64_t first = 0; first < rows; first += TILE)
        for (int64_t b = from; b < to; b++) {
            __mmask32 there = mu_tiles_there(in - b * BLOCK);
            uint16_t *out = packed + (first / TILE * blocks + b) * PAIRS * width * 2;
            __m512i line[TILE];
            UNROLL
            for (int64_t r = 0; r < TILE; r++)
                line[r] = first + r < rows ? _mm512_maskz_loadu_epi16(there, x + (first + r) * in + b * BLOCK)
                                           : _mm512_setzero_si512();
            mu_tiles_transpose(line);
            UNROLL
            for (int64_t p = 0; p < PAIRS; p++)
                _mm512_mask_storeu_epi32(out + p * width * 2, lanes, line[p]);
        }
}

/* Tiles 0 to 3: sums [16 columns][row]; 4, 5: weights; 6: rows. */
static void begin(int64_t rows)
{
    struct {
        uint8_t palette, start, none[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int i = 0; i < 7; i++) {
        shape.rows[i] = TILE;
        shape.bytes[i] = i == 4 || i == 5 ? 2 * BLOCK : (uint16_t)(mu_tiles_width(rows) * 4);
    }
    __asm__ volatile("" : : "r"(&shape) : "memory"); /* gcc 12 believes that one pointer of it is read */
    _tile_loadconfig(&shape);
}

static void end(void)
{
    _tile_release();
}

static inline __attribute__((always_inline)) void step(const bool four, const uint16_t *x, int64_t width,
                                                       const uint16_t *w, int64_t stride)
{
    _tile_loadd(6, x, width * 4);
    _tile_loadd(4, w, stride * 2);
    _tile_dpbf16ps(0, 4, 6);
    if (!four)
        return;
    _tile_loadd(5, w + TILE * stride, stride * 2);
    _tile_dpbf16ps(1, 5, 6);
    _tile_loadd(4, w + 2 * TILE * stride, stride * 2);
    _tile_dpbf16ps(2, 4, 6);
    _tile_loadd(5, w + 3 * TILE * stride, stride * 2);
    _tile_dpbf16ps(3, 5, 6);
}

/* The same where a part of a tile's weights is not there. */
static inline __attribute__((always_inline)) void step_part(const bool four, const uint16_t *x, int64_t width,
                                                            const uint16_t *w, int64_t stride, int64_t cols,
                                                            int64_t n)
{
    uint16_t part[FOUR * BLOCK] __attribute__((aligned(64)));
    memset(part, 0, (size_t)(four ? FOUR : TILE) * BLOCK * sizeof *part);
    for (int64_t c = 0; c < cols; c++)
        memcpy(part + c * BLOCK, w + c * stride, (size_t)n * sizeof *part);
    __asm__ volatile("" : : "r"(part) : "memory");
    step(four, x, width, part, BLOCK);
}

/* to [4 or 1][16 columns][16 rows] */
static inline __attribute__((always_inline)) void sums(const bool four, float *to, const uint16_t *x,
                                                       int64_t width, const uint16_t *w, int64_t cols,
                                                       int64_t in)
{
    bool whole = cols >= (four ? FOUR : TILE);
    _tile_zero(0);
    if (four) {
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t k = 0; k < in; k += BLOCK, x += BLOCK * width) {
        if (whole && k + BLOCK <= in)
            step(four, x, width, w + k, in);
        else
            step_part(four, x, width, w + k, in, mu_min_i64(cols, four ? FOUR : TILE),
                      mu_min_i64(BLOCK, in - k));
    }
    _tile_stored(0, to, TILE * sizeof *to);
    if (four) {
        _tile_stored(1, to + TILE * TILE, TILE * sizeof *to);
        _tile_stored(2, to + 2 * TILE * TILE, TILE * sizeof *to);
        _tile_stored(3, to + 3 * TILE * TILE, TILE * sizeof *to);
    }
}

/* sums of 16 columns to the rows of y. */
static void turn(float *y, int64_t y_row, const float *sums, int64_t rows)
{
    __m512i line[TILE];
    UNROLL
    for (int i = 0; i < TILE; i++)
        line[i] = _mm512_loadu_si512(sums + i * TILE);
    mu_tiles_transpose(line);
    UNROLL
    for (int i = 0; i < TILE; i++)
        if (i < rows)
            _mm512_storeu_si512(y + i * y_row, line[i]);
}

static void dots(float *y, int64_t y_row, const uint16_t *packed, const uint16_t *w, int64_t rows,
                 int64_t cols, int64_t in)
{
    int64_t width = mu_tiles_width(rows), group = width * mu_tiles_blocks(in) * BLOCK;
    float got[FOUR * TILE] __attribute__((aligned(64)));
    for (int64_t c = 0, n; c < cols; c += n) {
        bool four = cols - c >= FOUR;
        n = four ? FOUR : TILE;
        for (int64_t r = 0; r < rows; r += TILE) {
            const uint16_t *x = packed + r / TILE * group;
            if (four)
                sums(true, got, x, width, w + c * in, n, in);
            else
                sums(false, got, x, width, w + c * in, cols - c, in);
            for (int64_t i = 0; i < n; i += TILE)
                turn(y + r * y_row + c + i, y_row, got + i * TILE, mu_min_i64(TILE, rows - r));
        }
    }
}

const mu_tiles_t mu_tiles_amx = {pack, begin, dots, end, &mu_panels_amx};

#else
typedef int mu_tiles_amx_is_x86_only;
#endif
