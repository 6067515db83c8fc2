/* Matrix products, by oneDNN. gemm.c is the one file that includes its headers. */
#ifndef MU_KERNELS_CPU_GEMM_H
#define MU_KERNELS_CPU_GEMM_H

#include "common/status.h"
#include <stdbool.h>
#include <stdint.h>

/* One operand: row-major with `stride` elements from row to row, used as it is or transposed. */
typedef struct mu_gemm_in {
    const float *data;
    int64_t stride;
    bool transposed;
} mu_gemm_in_t;

/* c [m][n] = a [m][k] b [k][n] (+ c when accumulate), in the calling thread alone. Errors: MU_BUG. */
mu_status_t mu_gemm(float *c, int64_t c_stride, mu_gemm_in_t a, mu_gemm_in_t b, int64_t m, int64_t n,
                    int64_t k, bool accumulate);

/* The same of two bfloat16 operands, with float sums; only where mu_gemm_has_bfloat16(). */
typedef struct mu_gemm_half {
    const uint16_t *data;
    int64_t stride;
    bool transposed;
} mu_gemm_half_t;
mu_status_t mu_gemm_bfloat16(float *c, int64_t c_stride, mu_gemm_half_t a, mu_gemm_half_t b, int64_t m,
                             int64_t n, int64_t k, bool accumulate);
/* The processor multiplies bfloat16, and oneDNN knows how. Elsewhere widening and mu_gemm() are faster. */
bool mu_gemm_has_bfloat16(void);

/* Keeps oneDNN to the calling thread; called once in every thread that uses mu_gemm(). */
void mu_gemm_thread_start(void);
/* "oneDNN 2.6.3" */
void mu_gemm_version(char *out, int size);

#endif
