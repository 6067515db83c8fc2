#include "worker/infer/likelihood.h"
#include "common/buf.h"
#include "common/num.h"

#include <math.h>

double mu_log_probability(const float *logits, int64_t vocab, int32_t id)
{
    double most = (double)logits[0], sum = 0;
    for (int64_t i = 1; i < vocab; i++)
        most = fmax(most, (double)logits[i]);
    for (int64_t i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - most);
    return (double)logits[id] - most - log(sum);
}

int mu_likelihood_choice(const double *sum, const int64_t *characters, int n, bool norm)
{
    int best = 0;
    double highest = -INFINITY;
    for (int i = 0; i < n; i++) {
        double value = norm ? sum[i] / (double)characters[i] : sum[i];
        if (!isfinite(value))
            return -1;
        if (value > highest) {
            highest = value;
            best = i;
        }
    }
    return best;
}

void mu_accuracy_add(mu_accuracy_t *sum, const mu_accuracy_t *more)
{
    sum->examples += more->examples;
    sum->right += more->right;
    sum->right_norm += more->right_norm;
    sum->nonfinite += more->nonfinite;
}

/* The sequence in the net's cache: tokens dropped of the prompt's front, and whether the prompt is all that it
 * holds. */
typedef struct cache {
    mu_net_t *net;
    float *first, *next; /* logits after the prompt; after a token of a continuation */
    int64_t dropped;     /* -1: the cache holds no prompt of this example */
} cache_t;

static mu_status_t put_prompt(cache_t *cache, const mu_ids_t *context, int64_t dropped)
{
    int64_t n = (int64_t)context->len - dropped;
    if (cache->dropped == dropped)
        return mu_net_decode_back(cache->net, n);
    MU_TRY(mu_net_decode_begin(cache->net, mu_net_model(cache->net)->max_positions));
    MU_TRY(mu_net_decode(cache->net, context->data + dropped, n, cache->first));
    cache->dropped = dropped;
    return MU_OK;
}

/* The last token of a text is predicted and never read, so a text may have one token more than the model's
 * positions. */
static mu_status_t score_choice(cache_t *cache, const mu_ids_t *context, const mu_ids_t *ids, double *sum)
{
    const mu_model_t *m = mu_net_model(cache->net);
    int64_t over = (int64_t)(context->len + ids->len) - 1 - m->max_positions;
    /* one token of the prompt stays: the first of the continuation is predicted from it */
    int64_t dropped = mu_min_i64(mu_max_i64(over, 0), (int64_t)context->len - 1);
    const float *logits = cache->first;
    MU_TRY(put_prompt(cache, context, dropped));
    *sum = 0;
    for (size_t i = 0; i < ids->len; i++) {
        if (i > 0) {
            MU_TRY(mu_net_decode(cache->net, &ids->data[i - 1], 1, cache->next));
            logits = cache->next;
        }
        *sum += mu_log_probability(logits, m->vocab, ids->data[i]);
    }
    return MU_OK;
}

static mu_status_t score_example(cache_t *cache, const mu_labelled_example_t *e, mu_accuracy_t *out)
{
    double *sum = mu_calloc((size_t)e->count, sizeof *sum);
    int64_t *characters = mu_calloc((size_t)e->count, sizeof *characters);
    mu_status_t status = MU_OK;
    cache->dropped = -1;
    for (int i = 0; status == MU_OK && i < e->count; i++) {
        characters[i] = e->choices[i].characters;
        status = score_choice(cache, &e->context, &e->choices[i].ids, &sum[i]);
    }
    if (status == MU_OK) {
        int choice = mu_likelihood_choice(sum, characters, e->count, false);
        out->examples++;
        out->nonfinite += choice < 0;
        out->right += choice == e->answer;
        out->right_norm += mu_likelihood_choice(sum, characters, e->count, true) == e->answer;
    }
    free(sum);
    free(characters);
    return status;
}

mu_status_t mu_likelihood_score(const mu_labelled_t *labelled, mu_net_t *net, int part, int parts,
                                mu_likelihood_tick_t tick, void *arg, mu_accuracy_t *out)
{
    size_t vocab = (size_t)mu_net_model(net)->vocab;
    cache_t cache = {
        .net = net, .first = mu_alloc(vocab * sizeof(float)), .next = mu_alloc(vocab * sizeof(float))};
    mu_status_t status = MU_OK;
    *out = (mu_accuracy_t){0};
    for (int64_t i = part; status == MU_OK && i < labelled->count; i += parts) {
        status = score_example(&cache, &labelled->examples[i], out);
        if (tick)
            tick(arg);
    }
    free(cache.first);
    free(cache.next);
    return status;
}
