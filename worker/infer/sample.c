#include "worker/infer/sample.h"
#include "common/buf.h"
#include "common/log.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

enum {
    DIGIT = 11, /* bits of a digit; a candidate's rank lies above its id */
    DIGITS = 1 << DIGIT,
    RANK = 32,
    LANES = 16,
    FEW = 4 /* a part of all this small is worth its own order */
};

struct mu_sampler {
    mu_sampling_t how;
    int64_t vocab;
    uint64_t state;
    uint64_t *candidate, *other; /* [vocab]; see candidate_of() */
    double *weight;              /* [vocab], in the order of the candidates */
    double *by_id;               /* [vocab] weights, to 1e-14 of them */
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
    s->by_id = mu_alloc((size_t)vocab * sizeof *s->by_id);
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
    free(sampler->by_id);
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

/* Those with a logit of at least `from`. */
static int64_t collect(mu_sampler_t *s, const float *logits, float from)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->vocab; i++)
        if (logits[i] >= from && logits[i] <= FLT_MAX)
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

static double temperature_of(const mu_sampler_t *s)
{
    return s->how.temperature > 0 ? s->how.temperature : 1;
}

static bool cuts_by_mass(const mu_sampler_t *s)
{
    return s->how.top_p > 0 && s->how.top_p < 1;
}

static void weigh_sorted(mu_sampler_t *s, const float *logits, const uint64_t *order, int64_t n)
{
    double top = (double)logits[id_of(order[0])], temperature = temperature_of(s);
    for (int64_t i = 0; i < n; i++)
        s->weight[i] = exp(((double)logits[id_of(order[i])] - top) / temperature);
}

/* The whole order: of the top_k, or of all. u: from 0 to below 1. */
static int32_t draw_sorted(mu_sampler_t *s, const float *logits, int64_t n, double u)
{
    bool cut = s->how.top_k > 0 && s->how.top_k < n;
    const uint64_t *order = sorted(s, cut ? select_likeliest(s->candidate, n, s->how.top_k) : n);
    double total = 0;
    if (cut)
        n = s->how.top_k;
    weigh_sorted(s, logits, order, n);
    for (int64_t i = 0; i < n; i++)
        total += s->weight[i];
    if (cuts_by_mass(s)) {
        double kept = 0, limit = s->how.top_p * total;
        int64_t m = 0;
        while (m < n && kept < limit)
            kept += s->weight[m++];
        n = m;
        total = kept;
    }
    double at = u * total;
    for (int64_t i = 0; i + 1 < n; i++) {
        at -= s->weight[i];
        if (at < 0)
            return id_of(order[i]);
    }
    return id_of(order[n - 1]);
}

/* e^x for x from -700 to 0, to 1e-14 of it; the compiler makes vector code of it. */
static inline double near_exp(double x)
{
    double whole = x * 0x1.71547652b82fep0 + 0x1.8p52, n = whole - 0x1.8p52, power;
    double r = x - n * 0x1.62e42fefa39efp-1; /* x = n ln 2 + r */
    uint64_t bits;
    memcpy(&bits, &whole, sizeof bits); /* n are its lowest bits */
    bits = (bits + 1023) << 52;
    memcpy(&power, &bits, sizeof power);
    double high =
        1.0 / 5040 + r * (1.0 / 40320 + r * (1.0 / 362880 + r * (1.0 / 3628800 + r * (1.0 / 39916800))));
    double low = 1.0 / 24 + r * (1.0 / 120 + r * (1.0 / 720 + r * high));
    return power * (1 + r * (1 + r * (0.5 + r * (1.0 / 6 + r * low))));
}

/* Of what is no number, as of what is too small: nothing. */
static inline double exponent(double x)
{
    return x >= -700 && x <= 0 ? x : -700;
}

/* The weight of the ids with a logit from `from` on. */
static double mass_from(const mu_sampler_t *s, const float *logits, float from)
{
    double lane[LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + LANES <= s->vocab; i += LANES)
        for (int k = 0; k < LANES; k++)
            lane[k] += logits[i + k] >= from ? s->by_id[i + k] : 0;
    for (int k = 0; k < LANES; k++)
        sum += lane[k];
    for (; i < s->vocab; i++)
        sum += logits[i] >= from ? s->by_id[i] : 0;
    return sum;
}

/* The weight of each id. Returns that of all. */
static double weigh_all(mu_sampler_t *s, const float *logits, double top)
{
    double scale = 1 / temperature_of(s);
    for (int64_t i = 0; i < s->vocab; i++)
        s->by_id[i] = exponent(((double)logits[i] - top) * scale);
    for (int64_t i = 0; i < s->vocab; i++)
        s->by_id[i] = near_exp(s->by_id[i]);
    return mass_from(s, logits, -INFINITY);
}

/* The largest of some thresholds above which lies a weight of `want`; -INFINITY: none of them. */
static float threshold(const mu_sampler_t *s, const float *logits, float top, double want)
{
    static const double depth[] = {1, 3, 6, 10, 15}; /* below the top, in temperatures */
    for (size_t i = 0; i < sizeof depth / sizeof *depth; i++) {
        float from = (float)((double)top - depth[i] * temperature_of(s));
        if (mass_from(s, logits, from) >= want)
            return from;
    }
    return -INFINITY;
}

/*
 * What draw_sorted() draws without top_k. Only the likeliest are sorted, as far down as the draw goes: a few hundred of
 * a vocabulary. Their weights are added as there, but the total of all is not, and may differ from that by `blur`. -1:
 * the draw, or the end of top_p, is as near as that to a border, or all are as likely: the whole order must decide.
 */
static int32_t draw_likeliest(mu_sampler_t *s, const float *logits, int64_t n, double u)
{
    float top = logits[largest(logits, s->vocab)];
    double total = weigh_all(s, logits, (double)top), blur = total * (1e-13 + (double)n * 0x1p-50);
    double at = (cuts_by_mass(s) ? s->how.top_p : u) * total, kept = 0;
    float from = threshold(s, logits, top, at + 2 * blur);
    if (from == -INFINITY || !isfinite(total / temperature_of(s)))
        return -1;
    int64_t m = collect(s, logits, from), end = 0;
    if (m > n / FEW)
        return -1;
    const uint64_t *order = sorted(s, m);
    weigh_sorted(s, logits, order, m);
    if (!cuts_by_mass(s)) {
        for (int64_t i = 0; i < m && at >= blur; i++) {
            at -= s->weight[i];
            if (at < -blur)
                return id_of(order[i]);
        }
        return -1;
    }
    while (end < m && kept < at - blur)
        kept += s->weight[end++];
    if (kept < at + blur)
        return -1;
    at = u * kept; /* exact from here on: the same weights in the same order */
    for (int64_t i = 0; i + 1 < end; i++) {
        at -= s->weight[i];
        if (at < 0)
            return id_of(order[i]);
    }
    return id_of(order[end - 1]);
}

/* How many can be drawn. */
static int64_t count_finite(const mu_sampler_t *s, const float *logits)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->vocab; i++)
        n += fabsf(logits[i]) <= FLT_MAX;
    return n;
}

int32_t mu_sampler_next(mu_sampler_t *s, const float *logits)
{
    const mu_sampling_t *how = &s->how;
    if (how->temperature == 0 && how->top_k == 0 && how->top_p == 0)
        return largest(logits, s->vocab);
    int64_t n = count_finite(s, logits);
    if (n == 0)
        return -1;
    double u = uniform(&s->state);
    int32_t id = how->top_k == 0 || how->top_k >= n ? draw_likeliest(s, logits, n, u) : -1;
    return id >= 0 ? id : draw_sorted(s, logits, collect(s, logits, -FLT_MAX), u);
}
