#include "worker/convert/hf_export.h"
#include "common/config/config.h"
#include "common/file.h"
#include "common/log.h"
#include "common/meter.h"
#include "dataset/tokenizer/tokenizer.h"
#include "common/checkpoint/adapter.h"
#include "common/checkpoint/lineage.h"
#include "worker/convert/export_place.h"
#include "worker/convert/export_record.h"
#include "worker/convert/hf_adapter.h"
#include "worker/convert/hf_companions.h"
#include "worker/convert/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { TOKENIZER_LIMIT = 256 << 20 };

typedef struct export
{
    const mu_checkpoint_t *checkpoint;
    mu_checkpoint_t *base; /* of an adapter; else NULL */
    bool adapter;          /* it is exported as one */
    mu_hf_merge_t merge;   /* adapter NULL: nothing is merged */
    const mu_config_t *config;
    mu_model_t whole;        /* the merged one */
    const mu_model_t *model; /* what is written */
    mu_model_type_t type;
    mu_hf_family_t family;
    mu_tokenizer_t *tokenizer; /* NULL: none */
    mu_hf_companions_t *companions;
    mu_export_place_t place;
    int32_t end[MU_END_TOKENS]; /* what ends a text */
    int ends;
}
export_t;

/* The checkpoint that holds the base's weights, or the model's. */
static const mu_checkpoint_t *weights_of(const export_t *e)
{
    return e->base ? e->base : e->checkpoint;
}

/* What is written is the base's model, with the adapter in its weights. */
static void choose_merged(export_t *e)
{
    e->merge = (mu_hf_merge_t){.adapter = e->checkpoint, .model = &e->config->model};
    e->whole = mu_model_base(e->model);
    e->model = &e->whole;
}

static mu_status_t open_config(export_t *e, const char *base, bool merge)
{
    const char *path = mu_checkpoint_path(e->checkpoint);
    const mu_manifest_t *m = mu_checkpoint_manifest(e->checkpoint);
    bool adapter = mu_checkpoint_is_adapter(e->checkpoint);
    mu_config_t *config;
    int64_t vocab;
    if (!m->info.config)
        return mu_fail(MU_DATA, "%s: holds no configuration", path);
    if (!adapter && (merge || base))
        return mu_fail(MU_USAGE, "%s: is no adapter: leave %s out", path, merge ? "--merge" : "--base");
    MU_TRY(mu_config_load_text(path, m->info.config, &config));
    e->config = config;
    if (adapter)
        MU_TRY(mu_adapter_base(e->checkpoint, base, &e->base));
    MU_TRY(mu_checkpoint_vocab(weights_of(e), &vocab));
    mu_config_settle(&e->config, &(mu_config_facts_t){.vocab = vocab});
    e->model = &e->config->model;
    MU_TRY(mu_checkpoint_match(e->checkpoint, e->model));
    e->adapter = adapter && !merge;
    if (merge)
        choose_merged(e);
    MU_TRY(mu_hf_type(path, e->model, (mu_model_type_t)e->config->muster.model_type, &e->type));
    e->family = mu_hf_family(e->type);
    return MU_OK;
}

static mu_status_t write_text(const export_t *e, const char *name, const mu_buf_t *text)
{
    char *path = mu_path_join(e->place.dir, name);
    mu_status_t status = mu_file_replace(path, text->data, text->len, 0644);
    free(path);
    return status;
}

/* The settings that the model came with, where they still mean something beside another tokenizer.json. */
static void add_settings(const export_t *e, mu_buf_t *out)
{
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "pad_token", "chat_template"};
    const char *preset = mu_tokenizer_eod(e->tokenizer) >= 0 ? "\"<|endoftext|>\"" : NULL;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char *own = mu_hf_companions_setting(e->companions, keys[i]);
        const char *value = own ? own : i < 3 ? preset : NULL;
        if (value)
            mu_buf_addf(out, ",\n  \"%s\": %s", keys[i], value);
        free(own);
    }
}

static mu_status_t copy_tokenizer(export_t *e)
{
    mu_buf_t text = MU_BUF_INIT;
    char *from = mu_path_join(mu_checkpoint_path(e->checkpoint), MU_TOKENIZER_NAME);
    mu_status_t status = MU_OK;
    if (!mu_is_file(from) && e->base) {
        free(from);
        from = mu_path_join(mu_checkpoint_path(e->base), MU_TOKENIZER_NAME);
    }
    if (!mu_is_file(from)) {
        mu_warn("%s: holds no tokenizer, so the export has none", mu_checkpoint_path(e->checkpoint));
        goto out;
    }
    MU_TRY_GOTO(status, mu_tokenizer_load(from, &e->tokenizer), out);
    MU_TRY_GOTO(status, mu_file_read(from, TOKENIZER_LIMIT, &text), out);
    MU_TRY_GOTO(status, write_text(e, MU_TOKENIZER_NAME, &text), out);
    mu_buf_clear(&text);
    /* without model_input_names, the class also returns token_type_ids, which these models do not take */
    mu_buf_addf(&text,
                "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n  \"model_max_length\": %lld,\n"
                "  \"model_input_names\": [\"input_ids\", \"attention_mask\"]",
                (long long)e->model->max_positions);
    add_settings(e, &text);
    mu_buf_adds(&text, "\n}\n");
    if (!mu_hf_companions_fit(e->companions))
        status = write_text(e, "tokenizer_config.json", &text);
out:
    free(from);
    mu_buf_release(&text);
    return status;
}

/* The model's own, which an import keeps, else the tokenizer's <|endoftext|>. */
static void take_ends(export_t *e)
{
    e->ends = mu_config_end_tokens(e->config, e->end);
    if (e->ends > 0 || !e->tokenizer)
        return;
    e->end[0] = mu_tokenizer_eod(e->tokenizer);
    e->ends = e->end[0] >= 0;
}

/* The base as others name it: by the name that it was imported under, else by its path. */
static mu_status_t write_adapter_config(const export_t *e)
{
    json_t *base = NULL;
    mu_buf_t text = MU_BUF_INIT;
    MU_TRY(mu_lineage_model(e->base, &base));
    const char *name = json_string_value(json_object_get(base, "name"));
    mu_hf_adapter_config_write(e->config, e->family, name ? name : mu_checkpoint_path(e->base), &text);
    mu_status_t status = write_text(e, MU_PEFT_CONFIG, &text);
    mu_buf_release(&text);
    json_decref(base);
    return status;
}

static mu_status_t write_config(const export_t *e)
{
    mu_buf_t text = MU_BUF_INIT;
    if (e->adapter)
        return write_adapter_config(e);
    mu_hf_special_t ids = {.bos = mu_hf_companions_id(e->companions, "bos_token_id"),
                           .pad = mu_hf_companions_id(e->companions, "pad_token_id"),
                           .end = e->end,
                           .ends = e->ends};
    if (!mu_hf_companions_known(e->companions) && e->tokenizer)
        ids.bos = mu_tokenizer_eod(e->tokenizer);
    mu_hf_config_write(e->model, e->type, &ids, &text);
    mu_status_t status = write_text(e, "config.json", &text);
    bool generation = false;
    if (status == MU_OK)
        status = mu_hf_companions_write(e->companions, e->place.dir, e->end, e->ends, &generation);
    mu_buf_clear(&text);
    mu_buf_adds(&text, "{\n  \"_from_model_config\": true,\n");
    mu_hf_special_write(&ids, &text);
    mu_buf_adds(&text, "\n}\n");
    if (status == MU_OK && e->ends > 0 && !generation)
        status = write_text(e, "generation_config.json", &text);
    mu_buf_release(&text);
    return status;
}

/* All names and shapes, in the order of the model's list. */
static void make_header(const export_t *e, mu_buf_t *out)
{
    int count = mu_model_tensor_count(e->model), n = 0;
    mu_safetensors_entry_t *entries = mu_calloc((size_t)count * MU_HF_PARTS, sizeof *entries);
    for (int i = mu_model_saved_first(e->model); i < count; i++) {
        mu_tensor_t t;
        mu_model_tensor(e->model, i, &t);
        for (int part = 0; part < mu_hf_parts(e->family, &t); part++, n++) {
            mu_buf_t name = MU_BUF_INIT;
            entries[n].dims = t.dims;
            if (e->adapter) {
                mu_hf_adapter_name(e->family, &t, &name);
                memcpy(entries[n].shape, t.shape, sizeof t.shape);
            } else {
                mu_hf_name(e->family, &t, part, &name);
                mu_hf_shape(e->family, e->model, &t, part, entries[n].shape);
            }
            entries[n].name = mu_buf_detach(&name);
        }
    }
    mu_safetensors_header(entries, n, out);
    for (int i = 0; i < n; i++)
        free(entries[i].name);
    free(entries);
}

/* Rows of a weight, with the adapter's where that is merged. */
static mu_status_t read_rows(export_t *e, const mu_tensor_t *t, int64_t first, int64_t rows, float *out)
{
    const int64_t offset[2] = {first, 0}, count[2] = {rows, t->shape[1]};
    MU_TRY(mu_checkpoint_read(e->adapter ? e->checkpoint : weights_of(e), t->name, MU_STATE_WEIGHT, offset,
                              count, out));
    return e->merge.adapter ? mu_hf_adapter_add(&e->merge, t, first, rows, out) : MU_OK;
}

/* A part's rows, head by head. */
static mu_status_t read_part(export_t *e, const mu_tensor_t *t, int part, int64_t rows, float *theirs)
{
    int64_t d = mu_model_head_dim(e->model);
    for (int64_t row = 0; row < rows; row += d)
        MU_TRY(read_rows(e, t, mu_hf_row(e->model, part, row), d, theirs + row * t->shape[1]));
    return MU_OK;
}

/* One tensor in their order, in `theirs`; `ours` is as large. */
static mu_status_t read_tensor(export_t *e, const mu_tensor_t *t, float *ours, float *theirs)
{
    if (!e->adapter && !mu_hf_reordered(e->family, t))
        return read_rows(e, t, 0, t->shape[0], theirs);
    MU_TRY(read_rows(e, t, 0, t->shape[0], ours));
    if (e->adapter)
        mu_hf_adapter_scatter(e->family, e->model, t, ours, theirs);
    else
        mu_hf_scatter(e->model, t, ours, theirs);
    return MU_OK;
}

static mu_status_t write_part(export_t *e, const mu_tensor_t *t, int part, const char *path, int fd)
{
    int64_t shape[2];
    mu_hf_shape(e->family, e->model, t, part, shape);
    size_t n = (size_t)(shape[0] * shape[1]);
    float *ours = e->adapter || mu_hf_reordered(e->family, t) ? mu_alloc(n * sizeof *ours) : NULL,
          *theirs = mu_alloc(n * sizeof *theirs);
    mu_status_t status = mu_hf_parts(e->family, t) > 1 ? read_part(e, t, part, shape[0], theirs)
                                                       : read_tensor(e, t, ours, theirs);
    if (status == MU_OK && !mu_write_all(fd, theirs, n * sizeof *theirs))
        status = mu_fail(MU_IO, "%s: cannot write: %s", path, strerror(errno));
    mu_meter_add(n * sizeof *theirs);
    free(ours);
    free(theirs);
    return status;
}

static mu_status_t write_tensors(export_t *e, const char *path, int fd)
{
    for (int i = mu_model_saved_first(e->model); i < mu_model_tensor_count(e->model); i++) {
        mu_tensor_t t;
        mu_model_tensor(e->model, i, &t);
        for (int part = 0; part < mu_hf_parts(e->family, &t); part++)
            MU_TRY(write_part(e, &t, part, path, fd));
    }
    return MU_OK;
}

static mu_status_t write_weights(export_t *e)
{
    char *path = mu_path_join(e->place.dir, e->adapter ? MU_PEFT_WEIGHTS : "model.safetensors");
    mu_buf_t header = MU_BUF_INIT;
    mu_status_t status;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) {
        status = mu_fail(MU_IO, "%s: cannot make: %s", path, strerror(errno));
        goto out;
    }
    make_header(e, &header);
    status = mu_write_all(fd, header.data, header.len)
                 ? write_tensors(e, path, fd)
                 : mu_fail(MU_IO, "%s: cannot write: %s", path, strerror(errno));
    if (status == MU_OK && fsync(fd) != 0)
        status = mu_fail(MU_IO, "%s: cannot sync: %s", path, strerror(errno));
    if (close(fd) != 0 && status == MU_OK)
        status = mu_fail(MU_IO, "%s: cannot write: %s", path, strerror(errno));
out:
    mu_buf_release(&header);
    free(path);
    return status;
}

/* "OUT" from "OUT/": the temporary directory lies beside it. */
static char *without_slash(const char *path)
{
    char *out = mu_strdup(path);
    for (size_t n = strlen(out); n > 1 && out[n - 1] == '/'; n--)
        out[n - 1] = '\0';
    return out;
}

/* The same checkpoint was exported here before, but in the other form. */
static mu_status_t refuse_other_form(const export_t *e, const char *output)
{
    bool adapter = mu_hf_adapter_is(output);
    if (adapter == e->adapter)
        return MU_OK;
    return mu_fail(MU_RUNDIR,
                   "%s: is there already, from the same checkpoint, but as %s: name another directory",
                   output, adapter ? "an adapter" : "a whole model");
}

mu_status_t mu_hf_export(const mu_checkpoint_t *checkpoint, const char *base, bool merge, const char *output)
{
    export_t e = {.checkpoint = checkpoint};
    char *final = without_slash(output);
    mu_status_t status;
    bool there;
    MU_TRY_GOTO(status, open_config(&e, base, merge), out);
    MU_TRY_GOTO(status, mu_export_is_there(final, checkpoint, &there), out);
    if (there)
        MU_TRY_GOTO(status, refuse_other_form(&e, final), out);
    if (there) {
        mu_info("'%s': is there already, from the same checkpoint", final);
        goto out;
    }
    MU_TRY_GOTO(status, mu_export_place_make(final, &e.place), out);
    const mu_checkpoint_info_t *info = &mu_checkpoint_manifest(checkpoint)->info;
    e.companions = mu_hf_companions_open(info->companions, info->tokenizer_digest);
    MU_TRY_GOTO(status, copy_tokenizer(&e), out);
    take_ends(&e);
    MU_TRY_GOTO(status, write_config(&e), out);
    mu_meter_expect((uint64_t)mu_model_trained_parameters(e.model) * sizeof(float));
    MU_TRY_GOTO(status, write_weights(&e), out);
    MU_TRY_GOTO(status, mu_export_record(checkpoint, e.place.dir, final), out);
    MU_TRY_GOTO(status, mu_export_place_publish(&e.place, final), out);
out:
    mu_export_place_leave(&e.place, status);
    mu_hf_companions_close(e.companions);
    mu_tokenizer_free(e.tokenizer);
    mu_config_free(e.config);
    mu_hf_merge_release(&e.merge);
    mu_checkpoint_close(e.base);
    free(final);
    return status;
}
