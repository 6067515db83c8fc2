#include "worker/infer/generation.h"
#include "common/log.h"
#include "worker/infer/chat_prompt.h"
#include "worker/infer/stop.h"

#include <math.h>

static mu_status_t prompt_ids(const mu_inference_model_t *l, const char *prompt, mu_ids_t *ids)
{
    MU_TRY(mu_tokenizer_encode_prompt(l->tokenizer, prompt, strlen(prompt), ids));
    if (ids->len > 0)
        return MU_OK;
    if (mu_tokenizer_eod(l->tokenizer) < 0)
        return mu_fail(MU_USAGE, "the prompt is empty, and the tokenizer has no end token to begin from");
    mu_ids_add(ids, mu_tokenizer_eod(l->tokenizer));
    return MU_OK;
}

/* The model's own, else the tokenizer's. */
static void take_ends(const mu_inference_model_t *l, mu_generation_t *g)
{
    g->ends = mu_config_end_tokens(l->config, g->end);
    if (g->ends > 0)
        return;
    g->end[0] = mu_tokenizer_eod(l->tokenizer);
    g->ends = g->end[0] >= 0;
}

static bool is_end(const mu_generation_t *g, int32_t id)
{
    for (int i = 0; i < g->ends; i++)
        if (g->end[i] == id)
            return true;
    return false;
}

/* How many new tokens: what is asked for, as far as the model has positions. */
static mu_status_t limit(const mu_config_t *c, const mu_generate_t *asked, mu_generation_t *g)
{
    int64_t room = c->model.max_positions - (int64_t)g->prompt.len;
    if (room < 1)
        return mu_fail(MU_USAGE, "the prompt has %zu tokens, the model has %lld positions", g->prompt.len,
                       (long long)c->model.max_positions);
    g->most = asked->max_new_tokens >= 0 ? asked->max_new_tokens : c->maximum_tokens;
    g->least = asked->min_new_tokens;
    if (g->least > g->most)
        return mu_fail(MU_USAGE, "--min-new-tokens %lld is more than the %lld new tokens at most",
                       (long long)g->least, (long long)g->most);
    if (g->most > room) {
        mu_warn("only %lld new tokens fit the model's %lld positions", (long long)room,
                (long long)c->model.max_positions);
        g->most = room;
    }
    return MU_OK;
}

/* The configuration's, unless one of the three is given; then the others are 0. */
static mu_sampling_t sampling(const mu_generate_t *asked, const mu_config_t *c)
{
    mu_sampling_t how = {.seed = (uint64_t)asked->seed};
    if (asked->temperature < 0 && asked->top_k < 0 && asked->top_p < 0) {
        how.temperature = c->temperature;
        how.top_k = c->top_k;
        how.top_p = c->top_p;
        return how;
    }
    how.temperature = asked->temperature > 0 ? asked->temperature : 0;
    how.top_k = asked->top_k > 0 ? asked->top_k : 0;
    how.top_p = asked->top_p > 0 ? asked->top_p : 0;
    return how;
}

mu_status_t mu_generation_begin(const mu_inference_model_t *l, const mu_config_t *c,
                                const mu_generate_t *asked, mu_generation_t *out)
{
    mu_sampling_t how = sampling(asked, c);
    mu_generation_t g = {.prompt = MU_IDS_INIT, .written = MU_BUF_INIT, .stops = &asked->stops};
    mu_status_t status;
    if (!l->tokenizer)
        return mu_fail(MU_NOINPUT, "%s: carries no tokenizer", mu_checkpoint_path(l->checkpoint));
    take_ends(l, &g);
    if (asked->chat)
        MU_TRY_GOTO(status, mu_chat_prompt(l, asked->prompt, &g), fail);
    else
        MU_TRY_GOTO(status, prompt_ids(l, asked->prompt, &g.prompt), fail);
    MU_TRY_GOTO(status, limit(c, asked, &g), fail);
    g.decoder = mu_decoder_new(l->tokenizer, true);
    MU_TRY_GOTO(status, mu_sampler_new(&how, mu_tokenizer_vocab(l->tokenizer), &g.sampler), fail);
    *out = g;
    return MU_OK;
fail:
    mu_generation_end(&g);
    return status;
}

void mu_generation_end(mu_generation_t *g)
{
    mu_sampler_free(g->sampler);
    mu_decoder_free(g->decoder);
    mu_buf_release(&g->written);
    mu_ids_release(&g->prompt);
}

/* Before `least` tokens no end is chosen. */
static void forbid_ends(const mu_generation_t *g, int64_t vocab, float *logits)
{
    for (int i = 0; i < g->ends; i++)
        if (g->end[i] < vocab)
            logits[g->end[i]] = -INFINITY;
}

/* Whether a stop is in what is written so far, this token included: the same on every worker. */
static mu_status_t look_for_stop(mu_generation_t *g, int32_t id, bool *hit)
{
    *hit = false;
    if (!g->stops || g->stops->count == 0)
        return MU_OK;
    MU_TRY(mu_decoder_add(g->decoder, &id, 1, &g->written));
    mu_stop_visible(g->stops, g->written.data ? g->written.data : "", g->written.len, false, hit);
    return MU_OK;
}

static mu_status_t choose(mu_generation_t *g, mu_comm_t *group, const float *logits, int32_t *id)
{
    *id = group->rank == 0 ? mu_sampler_next(g->sampler, logits) : -1;
    MU_TRY(mu_comm_broadcast(group, 0, id, sizeof *id));
    return *id >= 0 ? MU_OK : mu_fail(MU_DATA, "the model's logits are not numbers");
}

mu_status_t mu_generation_run(mu_generation_t *g, mu_net_t *net, mu_comm_t *group, mu_generation_take_t take,
                              void *arg)
{
    int64_t context = (int64_t)g->prompt.len;
    float *logits = mu_alloc((size_t)mu_net_model(net)->vocab * sizeof *logits);
    int32_t id;
    bool stop;
    mu_status_t status;
    MU_TRY_GOTO(status, mu_net_decode_begin(net, context + g->most), out);
    MU_TRY_GOTO(status, mu_net_decode(net, g->prompt.data, context, logits), out);
    for (int64_t i = 0; i < g->most; i++) {
        if (i > 0)
            MU_TRY_GOTO(status, mu_net_decode(net, &id, 1, logits), out);
        if (i < g->least)
            forbid_ends(g, mu_net_model(net)->vocab, logits);
        MU_TRY_GOTO(status, choose(g, group, logits, &id), out);
        if (is_end(g, id))
            break;
        MU_TRY_GOTO(status, take(arg, id), out);
        MU_TRY_GOTO(status, look_for_stop(g, id, &stop), out);
        if (stop)
            break;
    }
out:
    free(logits);
    return status;
}
