#include "worker/train/start.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"
#include "common/config/config_compatibility.h"
#include "worker/train/start_chat.h"
#include "worker/train/start_data.h"
#include "common/checkpoint/adapter.h"
#include "common/checkpoint/commit.h"
#include "common/checkpoint/foreign.h"
#include "worker/train/schedule.h"

#include <sodium.h>

char *mu_run_checkpoints(const mu_run_t *run)
{
    return mu_path_join(run->dir, "checkpoints");
}

static void set_rule(mu_start_t *start, char *text)
{
    free(start->rule);
    start->rule = text;
}

/* What ends a text, and how a conversation becomes one, belongs to the model: it goes on into this run's checkpoints
 * unless the user says another. */
static mu_status_t keep_ends(mu_run_t *run, const char *path, const char *text)
{
    mu_config_t *was;
    MU_TRY(mu_config_load_text(path, text, &was));
    mu_start_keep_template(was, &run->config);
    if (!run->config->muster.end_tokens)
        mu_config_settle(&run->config, &(mu_config_facts_t){.end_tokens = was->muster.end_tokens});
    mu_config_free(was);
    return MU_OK;
}

static mu_status_t set_base(mu_start_t *start, mu_checkpoint_t *base)
{
    mu_setup_t *setup = &start->setup;
    const char *path = mu_checkpoint_path(base);
    mu_checkpoint_close(start->base);
    start->base = base;
    if (snprintf(setup->base, sizeof setup->base, "%s", path) >= (int)sizeof setup->base)
        return mu_fail(MU_CONFIG, "%s: the path is too long", path);
    return MU_OK;
}

/* The base of start->checkpoint, where that is an adapter, which it is if and only if adapters are trained. */
static mu_status_t take_base(const mu_run_t *run, mu_start_t *start)
{
    const mu_config_t *c = run->config;
    const char *path = mu_checkpoint_path(start->checkpoint);
    bool adapter = mu_checkpoint_is_adapter(start->checkpoint);
    mu_checkpoint_t *base;
    if (adapter != (c->model.lora.rank > 0))
        return mu_fail(
            MU_CONFIG,
            adapter ? "%s: is an adapter: set muster.lora_rank to train it on, or make a whole model of "
                      "it (`muster export --merge`, then `muster import`)"
                    : "%s: is a whole model, but muster.lora_rank is set: train adapters in another run "
                      "directory, with this model as load",
            path);
    if (!adapter)
        return MU_OK;
    MU_TRY(mu_adapter_base(start->checkpoint, c->muster.lora_base, &base));
    return set_base(start, base);
}

/* Fills what follows from start->checkpoint; `resume`: go on with its steps and samples. */
static mu_status_t adopt(mu_run_t *run, mu_start_t *start, bool resume, bool optimizer)
{
    const mu_manifest_t *m = mu_checkpoint_manifest(start->checkpoint);
    const char *path = mu_checkpoint_path(start->checkpoint);
    mu_setup_t *setup = &start->setup;
    mu_former_t former = {.train_batch_size = 0};
    MU_TRY(take_base(run, start));
    if (snprintf(setup->path, sizeof setup->path, "%s", path) >= (int)sizeof setup->path)
        return mu_fail(MU_CONFIG, "%s: the path is too long", path);
    if (m->info.config) {
        MU_TRY(mu_compatibility_check(run->config, path, m->info.config, resume, &former));
        MU_TRY(keep_ends(run, path, m->info.config));
    }
    if (optimizer && !m->optimizer)
        return mu_fail(
            MU_CONFIG,
            "%s: was saved without optimizer state (no_save_optim): set no_load_optim to go on with "
            "an empty one",
            path);
    free(start->companions);
    start->companions = m->info.companions ? mu_strdup(m->info.companions) : NULL;
    MU_TRY(mu_checkpoint_vocab(start->base ? start->base : start->checkpoint, &setup->vocab));
    setup->kind = optimizer ? MU_SETUP_RESUME : MU_SETUP_WEIGHTS;
    setup->optimizer_step = optimizer ? m->info.optimizer_step : 0;
    setup->scale = resume ? m->info.loss_scale : (mu_loss_scale_t){0};
    setup->course = (mu_lr_course_t){0};
    if (resume && run->config->use_checkpoint_lr_scheduler && former.course.iters > 0) {
        setup->course = former.course;
        mu_config_settle(&run->config, &(mu_config_facts_t){.course = former.course});
    }
    start->former_batch = resume ? former.train_batch_size : 0;
    start->done = resume ? m->info.step : 0;
    start->samples = resume ? m->info.samples : 0;
    start->parent = m->info.step;
    if (resume && m->info.order_samples[0] > 0)
        memcpy(start->order_samples, m->info.order_samples, sizeof start->order_samples);
    return MU_OK;
}

/* A run's own moments are taken when they are there, whatever no_load_optim says of `load`: a restart goes on where
 * the run was. */
static mu_status_t resume_own(mu_run_t *run, mu_start_t *start)
{
    const mu_manifest_t *m = mu_checkpoint_manifest(start->checkpoint);
    bool optimizer = m->optimizer || !run->config->no_load_optim;
    snprintf(start->setup.run_id, sizeof start->setup.run_id, "%s", m->info.run_id);
    MU_TRY(adopt(run, start, true, optimizer));
    set_rule(start, mu_format("resuming %s%s", mu_checkpoint_path(start->checkpoint),
                              optimizer ? "" : " with an empty optimizer"));
    return MU_OK;
}

/* Only a run's own finished directory has nothing more to do. */
static mu_status_t refuse_finished(const mu_run_t *run, const mu_start_t *start)
{
    const mu_config_t *c = run->config;
    if (c->finetune || start->done < c->train_iters)
        return MU_OK;
    return mu_fail(
        MU_CONFIG,
        "load: '%s' has %lld steps and train_iters is %lld, so no step is left: set finetune to begin at "
        "step 0 with its weights, or more train_iters to go on",
        mu_checkpoint_path(start->checkpoint), (long long)start->done, (long long)c->train_iters);
}

/* Whether copies in memory hold a later state of this run than its newest checkpoint. */
static bool prefers_copies(const mu_start_t *start)
{
    return start->offered && start->offer.step > start->durable;
}

static mu_status_t open_copies(const mu_start_t *start, mu_checkpoint_t **out)
{
    const char *was = start->checkpoint ? mu_checkpoint_manifest(start->checkpoint)->info.run_id : NULL;
    char *name = mu_format("copies of step %lld in the hosts' memory", (long long)start->offer.step);
    mu_checkpoint_t *copies = NULL;
    mu_status_t status = mu_checkpoint_open_manifest(name, start->offered, start->offered_bytes, &copies);
    const char *is = copies ? mu_checkpoint_manifest(copies)->info.run_id : NULL;
    if (status == MU_OK && was && strcmp(was, is) != 0)
        status =
            mu_fail(MU_DATA, "%s: they are of run %s, the newest checkpoint is of run %s", name, is, was);
    if (status == MU_OK)
        *out = copies;
    else
        mu_checkpoint_close(copies);
    free(name);
    return status;
}

/* They go on as if the attempt had not ended: parent and lineage are theirs. */
static mu_status_t resume_copies(mu_run_t *run, mu_start_t *start, mu_checkpoint_t *copies)
{
    const mu_manifest_t *m = mu_checkpoint_manifest(copies);
    mu_checkpoint_close(start->checkpoint);
    start->checkpoint = copies;
    snprintf(start->setup.run_id, sizeof start->setup.run_id, "%s", m->info.run_id);
    MU_TRY(adopt(run, start, true, m->optimizer || !run->config->no_load_optim));
    start->setup.copies = 1;
    start->parent = m->info.parent_step;
    start->lineage = m->info.lineage ? mu_strdup(m->info.lineage) : NULL;
    mu_buf_t rule = MU_BUF_INIT;
    mu_buf_addf(&rule, "resuming %s; ", mu_checkpoint_path(copies));
    if (start->durable >= 0)
        mu_buf_addf(&rule, "the newest checkpoint is of step %lld", (long long)start->durable);
    else
        mu_buf_adds(&rule, "there is no checkpoint yet");
    set_rule(start, mu_buf_detach(&rule));
    return MU_OK;
}

/* Says why copies in memory that would be newer are not taken. */
static void name_lost_copies(mu_start_t *start)
{
    const mu_copies_offer_t *o = &start->offer;
    if (o->hosts == 0 || start->offered || o->step <= start->durable)
        return;
    char *rule =
        o->have < o->pieces
            ? mu_format("%s (of the copies of step %lld in the hosts' memory %d of %d pieces are left)",
                        start->rule, (long long)o->step, o->have, o->pieces)
            : mu_format("%s (the copies of step %lld in the hosts' memory are damaged)", start->rule,
                        (long long)o->step);
    set_rule(start, rule);
}

static void start_fresh(mu_start_t *start)
{
    free(start->companions);
    start->companions = NULL;
    start->setup.kind = MU_SETUP_FRESH;
    start->setup.vocab = 0;
    start->setup.optimizer_step = 0;
    start->setup.scale = (mu_loss_scale_t){0};
    start->done = start->samples = start->former_batch = 0;
    start->parent = -1;
    set_rule(start, mu_strdup("random weights"));
}

/* start->checkpoint is a whole model, which new adapters are trained on. */
static mu_status_t start_adapters(mu_run_t *run, mu_start_t *start)
{
    mu_checkpoint_t *base = start->checkpoint;
    const mu_checkpoint_info_t *info = &mu_checkpoint_manifest(base)->info;
    mu_former_t former;
    start->checkpoint = NULL;
    start_fresh(start);
    MU_TRY(set_base(start, base));
    const char *path = mu_checkpoint_path(base);
    if (info->config) {
        MU_TRY(mu_compatibility_check(run->config, path, info->config, false, &former));
        MU_TRY(keep_ends(run, path, info->config));
    }
    start->companions = info->companions ? mu_strdup(info->companions) : NULL;
    MU_TRY(mu_checkpoint_vocab(base, &start->setup.vocab));
    set_rule(start,
             mu_format("new adapters of rank %lld on %s", (long long)run->config->model.lora.rank, path));
    return MU_OK;
}

static mu_status_t load_other(mu_run_t *run, mu_start_t *start, int64_t below)
{
    const mu_config_t *c = run->config;
    MU_TRY(mu_checkpoint_newest(c->load, below, &start->checkpoint));
    if (!start->checkpoint)
        return MU_OK;
    if (c->model.lora.rank > 0 && !mu_checkpoint_is_adapter(start->checkpoint))
        return start_adapters(run, start);
    bool resume = !c->finetune;
    MU_TRY(adopt(run, start, resume, resume && !c->no_load_optim));
    MU_TRY(refuse_finished(run, start));
    set_rule(start, mu_format("%s %s", resume ? "going on from" : "weights from",
                              mu_checkpoint_path(start->checkpoint)));
    return MU_OK;
}

/* The start rule, among checkpoints below a step, without copies in memory. */
static mu_status_t choose_durable(mu_run_t *run, mu_start_t *start, int64_t below)
{
    if (start->checkpoint)
        return resume_own(run, start);
    mu_load_t load = mu_config_load_of(run->config, run->dir);
    if (load != MU_LOAD_NONE) {
        MU_TRY(load_other(run, start, below));
        if (start->checkpoint || start->base)
            return MU_OK;
        if (load == MU_LOAD_OTHER)
            return mu_foreign_refuse("load", run->config->load);
    }
    if (run->config->model.lora.rank > 0)
        return mu_fail(MU_CONFIG, "muster.lora_rank (%s): adapters need a model: name a checkpoint by load",
                       mu_config_origin(run->config, "muster.lora_rank"));
    start_fresh(start);
    return MU_OK;
}

static void refuse_copies(mu_start_t *start)
{
    free(start->offered);
    start->offered = NULL;
    free(start->lineage);
    start->lineage = NULL;
    start->setup.copies = 0;
}

static mu_status_t choose(mu_run_t *run, mu_start_t *start, int64_t below)
{
    char *own = mu_run_checkpoints(run);
    mu_checkpoint_close(start->checkpoint);
    start->checkpoint = NULL;
    mu_status_t status = mu_checkpoint_newest(own, below, &start->checkpoint);
    free(own);
    if (status != MU_OK)
        return status;
    start->durable = start->checkpoint ? mu_checkpoint_manifest(start->checkpoint)->info.step : -1;
    if (prefers_copies(start)) {
        mu_checkpoint_t *copies;
        if (open_copies(start, &copies) == MU_OK)
            return resume_copies(run, start, copies);
        refuse_copies(start);
    }
    MU_TRY(choose_durable(run, start, below));
    name_lost_copies(start);
    return MU_OK;
}

static mu_status_t find_best(mu_run_t *run, mu_start_t *start)
{
    char *dir = mu_run_checkpoints(run);
    mu_status_t status = mu_checkpoint_mend_hints(dir, start->done, &start->best_valid_loss);
    free(dir);
    return status;
}

mu_status_t mu_start_open(mu_run_t *run, const mu_copies_offer_t *offer, const char *manifest, size_t n,
                          mu_start_t *out)
{
    unsigned char id[8];
    char *dir = mu_run_checkpoints(run);
    memset(out, 0, sizeof *out);
    if (sodium_init() < 0) {
        free(dir);
        return mu_fail(MU_BUG, "libsodium cannot be initialised");
    }
    randombytes_buf(id, sizeof id);
    sodium_bin2hex(out->setup.run_id, sizeof out->setup.run_id, id, sizeof id);
    out->setup.attempt = run->attempt;
    out->offer = *offer;
    out->offered = offer->whole ? mu_format("%.*s", (int)n, manifest) : NULL;
    out->offered_bytes = n;
    mu_status_t status = mu_checkpoint_clean(dir);
    free(dir);
    MU_TRY(status);
    MU_TRY(mu_start_data_open(run, out));
    MU_TRY(mu_start_data_steps(run, out)); /* a checkpoint's schedule is compared with them */
    MU_TRY(choose(run, out, INT64_MAX));
    MU_TRY(mu_start_data_settle(run, out));
    return find_best(run, out);
}

mu_status_t mu_start_older(mu_run_t *run, mu_start_t *start)
{
    bool copies = start->setup.copies;
    int64_t below = copies ? INT64_MAX : mu_checkpoint_manifest(start->checkpoint)->info.step;
    mu_warn("%s: a worker found %s damaged; looking for an older state", start->setup.path,
            copies ? "them" : "it");
    refuse_copies(start);
    MU_TRY(choose(run, start, below));
    if (start->setup.kind == MU_SETUP_FRESH && !copies)
        return mu_fail(MU_NOVALID, "no valid checkpoint is left in '%s'", run->dir);
    MU_TRY(mu_start_data_settle(run, start));
    return find_best(run, start);
}

mu_status_t mu_start_orders(mu_run_t *run, mu_start_t *start)
{
    const mu_config_t *c = run->config;
    if (start->order_samples[0] == 0) {
        start->order_samples[0] = c->train_iters * c->train_batch_size;
        start->order_samples[1] = mu_schedule_eval_batches(c) * c->train_batch_size;
    }
    char *cache = mu_path_join(run->dir, "order");
    mu_status_t status;
    MU_TRY_GOTO(status, mu_make_dirs(cache, 0700), out);
    MU_TRY_GOTO(status,
                mu_mixture_order(start->data, MU_TRAIN, c->model.seq_length, (uint32_t)c->seed,
                                 start->order_samples[0], cache, &start->train),
                out);
    if (mu_schedule_evaluates(c))
        status = mu_mixture_order(start->data, MU_VALID, c->model.seq_length, (uint32_t)c->seed,
                                  start->order_samples[1], cache, &start->valid);
out:
    free(cache);
    return status;
}

void mu_start_release(mu_start_t *start)
{
    mu_blend_close(start->train);
    mu_blend_close(start->valid);
    mu_mixture_close(start->data);
    mu_checkpoint_close(start->checkpoint);
    mu_checkpoint_close(start->base);
    free(start->rule);
    free(start->tokenizer);
    mu_tokenizer_free(start->ids);
    free(start->companions);
    free(start->lineage);
    free(start->offered);
    memset(start, 0, sizeof *start);
}
