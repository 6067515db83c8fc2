/*
 * The two 16-bit floating types: IEEE half (fp16: 5 bits of exponent, 10 of fraction) and bfloat16 (the upper
 * half of a float: 8 and 7). Widening is exact. Narrowing rounds to nearest, ties to even; what is too large
 * becomes an infinity, a NaN stays a (quiet) NaN.
 */
#ifndef MU_COMMON_HALF_H
#define MU_COMMON_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t mu_float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline float mu_float_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float mu_float_of_bfloat16(uint16_t bits)
{
    return mu_float_of_bits((uint32_t)bits << 16);
}
static inline uint16_t mu_bfloat16_of_float(float x)
{
    uint32_t bits = mu_float_bits(x);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float mu_float_of_half(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 0x1f, fraction = bits & 0x3ff;
    if (exponent == 0x1f) /* infinity, NaN */
        return mu_float_of_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent > 0)
        return mu_float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
    if (fraction == 0)
        return mu_float_of_bits(sign);
    uint32_t shift = (uint32_t)__builtin_clz(fraction) - 21; /* subnormal: normal as a float */
    return mu_float_of_bits(sign | (113 - shift) << 23 | (fraction << shift & 0x3ff) << 13);
}
static inline uint16_t mu_half_of_float(float x)
{
    uint32_t bits = mu_float_bits(x), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (size >= 0x47800000) /* 2^16; from 65520 on the rounding below gives infinity by itself */
        return (uint16_t)(sign | 0x7c00);
    if (size < 0x38800000) /* 2^-14: a subnormal, in units of 2^-24, which is the last place of 0.5 */
        return (uint16_t)(sign | (mu_float_bits(mu_float_of_bits(size) + 0.5F) - 0x3f000000));
    return (uint16_t)(sign | (((size + 0xfff + (size >> 13 & 1)) >> 13) - (112U << 10)));
}

#endif
