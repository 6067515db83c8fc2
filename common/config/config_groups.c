/* Groups of parameters: which ones weight decay leaves alone, and which learn faster or slower. */
#include "common/config/config_keys.h"
#include "common/log.h"
#include "common/num.h"

#include <fnmatch.h>

enum { SCALE_MOST = 1000 };

static bool is_norm(const mu_tensor_t *t)
{
    switch (t->kind) {
    case MU_T_LN1_W:
    case MU_T_LN1_B:
    case MU_T_LN2_W:
    case MU_T_LN2_B:
    case MU_T_LNF_W:
    case MU_T_LNF_B:
    case MU_T_Q_NORM_W:
    case MU_T_K_NORM_W:
        return true;
    default:
        return false;
    }
}

static bool is_bias(const mu_tensor_t *t)
{
    return t->dims == 1 && !is_norm(t);
}

static bool is_embedding(const mu_tensor_t *t)
{
    return t->kind == MU_T_EMBED_IN || t->kind == MU_T_EMBED_POS;
}

static bool is_head(const mu_tensor_t *t)
{
    return t->kind == MU_T_EMBED_OUT;
}

static bool is_adapter(const mu_tensor_t *t)
{
    return t->kind == MU_T_LORA_A || t->kind == MU_T_LORA_B;
}

typedef struct group {
    const char *name;
    bool (*has)(const mu_tensor_t *tensor);
} group_t;

static const group_t groups[] = {{"norms", is_norm},
                                 {"biases", is_bias},
                                 {"embeddings", is_embedding},
                                 {"head", is_head},
                                 {"adapters", is_adapter}};

static const group_t *group_of(const char *name)
{
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (strcmp(groups[i].name, name) == 0)
            return &groups[i];
    return NULL;
}

/* name: of a group, or a tensor's with * and ?. */
static bool names(const char *name, const mu_tensor_t *tensor)
{
    const group_t *group = group_of(name);
    return group ? group->has(tensor) : fnmatch(name, tensor->name, 0) == 0;
}

bool mu_config_decays(const mu_config_t *c, const mu_tensor_t *tensor)
{
    if (!c->muster.no_decay)
        return tensor->decay;
    for (char *const *name = c->muster.no_decay; *name; name++)
        if (names(*name, tensor))
            return false;
    return true;
}

/* "NAME=FACTOR"; free() *name. */
static bool parse_scale(const char *entry, char **name, double *scale)
{
    const char *equals = strrchr(entry, '=');
    if (!equals || equals == entry || !mu_parse_f64(equals + 1, scale) || *scale < 0 || *scale > SCALE_MOST)
        return false;
    *name = mu_format("%.*s", (int)(equals - entry), entry);
    return true;
}

double mu_config_lr_scale(const mu_config_t *c, const mu_tensor_t *tensor)
{
    double scale = 1;
    for (char *const *entry = c->muster.lr_scale; entry && *entry; entry++) {
        char *name = NULL;
        bool found = parse_scale(*entry, &name, &scale) && names(name, tensor);
        free(name);
        if (found)
            return scale;
    }
    return 1;
}

/* A model may be without biases, say, and a recipe write them; a tensor that is written must be there. */
static mu_status_t check_name(const mu_config_source_t *s, const char *key, const char *name)
{
    const mu_model_t *m = &s->config.model;
    mu_buf_t known = MU_BUF_INIT;
    mu_tensor_t t;
    if (group_of(name) || m->layers == 0 || m->heads == 0)
        return MU_OK;
    for (int i = mu_model_saved_first(m); i < mu_model_tensor_count(m); i++) {
        mu_model_tensor(m, i, &t);
        if (fnmatch(name, t.name, 0) == 0)
            return MU_OK;
    }
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        mu_buf_addf(&known, "%s, ", groups[i].name);
    mu_status_t status =
        mu_fail(MU_CONFIG, "%s: %s: no parameter that is trained is called '%s': write %sor a name like %s",
                mu_config_where(s, key), key, name, known.data, t.name);
    mu_buf_release(&known);
    return status;
}

mu_status_t mu_config_check_groups(const mu_config_source_t *s)
{
    for (char *const *name = s->config.muster.no_decay; name && *name; name++)
        MU_TRY(check_name(s, "muster.no_decay", *name));
    for (char *const *entry = s->config.muster.lr_scale; entry && *entry; entry++) {
        char *name = NULL;
        double scale;
        if (!parse_scale(*entry, &name, &scale))
            return mu_fail(MU_CONFIG,
                           "%s: muster.lr_scale: found '%s', wanted NAME=FACTOR with a factor from 0 to %d",
                           mu_config_where(s, "muster.lr_scale"), *entry, SCALE_MOST);
        mu_status_t status = check_name(s, "muster.lr_scale", name);
        free(name);
        MU_TRY(status);
    }
    return MU_OK;
}
