/*
 * Every operation of a device against the plain formula in double precision, at sizes that leave tails, for
 * every element type that the device has. One set of cases for all devices: unit/kernels/kernels.c runs them on CPUs.
 *
 * What a case gives a device has been rounded to the element type first, so the formula sees the same
 * numbers. What comes back may differ by the arithmetic of floats, and by as many roundings to the type as
 * the operation is entitled to: a rounding moves an array by at most u of its norm, u = 2^-8 for bfloat16,
 * 2^-11 for fp16, 0 for float.
 */
#ifndef MU_TESTS_KERNEL_CASES_H
#define MU_TESTS_KERNEL_CASES_H

#include "kernels/device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* A device under test. make() returns a new one, or NULL when this machine has none of the kind. */
typedef struct mu_case_device {
    mu_device_t *(*make)(const void *arg);
    const void *arg;
    double slack; /* roundings inside attention's products that the device adds to the formula's own */
} mu_case_device_t;

/* Runs all cases on all devices as one cmocka group; the number that failed. */
int mu_kernel_cases(const mu_case_device_t *devices, int count);

#endif
