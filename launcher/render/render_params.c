#include "launcher/render/render_params.h"
#include "common/log.h"
#include "common/num.h"

#include <ctype.h>

static int find(mu_render_target_t target, const char *name, size_t n)
{
    const mu_param_t *t = mu_param_table(target);
    for (int i = 0; t[i].name; i++)
        if (strlen(t[i].name) == n && memcmp(t[i].name, name, n) == 0)
            return i;
    return -1;
}

void mu_params_init(mu_params_t *params, mu_render_target_t target)
{
    *params = (mu_params_t){.target = target};
}

mu_status_t mu_params_take(mu_params_t *params, const char *argument, bool *taken)
{
    size_t n = strcspn(argument, "=");
    int i = find(params->target, argument, n);
    *taken = i >= 0 && argument[n] == '=';
    if (!*taken)
        return MU_OK;
    MU_TRY(mu_param_check(&mu_param_table(params->target)[i], argument + n + 1));
    free(params->value[i]);
    params->value[i] = mu_strdup(argument + n + 1);
    return MU_OK;
}

/* "configs/Pythia_70M.yml" is pythia-70m. */
static char *name_from(const char *path)
{
    const char *base = strrchr(path, '/');
    char *name = mu_strdup(base ? base + 1 : path), *dot = strrchr(name, '.');
    if (dot && dot > name)
        *dot = '\0';
    for (char *p = name; *p; p++)
        *p = isalnum((unsigned char)*p) ? (char)tolower((unsigned char)*p) : '-';
    return name;
}

/* A worker owns one GPU. Without this a job would hold GPUs that nobody uses, or workers would find none. */
static mu_status_t match_gpus(mu_params_t *params)
{
    const char *name = params->target == MU_RENDER_SLURM ? "tasks_per_node" : "slots";
    int workers = find(params->target, name, strlen(name));
    const char *gpus = mu_params_text(params, "gpus");
    if (!params->value[workers])
        params->value[workers] = mu_strdup(gpus ? gpus : "1");
    if (gpus && mu_params_number(params, "gpus") != mu_params_number(params, name))
        return mu_fail(MU_USAGE, "render: gpus=%s and %s=%s: a worker owns one GPU: leave %s out", gpus, name,
                       params->value[workers], name);
    return MU_OK;
}

void mu_params_defaults(mu_params_t *params)
{
    const mu_param_t *t = mu_param_table(params->target);
    for (int i = 0; t[i].name; i++)
        if (!params->value[i] && t[i].preset)
            params->value[i] = mu_strdup(t[i].preset);
}

void mu_params_copy(const mu_params_t *params, mu_params_t *out)
{
    mu_params_init(out, params->target);
    for (int i = 0; i < MU_PARAMS_MAX; i++)
        out->value[i] = params->value[i] ? mu_strdup(params->value[i]) : NULL;
}

void mu_params_put(mu_params_t *params, const char *name, const char *value)
{
    int i = find(params->target, name, strlen(name));
    free(params->value[i]);
    params->value[i] = value ? mu_strdup(value) : NULL;
}

/* gpus=0 is none, where there is a default. */
static void drop_no_gpus(mu_params_t *params)
{
    int i = find(params->target, "gpus", 4);
    if (i >= 0 && params->value[i] && mu_params_number(params, "gpus") == 0) {
        free(params->value[i]);
        params->value[i] = NULL;
    }
}

mu_status_t mu_params_finish(mu_params_t *params, const char *config)
{
    const mu_param_t *t = mu_param_table(params->target);
    for (int i = 0; t[i].name; i++)
        if (!params->value[i] && t[i].required)
            return mu_fail(MU_USAGE, "render: %s=... is wanted: %s", t[i].name, t[i].what);
    mu_params_defaults(params);
    drop_no_gpus(params);
    int name = find(params->target, "name", 4);
    if (!params->value[name]) {
        params->value[name] = name_from(config);
        if (!mu_param_is_label(params->value[name]))
            return mu_fail(MU_USAGE, "render: no name can be made from '%s': give name=...", config);
    }
    return params->target == MU_RENDER_STORAGE || params->target == MU_RENDER_SERVE ? MU_OK
                                                                                    : match_gpus(params);
}

void mu_params_release(mu_params_t *params)
{
    for (int i = 0; i < MU_PARAMS_MAX; i++)
        free(params->value[i]);
    *params = (mu_params_t){.target = params->target};
}

const char *mu_params_text(const mu_params_t *params, const char *name)
{
    int i = find(params->target, name, strlen(name));
    return i < 0 ? NULL : params->value[i];
}

int64_t mu_params_number(const mu_params_t *params, const char *name)
{
    const char *text = mu_params_text(params, name);
    int64_t number = 0;
    if (text)
        mu_parse_i64(text, &number);
    return number;
}

void mu_params_help(mu_render_target_t target, mu_buf_t *out)
{
    for (const mu_param_t *p = mu_param_table(target); p->name; p++) {
        mu_buf_addf(out, "  %-18s %s", p->name, p->what);
        if (p->choices)
            mu_buf_addf(out, " (%s)", p->choices);
        if (p->preset)
            mu_buf_addf(out, "; default %s", p->preset);
        mu_buf_addf(out, "%s\n", p->required ? "; must be given" : "");
    }
}
