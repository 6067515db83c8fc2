/*
 * Initial weights.
 *
 * Element e (row-major, of the whole tensor) of the tensor called `name` depends on (seed, name, e) alone,
 * never on the layout: Philox 4x32-10 (Salmon et al., 2011) with the key `seed` and the counter (e / 4, hash
 * of name) gives four words, Box-Muller turns them into four normal values; word pair and branch follow e
 * % 4.
 */
#ifndef MU_WORKER_INIT_H
#define MU_WORKER_INIT_H

#include "worker/model/net.h"

/* Fills all weights of this worker's slice. Not a collective. */
mu_status_t mu_init_weights(mu_net_t *net, uint64_t seed);

/* Normal value of element `element` (mean 0, deviation 1); what mu_init_weights scales by init_std. */
double mu_init_normal(uint64_t seed, const char *name, int64_t element);

/* Philox 4x32-10 of one counter: four words. Its published answers are a test. */
void mu_init_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
