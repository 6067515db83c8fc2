/*
 * The matrix units, for one warp: products of 16 x 16 by 16 x 8 (PTX ISA: mma.m16n8k16, ldmatrix, cp.async).
 *
 * Fragments. With g = lane / 4 and t = lane % 4, a lane holds
 *     of a (16 x 16): a[0] = (g, 2t..2t+1), a[1] = (g + 8, same), a[2] = (g, 2t+8..), a[3] = (g + 8, 2t+8..)
 *     of b (16 x 8):  b0 = (2t..2t+1, g), b1 = (2t+8.., g)
 *     of d (16 x 8):  d[0..1] = (g, 2t..2t+1), d[2..3] = (g + 8, 2t..2t+1)
 * so that two neighbouring results d, rounded and packed, are the a of a next product.
 *
 * sm_75 has them for fp16 only, in two halves, and copies without overlap; no bf16 kernel is launched there.
 */
#ifndef MU_KERNELS_CUDA_MMA_H
#define MU_KERNELS_CUDA_MMA_H

#include "kernels/cuda/cu.h"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define MU_BEFORE_SM_80 1
#else
#define MU_BEFORE_SM_80 0
#endif

/* Before a loop over registers, which cannot be indexed by a variable. */
#ifdef MU_CUDA_STAND_IN
#define MU_UNROLL
#else
#define MU_UNROLL _Pragma("unroll")
#endif

/* d += a b */
template <class T>
__device__ static inline void mu_mma(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
#ifdef MU_CUDA_STAND_IN
    uint32_t b[2] = {b0, b1};
    if constexpr (std::is_same_v<T, __half>)
        mu_stand_in_mma_f16(d, a, b, d);
    else
        mu_stand_in_mma_bf16(d, a, b, d);
#elif MU_BEFORE_SM_80
    if constexpr (std::is_same_v<T, __half>) {
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
                     "{%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(b0));
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
                     "{%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[2]), "r"(a[3]), "r"(b1));
    }
#else
    if constexpr (std::is_same_v<T, __half>)
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                     "{%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    else
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                     "{%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

/* Four 8 x 8 blocks of shared memory as fragments: lane i names the 16-byte row i % 8 of block i / 8, and
 * gets (g, 2t..2t+1) of each; transposed: (2t..2t+1, g). */
template <bool TRANSPOSED, class T> __device__ static inline void mu_blocks4(uint32_t r[4], const T *row)
{
#ifdef MU_CUDA_STAND_IN
    mu_stand_in_ldmatrix(r, 4, TRANSPOSED, row);
#else
    unsigned at = (unsigned)__cvta_generic_to_shared(row);
    if constexpr (TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(at)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(at)
                     : "memory");
#endif
}

/* 16 bytes from memory to shared memory, or 16 zero bytes, there after the mu_copy_wait() that covers them.
 */
__device__ static inline void mu_copy16(void *shared, const void *from, bool valid)
{
#ifdef MU_CUDA_STAND_IN
    mu_stand_in_cp_async(shared, from, 16, valid ? 16 : 0);
#elif MU_BEFORE_SM_80
    *(uint4 *)shared = valid ? *(const uint4 *)from : make_uint4(0, 0, 0, 0);
#else
    asm volatile(
        "cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((unsigned)__cvta_generic_to_shared(shared)),
        "l"(from), "r"(valid ? 16 : 0)
        : "memory");
#endif
}
/* Ends a group of copies. */
__device__ static inline void mu_copy_commit()
{
#ifdef MU_CUDA_STAND_IN
    mu_stand_in_cp_async_commit();
#elif !MU_BEFORE_SM_80
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
/* Waits until at most N groups of this thread's copies are on their way. */
template <int N> __device__ static inline void mu_copy_wait()
{
#ifdef MU_CUDA_STAND_IN
    mu_stand_in_cp_async_wait(N);
#elif !MU_BEFORE_SM_80
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

/* Two numbers, rounded to T, in one register: `low` at the lower address. */
template <class T> __device__ static inline uint32_t mu_pair(float low, float high)
{
    uint32_t out;
    if constexpr (std::is_same_v<T, __half>) {
        __half2 pair = __floats2half2_rn(low, high);
        memcpy(&out, (const void *)&pair, sizeof out);
    } else {
        __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
        memcpy(&out, (const void *)&pair, sizeof out);
    }
    return out;
}

/* 2^x, within two units in the last place; tiny results are 0 */
__device__ static inline float mu_exp2(float x)
{
#ifdef MU_CUDA_STAND_IN
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

#endif
