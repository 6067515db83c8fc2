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

/* The next loop's iterations do not depend on each other, although its pointers may be equal. clang finds out
 * when the loop begins, and takes a promise as an order that it may fail to carry out, with a warning. */
#if defined(__clang__)
#define VEC_INDEPENDENT
#else
#define VEC_INDEPENDENT _Pragma("GCC ivdep")
#endif

/* One register. gcc and clang both know vectors as types; loops that need a choice or a conversion are
 * written with them, since compilers turn such scalar loops into branches. */
typedef float vec_f __attribute__((vector_size(MU_VEC_WIDTH * 4), may_alias));
typedef int32_t vec_i __attribute__((vector_size(MU_VEC_WIDTH * 4), may_alias));
typedef float vec_f_any __attribute__((vector_size(MU_VEC_WIDTH * 4), may_alias, aligned(4)));

static inline vec_f vec_load(const float *p)
{
    return *(const vec_f_any *)p;
}
static inline void vec_store(float *p, vec_f x)
{
    *(vec_f_any *)p = x;
}
static inline vec_f vec_all(float x)
{
    return x - (vec_f){0};
}
/* mask is all ones or all zeros in each lane, as comparisons give it */
static inline vec_f vec_select(vec_i mask, vec_f yes, vec_f no)
{
    return (vec_f)((mask & (vec_i)yes) | (~mask & (vec_i)no));
}
static inline vec_f vec_max(vec_f a, vec_f b) /* a where either is nan */
{
    return vec_select(b > a, b, a);
}

/* The last n < MU_VEC_WIDTH floats, the other lanes filled. */
static inline vec_f vec_load_part(const float *p, int64_t n, float fill)
{
    float lane[MU_VEC_WIDTH];
    for (int64_t i = 0; i < MU_VEC_WIDTH; i++)
        lane[i] = i < n ? p[i] : fill;
    return vec_load(lane);
}
static inline void vec_store_part(float *p, int64_t n, vec_f x)
{
    float lane[MU_VEC_WIDTH];
    vec_store(lane, x);
    for (int64_t i = 0; i < n; i++)
        p[i] = lane[i];
}

/* e^x. Relative error below 1e-7 from -87.3 to 88; 0 below, e^88 above; nan stays nan. */
static inline vec_f vec_exp(vec_f x)
{
    vec_f low = vec_all(-87.3F), high = vec_all(88.0F), magic = vec_all(12582912.0F); /* 1.5 * 2^23 */
    vec_i kept = ~(vec_i)(x < low);
    x = vec_select(x > high, high, x);
    x = vec_select(x < low, low, x);
    vec_f z = x * 1.44269504F + magic; /* its last bits are round(x / ln 2) */
    vec_f n = z - magic;
    vec_f r = (x - n * 0.693359375F) + n * 2.12194440e-4F; /* ln 2 in two parts */
    vec_f q = 0.00019899301807F * r + 0.0013933663289F;
    q = q * r + 0.0083332984496F;
    q = q * r + 0.041666464798F;
    q = q * r + 0.16666666719F;
    q = q * r + 0.50000000135F;
    vec_f p = (q * (r * r) + r) + 1.0F; /* the small terms first: the last sum rounds once */
    vec_f y = (vec_f)((vec_i)p + ((vec_i)z << 23));
    return (vec_f)((vec_i)y & kept);
}

/* The upper tail of the normal distribution: P(X > |x|) = e R(1 / (1 + |x|/4)) with e = e^(-x^2/2). Relative
 * error 2e-7 up to |x| = 13, where both are 0 in float. */
static inline vec_f vec_normal_tail(vec_f ax, vec_f e)
{
    vec_f t = 1.0F / (1.0F + 0.25F * ax);
    vec_f p = 0.0350159755874F * t - 0.201969332625F;
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

/* Sums in lanes, so that they vectorise; the same order for every instruction set. */
enum { VEC_LANES = 32 };

static inline float vec_lane_sum(const float *lane)
{
    float s[8];
    for (int i = 0; i < 8; i++)
        s[i] = (lane[i] + lane[i + 8]) + (lane[i + 16] + lane[i + 24]);
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

#endif
