/* What the files of the tile unit share; for them alone, since they are compiled for the processors that have it. */
#ifndef MU_KERNELS_CPU_TILES_TRANSPOSE_H
#define MU_KERNELS_CPU_TILES_TRANSPOSE_H

#include "kernels/cpu/tiles.h"
#include <immintrin.h>

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Turns 16 x 16 numbers of 32 bits. */
static inline __attribute__((always_inline)) void mu_tiles_transpose(__m512i x[MU_TILES_ROWS])
{
    __m512i t[MU_TILES_ROWS];
    UNROLL
    for (int i = 0; i < MU_TILES_ROWS; i += 2) { /* pairs of rows */
        t[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
    }
    UNROLL
    for (int i = 0; i < MU_TILES_ROWS;
         i += 4) { /* four rows: x[i + j] holds their columns j, j + 4, j + 8, j + 12 */
        x[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        x[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        x[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        x[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    UNROLL
    for (int j = 0; j < 4; j++) {
        __m512i a = _mm512_shuffle_i32x4(x[j], x[j + 4], 0x88),
                b = _mm512_shuffle_i32x4(x[j], x[j + 4], 0xdd);
        __m512i c = _mm512_shuffle_i32x4(x[j + 8], x[j + 12], 0x88),
                d = _mm512_shuffle_i32x4(x[j + 8], x[j + 12], 0xdd);
        x[j] = _mm512_shuffle_i32x4(a, c, 0x88);
        x[j + 8] = _mm512_shuffle_i32x4(a, c, 0xdd);
        x[j + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
        x[j + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
}

/* The elements of a block of 32 that are there, of `n` from its first on. */
static inline __mmask32 mu_tiles_there(int64_t n)
{
    return n < MU_TILES_BLOCK ? (1U << n) - 1 : ~0U;
}

#endif
