/*
 * Initial weights.
 *
 * Element e (row-major, of the whole tensor) of the tensor called `name` depends on (seed, name, e) alone,
 * never on the layout: Philox (common/philox.h) with the key `seed` and the counter (e / 4, hash
 * of name) gives four words, Box-Muller turns them into four normal values; word pair and branch follow e
 * % 4.
 */
#ifndef MU_WORKER_INIT_H
#define MU_WORKER_INIT_H

#include "worker/model/net.h"

/* Fills all weights of this worker's slice. Not a collective. */
mu_status_t mu_init_weights(mu_net_t *net, uint64_t seed);

/* The adapters' alone. */
mu_status_t mu_init_adapters(mu_net_t *net, uint64_t seed);

/* Normal value of element `element` (mean 0, deviation 1); what mu_init_weights scales by init_std. */
double mu_init_normal(uint64_t seed, const char *name, int64_t element);

#endif
