#include "worker/serve/stepper.h"
#include "common/buf.h"
#include "common/num.h"
#include "worker/infer/likelihood.h"

#include <math.h>

struct mu_stepper {
    mu_net_t *net;
    mu_comm_t *group;
    int64_t slots, vocab;
    mu_sampler_t **sampler; /* [slots] */
    float *logits;
    int64_t logits_room; /* rows */
    mu_net_piece_t *piece;
};

mu_stepper_t *mu_stepper_new(mu_net_t *net, mu_comm_t *group, int64_t slots, int64_t vocab)
{
    mu_stepper_t *s = mu_calloc(1, sizeof *s);
    *s = (mu_stepper_t){.net = net, .group = group, .slots = slots, .vocab = vocab};
    s->sampler = mu_calloc((size_t)slots, sizeof *s->sampler);
    s->piece = mu_calloc((size_t)slots, sizeof *s->piece);
    return s;
}

void mu_stepper_free(mu_stepper_t *s)
{
    if (!s)
        return;
    for (int64_t i = 0; i < s->slots; i++)
        mu_sampler_free(s->sampler[i]);
    free(s->sampler);
    free(s->piece);
    free(s->logits);
    free(s);
}

/* The `n` likeliest tokens, the likeliest first. */
static void likeliest(const float *logits, int64_t vocab, int n, mu_engine_token_t *out)
{
    out->ntop = 0;
    for (int64_t i = 0; i < vocab; i++) {
        int at = out->ntop;
        if (at == n && !(logits[i] > logits[out->top[n - 1].id]))
            continue;
        at = at < n ? at : n - 1;
        for (; at > 0 && logits[i] > logits[out->top[at - 1].id]; at--)
            out->top[at] = out->top[at - 1];
        out->top[at].id = (int32_t)i;
        out->ntop = out->ntop < n ? out->ntop + 1 : n;
    }
}

static void name_probabilities(const mu_stepper_t *s, const float *logits, int top, mu_engine_token_t *out)
{
    if (out->id < 0 || top < 0)
        return;
    double logprob = mu_log_probability(logits, s->vocab, out->id);
    out->logprob = (float)logprob;
    if (top == 0)
        return;
    likeliest(logits, s->vocab, top, out);
    for (int i = 0; i < out->ntop; i++)
        out->top[i].logprob = (float)(logprob + (double)logits[out->top[i].id] - (double)logits[out->id]);
}

/* A token drawn, or the one whose probability is asked for. */
static void choose(mu_stepper_t *s, const mu_plan_piece_t *piece, const float *logits, int32_t next,
                   mu_engine_token_t *out)
{
    *out = (mu_engine_token_t){.id = next};
    if (next < 0)
        out->id = mu_sampler_next(s->sampler[piece->net.slot], logits);
    name_probabilities(s, logits, piece->top, out);
}

static mu_status_t begin(mu_stepper_t *s, const mu_plan_piece_t *piece)
{
    mu_sampler_t **sampler = &s->sampler[piece->net.slot];
    mu_sampler_free(*sampler);
    *sampler = NULL;
    return mu_sampler_new(&piece->how, s->vocab, sampler);
}

mu_status_t mu_stepper_run(mu_stepper_t *s, const mu_plan_t *plan, mu_engine_token_t *result)
{
    int64_t vocab = mu_net_model(s->net)->vocab, at = 0;
    if (plan->wanted > s->logits_room) {
        s->logits_room = plan->wanted;
        s->logits = mu_realloc(s->logits, (size_t)(plan->wanted * vocab) * sizeof *s->logits);
    }
    for (int i = 0; i < plan->pieces; i++) {
        s->piece[i] = plan->piece[i].net;
        if (plan->piece[i].begins && s->group->rank == 0)
            MU_TRY(begin(s, &plan->piece[i]));
    }
    MU_TRY(mu_net_step(s->net, s->piece, plan->pieces, plan->token, s->logits));
    if (s->group->rank > 0)
        return MU_OK;
    for (int i = 0; i < plan->pieces; i++)
        for (int64_t row = 0; row < plan->piece[i].net.wanted; row++, at++)
            choose(s, &plan->piece[i], s->logits + at * vocab, plan->next[at], &result[at]);
    return MU_OK;
}
