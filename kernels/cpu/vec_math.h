/*
 * exp, the normal distribution and sums, in forms that compilers turn into vector code: no branches, no
 * calls. The coefficients are minimax fits in relative error, made for this file by the exchange algorithm.
 * These files are compiled without -fassociative-math, which would undo the two-part reduction of exp.
 */
#ifndef MU_KERNELS_CPU_VEC_MATH_H
#define MU_KERNELS_CPU_VEC_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* The next loop's iterations do not depend on each other, although its pointers may be equal. */
#if defined(__clang__)
#define VEC_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define VEC_INDEPENDENT _Pragma("GCC ivdep")
#endif

/* e^x. Relative error below 1.5e-7; 0 below -87.3; at most e^88; nan stays nan. */
static inline float vec_exp(float x)
{
    float up = x > 88.0F ? 88.0F : x;
    float xc = up < -87.3F ? -87.3F : up;
    float z = xc * 1.44269504F;
    float zc = z > -127.0F ? z : -127.0F; /* also for nan: a conversion below needs a number */
    int32_t n = (int32_t)(zc + (zc < 0 ? -0.5F : 0.5F));
    float fn = (float)n;
    float r = (xc - fn * 0.693359375F) + fn * 2.12194440e-4F; /* ln 2 in two parts */
    float p = 0.00138358010843F;
    p = p * r + 0.00837564502218F;
    p = p * r + 0.0416682887437F;
    p = p * r + 0.166664102441F;
    p = p * r + 0.49999991594F;
    p = p * r + 1.00000003853F;
    p = p * r + 1.0000000006F;
    int32_t bits;
    memcpy(&bits, &p, sizeof bits);
    bits = (int32_t)((uint32_t)bits + ((uint32_t)n << 23));
    float y;
    memcpy(&y, &bits, sizeof y);
    return up < -87.3F ? 0.0F : y;
}

/* Half the upper tail's weight relative to e^(-x^2/2): P(X > |x|) = e^(-x^2/2) R(1 / (1 + |x|/4)); relative
 * error 2e-7 up to |x| = 13, where both are 0 in float. */
static inline float vec_normal_tail(float ax, float e)
{
    float t = 1.0F / (1.0F + 0.25F * ax);
    float p = 0.0350159755874F;
    p = p * t - 0.201969332625F;
    p = p * t + 0.408606807508F;
    p = p * t - 0.351630851423F;
    p = p * t + 0.319647118763F;
    p = p * t - 0.0285791446135F;
    p = p * t + 0.124433219042F;
    p = p * t + 0.0941960351219F;
    p = p * t + 0.10030583867F;
    p = p * t - 2.56713655229e-5F;
    return p * e;
}

/* Sums and maxima in lanes, so that they vectorise; the same order for every instruction set. */
enum { VEC_LANES = 32 };

static inline float vec_lane_sum(const float *lane)
{
    float s[8];
    for (int i = 0; i < 8; i++)
        s[i] = (lane[i] + lane[i + 8]) + (lane[i + 16] + lane[i + 24]);
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

static inline float vec_lane_max(const float *lane)
{
    float m = lane[0];
    for (int i = 1; i < VEC_LANES; i++)
        m = lane[i] > m || lane[i] != lane[i] ? lane[i] : m;
    return m;
}

#endif
