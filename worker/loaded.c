#include "worker/loaded.h"
#include "common/file.h"
#include "common/log.h"

#include <sched.h>

static int cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0 ? CPU_COUNT(&set) : 1;
}

static mu_status_t open_config(mu_loaded_t *l)
{
    const char *path = mu_checkpoint_path(l->checkpoint);
    const mu_manifest_t *m = mu_checkpoint_manifest(l->checkpoint);
    int embedding = mu_checkpoint_find(l->checkpoint, "embed_in.weight");
    if (!m->info.config || embedding < 0)
        return mu_fail(MU_DATA, "%s: holds no %s", path,
                       m->info.config ? "tensor embed_in.weight" : "configuration");
    MU_TRY(mu_config_load_text(path, m->info.config, &l->config));
    l->config->model.vocab = m->tensors[embedding].shape[0];
    return MU_OK;
}

static mu_status_t open_tokenizer(mu_loaded_t *l)
{
    char *path = mu_path_join(mu_checkpoint_path(l->checkpoint), MU_TOKENIZER_NAME);
    mu_status_t status = mu_is_file(path) ? mu_tokenizer_load(path, &l->tokenizer) : MU_OK;
    free(path);
    return status;
}

mu_status_t mu_loaded_describe(const char *path, mu_loaded_t *out)
{
    mu_loaded_t l = {0};
    mu_status_t status;
    MU_TRY_GOTO(status, mu_checkpoint_newest(path, INT64_MAX, &l.checkpoint), fail);
    if (!l.checkpoint) {
        status = mu_fail(MU_NOINPUT, "%s: there is no checkpoint", path);
        goto fail;
    }
    MU_TRY_GOTO(status, open_config(&l), fail);
    MU_TRY_GOTO(status, open_tokenizer(&l), fail);
    *out = l;
    return MU_OK;
fail:
    mu_loaded_close(&l);
    return status;
}

mu_status_t mu_loaded_set_length(mu_loaded_t *l, int64_t n)
{
    if (n > l->config->model.max_positions)
        return mu_fail(MU_CONFIG, "%s: sequences of %lld tokens are more than the model's %lld positions",
                       mu_checkpoint_path(l->checkpoint), (long long)n,
                       (long long)l->config->model.max_positions);
    l->config->model.seq_length = n;
    return MU_OK;
}

mu_status_t mu_loaded_weights(mu_loaded_t *l, int64_t micro_batch, int threads, mu_comm_t *tp)
{
    mu_net_options_t options = {.micro_batch = micro_batch, .eod = -1};
    MU_TRY(mu_device_cpu_new(threads > 0 ? threads : cores(), &l->device));
    if (!tp)
        tp = l->self = mu_comm_self("tp");
    MU_TRY(mu_net_new(l->device, &l->config->model, tp, &options, &l->net));
    return mu_state_load(l->net, l->checkpoint, false);
}

mu_status_t mu_loaded_open(const char *path, int64_t micro_batch, int threads, mu_loaded_t *out)
{
    mu_loaded_t l;
    MU_TRY(mu_loaded_describe(path, &l));
    mu_status_t status = mu_loaded_weights(&l, micro_batch, threads, NULL);
    if (status == MU_OK)
        *out = l;
    else
        mu_loaded_close(&l);
    return status;
}

void mu_loaded_close(mu_loaded_t *l)
{
    mu_net_free(l->net);
    mu_comm_free(l->self);
    mu_device_close(l->device);
    mu_tokenizer_free(l->tokenizer);
    mu_config_free(l->config);
    mu_checkpoint_close(l->checkpoint);
    memset(l, 0, sizeof *l);
}
