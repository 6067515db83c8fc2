/*
 * `muster generate --bench N`: how long a model takes to load, to its first token and to each further one.
 *
 *     mu_bench_t bench = {.load_ms = ...};
 *     mu_bench_run(&bench, &generation, net, group, runs);
 *     mu_bench_print(&bench, "fp32 on cpu", json, &text);
 *     mu_bench_release(&bench);
 */
#ifndef MU_WORKER_BENCH_H
#define MU_WORKER_BENCH_H

#include "common/buf.h"
#include "worker/infer/generation.h"

/* Milliseconds. */
typedef struct mu_times {
    double *ms;
    int64_t count;
} mu_times_t;

typedef struct mu_bench {
    double load_ms; /* until the weights lie on the device; the caller's */
    double
        cold_ms; /* to the first token of a request before those that count: memory is touched, kernels are chosen */
    int64_t runs, prompt_tokens, new_tokens; /* of each request */
    mu_times_t first, next;                  /* to the first token of each request; to each further token */
    double total_ms;                         /* of all requests that count */
} mu_bench_t;

/* `runs` requests one after the other, each of generation->most tokens, whatever ends a text. Errors: those of
 * mu_generation_run(); MU_USAGE when no token is to be made. */
mu_status_t mu_bench_run(mu_bench_t *bench, mu_generation_t *generation, mu_net_t *net, mu_comm_t *group,
                         int64_t runs);
/* words: what it computed on. Text, or one JSON object. */
void mu_bench_print(const mu_bench_t *bench, const char *words, bool json, mu_buf_t *out);
void mu_bench_release(mu_bench_t *bench);

/* The smallest value that `share` of all values do not exceed (nearest rank); sorts. NAN of none. */
double mu_times_share(mu_times_t *times, double share);

#endif
