/* Batch and layout: which (tp, dp) a world runs, and the batch sizes that follow. */
#include "common/config/config_keys.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"

mu_load_t mu_config_load_of(const mu_config_t *config, const char *run_dir)
{
    const char *load = config->load;
    if (!load || !*load || (run_dir && mu_same_path(load, run_dir)))
        return MU_LOAD_NONE;
    return config->save && mu_same_path(load, config->save) ? MU_LOAD_SAVE : MU_LOAD_OTHER;
}

/* ---- vocabulary ---- */

int64_t mu_config_pad_vocab(const mu_config_t *config, int64_t vocab)
{
    int64_t unit = config->make_vocab_size_divisible_by * config->model_parallel_in_files;
    return (vocab + unit - 1) / unit * unit;
}

mu_status_t mu_config_padded_vocab(const mu_config_t *config, int64_t vocab, int64_t *out)
{
    int64_t given = config->padded_vocab_size;
    if (vocab < 1 || vocab > INT32_MAX)
        return mu_fail(MU_CONFIG, "a vocabulary of %lld ids: from 1 to %d is wanted", (long long)vocab,
                       INT32_MAX);
    if (given > 0 && given < vocab)
        return mu_fail(MU_CONFIG, "%s: padded_vocab_size %lld is less than the tokenizer's %lld ids",
                       mu_config_origin(config, "padded_vocab_size"), (long long)given, (long long)vocab);
    *out = given > 0 ? given : mu_config_pad_vocab(config, vocab);
    return MU_OK;
}

/* ---- batch ---- */

/* T = m * g * dp for `dp` replicas; false when no whole numbers do that. Unwritten g is inferred; with m
 * alone it is 1. */
static bool batch_for(const mu_config_source_t *s, int64_t dp, int64_t out[3])
{
    int64_t T = s->train_batch_size, m = s->micro_batch, g = s->accumulation;
    if (T == 0) {
        g = g ? g : 1;
        T = m * g * dp; /* each below 2^31, 2^24 and 2^31, checked by the caller */
    } else if (m == 0) {
        g = g ? g : 1;
        m = T / (g * dp);
    } else if (g == 0) {
        g = T / (m * dp);
    }
    out[0] = T;
    out[1] = m;
    out[2] = g;
    return m > 0 && g > 0 && T == m * g * dp;
}

/* The most replicas, up to `most`, that the batch can be cut for; 0: none. */
static int64_t best_dp(const mu_config_source_t *s, int64_t most)
{
    int64_t batch[3];
    for (int64_t dp = most; dp > 0; dp--)
        if (batch_for(s, dp, batch))
            return dp;
    return 0;
}

/* "train_batch_size 12 (a.yml:3:1)" for each key that was written. */
static void written_batch(const mu_config_source_t *s, mu_buf_t *out)
{
    static const char *const names[] = {"train_batch_size", "train_micro_batch_size_per_gpu",
                                        "gradient_accumulation_steps"};
    int64_t values[] = {s->train_batch_size, s->micro_batch, s->accumulation};
    for (int i = 0; i < 3; i++)
        if (values[i])
            mu_buf_addf(out, "%s%s %lld (%s)", out->len ? ", " : "", names[i], (long long)values[i],
                        mu_config_where(s, names[i]));
}

/* Of a written train_batch_size, what m and g must divide whatever the world is. */
static mu_status_t check_batch(const mu_config_source_t *s)
{
    int64_t T = s->train_batch_size, m = s->micro_batch, g = s->accumulation;
    int64_t unit = (m ? m : 1) * (g ? g : 1);
    if (T == 0 && m == 0)
        return MU_OK; /* missing: said elsewhere */
    if (T > 0 ? T % unit == 0 : unit <= INT32_MAX)
        return MU_OK;
    mu_buf_t text = MU_BUF_INIT;
    written_batch(s, &text);
    mu_status_t status =
        mu_fail(MU_CONFIG, "%s: the batch does not add up for any number of replicas: %s: %s",
                mu_config_where(s, T > 0 ? "train_batch_size" : "train_micro_batch_size_per_gpu"), text.data,
                T == 0   ? "the batch is too large"
                : m && g ? "leave gradient_accumulation_steps out and it is inferred"
                : m      ? "make train_batch_size a multiple of train_micro_batch_size_per_gpu"
                         : "make train_batch_size a multiple of gradient_accumulation_steps");
    mu_buf_release(&text);
    return status;
}

/* ---- layout ---- */

/* A new model is padded to what the width divides. A loaded one has the rows that it has: then the last workers hold
 * fewer (mu_tensor_slice()). */
static bool divides_vocab(const mu_config_source_t *s, int64_t tp)
{
    const mu_config_t *c = &s->config;
    bool loads = c->load && *c->load;
    return c->model.vocab % tp == 0 || (loads && mu_model_vocab_fits(&c->model, tp));
}

static bool divides(const mu_config_source_t *s, int64_t tp)
{
    const mu_model_t *m = &s->config.model;
    return mu_model_heads_fit(m, tp) && m->ffn % tp == 0 && divides_vocab(s, tp);
}

/* "tp 1 x dp 4, tp 2 x dp 2": all that this world can run. */
static void legal_layouts(const mu_config_source_t *s, const mu_world_t *world, mu_buf_t *out)
{
    const mu_model_t *m = &s->config.model;
    int64_t most = m->heads;
    if (world->workers > 0)
        most = mu_min_i64(most, world->workers);
    if (world->slots_per_host > 0)
        most = mu_min_i64(most, world->slots_per_host);
    for (int64_t tp = 1; tp <= most; tp++) {
        if (!divides(s, tp))
            continue;
        if (world->workers == 0) {
            mu_buf_addf(out, "%stp %lld", out->len ? ", " : "", (long long)tp);
        } else {
            int64_t dp = best_dp(s, world->workers / tp);
            if (dp > 0)
                mu_buf_addf(out, "%stp %lld x dp %lld", out->len ? ", " : "", (long long)tp, (long long)dp);
        }
    }
    if (!out->len)
        mu_buf_adds(out, "none");
}

static mu_status_t unfit(const mu_config_source_t *s, const mu_world_t *world, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static mu_status_t unfit(const mu_config_source_t *s, const mu_world_t *world, const char *format, ...)
{
    const mu_config_t *c = &s->config;
    mu_buf_t why = MU_BUF_INIT, legal = MU_BUF_INIT;
    va_list args;
    va_start(args, format);
    mu_buf_vaddf(&why, format, args);
    va_end(args);
    legal_layouts(s, world, &legal);
    const char *key = mu_config_given(c, "pipe_parallel_size") && c->pipe_parallel_size > 1
                          ? "pipe_parallel_size"
                          : "model_parallel_size";
    mu_status_t status = mu_fail(
        MU_CONFIG,
        "%s: tensor parallelism %lld (model_parallel_size %lld, pipe_parallel_size %lld) %s; "
        "what fits: %s",
        mu_config_where(s, key), (long long)(c->model_parallel_size * mu_max_i64(1, c->pipe_parallel_size)),
        (long long)c->model_parallel_size, (long long)c->pipe_parallel_size, why.data, legal.data);
    mu_buf_release(&why);
    mu_buf_release(&legal);
    return status;
}

static mu_status_t check_tp(const mu_config_source_t *s, const mu_world_t *world, int64_t tp)
{
    const mu_model_t *m = &s->config.model;
    if (m->heads % tp != 0)
        return unfit(s, world, "does not divide num_attention_heads %lld", (long long)m->heads);
    if (!mu_model_heads_fit(m, tp))
        return unfit(s, world, "neither divides num_kv_heads %lld nor is a multiple of it",
                     (long long)mu_model_kv_heads(m));
    if (m->ffn % tp != 0)
        return unfit(s, world, "does not divide the MLP's width %lld", (long long)m->ffn);
    if (!divides_vocab(s, tp))
        return unfit(s, world, "does not divide the padded vocabulary %lld", (long long)m->vocab);
    if (world->slots_per_host > 0 && tp > world->slots_per_host)
        return unfit(s, world, "exceeds the %d slots of a host", world->slots_per_host);
    if (world->workers > 0 && tp > world->workers)
        return unfit(s, world, "exceeds the %d workers: start more (--workers, slots of hosts) or lower it",
                     world->workers);
    return MU_OK;
}

static mu_status_t fit_batch(mu_config_source_t *s, const mu_world_t *world, int64_t tp)
{
    mu_config_t *c = &s->config;
    int64_t batch[3], most = world->workers / tp, dp = best_dp(s, most);
    if (dp == 0) {
        mu_buf_t text = MU_BUF_INIT;
        written_batch(s, &text);
        int64_t wanted =
            s->micro_batch && s->accumulation ? s->train_batch_size / (s->micro_batch * s->accumulation) : 0;
        mu_status_t status =
            mu_fail(MU_CONFIG,
                    "%s: %s needs %lld replicas of %lld workers, there are %d workers: leave "
                    "gradient_accumulation_steps out and it is inferred",
                    mu_config_where(s, "train_batch_size"), text.data, (long long)wanted, (long long)tp,
                    world->workers);
        mu_buf_release(&text);
        return status;
    }
    batch_for(s, dp, batch);
    if (batch[0] > INT32_MAX)
        return mu_fail(MU_CONFIG, "%s: a batch of %lld samples is too large",
                       mu_config_where(s, "train_micro_batch_size_per_gpu"), (long long)batch[0]);
    c->train_batch_size = batch[0];
    c->micro_batch = batch[1];
    c->accumulation = batch[2];
    c->dp = (int)dp;
    c->workers = (int)(tp * dp);
    if (c->workers < world->workers)
        mu_buf_addf(&s->resolve_notes,
                    "%d of %d workers stay idle: the batch of %lld runs on at most %d x %d\n",
                    world->workers - c->workers, world->workers, (long long)batch[0], (int)tp, c->dp);
    return MU_OK;
}

/* ---- what a run needs ---- */

const char *mu_config_missing(const mu_config_t *config)
{
    static const char *const needed[] = {
        "num_layers",         "hidden_size", "num_attention_heads", "seq_length", "max_position_embeddings",
        "optimizer.params.lr"};
    mu_buf_t list = MU_BUF_INIT;
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!mu_config_given(config, needed[i]))
            mu_buf_addf(&list, "%s%s", list.len ? ", " : "", needed[i]);
    if (!config->train_iters && !config->train_epochs)
        mu_buf_addf(&list, "%strain_iters", list.len ? ", " : "");
    if (!config->source->train_batch_size && !config->source->micro_batch)
        mu_buf_addf(&list, "%strain_micro_batch_size_per_gpu", list.len ? ", " : "");
    free(config->source->missing);
    config->source->missing = list.len ? mu_buf_detach(&list) : NULL;
    mu_buf_release(&list);
    return config->source->missing;
}

static mu_status_t check_complete(const mu_config_t *config)
{
    const char *missing = mu_config_missing(config);
    if (missing)
        return mu_fail(MU_CONFIG, "the configuration lacks %s: add it to a file or the command line",
                       missing);
    if (config->save && !mu_config_given(config, "checkpoint_factor") && !config->extra_save_count)
        return mu_fail(MU_CONFIG, "%s: save needs checkpoint_factor or extra_save_iters to say when",
                       mu_config_origin(config, "save"));
    return MU_OK;
}

void mu_config_fp16_note(const mu_config_t *config, bool device_has_fp16, mu_buf_t *out)
{
    if (config->precision == MU_FP16 && !device_has_fp16)
        mu_buf_adds(out,
                    "fp16 runs as bf16 with fp32 masters and no loss scale: the device (CPUs) has no fp16 "
                    "products\n");
}

static void say(mu_config_source_t *s, const mu_world_t *world, int64_t tp)
{
    const mu_config_t *c = &s->config;
    mu_buf_t *notes = &s->resolve_notes;
    if (c->pipe_parallel_size > 1)
        mu_buf_addf(notes,
                    "pipe_parallel_size %lld x model_parallel_size %lld runs as tensor parallelism %lld: "
                    "the same replicas and batches\n",
                    (long long)c->pipe_parallel_size, (long long)c->model_parallel_size, (long long)tp);
    if (c->accumulation > 1 && !s->accumulation)
        mu_buf_addf(notes, "gradient_accumulation_steps %lld inferred: %lld = %lld x %lld x %d replicas\n",
                    (long long)c->accumulation, (long long)c->train_batch_size, (long long)c->micro_batch,
                    (long long)c->accumulation, c->dp);
    if (world->workers > 0)
        mu_config_fp16_note(c, world->device_has_fp16, notes);
}

static void mark_inferred(mu_config_source_t *s, const char *key, bool inferred)
{
    mu_written_t *w = &s->written[mu_key_find(key)];
    if (inferred && !w->given) {
        free(w->where);
        w->where = mu_strdup("inferred");
    }
}

mu_status_t mu_config_resolve(mu_config_t *config, const mu_world_t *world)
{
    mu_config_source_t *s = config->source;
    mu_buf_clear(&s->resolve_notes);
    config->train_batch_size = s->train_batch_size;
    config->micro_batch = s->micro_batch;
    config->accumulation = s->accumulation;
    config->precision = s->precision;
    config->tp = config->dp = config->workers = 0;

    MU_TRY(check_complete(config));
    MU_TRY(check_batch(s));
    int64_t tp = config->model_parallel_size * mu_max_i64(1, config->pipe_parallel_size);
    MU_TRY(check_tp(s, world, tp));
    if (world->workers > 0)
        MU_TRY(fit_batch(s, world, tp));
    config->tp = (int)tp;
    say(s, world, tp);
    if (world->workers > 0 && config->precision == MU_FP16 && !world->device_has_fp16)
        config->precision = MU_BF16;
    mark_inferred(s, "train_batch_size", config->train_batch_size > 0);
    mark_inferred(s, "train_micro_batch_size_per_gpu", config->micro_batch > 0);
    mark_inferred(s, "gradient_accumulation_steps", config->accumulation > 0);
    return MU_OK;
}
