#include "worker/infer/sample.h"
#include "common/buf.h"
#include "common/log.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

enum {
    DIGIT = 11,
    DIGITS = 1 << DIGIT,
    RANK = 32
}; /* bits of a digit; a candidate's rank lies above its id */

struct mu_sampler {
    mu_sampling_t how;
    int64_t vocab;
    uint64_t state;
    uint64_t *candidate, *other; /* [vocab]; see candidate_of() */
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
    s->candidate = mu_alloc((size_t)vocab * sizeof *s->candidate);
    s->other = mu_alloc((size_t)vocab * sizeof *s->other);
    s->weight = mu_alloc((size_t)vocab * sizeof *s->weight);
    *out = s;
    return MU_OK;
}

void mu_sampler_free(mu_sampler_t *sampler)
{
    if (!sampler)
        return;
    free(sampler->candidate);
    free(sampler->other);
    free(sampler->weight);
    free(sampler);
}

/* A token as one number, the likelier the smaller: the bits of its logit, turned so that they fall as it grows; then
 * its id, which breaks ties. */
static uint64_t candidate_of(float logit, int32_t id)
{
    uint32_t bits;
    memcpy(&bits, &logit, sizeof bits);
    if (logit == 0)
        bits = 0; /* -0 is 0 */
    if (!(bits >> 31))
        bits ^= 0x7fffffffU;
    return (uint64_t)bits << RANK | (uint32_t)id;
}

static int64_t collect(mu_sampler_t *s, const float *logits)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->vocab; i++)
        if (isfinite(logits[i]))
            s->candidate[n++] = candidate_of(logits[i], (int32_t)i);
    return n;
}

/* Keeps, in their order, the `k` likeliest and those that share the first digit with the last of them. */
static int64_t select_likeliest(uint64_t *candidate, int64_t n, int64_t k)
{
    int64_t count[DIGITS] = {0}, kept = 0;
    uint64_t last = 0;
    for (int64_t i = 0; i < n; i++)
        count[candidate[i] >> (64 - DIGIT)]++;
    for (int64_t sum = count[0]; sum < k; sum += count[last])
        last++;
    for (int64_t i = 0; i < n; i++)
        if (candidate[i] >> (64 - DIGIT) <= last)
            candidate[kept++] = candidate[i];
    return kept;
}

/* By rank, digit after digit; equal ones stay in the order of their ids. Returns the array that holds them then. */
static const uint64_t *sorted(mu_sampler_t *s, int64_t n)
{
    uint64_t *from = s->candidate, *to = s->other;
    for (int shift = RANK; shift < 64; shift += DIGIT) {
        int64_t at[DIGITS] = {0}, sum = 0;
        for (int64_t i = 0; i < n; i++)
            at[from[i] >> shift & (DIGITS - 1)]++;
        for (int d = 0; d < DIGITS; d++) {
            int64_t count = at[d];
            at[d] = sum;
            sum += count;
        }
        for (int64_t i = 0; i < n; i++)
            to[at[from[i] >> shift & (DIGITS - 1)]++] = from[i];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

static int32_t id_of(uint64_t candidate)
{
    return (int32_t)(uint32_t)candidate;
}

/* The first of the largest finite ones: the maximum in lanes, as vector code, then its place. */
static int32_t largest(const float *logits, int64_t vocab)
{
    enum { LANES = 16 };
    float lane[LANES], top = -INFINITY;
    int64_t i = 0;
    for (int j = 0; j < LANES; j++)
        lane[j] = -INFINITY;
    for (; i + LANES <= vocab; i += LANES)
        for (int j = 0; j < LANES; j++) {
            float x = fabsf(logits[i + j]) <= FLT_MAX ? logits[i + j] : -INFINITY;
            lane[j] = x > lane[j] ? x : lane[j];
        }
    for (int j = 0; j < LANES; j++)
        top = lane[j] > top ? lane[j] : top;
    for (; i < vocab; i++)
        top = isfinite(logits[i]) && logits[i] > top ? logits[i] : top;
    for (i = 0; top > -INFINITY && i < vocab; i++)
        if (logits[i] == top)
            return (int32_t)i;
    return -1;
}

int32_t mu_sampler_next(mu_sampler_t *s, const float *logits)
{
    const mu_sampling_t *how = &s->how;
    if (how->temperature == 0 && how->top_k == 0 && how->top_p == 0)
        return largest(logits, s->vocab);

    int64_t n = collect(s, logits);
    if (n == 0)
        return -1;
    bool cut = how->top_k > 0 && how->top_k < n;
    const uint64_t *order = sorted(s, cut ? select_likeliest(s->candidate, n, how->top_k) : n);
    if (cut)
        n = how->top_k;

    double temperature = how->temperature > 0 ? how->temperature : 1, total = 0;
    for (int64_t i = 0; i < n; i++)
        total += s->weight[i] =
            exp(((double)logits[id_of(order[i])] - (double)logits[id_of(order[0])]) / temperature);
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
            return id_of(order[i]);
    }
    return id_of(order[n - 1]);
}
