/* fp16 with CUDA's names, in software (narrow.h). */
#ifndef MU_STAND_IN_CUDA_FP16_H
#define MU_STAND_IN_CUDA_FP16_H

#include "narrow.h"

typedef mu_stand_in_narrow<mu_stand_in_f16> __half;
typedef mu_stand_in_narrow2<mu_stand_in_f16> __half2;

static inline __half __float2half(float f)
{
    return f;
}
static inline __half __float2half_rn(float f)
{
    return f;
}
static inline float __half2float(__half h)
{
    return h;
}
static inline __half2 __floats2half2_rn(float x, float y)
{
    return {x, y};
}
static inline __half2 __float22half2_rn(float2 v)
{
    return {v.x, v.y};
}
static inline __half2 __float2half2_rn(float f)
{
    return {f, f};
}
static inline float2 __half22float2(__half2 v)
{
    return {v.x, v.y};
}
static inline __half2 __halves2half2(__half x, __half y)
{
    return {x, y};
}
static inline __half2 __half2half2(__half x)
{
    return {x, x};
}
static inline unsigned short __half_as_ushort(__half h)
{
    return h.bits;
}
static inline __half __ushort_as_half(unsigned short bits)
{
    __half h;
    h.bits = bits;
    return h;
}

#endif
