/*
 * Choosing the next token, as gpt-neox's text_generation_utils does: greedy when temperature, top_k and top_p
 * are all 0; else logits / temperature (0 counts as 1), keep the top_k largest (0: all), keep the smallest
 * set whose probabilities reach top_p (0 or 1: all; the token that crosses the threshold stays), and draw
 * from what is left. Ties are broken by the smaller id. The same seed gives the same text.
 */
#ifndef MU_WORKER_SAMPLE_H
#define MU_WORKER_SAMPLE_H

#include "common/status.h"
#include <stdint.h>

typedef struct mu_sampler mu_sampler_t;

typedef struct mu_sampling {
    double temperature, top_p;
    int64_t top_k;
    uint64_t seed;
} mu_sampling_t;

/* `vocab` ids can be drawn (rows of padding lie after them and never are). Errors: MU_USAGE, with the bad
 * value. */
mu_status_t mu_sampler_new(const mu_sampling_t *how, int64_t vocab, mu_sampler_t **out);
/* logits: at least `vocab` floats, unchanged. Returns an id; -1 when no logit is finite. */
int32_t mu_sampler_next(mu_sampler_t *sampler, const float *logits);
void mu_sampler_free(mu_sampler_t *sampler);

#endif
