/*
 * Finds steps and checkpoints that take far longer than their like: more than three medians of the newest 33, and 100
 * ms more than the median, which no scheduler's time slice explains. Pure.
 */
#ifndef MU_WORKER_STALL_H
#define MU_WORKER_STALL_H

#include <stdbool.h>

enum { MU_STALL_SAMPLES = 33, MU_STALL_LEAST = 5 };

typedef struct mu_stall {
    double ms[MU_STALL_SAMPLES]; /* the newest, in a ring */
    int count;                   /* seen so far */
} mu_stall_t;

/* Whether `ms` is a stall against those before it; fewer than MU_STALL_LEAST of them say nothing. *median: of those
 * before. It counts as one of them from now on. */
bool mu_stall_add(mu_stall_t *stall, double ms, double *median);

#endif
