/*
 * Floats of 16 bits in software: bf16 (8 bits of exponent, 7 of mantissa) and fp16 (IEEE binary16: 5 and 10).
 * Conversion from float rounds to the nearest, ties to even, and is exact the other way; arithmetic is that
 * of float, rounded once. A NaN becomes 0x7fff, as CUDA's conversions make it.
 */
#ifndef MU_STAND_IN_NARROW_H
#define MU_STAND_IN_NARROW_H

#include "device_math.h"
#include "simt.h"

/* Round `x` to the nearest multiple of 2^shift, ties to even, and shift it down. */
static inline uint32_t mu_stand_in_round(uint32_t x, int shift)
{
    uint32_t half = 1U << (shift - 1), low = x & ((1U << shift) - 1), up = x >> shift;
    return up + (low > half || (low == half && (up & 1)));
}

struct mu_stand_in_bf16 {
    static uint16_t from(float f)
    {
        uint32_t u = __float_as_uint(f);
        return (u & 0x7fffffffU) > 0x7f800000U ? 0x7fff : (uint16_t)mu_stand_in_round(u, 16);
    }
    static float to(uint16_t bits)
    {
        return __uint_as_float((uint32_t)bits << 16);
    }
};

struct mu_stand_in_f16 {
    static uint16_t from(float f)
    {
        uint32_t u = __float_as_uint(f), sign = (u >> 16) & 0x8000U, size = u & 0x7fffffffU;
        if (size > 0x7f800000U)
            return 0x7fff;
        if (size >= 0x47800000U) /* 2^16 and more */
            return (uint16_t)(sign | 0x7c00U);
        if (size >=
            0x38800000U) /* 2^-14: a normal number; rounding may carry into the exponent, even to infinity */
            return (uint16_t)(sign | mu_stand_in_round(size - (112U << 23), 13));
        int exponent = (int)(size >> 23);
        if (exponent < 102) /* below 2^-25 */
            return (uint16_t)sign;
        return (uint16_t)(sign | mu_stand_in_round((size & 0x7fffffU) | 0x800000U, 126 - exponent));
    }
    static float to(uint16_t bits)
    {
        uint32_t sign = (bits & 0x8000U) << 16, exponent = (bits >> 10) & 31U, mantissa = bits & 0x3ffU;
        if (exponent == 31)
            return __uint_as_float(sign | 0x7f800000U | mantissa << 13);
        if (exponent)
            return __uint_as_float(sign | (exponent + 112U) << 23 | mantissa << 13);
        float size = (float)mantissa * 0x1p-24F;
        return sign ? -size : size;
    }
};

template <class Kind> struct mu_stand_in_narrow {
    uint16_t bits;

    mu_stand_in_narrow() = default;
    mu_stand_in_narrow(float f) : bits(Kind::from(f))
    {
    }
    mu_stand_in_narrow(double f) : bits(Kind::from((float)f))
    {
    }
    mu_stand_in_narrow(int f) : bits(Kind::from((float)f))
    {
    }
    operator float() const
    {
        return Kind::to(bits);
    }
};
template <class Kind> struct alignas(4) mu_stand_in_narrow2 {
    mu_stand_in_narrow<Kind> x, y;

    mu_stand_in_narrow2() = default;
    mu_stand_in_narrow2(mu_stand_in_narrow<Kind> x_, mu_stand_in_narrow<Kind> y_) : x(x_), y(y_)
    {
    }
};

#define MU_STAND_IN_BINARY(op)                                                                               \
    template <class K> mu_stand_in_narrow<K> operator op(mu_stand_in_narrow<K> a, mu_stand_in_narrow<K> b)   \
    {                                                                                                        \
        return (float)a op(float) b;                                                                         \
    }
MU_STAND_IN_BINARY(+)
MU_STAND_IN_BINARY(-)
MU_STAND_IN_BINARY(*)
MU_STAND_IN_BINARY(/)
#undef MU_STAND_IN_BINARY

template <class K> mu_stand_in_narrow<K> __hadd(mu_stand_in_narrow<K> a, mu_stand_in_narrow<K> b)
{
    return a + b;
}
template <class K> mu_stand_in_narrow<K> __hsub(mu_stand_in_narrow<K> a, mu_stand_in_narrow<K> b)
{
    return a - b;
}
template <class K> mu_stand_in_narrow<K> __hmul(mu_stand_in_narrow<K> a, mu_stand_in_narrow<K> b)
{
    return a * b;
}
template <class K>
mu_stand_in_narrow<K> __hfma(mu_stand_in_narrow<K> a, mu_stand_in_narrow<K> b, mu_stand_in_narrow<K> c)
{
    return (float)((double)a * (double)b + (double)c);
}
template <class K> mu_stand_in_narrow<K> __hneg(mu_stand_in_narrow<K> a)
{
    a.bits ^= 0x8000U;
    return a;
}
template <class K> mu_stand_in_narrow2<K> __hadd2(mu_stand_in_narrow2<K> a, mu_stand_in_narrow2<K> b)
{
    return {a.x + b.x, a.y + b.y};
}
template <class K> mu_stand_in_narrow2<K> __hmul2(mu_stand_in_narrow2<K> a, mu_stand_in_narrow2<K> b)
{
    return {a.x * b.x, a.y * b.y};
}
template <class K> float __low2float(mu_stand_in_narrow2<K> v)
{
    return v.x;
}
template <class K> float __high2float(mu_stand_in_narrow2<K> v)
{
    return v.y;
}

#endif
