/*
 * Threads that divide one job among themselves.
 *
 * The division is fixed by (n, threads) alone, so what a thread computes never depends on timing. Between
 * jobs the threads spin for a moment and then sleep. One thread calls; it does the first part itself.
 */
#ifndef MU_KERNELS_CPU_POOL_H
#define MU_KERNELS_CPU_POOL_H

#include "common/status.h"
#include <stdint.h>

typedef struct mu_pool mu_pool_t;

/* Does the items from .. to - 1; `thread` is 0 .. threads - 1. Called with from < to. */
typedef void (*mu_pool_job_t)(void *arg, int thread, int64_t from, int64_t to);

/* `start` runs once in every thread, the caller's included, before its first job. Errors: MU_NOMEM. */
mu_status_t mu_pool_new(int threads, void (*start)(void), mu_pool_t **out);
/* Items 0 .. n - 1 in `threads` runs whose borders are multiples of `grain`; returns when all are done. */
void mu_pool_run(mu_pool_t *pool, int64_t n, int64_t grain, mu_pool_job_t job, void *arg);
/* From now on each thread adds to ns[thread] the time that its parts took it on its core, which other programs disturb
 * little. NULL: no longer. */
void mu_pool_time(mu_pool_t *pool, int64_t *ns);
void mu_pool_free(mu_pool_t *pool);

#endif
