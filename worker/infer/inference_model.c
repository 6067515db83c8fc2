#include "worker/infer/inference_model.h"
#include "common/file.h"
#include "common/log.h"
#include "common/checkpoint/adapter.h"
#include "common/checkpoint/foreign.h"
#include "worker/model/precision.h"

/* Where the configuration comes from. */
typedef struct origin {
    char *const *overrides; /* beside the checkpoint's own */
    int noverrides;
    const mu_run_t *run; /* not NULL: its own */
} origin_t;

static mu_status_t open_config(mu_inference_model_t *l, const origin_t *from)
{
    const char *path = mu_checkpoint_path(l->checkpoint);
    const mu_manifest_t *m = mu_checkpoint_manifest(l->checkpoint);
    mu_config_t *config = NULL;
    mu_status_t status;
    if (from->run) {
        mu_buf_t text = MU_BUF_INIT;
        mu_config_write_yaml(from->run->config, false, &text);
        status = mu_config_load_text("the run's configuration", text.data, &config);
        mu_buf_release(&text);
    } else {
        status = m->info.config ? mu_config_load_trained(path, m->info.config, from->overrides,
                                                         from->noverrides, &config)
                                : mu_fail(MU_DATA, "%s: holds no configuration", path);
    }
    l->config = config;
    return status;
}

static mu_status_t open_base(mu_inference_model_t *l)
{
    int64_t vocab;
    if (mu_checkpoint_is_adapter(l->checkpoint))
        MU_TRY(mu_adapter_base(l->checkpoint, l->config->muster.lora_base, &l->base));
    MU_TRY(mu_checkpoint_vocab(l->base ? l->base : l->checkpoint, &vocab));
    mu_config_settle(&l->config, &(mu_config_facts_t){.vocab = vocab});
    return MU_OK;
}

static mu_status_t open_tokenizer(mu_inference_model_t *l)
{
    char *path = mu_path_join(mu_checkpoint_path(l->checkpoint), MU_TOKENIZER_NAME);
    if (l->base && !mu_is_file(path)) {
        free(path);
        path = mu_path_join(mu_checkpoint_path(l->base), MU_TOKENIZER_NAME);
    }
    mu_status_t status = mu_is_file(path) ? mu_tokenizer_load(path, &l->tokenizer) : MU_OK;
    free(path);
    return status;
}

static mu_status_t describe(const char *path, const origin_t *from, mu_inference_model_t *out)
{
    mu_inference_model_t l = {0};
    mu_status_t status;
    MU_TRY_GOTO(status, mu_checkpoint_newest(path, INT64_MAX, &l.checkpoint), fail);
    if (!l.checkpoint) {
        status = mu_foreign_refuse(NULL, path);
        goto fail;
    }
    MU_TRY_GOTO(status, open_config(&l, from), fail);
    MU_TRY_GOTO(status, open_base(&l), fail);
    MU_TRY_GOTO(status, open_tokenizer(&l), fail);
    *out = l;
    return MU_OK;
fail:
    mu_inference_model_close(&l);
    return status;
}

mu_status_t mu_inference_model_describe(const char *path, char *const *overrides, int noverrides,
                                        mu_inference_model_t *out)
{
    return describe(path, &(origin_t){.overrides = overrides, .noverrides = noverrides}, out);
}

mu_status_t mu_inference_model_describe_run(const mu_run_t *run, mu_inference_model_t *out)
{
    return describe(run->config->load, &(origin_t){.run = run}, out);
}

mu_status_t mu_inference_model_set_length(mu_inference_model_t *l, int64_t n)
{
    if (n > l->config->model.max_positions)
        return mu_fail(MU_CONFIG, "%s: sequences of %lld tokens are more than the model's %lld positions",
                       mu_checkpoint_path(l->checkpoint), (long long)n,
                       (long long)l->config->model.max_positions);
    mu_config_settle(&l->config, &(mu_config_facts_t){.seq_length = n});
    return MU_OK;
}

mu_status_t mu_inference_model_weights(mu_inference_model_t *l, mu_run_t *run, int64_t micro_batch)
{
    if (!run) /* else a rank's own has been set */
        mu_log_level_set(l->config->muster.log_level);
    MU_TRY(run ? mu_device_context_make(run, &l->context) : mu_device_context_alone(l->config, &l->context));
    mu_net_options_t options = {.micro_batch = micro_batch,
                                .dtype = mu_precision_dtype(l->context.device, l->config->precision),
                                .reset_attention = true,
                                .reset_positions = true,
                                .eod = -1,
                                .graphs = l->config->muster.graphs};
    MU_TRY(mu_net_new(l->context.device, &l->config->model, l->context.tp, &options, &l->net));
    if (l->base)
        MU_TRY(mu_state_load_base(l->net, l->base));
    return mu_state_load(l->net, l->checkpoint, false);
}

mu_status_t mu_inference_model_open(const char *path, char *const *overrides, int noverrides,
                                    int64_t micro_batch, mu_inference_model_t *out)
{
    mu_inference_model_t l;
    MU_TRY(mu_inference_model_describe(path, overrides, noverrides, &l));
    mu_status_t status = mu_inference_model_weights(&l, NULL, micro_batch);
    if (status == MU_OK)
        *out = l;
    else
        mu_inference_model_close(&l);
    return status;
}

void mu_inference_model_words(const mu_inference_model_t *l, char *out, size_t size)
{
    mu_buf_t numbers = MU_BUF_INIT;
    mu_precision_words(l->config->precision, mu_net_flat(l->net)->weight.type, &numbers);
    snprintf(out, size, "%s on %s", numbers.data, l->context.words);
    mu_buf_release(&numbers);
}

void mu_inference_model_close(mu_inference_model_t *l)
{
    mu_net_free(l->net);
    mu_device_context_free(&l->context);
    mu_tokenizer_free(l->tokenizer);
    mu_config_free(l->config);
    mu_checkpoint_close(l->checkpoint);
    mu_checkpoint_close(l->base);
    memset(l, 0, sizeof *l);
}

mu_status_t mu_inference_model_leave(mu_inference_model_t *l, mu_run_t *run, mu_status_t status)
{
    if (status != MU_OK)
        mu_device_context_abandon(&l->context);
    mu_inference_model_close(l);
    if (status == MU_OK)
        mu_page_phase(run->page, MU_PHASE_FINISH);
    return status;
}
