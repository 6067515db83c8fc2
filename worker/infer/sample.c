#include "worker/infer/sample.h"
#include "common/buf.h"
#include "common/log.h"

#include <math.h>
#include <stdbool.h>

typedef struct candidate {
    float logit;
    int32_t id;
} candidate_t;

struct mu_sampler {
    mu_sampling_t how;
    int64_t vocab;
    uint64_t state;
    candidate_t *candidates;
    double *weight;
};

/* splitmix64: one addition and a mix a draw, any seed is a good one */
static double uniform(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

mu_status_t mu_sampler_new(const mu_sampling_t *how, int64_t vocab, mu_sampler_t **out)
{
    if (!(how->temperature >= 0))
        return mu_fail(MU_USAGE, "temperature %g: wanted 0 or more", how->temperature);
    if (!(how->top_p >= 0 && how->top_p <= 1))
        return mu_fail(MU_USAGE, "top-p %g: wanted 0 to 1", how->top_p);
    if (how->top_k < 0)
        return mu_fail(MU_USAGE, "top-k %lld: wanted 0 or more", (long long)how->top_k);
    mu_sampler_t *s = mu_calloc(1, sizeof *s);
    s->how = *how;
    s->vocab = vocab;
    s->state = how->seed;
    s->candidates = mu_alloc((size_t)vocab * sizeof *s->candidates);
    s->weight = mu_alloc((size_t)vocab * sizeof *s->weight);
    *out = s;
    return MU_OK;
}

void mu_sampler_free(mu_sampler_t *sampler)
{
    if (!sampler)
        return;
    free(sampler->candidates);
    free(sampler->weight);
    free(sampler);
}

static int by_logit(const void *a, const void *b)
{
    const candidate_t *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int32_t largest(const float *logits, int64_t vocab)
{
    int32_t best = -1;
    for (int64_t i = 0; i < vocab; i++)
        if (isfinite(logits[i]) && (best < 0 || logits[i] > logits[best]))
            best = (int32_t)i;
    return best;
}

int32_t mu_sampler_next(mu_sampler_t *s, const float *logits)
{
    const mu_sampling_t *how = &s->how;
    if (how->temperature == 0 && how->top_k == 0 && how->top_p == 0)
        return largest(logits, s->vocab);

    int64_t n = 0;
    for (int64_t i = 0; i < s->vocab; i++)
        if (isfinite(logits[i]))
            s->candidates[n++] = (candidate_t){logits[i], (int32_t)i};
    if (n == 0)
        return -1;
    qsort(s->candidates, (size_t)n, sizeof *s->candidates, by_logit);
    if (how->top_k > 0 && how->top_k < n)
        n = how->top_k;

    double temperature = how->temperature > 0 ? how->temperature : 1, total = 0;
    for (int64_t i = 0; i < n; i++)
        total += s->weight[i] =
            exp(((double)s->candidates[i].logit - (double)s->candidates[0].logit) / temperature);
    if (how->top_p > 0 && how->top_p < 1) {
        double kept = 0, limit = how->top_p * total;
        int64_t m = 0;
        while (m < n && kept < limit)
            kept += s->weight[m++];
        n = m;
        total = kept;
    }
    double at = uniform(&s->state) * total;
    for (int64_t i = 0; i + 1 < n; i++) {
        at -= s->weight[i];
        if (at < 0)
            return s->candidates[i].id;
    }
    return s->candidates[n - 1].id;
}
