/* What several keys decide together, and what they must not say about each other. */
#include "common/config/config_keys.h"
#include "common/listen.h"
#include "common/log.h"
#include "common/num.h"

static bool given(const mu_config_source_t *s, const char *key)
{
    return mu_config_given(&s->config, key);
}

/* The first error of several, all logged. */
static void also(mu_status_t *status, mu_status_t next)
{
    if (*status == MU_OK)
        *status = next;
}

/* ---- attention_config: [[[kind, ...], times | "all"], ...], or one kind a layer ---- */

static mu_status_t attention_kind(const char *where, const mu_yaml_t *node)
{
    if (node->kind == MU_YAML_SCALAR &&
        (strcmp(node->text, "global") == 0 || strcmp(node->text, "flash") == 0))
        return MU_OK;
    mu_buf_t shown = MU_BUF_INIT;
    mu_key_show(node, &shown);
    mu_status_t status = mu_fail(
        MU_CONFIG,
        "%s: attention_config: '%s' is not supported: use global or flash, which are the same numbers", where,
        shown.data);
    mu_buf_release(&shown);
    return status;
}

/* One [[kinds], times]: the layers it stands for, -1 for "all". */
static mu_status_t attention_run(const char *where, const mu_yaml_t *run, int64_t *out)
{
    int64_t times = 0;
    const mu_yaml_t *kinds = run->first, *count = kinds ? kinds->next : NULL;
    bool shaped = run->count == 2 && kinds->kind == MU_YAML_LIST && kinds->count > 0;
    bool all = shaped && count->kind == MU_YAML_SCALAR && strcmp(count->text, "all") == 0;
    if (!all && (!shaped || !mu_yaml_i64(count, &times) || times < 1 || times > 10000))
        return mu_fail(MU_CONFIG,
                       "%s: attention_config: write [[[\"flash\"], 24]] or [[[\"flash\"], \"all\"]]", where);
    for (const mu_yaml_t *k = kinds->first; k; k = k->next)
        MU_TRY(attention_kind(where, k));
    *out = all ? -1 : times * kinds->count;
    return MU_OK;
}

static mu_status_t check_attention(const mu_config_source_t *s, const mu_yaml_t *node)
{
    const char *where = mu_config_where(s, "attention_config");
    int64_t layers = 0, run = 0, wanted = s->config.model.layers;
    bool all = false;
    if (!node || mu_yaml_is_null(node))
        return MU_OK;
    if (node->kind != MU_YAML_LIST)
        return mu_fail(MU_CONFIG, "%s: attention_config: a list is wanted, as in [[[\"flash\"], \"all\"]]",
                       where);
    for (const mu_yaml_t *c = node->first; c; c = c->next) {
        if (c->kind == MU_YAML_LIST) {
            MU_TRY(attention_run(where, c, &run));
            all |= run < 0;
            layers += run < 0 ? 0 : run;
        } else {
            MU_TRY(attention_kind(where, c));
            layers++;
        }
    }
    if (wanted > 0 && (all ? layers >= wanted : layers != wanted))
        return mu_fail(MU_CONFIG, "%s: attention_config lists %lld layers, num_layers (%s) is %lld", where,
                       (long long)layers, mu_config_where(s, "num_layers"), (long long)wanted);
    return MU_OK;
}

/* ---- precision ---- */

static mu_status_t derive_precision(mu_config_source_t *s)
{
    static const char *const keys[] = {"precision", "fp16.enabled", "bf16.enabled"};
    int asked[] = {given(s, "precision") ? (int)s->config.precision : -1, s->fp16_enabled ? s->fp16_type : -1,
                   s->bf16_enabled ? MU_BF16 : -1};
    int row = -1;
    for (int i = 0; i < 3; i++) {
        if (asked[i] < 0)
            continue;
        if (row >= 0 && asked[row] != asked[i])
            return mu_fail(MU_CONFIG, "%s: %s contradicts %s (%s): keep one of them",
                           mu_config_where(s, keys[i]), keys[i], keys[row], mu_config_where(s, keys[row]));
        row = row < 0 ? i : row;
    }
    s->config.precision = row < 0 ? MU_FP32 : (mu_precision_t)asked[row];
    if (row > 0) { /* it is shown as `precision`, so that is where it came from */
        mu_written_t *w = &s->written[mu_key_find("precision")];
        free(w->where);
        w->where = mu_strdup(mu_config_where(s, keys[row]));
        w->given = true;
    }
    return MU_OK;
}

/* ---- trackers ---- */

/* As gpt-neox: use_wandb says it; when it says nothing, a name of project, group or team does. An empty project is
 * off. */
static void derive_wandb(mu_config_source_t *s)
{
    static const char *const names[] = {"wandb_project", "wandb_group", "wandb_team"};
    const char *const values[] = {s->config.wandb_project, s->config.wandb_group, s->config.wandb_team};
    bool named = false, off = s->config.wandb_project && !*s->config.wandb_project;
    for (int i = 0; i < 3; i++)
        named |= given(s, names[i]) && values[i] && *values[i];
    if (off)
        s->config.use_wandb = false;
    else if (!given(s, "use_wandb"))
        s->config.use_wandb = named;
}

static mu_status_t check_listen(const mu_config_source_t *s)
{
    const char *listen = s->config.muster.metrics_listen;
    mu_buf_t host = MU_BUF_INIT;
    int port;
    bool good = !listen || mu_listen_split(listen, &host, &port);
    mu_buf_release(&host);
    return good ? MU_OK
                : mu_fail(MU_CONFIG, "%s: muster.metrics_listen '%s': wanted " MU_LISTEN_WORDS,
                          mu_config_where(s, "muster.metrics_listen"), listen);
}

/* ---- attention of cuDNN: what it never computes ---- */

static mu_status_t refuse_cudnn(const mu_config_source_t *s, const char *key, const char *why)
{
    return mu_fail(MU_CONFIG, "%s: muster.attention is cudnn, which %s (%s): set muster.attention=own",
                   mu_config_where(s, "muster.attention"), why, mu_config_where(s, key));
}

static mu_status_t check_cudnn(const mu_config_source_t *s)
{
    const mu_config_t *c = &s->config;
    mu_status_t status = MU_OK;
    if (c->muster.attention != MU_ATTENTION_CUDNN)
        return MU_OK;
    if (c->muster.device == MU_DEVICE_CPU)
        also(&status, refuse_cudnn(s, "muster.device", "computes on GPUs alone, and muster.device is cpu"));
    if (c->precision == MU_FP32)
        also(&status, refuse_cudnn(s, "precision", "has no attention in fp32"));
    if (c->model.attention_dropout > 0)
        also(&status, refuse_cudnn(s, "attention_dropout", "does not draw muster's attention_dropout"));
    if (c->reset_attention_mask)
        also(&status, refuse_cudnn(s, "reset_attention_mask", "does not stop at borders of documents"));
    return status;
}

/* ---- schedule, data, optimizer ---- */

static mu_status_t check_schedule(const mu_config_source_t *s)
{
    const mu_config_t *c = &s->config;
    mu_status_t status = MU_OK;
    if (given(s, "optimizer.params.lr") && c->min_lr > c->lr)
        also(&status, mu_fail(MU_CONFIG, "%s: min_lr %g is greater than optimizer.params.lr %g (%s)",
                              mu_config_where(s, "min_lr"), c->min_lr, c->lr,
                              mu_config_where(s, "optimizer.params.lr")));
    if (c->train_iters > 0 && c->train_epochs > 0)
        also(&status, mu_fail(MU_CONFIG, "%s: train_epochs excludes train_iters (%s): keep one of them",
                              mu_config_where(s, "train_epochs"), mu_config_where(s, "train_iters")));
    if (c->override_lr_scheduler && c->use_checkpoint_lr_scheduler)
        also(&status,
             mu_fail(MU_CONFIG, "%s: use_checkpoint_lr_scheduler excludes override_lr_scheduler (%s)",
                     mu_config_where(s, "use_checkpoint_lr_scheduler"),
                     mu_config_where(s, "override_lr_scheduler")));
    if (s->checkpoint_scale == 1 && c->checkpoint_factor == 1)
        also(&status, mu_fail(MU_CONFIG, "%s: checkpoint_factor must be 2 or more with checkpoint_scale log",
                              mu_config_where(s, "checkpoint_factor")));
    return status;
}

static mu_status_t check_weights(const mu_config_source_t *s, const char *key, const mu_reals_t *weights,
                                 char *const *paths)
{
    int n = 0;
    double sum = 0;
    while (paths && paths[n])
        n++;
    if (!weights->value)
        return MU_OK;
    if (weights->count != n)
        return mu_fail(MU_CONFIG, "%s: %s has %d weights for %d paths: give one a path",
                       mu_config_where(s, key), key, weights->count, n);
    for (int i = 0; i < n; i++)
        sum += weights->value[i];
    if (n > 0 && sum <= 0)
        return mu_fail(MU_CONFIG, "%s: %s: one weight must be above 0", mu_config_where(s, key), key);
    return MU_OK;
}

static mu_status_t check_labels(const mu_config_source_t *s, const char *key, char *const *labels,
                                char *const *paths)
{
    int n = 0, m = 0;
    while (labels && labels[n])
        n++;
    while (paths && paths[m])
        m++;
    if (!labels || n == m)
        return MU_OK;
    return mu_fail(MU_CONFIG, "%s: %s has %d paths for %d data paths: give one for each of them",
                   mu_config_where(s, key), key, n, m);
}

/* gpt-neox counts epochs of unblended data only. */
static mu_status_t check_blend(const mu_config_source_t *s)
{
    const mu_config_t *c = &s->config;
    mu_status_t status = MU_OK;
    also(&status, check_weights(s, "train_data_weights", &c->train_data_weights, c->train_data_paths));
    also(&status, check_weights(s, "valid_data_weights", &c->valid_data_weights, c->valid_data_paths));
    also(&status, check_weights(s, "test_data_weights", &c->test_data_weights, c->test_data_paths));
    also(&status, check_labels(s, "train_label_data_paths", c->train_label_data_paths, c->train_data_paths));
    also(&status, check_labels(s, "valid_label_data_paths", c->valid_label_data_paths, c->valid_data_paths));
    also(&status, check_labels(s, "test_label_data_paths", c->test_label_data_paths, c->test_data_paths));
    if (c->train_data_paths && !c->train_data_paths[0])
        also(&status, mu_fail(MU_CONFIG, "%s: train_data_paths is empty: name the data to train on",
                              mu_config_where(s, "train_data_paths")));
    if (c->train_data_paths && c->train_epochs > 0)
        also(&status, mu_fail(MU_CONFIG,
                              "%s: train_epochs needs data_path: give train_iters with "
                              "train_data_paths (%s)",
                              mu_config_where(s, "train_epochs"), mu_config_where(s, "train_data_paths")));
    return status;
}

static mu_status_t check_split(const mu_config_source_t *s)
{
    double ratio[3];
    if (!s->config.split || mu_parse_split(s->config.split, ratio))
        return MU_OK;
    return mu_fail(MU_CONFIG, "%s: split: found %s, wanted are " MU_SPLIT_WORDS, mu_config_where(s, "split"),
                   s->config.split);
}

int mu_config_end_tokens(const mu_config_t *config, int32_t out[MU_END_TOKENS])
{
    const char *p = config->muster.end_tokens;
    int n = 0;
    for (size_t length; p && *p; p += length + (p[length] != '\0')) {
        char part[16];
        int64_t id;
        p += strspn(p, " ");
        length = strcspn(p, ",");
        snprintf(part, sizeof part, "%.*s", (int)mu_min_i64((int64_t)length, 15), p);
        part[strcspn(part, " ")] = '\0';
        if (n == MU_END_TOKENS || !mu_parse_i64(part, &id) || id < 0 || id > INT32_MAX)
            return -1;
        out[n++] = (int32_t)id;
    }
    return n;
}

static mu_status_t check_end_tokens(const mu_config_source_t *s)
{
    int32_t ids[MU_END_TOKENS];
    if (mu_config_end_tokens(&s->config, ids) >= 0)
        return MU_OK;
    return mu_fail(MU_CONFIG, "%s: muster.end_tokens: found %s, wanted are at most %d ids, as \"98, 100\"",
                   mu_config_where(s, "muster.end_tokens"), s->config.muster.end_tokens, MU_END_TOKENS);
}

static mu_status_t check_data(const mu_config_source_t *s)
{
    static const char *const lists[] = {"train_data_paths", "valid_data_paths", "test_data_paths"};
    const char *one = NULL, *none = NULL;
    for (int i = 0; i < 3; i++) {
        if (given(s, lists[i]))
            one = lists[i];
        else
            none = lists[i];
    }
    if (one && none)
        return mu_fail(MU_CONFIG, "%s: %s needs %s too: give all three lists, or data_path and split",
                       mu_config_where(s, one), one, none);
    if (one && given(s, "data_path"))
        return mu_fail(MU_CONFIG, "%s: %s excludes data_path (%s): keep one of them", mu_config_where(s, one),
                       one, mu_config_where(s, "data_path"));
    return check_blend(s);
}

static mu_status_t check_zero(mu_config_source_t *s)
{
    int64_t stage = s->config.zero_stage;
    if (stage > 1)
        return mu_fail(MU_CONFIG, "%s: zero_optimization.stage %lld is not supported: use 1, or 0",
                       mu_config_where(s, "zero_optimization.stage"), (long long)stage);
    return MU_OK;
}

mu_status_t mu_config_derive(mu_config_source_t *s, const mu_yaml_t *attention)
{
    mu_config_t *c = &s->config;
    mu_status_t status = derive_precision(s);
    also(&status, mu_config_derive_model(s));
    also(&status, check_attention(s, attention));
    also(&status, check_schedule(s));
    also(&status, check_data(s));
    also(&status, check_split(s));
    also(&status, check_end_tokens(s));
    also(&status, check_zero(s));
    also(&status, check_listen(s));
    also(&status, check_cudnn(s));
    derive_wandb(s);
    s->precision = c->precision;
    c->checkpoint_scale_log = s->checkpoint_scale == 1;
    s->train_batch_size = c->train_batch_size;
    s->micro_batch = c->micro_batch;
    s->accumulation = c->accumulation;
    return status;
}
