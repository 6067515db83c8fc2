/* The arithmetic that CUDA gives to kernels beyond C's own <math.h>. */
#ifndef MU_STAND_IN_DEVICE_MATH_H
#define MU_STAND_IN_DEVICE_MATH_H

#include <cmath>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <type_traits>

/* The C library has functions of these names for itself. */
#define __expf  expf
#define __logf  logf
#define __log2f log2f
#define __powf  powf
#define __sinf  sinf
#define __cosf  cosf

template <class A, class B> constexpr std::common_type_t<A, B> min(A a, B b)
{
    return b < a ? b : a;
}
template <class A, class B> constexpr std::common_type_t<A, B> max(A a, B b)
{
    return a < b ? b : a;
}

static inline float rsqrtf(float x)
{
    return (float)(1 / std::sqrt((double)x));
}
static inline double rsqrt(double x)
{
    return 1 / std::sqrt(x);
}
static inline float normcdff(float x)
{
    return 0.5F * erfcf(-x * 0.70710678F);
}
static inline float __fdividef(float x, float y)
{
    return x / y;
}
static inline float __frcp_rn(float x)
{
    return 1 / x;
}
static inline float __fsqrt_rn(float x)
{
    return sqrtf(x);
}
static inline float __fadd_rn(float x, float y)
{
    return x + y;
}
static inline float __fsub_rn(float x, float y)
{
    return x - y;
}
static inline float __fmul_rn(float x, float y)
{
    return x * y;
}
static inline float __fdiv_rn(float x, float y)
{
    return x / y;
}
static inline float __fmaf_rn(float x, float y, float z)
{
    return fmaf(x, y, z);
}
static inline double __dadd_rn(double x, double y)
{
    return x + y;
}
static inline double __dmul_rn(double x, double y)
{
    return x * y;
}
static inline float __saturatef(float x)
{
    return x > 0 ? (x < 1 ? x : 1) : 0;
}
static inline int __float2int_rn(float x)
{
    return (int)rintf(x);
}
static inline int __float2int_rz(float x)
{
    return (int)x;
}
static inline float __int2float_rn(int x)
{
    return (float)x;
}
static inline float __double2float_rn(double x)
{
    return (float)x;
}

template <class To, class From> static inline To mu_stand_in_cast(From from)
{
    static_assert(sizeof(To) == sizeof(From), "a bit cast keeps the size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline unsigned __float_as_uint(float x)
{
    return mu_stand_in_cast<unsigned>(x);
}
static inline int __float_as_int(float x)
{
    return mu_stand_in_cast<int>(x);
}
static inline float __uint_as_float(unsigned x)
{
    return mu_stand_in_cast<float>(x);
}
static inline float __int_as_float(int x)
{
    return mu_stand_in_cast<float>(x);
}
static inline long long __double_as_longlong(double x)
{
    return mu_stand_in_cast<long long>(x);
}
static inline double __longlong_as_double(long long x)
{
    return mu_stand_in_cast<double>(x);
}

static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
static inline int __popcll(unsigned long long x)
{
    return __builtin_popcountll(x);
}
static inline int __clz(int x)
{
    return x ? __builtin_clz((unsigned)x) : 32;
}
static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
static inline unsigned __umulhi(unsigned x, unsigned y)
{
    return (unsigned)(((uint64_t)x * y) >> 32);
}

#endif
