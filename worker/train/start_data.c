#include "worker/train/start_data.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "worker/train/schedule.h"
#include "worker/train/start_chat.h"
#include "worker/train/start_tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* A tokenizer's ids, from the data set, else from vocab_file; 0 when neither is known. */
static mu_status_t real_vocab(mu_run_t *run, const mu_start_t *start, int64_t *vocab, int32_t *eod)
{
    *vocab = start->data ? mu_mixture_vocab(start->data) : 0;
    *eod = -1;
    if (!start->ids)
        return MU_OK;
    *vocab = mu_max_i64(*vocab, mu_tokenizer_vocab(start->ids));
    *eod = mu_tokenizer_eod(start->ids);
    return start->data ? mu_start_chat(&run->config, start->data, start->ids) : MU_OK;
}

/* Two files may spell one tokenizer: what counts is that every text has the same ids. With finetune the
 * data's may know more tokens, after the checkpoint's: then the model grows. */
static mu_status_t compare_tokenizers(const mu_run_t *run, mu_start_t *start, const char *path)
{
    mu_tokenizer_t *was = NULL, *is = start->ids;
    char *copy = mu_path_join(path, MU_TOKENIZER_NAME);
    mu_status_t status = mu_tokenizer_load(copy, &was);
    if (status != MU_OK || strcmp(mu_tokenizer_digest(was), mu_tokenizer_digest(is)) == 0)
        goto out;
    if (!mu_tokenizer_extends(is, was))
        status =
            mu_fail(MU_CONFIG,
                    "%s: was made with another tokenizer than '%s': prepare the data with the checkpoint's "
                    "own, '%s'",
                    path, start->tokenizer, copy);
    else if (start->base)
        status = mu_fail(
            MU_CONFIG,
            "%s: '%s' has %d tokens that the model does not know, and adapters cannot add any: import "
            "the model with --special",
            path, start->tokenizer, mu_tokenizer_vocab(is) - mu_tokenizer_vocab(was));
    else if (start->setup.kind != MU_SETUP_WEIGHTS || !run->config->finetune)
        status = mu_fail(MU_CONFIG,
                         "%s: '%s' has %d tokens that the checkpoint does not know: they can be added with "
                         "load and finetune only, in another run directory",
                         path, start->tokenizer, mu_tokenizer_vocab(is) - mu_tokenizer_vocab(was));
    else
        start->setup.growth =
            (mu_resize_t){start->setup.vocab, mu_tokenizer_vocab(was), mu_tokenizer_vocab(is)};
out:
    mu_tokenizer_free(was);
    free(copy);
    return status;
}

/* Data and tokenizer must be those the checkpoint was made with. */
static mu_status_t check_data(const mu_run_t *run, mu_start_t *start)
{
    memset(&start->setup.growth, 0, sizeof start->setup.growth);
    const mu_checkpoint_t *from = start->checkpoint ? start->checkpoint : start->base;
    if (!from)
        return MU_OK;
    const mu_checkpoint_info_t *info = &mu_checkpoint_manifest(from)->info;
    const char *path = mu_checkpoint_path(from), *version = mu_mixture_version(start->data);
    char tokenizer[MU_DIGEST_HEX];
    bool resume = start->done > 0;
    if (resume && info->data_version && strcmp(info->data_version, version) != 0)
        return mu_fail(MU_CONFIG,
                       "%s: was made with data version %s, '%s' is %s: give the old data, or use load with "
                       "finetune for new data",
                       path, info->data_version, mu_mixture_path(start->data), version);
    if (!start->tokenizer || !info->tokenizer_digest)
        return MU_OK;
    MU_TRY(mu_digest_file(start->tokenizer, tokenizer));
    if (strcmp(info->tokenizer_digest, tokenizer) == 0)
        return MU_OK;
    return compare_tokenizers(run, start, path);
}

static mu_status_t grow(const mu_config_t *c, mu_setup_t *setup)
{
    const mu_resize_t *g = &setup->growth;
    if (g->new_ids > g->rows)
        MU_TRY(mu_config_padded_vocab(c, g->new_ids, &setup->vocab));
    mu_info("%lld new tokens, ids %lld to %lld: their rows begin as the mean of the others'; the embedding "
            "has %lld rows, %s",
            (long long)(g->new_ids - g->ids), (long long)g->ids, (long long)g->new_ids - 1,
            (long long)setup->vocab, setup->vocab > g->rows ? "grown" : "as before");
    return MU_OK;
}

static mu_status_t settle_vocab(mu_run_t *run, mu_start_t *start)
{
    mu_setup_t *setup = &start->setup;
    int64_t vocab;
    int32_t eod;
    MU_TRY(real_vocab(run, start, &vocab, &eod));
    const mu_config_t *c = run->config;
    setup->eod = c->eod_mask_loss ? eod : -1;
    bool packs = mu_mixture_packs(start->data);
    setup->reset_attention = packs || c->reset_attention_mask;
    setup->reset_positions = packs || c->reset_position_ids;
    if (c->eod_mask_loss && eod < 0)
        return mu_fail(MU_CONFIG, "eod_mask_loss (%s): the tokenizer of the data has no <|endoftext|>",
                       mu_config_origin(c, "eod_mask_loss"));
    if (setup->growth.rows > 0)
        return grow(c, setup);
    if (setup->kind != MU_SETUP_FRESH || start->base) {
        const char *path = start->base ? setup->base : setup->path;
        if (c->padded_vocab_size > 0 && c->padded_vocab_size != setup->vocab)
            mu_info("padded_vocab_size %lld is not followed: '%s' has %lld rows",
                    (long long)c->padded_vocab_size, path, (long long)setup->vocab);
        if (vocab > setup->vocab)
            return mu_fail(MU_CONFIG, "%s: the model knows %lld ids, the data's tokenizer has %lld", path,
                           (long long)setup->vocab, (long long)vocab);
        return MU_OK;
    }
    if (vocab == 0 && c->padded_vocab_size == 0)
        return mu_fail(MU_CONFIG,
                       "%s: holds no tokenizer, so the vocabulary is unknown: set vocab_file or "
                       "padded_vocab_size",
                       mu_mixture_path(start->data));
    if (vocab == 0) {
        setup->vocab = c->padded_vocab_size;
        return MU_OK;
    }
    return mu_config_padded_vocab(c, vocab, &setup->vocab);
}

static mu_status_t check_vocab_divides(const mu_run_t *run, const mu_start_t *start)
{
    int tp = run->config->tp;
    if (start->setup.kind != MU_SETUP_FRESH ||
        start->base) /* a loaded model's rows are divided as they are */
        return MU_OK;
    if (start->setup.vocab % tp != 0)
        return mu_fail(MU_CONFIG,
                       "the vocabulary of %lld rows cannot be divided by tp %d: use a tp that divides it",
                       (long long)start->setup.vocab, tp);
    return MU_OK;
}

mu_status_t mu_start_data_settle(mu_run_t *run, mu_start_t *start)
{
    MU_TRY(check_data(run, start));
    MU_TRY(settle_vocab(run, start));
    mu_mixture_limit(start->data, start->setup.vocab);
    return check_vocab_divides(run, start);
}

mu_status_t mu_start_data_open(mu_run_t *run, mu_start_t *start)
{
    const mu_config_t *c = run->config;
    if (!c->data_path && !c->train_data_paths)
        return mu_fail(MU_CONFIG,
                       "data_path is not set: name a directory made by `muster prepare`, or the prefix of a "
                       ".bin/.idx pair");
    /* RUN/config.yml writes defaults out: this one is no wish for another split than the data's */
    mu_mixture_options_t options = {
        .path = c->data_path,
        .split = strcmp(c->split, MU_SPLIT_DEFAULT) == 0 ? NULL : c->split,
        .train = {c->train_data_paths, c->train_data_weights.value, c->train_label_data_paths},
        .valid = {c->valid_data_paths, c->valid_data_weights.value, c->valid_label_data_paths},
        .by_documents = c->weight_by_num_documents,
        .alpha = c->weighted_sampler_alpha,
        .how = {.packing = (mu_packing_t)c->pack_impl,
                .drop_long = !c->allow_chopped,
                .borders = c->reset_attention_mask || c->reset_position_ids}};
    MU_TRY(mu_mixture_open(&options, &start->data));
    if (mu_schedule_evaluates(c) && !mu_mixture_wants(start->data, MU_VALID)) {
        mu_info("%s: no validation part is wanted: the run does not evaluate", mu_mixture_path(start->data));
        mu_config_settle(&run->config, &(mu_config_facts_t){.never_evaluates = true});
    }
    return mu_start_tokenizer(c, run->dir, start->data, &start->tokenizer, &start->ids);
}

/* train_epochs: as many steps as whole global batches fit (megatron/training.py). */
mu_status_t mu_start_data_steps(mu_run_t *run, mu_start_t *start)
{
    const mu_config_t *c = run->config;
    if (c->train_iters == 0 && c->train_epochs > 0) {
        int64_t steps =
            mu_mixture_epoch_samples(start->data, c->model.seq_length, (uint32_t)c->seed, c->train_epochs) /
            c->train_batch_size;
        if (steps == 0)
            return mu_fail(MU_CONFIG,
                           "train_epochs %lld (%s): the data has fewer samples than one batch of %lld",
                           (long long)c->train_epochs, mu_config_origin(c, "train_epochs"),
                           (long long)c->train_batch_size);
        mu_info("train_epochs %lld are %lld steps", (long long)c->train_epochs, (long long)steps);
        /* from here on it is a run of so many steps; checkpoints say so too */
        mu_config_settle(&run->config, &(mu_config_facts_t){.train_iters = steps});
    }
    start->setup.train_iters = run->config->train_iters;
    return MU_OK;
}
