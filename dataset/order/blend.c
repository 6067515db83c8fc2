#include "dataset/order/blend.h"
#include "common/buf.h"
#include "common/log.h"
#include "common/num.h"

#include <math.h>

/* The samples of one data set: one of the two. */
typedef struct source {
    mu_order_t *order;
    mu_pack_t *pack;
} source_t;

struct mu_blend {
    int count;
    source_t *source;
    int64_t samples;
    uint8_t *set;     /* NULL: one data set, unblended */
    uint32_t *sample; /* within the set's samples */
};

/* ---- weights ---- */

double mu_blend_sum(const double *v, int n)
{
    double lane[8], sum = 0;
    if (n < 8) {
        for (int i = 0; i < n; i++)
            sum += v[i];
        return sum;
    }
    if (n > 128) {
        int half = n / 2 / 8 * 8;
        return mu_blend_sum(v, half) + mu_blend_sum(v + half, n - half);
    }
    for (int i = 0; i < 8; i++)
        lane[i] = v[i];
    int i = 8;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++)
            lane[k] += v[i + k];
    sum = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
    for (; i < n; i++)
        sum += v[i];
    return sum;
}

/* As a list of Python's is: from left to right. */
static void normalise(double *values, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += values[i];
    for (int i = 0; i < n; i++)
        values[i] /= sum;
}

void mu_blend_by_documents(const int64_t *documents, int n, double alpha, double *weights)
{
    double total = 0;
    for (int i = 0; i < n; i++)
        total += (double)documents[i];
    for (int i = 0; i < n; i++)
        weights[i] = pow((double)documents[i] / total, alpha);
    normalise(weights, n);
    if (n == 1)
        return;
    for (int i = 0; i < n; i++)
        weights[i] *= 1 - (double)documents[i] / total;
    normalise(weights, n);
}

void mu_blend_fill(const double *weights, int n, int64_t samples, uint8_t *set, uint32_t *sample)
{
    int64_t taken[MU_BLEND_MAX] = {0};
    for (int64_t i = 0; i < samples; i++) {
        double at = i > 1 ? (double)i : 1.0, most = 0;
        int first = 0;
        for (int k = 0; k < n; k++) {
            double arrears = weights[k] * at - (double)taken[k];
            if (k == 0 || arrears > most) {
                most = arrears;
                first = k;
            }
        }
        set[i] = (uint8_t)first;
        sample[i] = (uint32_t)taken[first]++;
    }
}

/* ---- a blend ---- */

static mu_status_t check(const mu_blend_part_t *parts, int n, int64_t samples)
{
    double sum = 0;
    if (n < 1 || n > MU_BLEND_MAX)
        return mu_fail(MU_CONFIG, "%d data sets: a blend is of 1 to %d", n, MU_BLEND_MAX);
    for (int i = 0; i < n; i++) {
        if (!(parts[i].weight >= 0) || !isfinite(parts[i].weight))
            return mu_fail(MU_CONFIG, "%s: weight %g: a number from 0 is wanted",
                           mu_dataset_path(parts[i].data), parts[i].weight);
        sum += parts[i].weight;
    }
    if (!(sum > 0) || !isfinite(sum))
        return mu_fail(MU_CONFIG, "the weights of %d data sets add up to %g: one above 0 is wanted", n, sum);
    if (samples > UINT32_MAX - 1)
        return mu_fail(MU_CONFIG, "%lld samples: a blend counts to 2^32 only: train for fewer steps",
                       (long long)samples);
    return MU_OK;
}

static mu_status_t open_source(mu_dataset_t *data, mu_data_split_t split, int64_t seq_length,
                               const mu_cutting_t *how, uint32_t seed, int64_t samples, const char *cache_dir,
                               source_t *out)
{
    if (mu_packing_of(how, data) != MU_PACK_STREAM)
        return mu_pack_open(data, split, seq_length, how, false, seed, samples, &out->pack);
    MU_TRY(mu_order_open(data, split, seq_length, seed, samples, cache_dir, &out->order));
    mu_order_mark_borders(out->order, how->borders);
    return MU_OK;
}

mu_status_t mu_blend_open_cut(const mu_blend_part_t *parts, int n, int64_t seq_length,
                              const mu_cutting_t *how, uint32_t seed, int64_t samples, const char *cache_dir,
                              mu_blend_t **out)
{
    MU_TRY(check(parts, n, samples));
    mu_blend_t *blend = mu_calloc(1, sizeof *blend);
    double *weights = mu_alloc((size_t)n * sizeof *weights), sum;
    mu_status_t status = MU_OK;
    blend->samples = mu_max_i64(samples, 1);
    blend->count = n;
    blend->source = mu_calloc((size_t)n, sizeof *blend->source);
    for (int i = 0; i < n; i++)
        weights[i] = parts[i].weight;
    normalise(weights, n);
    for (int i = 0; status == MU_OK && i < n; i++) {
        int64_t wanted = (int64_t)ceil((double)samples * weights[i] * 1.005);
        status = open_source(parts[i].data, parts[i].split, seq_length, how, seed, wanted, cache_dir,
                             &blend->source[i]);
    }
    if (status == MU_OK) {
        sum = mu_blend_sum(weights, n); /* once more, as there */
        for (int i = 0; i < n; i++)
            weights[i] /= sum;
        blend->set = mu_alloc((size_t)blend->samples);
        blend->sample = mu_alloc((size_t)blend->samples * sizeof *blend->sample);
        mu_blend_fill(weights, n, blend->samples, blend->set, blend->sample);
        *out = blend;
    } else {
        mu_blend_close(blend);
    }
    free(weights);
    return status;
}

mu_status_t mu_blend_open(const mu_blend_part_t *parts, int n, int64_t seq_length, uint32_t seed,
                          int64_t samples, const char *cache_dir, mu_blend_t **out)
{
    mu_cutting_t stream = {.packing = MU_PACK_STREAM};
    return mu_blend_open_cut(parts, n, seq_length, &stream, seed, samples, cache_dir, out);
}

mu_status_t mu_blend_single(mu_dataset_t *data, mu_data_split_t split, int64_t seq_length,
                            const mu_cutting_t *how, uint32_t seed, int64_t samples, const char *cache_dir,
                            mu_blend_t **out)
{
    mu_blend_t *blend = mu_calloc(1, sizeof *blend);
    blend->count = 1;
    blend->source = mu_calloc(1, sizeof *blend->source);
    mu_status_t status =
        open_source(data, split, seq_length, how, seed, samples, cache_dir, &blend->source[0]);
    if (status == MU_OK)
        *out = blend;
    else
        mu_blend_close(blend);
    return status;
}

void mu_blend_close(mu_blend_t *blend)
{
    if (!blend)
        return;
    for (int i = 0; i < blend->count; i++) {
        mu_order_close(blend->source[i].order);
        mu_pack_close(blend->source[i].pack);
    }
    free(blend->source);
    free(blend->set);
    free(blend->sample);
    free(blend);
}

static mu_status_t source_sample(const source_t *source, int64_t j, int32_t *tokens)
{
    return source->pack ? mu_pack_sample(source->pack, j, tokens) : mu_order_sample(source->order, j, tokens);
}

mu_status_t mu_blend_sample(mu_blend_t *blend, int64_t j, int32_t *tokens)
{
    if (!blend->set)
        return source_sample(&blend->source[0], j, tokens);
    uint64_t i = (uint64_t)j % (uint64_t)blend->samples;
    return source_sample(&blend->source[blend->set[i]], blend->sample[i], tokens);
}
