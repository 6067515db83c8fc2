/* What the cases share: arrays here and on the device, and how far results may be off. */
#ifndef MU_TESTS_KERNEL_CASES_SUPPORT_H
#define MU_TESTS_KERNEL_CASES_SUPPORT_H

#include "common/buf.h"
#include "tests/unit/kernels/cases/cases.h"
#include "tests/unit/sanitized.h"

#include <math.h>

/* The device and the element type of the running case. */
extern mu_device_t *dev;
extern const mu_device_ops_t *op;
extern mu_dtype_t type;
extern double slack;

/* One of two sizes that take the same paths. A sanitizer makes each element many times dearer and sees no more in many,
 * so it gets the small one; results of the large one are compared without it. */
static inline int64_t size_of(int64_t large, int64_t small)
{
    return MU_SANITIZED ? small : large;
}

/* Runs a case on every device and type. */
void on_every_device(void (*test)(void));

/* Arrays live until the case ends. */
float *floats(int64_t n);             /* zeros */
double *doubles(int64_t n);           /* zeros */
float *noisy(int64_t n, double size); /* within -size .. size, as the element type holds them */
double noise(void);                   /* within -1 .. 1 */
float as_stored(double x);            /* x as the element type holds it */

/* Copies on the device. */
mu_array_t put(const float *host, int64_t n); /* as the element type; must be representable */
mu_array_t put_as(mu_dtype_t as, const float *host, int64_t n);
mu_array_t room(int64_t n); /* nothing of use in it */
float *put_floats(const float *host, int64_t n);
int32_t *put_ints(const int32_t *host, int64_t n);
double *put_double(double x);
/* Back again, into a new array here. */
float *get(mu_array_t a, int64_t n);
float *get_floats(const float *a, int64_t n);
double get_double(const double *a);

/* u of the element type. */
double unit_roundoff(mu_dtype_t of);

/* The distance of two arrays as a part of the wanted one's norm. */
double distance(const float *got, const double *want, int64_t n);

/* Results of the element type, that float arithmetic puts within `limit`, after `roundings` to the type. */
#define assert_near(got, want, n, limit, roundings)                                                          \
    assert_within(#got, distance(got, want, n), (limit) + (roundings)*unit_roundoff(type))
/* Results that are floats whatever the type. */
#define assert_near_float(got, want, n, limit) assert_within(#got, distance(got, want, n), limit)
void assert_within(const char *what, double is, double limit);

/* The table of unscaled frequencies of base 10000. */
void plain_table(int64_t positions, int64_t dims, float *out);

double gelu(double x, mu_activation_t act);
double gelu_slope(double x, mu_activation_t act);

/* The cases, a file each kind. */
void linear_test(void);
void rows_test(void);
void slots_test(void);
void many_keys_test(void);
void graphs_test(void);
void embedding_test(void);
void rmsnorm_test(void);
void qk_norm_test(void);
void swiglu_test(void);
void unbiased_test(void);
void grouped_test(void);
void borders_test(void);
void norm_test(void);
void elementwise_test(void);
void mixed_add_test(void);
void dropout_test(void);
void qkv_test(void);
void attention_dropout_test(void);
void adamw_test(void);
void attention_test(void);
void steep_test(void);
void rotary_test(void);
void entropy_test(void);
void nan_test(void);
void overflow_test(void);

#endif
