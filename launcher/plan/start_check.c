#include "launcher/plan/start_check.h"
#include "common/checkpoint/foreign.h"
#include "common/checkpoint/adapter.h"
#include "common/checkpoint/checkpoint_reader.h"
#include "common/checkpoint/reference.h"
#include "common/config/config_compatibility.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "dataset/order/mixture.h"
#include "dataset/tokenizer/tokenizer.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

typedef struct check {
    const mu_config_t *config;
    bool here;
    mu_buf_t *notes;
    mu_mixture_t *data;          /* NULL: not on this machine */
    mu_checkpoint_t *checkpoint; /* NULL: none is taken, or it is not on this machine */
    bool base;                   /* it is the model that new adapters are trained on */
    bool own, unseen;            /* it is the run's own; `load` is not on this machine */
    mu_tokenizer_t *tokenizer;   /* the data's; NULL: unknown */
} check_t;

/* ---- data ---- */

/* The first path of the data that is not on this machine; NULL: all are. */
static const char *absent(const mu_config_t *c)
{
    if (c->data_path)
        return mu_dataset_exists(c->data_path) ? NULL : c->data_path;
    for (char *const *p = c->train_data_paths; p && *p; p++)
        if (!mu_dataset_exists(*p))
            return *p;
    for (char *const *p = c->valid_data_paths; p && *p; p++)
        if (!mu_dataset_exists(*p))
            return *p;
    return NULL;
}

static mu_status_t open_data(check_t *k)
{
    const mu_config_t *c = k->config;
    const char *missing = absent(c);
    if (!c->data_path && !c->train_data_paths)
        return k->here ? mu_fail(MU_CONFIG,
                                 "data_path is not set: name a directory made by `muster prepare`, or the "
                                 "prefix of a .bin/.idx pair")
                       : MU_OK;
    if (missing && !k->here) {
        mu_buf_addf(k->notes, "%s: is not on this machine: the data is not looked at\n", missing);
        return MU_OK;
    }
    char *manifest = mu_path_join(c->data_path ? c->data_path : ".", "manifest.json");
    bool cut = mu_is_file(manifest); /* the controller warns of another split */
    free(manifest);
    mu_mixture_options_t options = {
        .path = c->data_path,
        .split = cut ? NULL : c->split,
        .train = {c->train_data_paths, c->train_data_weights.value, c->train_label_data_paths},
        .valid = {c->valid_data_paths, c->valid_data_weights.value, c->valid_label_data_paths},
        .by_documents = c->weight_by_num_documents,
        .alpha = c->weighted_sampler_alpha,
        .how = {.packing = (mu_packing_t)c->pack_impl, .drop_long = !c->allow_chopped}};
    return mu_mixture_open(&options, &k->data);
}

static mu_status_t check_parts(check_t *k)
{
    const mu_config_t *c = k->config;
    const char *path = mu_mixture_path(k->data);
    if (mu_mixture_tokens(k->data, MU_TRAIN) == 0)
        return mu_fail(MU_DATA, "%s: its training part holds no tokens: give it another split (%s)", path,
                       mu_config_origin(c, "split"));
    if (c->eval_iters == 0 || c->eval_interval == 0)
        return MU_OK;
    if (!mu_mixture_wants(k->data, MU_VALID)) {
        mu_buf_addf(k->notes, "%s: no validation part is wanted: the run does not evaluate\n", path);
        return MU_OK;
    }
    if (mu_mixture_tokens(k->data, MU_VALID) == 0)
        return mu_fail(
            MU_DATA,
            "%s: its validation part holds no tokens: give it another split (%s), or set eval_iters to 0",
            path, mu_config_origin(c, "split"));
    return MU_OK;
}

/* Conversations have their template in them. */
static mu_status_t check_chat(const check_t *k)
{
    const mu_config_t *c = k->config;
    const char *its = json_string_value(json_object_get(mu_mixture_chat(k->data), "template"));
    if (!its || !mu_config_given(c, "muster.chat_template") || strcmp(c->muster.chat_template, its) == 0)
        return MU_OK;
    return mu_fail(
        MU_CONFIG,
        "muster.chat_template (%s): the data was prepared with the template %s: leave it out, or prepare the "
        "data again",
        mu_config_origin(c, "muster.chat_template"), its);
}

static mu_status_t open_tokenizer(check_t *k)
{
    const char *own = k->data ? mu_mixture_tokenizer(k->data) : NULL;
    const char *path = own ? own : k->config->vocab_file;
    if (!path)
        return MU_OK;
    if (access(path, R_OK) != 0)
        return k->here && k->data ? mu_fail(MU_NOINPUT, "vocab_file (%s): %s: cannot be read: %s",
                                            mu_config_origin(k->config, "vocab_file"), path, strerror(errno))
                                  : MU_OK;
    return mu_tokenizer_load_files(path, own ? NULL : k->config->merge_file, &k->tokenizer);
}

/* A vocab_file that is not what the data was prepared with would be passed over: the data's own is used. The data's may
 * know more tokens (--special). */
static mu_status_t check_vocab_file(const check_t *k)
{
    const mu_config_t *c = k->config;
    const char *own = k->data ? mu_mixture_tokenizer(k->data) : NULL;
    mu_tokenizer_t *given = NULL;
    if (!own || !k->tokenizer || !c->vocab_file)
        return MU_OK;
    if (access(c->vocab_file, R_OK) != 0) {
        mu_buf_addf(k->notes, "vocab_file '%s' (%s) is not here: the tokenizer of '%s' is used\n",
                    c->vocab_file, mu_config_origin(c, "vocab_file"), mu_mixture_path(k->data));
        return MU_OK;
    }
    mu_status_t status = mu_tokenizer_load_files(c->vocab_file, c->merge_file, &given);
    if (status == MU_OK && !mu_tokenizer_extends(k->tokenizer, given))
        status = mu_fail(
            MU_CONFIG,
            "vocab_file (%s): '%s' is another tokenizer than the one that '%s' was prepared with: name "
            "'%s', or prepare the data again",
            mu_config_origin(c, "vocab_file"), c->vocab_file, mu_mixture_path(k->data), own);
    mu_tokenizer_free(given);
    return status;
}

enum {
    PIECE = 1 << 16,
    PIECES = 1024
}; /* tokens of a read; of data that is larger than all of them, so many samples */

/* Ids of a .bin are known to nobody until they are read: all of them, or of large data pieces from end to end. */
static mu_status_t check_ids(const check_t *k, int64_t rows)
{
    mu_dataset_t *data = k->data ? mu_mixture_single(k->data) : NULL;
    int64_t tokens = data ? mu_dataset_tokens(data, MU_TRAIN) : 0, pieces = (tokens + PIECE - 1) / PIECE;
    if (!data || mu_dataset_tokenizer_path(data) || rows <= 0)
        return MU_OK;
    int32_t *ids = mu_alloc(PIECE * sizeof *ids);
    mu_status_t status = MU_OK;
    mu_dataset_limit(data, rows);
    for (int64_t i = 0, n = mu_min_i64(pieces, PIECES); i < n && status == MU_OK; i++) {
        int64_t at = mu_part_begin(pieces, i, n) * PIECE;
        status = mu_dataset_read_at(data, MU_TRAIN, at, mu_min_i64(PIECE, tokens - at), ids);
    }
    free(ids);
    return status;
}

/* ---- the checkpoint of the start rule ---- */

static mu_status_t find_own(check_t *k, const char *run_dir)
{
    char *dir = mu_path_join(run_dir, "checkpoints");
    mu_status_t status = mu_is_dir(dir) ? mu_checkpoint_newest(dir, INT64_MAX, &k->checkpoint) : MU_OK;
    free(dir);
    k->own = status == MU_OK && k->checkpoint;
    return status;
}

static mu_status_t find_load(check_t *k, mu_load_t load)
{
    const mu_config_t *c = k->config;
    if (!mu_reference_here(c->load) && !k->here) {
        mu_buf_addf(k->notes, "load '%s' (%s): is not on this machine: the checkpoint is not looked at\n",
                    c->load, mu_config_origin(c, "load"));
        k->unseen = true;
        return MU_OK;
    }
    MU_TRY(mu_checkpoint_newest(c->load, INT64_MAX, &k->checkpoint));
    if (k->checkpoint)
        return MU_OK;
    if (load == MU_LOAD_SAVE) {
        mu_buf_addf(k->notes, "load '%s' (%s): is save, and no checkpoint is there: nothing is loaded\n",
                    c->load, mu_config_origin(c, "load"));
        return MU_OK;
    }
    char *subject = mu_format("load (%s)", mu_config_origin(c, "load"));
    mu_status_t status = mu_foreign_refuse(subject, c->load);
    free(subject);
    return status;
}

/* 0: not known here. */
static int64_t train_iters(const check_t *k)
{
    const mu_config_t *c = k->config;
    if (c->train_iters > 0 || c->train_epochs == 0 || !k->data || c->train_batch_size == 0)
        return c->train_iters;
    return mu_mixture_epoch_samples(k->data, c->model.seq_length, (uint32_t)c->seed, c->train_epochs) /
           c->train_batch_size;
}

/* Only a run's own finished directory has nothing more to do. */
static mu_status_t check_steps(const check_t *k)
{
    const mu_config_t *c = k->config;
    int64_t step = mu_checkpoint_manifest(k->checkpoint)->info.step, iters = train_iters(k);
    if (k->own || k->base || c->finetune || iters == 0 || step < iters)
        return MU_OK;
    return mu_fail(
        MU_CONFIG,
        "load (%s): '%s' has %lld steps and train_iters is %lld (%s), so no step is left: set finetune to "
        "begin at step 0 with its weights, or more train_iters to go on",
        mu_config_origin(c, "load"), mu_checkpoint_path(k->checkpoint), (long long)step, (long long)iters,
        mu_config_origin(c, "train_iters"));
}

/* A run goes on with the data that it began with. */
static mu_status_t check_version(const check_t *k)
{
    const mu_checkpoint_info_t *info = &mu_checkpoint_manifest(k->checkpoint)->info;
    bool resume = info->step > 0 && !k->base && (k->own || !k->config->finetune);
    const char *was = info->data_version, *is = k->data ? mu_mixture_version(k->data) : NULL;
    if (!resume || !was || !is || strcmp(was, is) == 0)
        return MU_OK;
    return mu_fail(
        MU_CONFIG,
        "%s: was made with data version %s, '%s' is %s: give the old data, or use load with finetune for "
        "new data",
        mu_checkpoint_path(k->checkpoint), was, mu_mixture_path(k->data), is);
}

/* What the checkpoint was made with, as far as it must stay. The steps of train_epochs are compared by the
 * controller. */
static mu_status_t check_config(const check_t *k)
{
    const mu_config_t *c = k->config;
    const char *was = mu_checkpoint_manifest(k->checkpoint)->info.config;
    bool resume = !k->base && (k->own || !c->finetune) && c->train_iters > 0;
    mu_former_t former;
    return was ? mu_compatibility_check(c, mu_checkpoint_path(k->checkpoint), was, resume, &former) : MU_OK;
}

/* Adapters need a model, and what is trained is what the checkpoint holds. */
static mu_status_t check_adapters(check_t *k)
{
    const mu_config_t *c = k->config;
    bool adapts = c->model.lora.rank > 0;
    mu_checkpoint_t *base;
    if (!k->checkpoint)
        return adapts && !k->unseen
                   ? mu_fail(MU_CONFIG,
                             "muster.lora_rank (%s): adapters need a model: name a checkpoint by load",
                             mu_config_origin(c, "muster.lora_rank"))
                   : MU_OK;
    bool adapter = mu_checkpoint_is_adapter(k->checkpoint);
    k->base = adapts && !adapter && !k->own;
    if (adapter && !adapts)
        return mu_fail(MU_CONFIG,
                       "%s: is an adapter: set muster.lora_rank to train it on, or make a whole model of it "
                       "(`muster export --merge`, then `muster import`)",
                       mu_checkpoint_path(k->checkpoint));
    if (!adapter)
        return MU_OK;
    MU_TRY(mu_adapter_base(k->checkpoint, c->muster.lora_base, &base));
    mu_checkpoint_close(base);
    return MU_OK;
}

static mu_status_t find_start(check_t *k, const char *run_dir)
{
    mu_load_t load = mu_config_load_of(k->config, run_dir);
    if (run_dir && *run_dir)
        MU_TRY(find_own(k, run_dir));
    if (!k->checkpoint && load != MU_LOAD_NONE)
        MU_TRY(find_load(k, load));
    MU_TRY(check_adapters(k));
    if (!k->checkpoint)
        return MU_OK;
    MU_TRY(check_version(k));
    MU_TRY(check_steps(k));
    return check_config(k);
}

/* ---- the vocabulary ---- */

static mu_status_t against_checkpoint(const check_t *k, int64_t ids)
{
    int embedding = mu_checkpoint_find(k->checkpoint, "embed_in.weight");
    if (embedding < 0)
        return MU_OK; /* the controller says what is wrong with it */
    int64_t rows = mu_checkpoint_manifest(k->checkpoint)->tensors[embedding].shape[0];
    if (k->config->padded_vocab_size > 0 && k->config->padded_vocab_size != rows)
        mu_buf_addf(k->notes, "padded_vocab_size %lld (%s) is not followed: '%s' has %lld rows\n",
                    (long long)k->config->padded_vocab_size, mu_config_origin(k->config, "padded_vocab_size"),
                    mu_checkpoint_path(k->checkpoint), (long long)rows);
    if (ids > rows && k->config->finetune && !k->own && !k->base) /* the model may grow */
        return mu_config_padded_vocab(k->config, ids, &rows);
    MU_TRY(check_ids(k, rows));
    if (ids > rows)
        return mu_fail(MU_CONFIG, "%s: the model knows %lld ids, the data's tokenizer has %lld",
                       mu_checkpoint_path(k->checkpoint), (long long)rows, (long long)ids);
    return MU_OK;
}

static mu_status_t of_random_weights(const check_t *k, int64_t ids)
{
    const mu_config_t *c = k->config;
    int64_t rows = c->padded_vocab_size;
    if (ids > 0)
        MU_TRY(mu_config_padded_vocab(c, ids, &rows));
    else if (rows == 0 && k->here)
        return mu_fail(
            MU_CONFIG,
            "%s: holds no tokenizer, so the vocabulary is unknown: set vocab_file or padded_vocab_size",
            mu_mixture_path(k->data));
    if (c->tp > 0 && rows % c->tp != 0)
        return mu_fail(MU_CONFIG,
                       "the vocabulary of %lld rows cannot be divided by tp %d: use a tp that divides it",
                       (long long)rows, c->tp);
    return check_ids(k, rows);
}

static mu_status_t check_vocab(const check_t *k)
{
    const mu_config_t *c = k->config;
    int64_t ids = k->data ? mu_mixture_vocab(k->data) : 0;
    if (k->tokenizer)
        ids = mu_max_i64(ids, mu_tokenizer_vocab(k->tokenizer));
    if (k->tokenizer && c->eod_mask_loss && mu_tokenizer_eod(k->tokenizer) < 0)
        return mu_fail(MU_CONFIG, "eod_mask_loss (%s): the tokenizer of the data has no <|endoftext|>",
                       mu_config_origin(c, "eod_mask_loss"));
    if (k->checkpoint)
        return against_checkpoint(k, ids);
    return k->unseen ? MU_OK : of_random_weights(k, ids);
}

mu_status_t mu_start_check(const mu_start_question_t *q, mu_buf_t *notes)
{
    check_t k = {.config = q->config, .here = q->here, .notes = notes};
    mu_status_t status;
    MU_TRY_GOTO(status, open_data(&k), out);
    if (k.data)
        MU_TRY_GOTO(status, check_parts(&k), out);
    if (k.data)
        MU_TRY_GOTO(status, check_chat(&k), out);
    MU_TRY_GOTO(status, open_tokenizer(&k), out);
    MU_TRY_GOTO(status, check_vocab_file(&k), out);
    MU_TRY_GOTO(status, find_start(&k, q->run_dir ? q->run_dir : q->config->save), out);
    status = check_vocab(&k);
out:
    mu_tokenizer_free(k.tokenizer);
    mu_checkpoint_close(k.checkpoint);
    mu_mixture_close(k.data);
    return status;
}
