/* bf16 with CUDA's names, in software (narrow.h). */
#ifndef MU_STAND_IN_CUDA_BF16_H
#define MU_STAND_IN_CUDA_BF16_H

#include "narrow.h"

typedef mu_stand_in_narrow<mu_stand_in_bf16> __nv_bfloat16;
typedef mu_stand_in_narrow2<mu_stand_in_bf16> __nv_bfloat162;
typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

static inline __nv_bfloat16 __float2bfloat16(float f)
{
    return f;
}
static inline __nv_bfloat16 __float2bfloat16_rn(float f)
{
    return f;
}
static inline float __bfloat162float(__nv_bfloat16 b)
{
    return b;
}
static inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y)
{
    return {x, y};
}
static inline __nv_bfloat162 __float22bfloat162_rn(float2 v)
{
    return {v.x, v.y};
}
static inline __nv_bfloat162 __float2bfloat162_rn(float f)
{
    return {f, f};
}
static inline float2 __bfloat1622float2(__nv_bfloat162 v)
{
    return {v.x, v.y};
}
static inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y)
{
    return {x, y};
}
static inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 x)
{
    return {x, x};
}
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 b)
{
    return b.bits;
}
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits)
{
    __nv_bfloat16 b;
    b.bits = bits;
    return b;
}

#endif
