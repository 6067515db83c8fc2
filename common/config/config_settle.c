#include "common/config/config_keys.h"

#include <stddef.h>
#include <string.h>

static void put_course(mu_config_t *c, const mu_lr_course_t *course)
{
    c->lr_decay_style = (mu_decay_style_t)course->style;
    c->lr_decay_iters = course->iters;
    c->lr_decay_fraction = 0;
    c->lr = course->lr;
    c->min_lr = course->min_lr;
    c->warmup = course->warmup;
}

static const struct {
    size_t fact, key;
} texts[MU_FACT_TEXTS] = {
    {offsetof(mu_config_facts_t, end_tokens), offsetof(mu_config_t, muster.end_tokens)},
    {offsetof(mu_config_facts_t, chat_template), offsetof(mu_config_t, muster.chat_template)},
    {offsetof(mu_config_facts_t, chat_begin), offsetof(mu_config_t, muster.chat_begin)},
    {offsetof(mu_config_facts_t, chat_system), offsetof(mu_config_t, muster.chat_system)},
    {offsetof(mu_config_facts_t, chat_prefix[0]), offsetof(mu_config_t, muster.chat_prefix[0])},
    {offsetof(mu_config_facts_t, chat_prefix[1]), offsetof(mu_config_t, muster.chat_prefix[1])},
    {offsetof(mu_config_facts_t, chat_prefix[2]), offsetof(mu_config_t, muster.chat_prefix[2])},
};

static void put_texts(mu_config_source_t *source, const mu_config_facts_t *facts)
{
    for (int i = 0; i < MU_FACT_TEXTS; i++) {
        const char *text;
        memcpy(&text, (const char *)facts + texts[i].fact, sizeof text);
        source->own[i] = text ? mu_strdup(text) : NULL;
        if (text)
            memcpy((char *)&source->config + texts[i].key, &source->own[i], sizeof text);
    }
}

/* The copy shares what the base owns; what it owns alone is listed in mu_config_free(). */
void mu_config_settle(const mu_config_t **config, const mu_config_facts_t *facts)
{
    mu_config_source_t *source = mu_alloc(sizeof *source);
    *source = *(*config)->source;
    mu_config_t *c = &source->config;
    c->source = source;
    source->base = *config;
    source->notes = source->missing = NULL;
    if (facts->vocab > 0)
        c->model.vocab = facts->vocab;
    if (facts->padded_vocab_size > 0)
        c->padded_vocab_size = facts->padded_vocab_size;
    if (facts->seq_length > 0)
        c->model.seq_length = facts->seq_length;
    if (facts->threads > 0)
        c->muster.threads_per_worker = facts->threads;
    if (facts->train_iters > 0) {
        c->train_iters = facts->train_iters;
        c->train_epochs = 0;
    }
    if (facts->course.iters > 0)
        put_course(c, &facts->course);
    if (facts->never_evaluates)
        c->eval_iters = 0;
    put_texts(source, facts);
    *config = c;
}
