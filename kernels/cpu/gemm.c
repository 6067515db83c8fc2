#include "kernels/cpu/gemm.h"
#include "common/log.h"

#include <dlfcn.h>
#include <oneapi/dnnl/dnnl.h>

/* Exported by 2.6 and 3.x beside dnnl_sgemm(), whose arguments it has, but declared in no header of theirs: a
 * oneDNN without it leaves the address NULL. */
dnnl_status_t dnnl_gemm_bf16bf16f32(char transa, char transb, dnnl_dim_t m, dnnl_dim_t n, dnnl_dim_t k,
                                    float alpha, const uint16_t *a, dnnl_dim_t lda, const uint16_t *b,
                                    dnnl_dim_t ldb, float beta, float *c, dnnl_dim_t ldc)
    __attribute__((weak));

static mu_status_t check(dnnl_status_t status, int64_t m, int64_t n, int64_t k)
{
    if (status == dnnl_success)
        return MU_OK;
    return mu_fail(MU_BUG, "oneDNN: status %d of a product %lld x %lld x %lld", (int)status, (long long)m,
                   (long long)n, (long long)k);
}

/*
 * dnnl_sgemm() and not the matmul primitive: it is the same call in oneDNN 2.6 and 3.x, needs no primitive to
 * be built and kept per shape, accumulates, and takes any stride, so that threads can share a product by
 * slices. Measured on Zen 5 at rows 256 to 1024 and widths 128 to 8192 it is as fast as matmul within 5 %
 * (205 to 232 against 190 to 231 GFLOP/s on one thread), and steadier on the wide head, where matmul falls to
 * 180.
 */
mu_status_t mu_gemm(float *c, int64_t c_stride, mu_gemm_in_t a, mu_gemm_in_t b, int64_t m, int64_t n,
                    int64_t k, bool accumulate)
{
    return check(dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', m, n, k, 1.0F, a.data,
                            a.stride, b.data, b.stride, accumulate ? 1.0F : 0.0F, c, c_stride),
                 m, n, k);
}

mu_status_t mu_gemm_bfloat16(float *c, int64_t c_stride, mu_gemm_half_t a, mu_gemm_half_t b, int64_t m,
                             int64_t n, int64_t k, bool accumulate)
{
    return check(dnnl_gemm_bf16bf16f32(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', m, n, k, 1.0F,
                                       a.data, a.stride, b.data, b.stride, accumulate ? 1.0F : 0.0F, c,
                                       c_stride),
                 m, n, k);
}

bool mu_gemm_has_bfloat16(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    return dnnl_gemm_bf16bf16f32 && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

/* Debian's oneDNN runs on OpenMP, whose team size is a property of the calling thread. Our pool already has a
 * thread for each core, so each asks for a team of one. The OpenMP library is the one that oneDNN itself
 * brought along; a oneDNN built without it has none, and needs nothing. */
void mu_gemm_thread_start(void)
{
    void (*set_threads)(int);
    *(void **)&set_threads = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    if (set_threads)
        set_threads(1);
}

void mu_gemm_version(char *out, int size)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(out, (size_t)size, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
}
