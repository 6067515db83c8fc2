/* One value: from YAML into the config, and back. */
#include "common/config/config_keys.h"
#include "common/log.h"

#include <math.h>
#include <strings.h>

enum { TEXT_BYTES = 4096 }; /* the longest path */

typedef struct value {
    bool null, truth, loose;
    int64_t whole;
    double real;
    int choice;
    const char *text;
} value_t;

static void *field(mu_config_source_t *source, const mu_key_t *key)
{
    return (char *)source + key->offset;
}

static mu_status_t wrong(const mu_key_t *key, const mu_yaml_t *node, const char *where, const char *format,
                         ...) __attribute__((format(printf, 4, 5)));

static mu_status_t wrong(const mu_key_t *key, const mu_yaml_t *node, const char *where, const char *format,
                         ...)
{
    mu_buf_t found = MU_BUF_INIT, wanted = MU_BUF_INIT;
    va_list args;
    va_start(args, format);
    mu_buf_vaddf(&wanted, format, args);
    va_end(args);
    mu_key_show(node, &found);
    bool quoted = node->kind == MU_YAML_SCALAR && !node->plain;
    mu_status_t status =
        mu_fail(MU_CONFIG, "%s: %s: found %s%s%s, wanted %s", where, key->name, quoted ? "\"" : "",
                found.data ? found.data : "", quoted ? "\"" : "", wanted.data);
    mu_buf_release(&found);
    mu_buf_release(&wanted);
    return status;
}

/* ---- choices ---- */

/* The place of `text` in "a|b/synonym|c", -1 when it is not there. */
static int choice_of(const char *choices, const char *text)
{
    size_t n = strlen(text);
    int place = 0;
    for (const char *p = choices;;) {
        size_t length = strcspn(p, "|/");
        if (length == n && strncasecmp(p, text, n) == 0)
            return place;
        p += length;
        if (!*p)
            return -1;
        place += *p == '|';
        p++;
    }
}

static void choices_list(const char *choices, mu_buf_t *out)
{
    for (const char *p = choices; *p; p++)
        mu_buf_adds(out, *p == '|' ? ", " : *p == '/' ? " or " : (char[]){*p, '\0'});
}

/* ---- reading ---- */

static mu_status_t take_number(const mu_key_t *key, const mu_yaml_t *node, const char *where, value_t *out)
{
    double v = 0;
    if (key->type == MU_KEY_INT) {
        if (!mu_yaml_i64(node, &out->whole)) {
            bool number = mu_yaml_f64(node, &v, &out->loose);
            return wrong(key, node, where, "%s",
                         number ? "a whole number, written with digits only" : "a whole number");
        }
        v = (double)out->whole;
    } else if (!mu_yaml_f64(node, &out->real, &out->loose)) {
        return wrong(key, node, where, "a number%s", key->choices ? " or auto" : "");
    } else {
        v = out->real;
    }
    if (v < key->least || v > key->most)
        return wrong(key, node, where, "a number from %.10g to %.10g", key->least, key->most);
    return MU_OK;
}

static mu_status_t take_text(const mu_key_t *key, const mu_yaml_t *node, const char *where, value_t *out)
{
    bool truth;
    if (node->kind != MU_YAML_SCALAR)
        return wrong(key, node, where, "text");
    if (mu_yaml_bool(node, &truth) && !key->choices)
        return wrong(key, node, where, "text: put it in quotes");
    if (strlen(node->text) > TEXT_BYTES)
        return wrong(key, node, where, "a text of at most %d bytes", TEXT_BYTES);
    out->text = node->text;
    if (!key->choices)
        return MU_OK;
    out->choice = choice_of(key->choices, node->text);
    if (out->choice >= 0)
        return MU_OK;
    mu_buf_t list = MU_BUF_INIT;
    choices_list(key->choices, &list);
    mu_status_t status = wrong(key, node, where, "%s%s (others are not supported)",
                               strchr(key->choices, '|') ? "one of " : "", list.data);
    mu_buf_release(&list);
    return status;
}

static mu_status_t take_list(const mu_key_t *key, const mu_yaml_t *node, const char *where)
{
    mu_key_t each = *key;
    each.type = key->type == MU_KEY_INTS    ? MU_KEY_INT
                : key->type == MU_KEY_TEXTS ? MU_KEY_TEXT
                                            : MU_KEY_FLOAT;
    if (node->kind != MU_YAML_LIST)
        return wrong(key, node, where, "a list, as in %s",
                     key->type == MU_KEY_TEXTS ? "[first, second]" : "[1, 2]");
    if (key->type == MU_KEY_BETAS && node->count != 2)
        return wrong(key, node, where, "two numbers");
    if (key->type == MU_KEY_BETAS)
        each.most = 1;
    for (const mu_yaml_t *c = node->first; c; c = c->next) {
        value_t v = {0};
        if (mu_yaml_is_null(c))
            return wrong(key, node, where, "no null inside");
        MU_TRY(each.type == MU_KEY_TEXT ? take_text(&each, c, where, &v) : take_number(&each, c, where, &v));
        if (key->type == MU_KEY_BETAS && v.real >= 1)
            return wrong(key, node, where, "two numbers below 1");
    }
    return MU_OK;
}

static mu_status_t take(const mu_key_t *key, const mu_yaml_t *node, const char *where, value_t *out)
{
    *out = (value_t){.choice = -1};
    out->null = mu_yaml_is_null(node);
    if (out->null)
        return MU_OK;
    switch (key->type) {
    case MU_KEY_BOOL:
        return mu_yaml_bool(node, &out->truth) ? MU_OK : wrong(key, node, where, "true or false");
    case MU_KEY_SECONDS:
        if (key->choices && node->kind == MU_YAML_SCALAR && choice_of(key->choices, node->text) == 0)
            return MU_OK;
        return take_number(key, node, where, out);
    case MU_KEY_INT:
    case MU_KEY_FLOAT:
        return take_number(key, node, where, out);
    case MU_KEY_TEXT:
    case MU_KEY_ENUM:
        return take_text(key, node, where, out);
    case MU_KEY_INTS:
    case MU_KEY_TEXTS:
    case MU_KEY_REALS:
    case MU_KEY_BETAS:
        return take_list(key, node, where);
    case MU_KEY_ATTENTION:
    case MU_KEY_ANY:
        return MU_OK;
    }
    return MU_OK;
}

mu_status_t mu_key_check(const mu_key_t *key, const mu_yaml_t *node, const char *where)
{
    value_t v;
    return take(key, node, where, &v);
}

static mu_yaml_t *preset_node(const mu_key_t *key)
{
    mu_yaml_t *node = NULL;
    if (mu_yaml_parse_value(key->name, key->preset, strlen(key->preset), &node) != MU_OK)
        abort(); /* the table is wrong */
    return node;
}

/* Nothing is asked for: null, false, empty, or {enabled: false, ...}. */
static bool asks_nothing(const mu_yaml_t *node)
{
    bool truth;
    if (node->kind == MU_YAML_SCALAR)
        return mu_yaml_is_null(node) || (mu_yaml_bool(node, &truth) && !truth);
    for (const mu_yaml_t *c = node->first; c; c = c->next)
        if (c->key && mu_yaml_same_key(c->key, "enabled") && mu_yaml_bool(c, &truth) && !truth)
            return true;
    return node->count == 0;
}

mu_status_t mu_key_is_preset(const mu_key_t *key, const mu_yaml_t *node, const char *where, bool *out)
{
    value_t v, preset;
    MU_TRY(take(key, node, where, &v));
    mu_yaml_t *usual = preset_node(key);
    mu_status_t status = take(key, usual, key->name, &preset);
    if (key->type == MU_KEY_ANY)
        *out = asks_nothing(node);
    else if (v.null || preset.null)
        *out = v.null;
    else if (key->type == MU_KEY_TEXT)
        *out = strcmp(v.text, preset.text) == 0;
    else
        *out = v.truth == preset.truth && v.whole == preset.whole && v.real == preset.real;
    mu_yaml_free(usual);
    return status;
}

/* ---- storing ---- */

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void store_ints(mu_config_source_t *source, const mu_yaml_t *node)
{
    mu_config_t *config = &source->config;
    int64_t *all = mu_calloc((size_t)node->count, sizeof *all);
    int n = 0;
    for (const mu_yaml_t *c = node->first; c; c = c->next)
        mu_yaml_i64(c, &all[n++]);
    qsort(all, (size_t)n, sizeof *all, by_value);
    int kept = 0;
    for (int i = 0; i < n; i++)
        if (i == 0 || all[i] != all[i - 1])
            all[kept++] = all[i];
    config->extra_save_iters = all;
    config->extra_save_count = kept;
}

static void store_texts(char ***at, const mu_yaml_t *node)
{
    char **all = mu_calloc((size_t)node->count + 1, sizeof *all);
    int n = 0;
    for (const mu_yaml_t *c = node->first; c; c = c->next)
        all[n++] = mu_strdup(c->text);
    *at = all;
}

static void store_reals(mu_reals_t *at, const mu_yaml_t *node)
{
    bool loose;
    at->value = mu_calloc((size_t)node->count + 1, sizeof *at->value);
    at->count = 0;
    for (const mu_yaml_t *c = node->first; c; c = c->next)
        mu_yaml_f64(c, &at->value[at->count++], &loose);
}

void mu_key_release(mu_config_source_t *source, const mu_key_t *key)
{
    if (key->type == MU_KEY_TEXT && key->offset != MU_KEY_NOWHERE) {
        char **text = field(source, key);
        free(*text);
        *text = NULL;
    } else if (key->type == MU_KEY_TEXTS) {
        char ***all = field(source, key);
        for (char **p = *all; p && *p; p++)
            free(*p);
        free(*all);
        *all = NULL;
    } else if (key->type == MU_KEY_REALS) {
        mu_reals_t *all = field(source, key);
        free(all->value);
        *all = (mu_reals_t){0};
    } else if (key->type == MU_KEY_INTS) {
        free(source->config.extra_save_iters);
        source->config.extra_save_iters = NULL;
        source->config.extra_save_count = 0;
    }
}

static void store(mu_config_source_t *source, const mu_key_t *key, const mu_yaml_t *node, const value_t *v)
{
    bool loose;
    mu_key_release(source, key);
    switch (key->type) {
    case MU_KEY_BOOL:
        *(bool *)field(source, key) = v->truth;
        break;
    case MU_KEY_INT:
        *(int64_t *)field(source, key) = v->whole;
        break;
    case MU_KEY_FLOAT:
    case MU_KEY_SECONDS:
        *(double *)field(source, key) = v->real;
        break;
    case MU_KEY_ENUM:
        *(int *)field(source, key) = v->choice;
        break;
    case MU_KEY_TEXT:
        *(char **)field(source, key) = v->null ? NULL : mu_strdup(v->text);
        break;
    case MU_KEY_INTS:
        if (!v->null)
            store_ints(source, node);
        break;
    case MU_KEY_TEXTS:
        if (!v->null)
            store_texts(field(source, key), node);
        break;
    case MU_KEY_REALS:
        if (!v->null)
            store_reals(field(source, key), node);
        break;
    case MU_KEY_BETAS:
        mu_yaml_f64(node->first, &source->config.beta1, &loose);
        mu_yaml_f64(node->first->next, &source->config.beta2, &loose);
        break;
    case MU_KEY_ATTENTION:
    case MU_KEY_ANY:
        break;
    }
}

mu_status_t mu_key_store(mu_config_source_t *source, const mu_key_t *key, const mu_yaml_t *node,
                         const char *where)
{
    value_t v;
    MU_TRY(take(key, node, where, &v));
    if (v.null && strcmp(key->preset, "null") != 0) {
        mu_key_store_preset(source, key);
        return MU_OK;
    }
    store(source, key, node, &v);
    if (v.loose)
        mu_buf_addf(&source->load_notes,
                    "%s: %s: %s is text to YAML 1.1 and gpt-neox; write it as 1.0e-5 is\n", where, key->name,
                    node->text);
    return MU_OK;
}

void mu_key_store_preset(mu_config_source_t *source, const mu_key_t *key)
{
    value_t v;
    mu_yaml_t *node = preset_node(key);
    if (take(key, node, key->name, &v) != MU_OK)
        abort(); /* the table is wrong */
    store(source, key, node, &v);
    mu_yaml_free(node);
}

bool mu_config_given(const mu_config_t *config, const char *key)
{
    int row = mu_key_find(key);
    return row >= 0 && config->source->written[row].given;
}

const char *mu_config_origin(const mu_config_t *config, const char *key)
{
    int row = mu_key_find(key);
    const char *where = row >= 0 ? config->source->written[row].where : NULL;
    return where ? where : "default";
}

const char *mu_config_where(const mu_config_source_t *source, const char *key)
{
    return mu_config_origin(&source->config, key);
}
