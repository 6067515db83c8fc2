#include "launcher/track/run_facts.h"
#include "common/config/yaml.h"
#include "common/file.h"
#include "common/json.h"
#include "launcher/track/mlflow.h"

#include <stdlib.h>
#include <string.h>

enum { MANIFEST_LIMIT = 64 << 20 };

/* ---- config ---- */

static void add_list(const mu_yaml_t *node, mu_buf_t *out)
{
    if (node->kind == MU_YAML_SCALAR) {
        mu_buf_adds(out, node->text);
        return;
    }
    mu_buf_adds(out, node->kind == MU_YAML_LIST ? "[" : "{");
    for (const mu_yaml_t *e = node->first; e; e = e->next) {
        if (node->kind == MU_YAML_MAP)
            mu_buf_addf(out, "%s: ", e->key);
        add_list(e, out);
        mu_buf_adds(out, e->next ? ", " : "");
    }
    mu_buf_adds(out, node->kind == MU_YAML_LIST ? "]" : "}");
}

static void add_keys(const char *prefix, const mu_yaml_t *map, json_t *out)
{
    for (const mu_yaml_t *e = map->first; e; e = e->next) {
        char *name = mu_format("%s%s%s", prefix, *prefix ? "." : "", e->key);
        if (e->kind == MU_YAML_MAP)
            add_keys(name, e, out);
        else {
            mu_buf_t value = MU_BUF_INIT;
            add_list(e, &value);
            mu_mlflow_add_pair(out, name, value.data ? value.data : "");
            mu_buf_release(&value);
        }
        free(name);
    }
}

void mu_run_config(const char *dir, json_t *out)
{
    char *path = mu_path_join(dir, "config.yml");
    mu_yaml_t *top;
    if (mu_is_file(path) && mu_yaml_read_file(path, &top) == MU_OK) {
        add_keys("", top, out);
        mu_yaml_free(top);
    }
    free(path);
}

/* ---- facts ---- */

static void add_text(json_t *out, const char *key, const char *value)
{
    if (*value)
        mu_mlflow_add_pair(out, key, value);
}

static void add_number(json_t *out, const char *key, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    mu_mlflow_add_pair(out, key, text);
}

/* A text as it is, an object as JSON. */
static void add_json(json_t *out, const char *key, const json_t *value)
{
    if (!value || json_is_null(value))
        return;
    char *dumped =
        json_is_string(value) ? NULL : json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    add_text(out, key, dumped ? dumped : json_is_string(value) ? json_string_value(value) : "");
    free(dumped);
}

/* The earlier model's run, step and digest; its own lineage is in the manifest. */
static void add_parent(json_t *out, const json_t *parent)
{
    static const char *const members[] = {"run_id", "step", "digest"};
    json_t *some = json_object();
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (json_object_get(parent, members[i]))
            json_object_set(some, members[i], json_object_get(parent, members[i]));
    add_json(out, "muster.parent", json_object_size(some) > 0 ? some : NULL);
    json_decref(some);
}

bool mu_run_lineage(const char *dir, int64_t step, json_t *out)
{
    bool there = false;
    char *path = mu_format("%s/checkpoints/step-%08lld/manifest.json", dir, (long long)step);
    mu_buf_t text = MU_BUF_INIT;
    json_error_t error;
    if (step >= 0 && mu_is_file(path) && mu_file_read(path, MANIFEST_LIMIT, &text) == MU_OK) {
        json_t *manifest = mu_json_parse(text.data, text.len, MU_JSON_CHECKPOINT, &error);
        add_json(out, "muster.source", json_object_get(manifest, "source"));
        add_parent(out, json_object_get(manifest, "parent"));
        add_json(out, "muster.image", json_object_get(manifest, "image"));
        there = manifest != NULL;
        json_decref(manifest);
    }
    mu_buf_release(&text);
    free(path);
    return there;
}

void mu_run_facts(const mu_run_state_t *s, json_t *out)
{
    add_text(out, "mlflow.source.type", "JOB");
    add_text(out, "mlflow.source.name", "muster run");
    add_text(out, MU_MLFLOW_RUN_TAG, s->token);
    add_text(out, "muster.data_version", s->data_version);
    add_text(out, "muster.config_digest", s->config_digest);
    add_text(out, "muster.version", s->version);
    add_text(out, "muster.mpi", s->mpi);
    add_text(out, "muster.host", s->host);
    add_text(out, "muster.state", s->state);
    add_text(out, "muster.reason", s->reason);
    add_number(out, "muster.tp", s->tp);
    add_number(out, "muster.dp", s->dp);
    add_number(out, "muster.workers", s->workers);
    add_number(out, "muster.attempt", s->attempt);
    add_number(out, "muster.restarts", s->restarts);
    add_number(out, "muster.last_checkpoint", s->last_checkpoint);
}
