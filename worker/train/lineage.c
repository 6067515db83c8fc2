#include "worker/train/lineage.h"
#include "common/checkpoint/lineage.h"
#include "common/file.h"
#include "common/json.h"
#include "common/log.h"
#include "dataset/store/data_lineage.h"

static const size_t SOURCE_LIMIT = (size_t)1 << 20;

static json_t *member(const json_t *root, const char *key)
{
    json_t *value = json_object_get(root, key);
    return value ? json_incref(value) : json_null();
}

/* RUN/source.json; NULL where no launcher wrote one. */
static mu_status_t read_source(const mu_run_t *run, json_t **out)
{
    char *path = mu_path_join(run->dir, "source.json");
    mu_buf_t text = MU_BUF_INIT;
    json_error_t error;
    mu_status_t status = MU_OK;
    *out = NULL;
    if (mu_is_file(path))
        status = mu_file_read(path, SOURCE_LIMIT, &text);
    if (status == MU_OK && text.len > 0) {
        *out = mu_json_parse(text.data, text.len, MU_JSON_CONFIG, &error);
        if (!*out)
            status = mu_fail(MU_DATA, "%s:%d:%d: not JSON: %s", path, error.line, error.column, error.text);
    }
    mu_buf_release(&text);
    free(path);
    return status;
}

static mu_status_t add_parts(const char *role, char *const *paths, json_t *parts)
{
    for (; paths && *paths; paths++) {
        json_t *part;
        MU_TRY(mu_data_lineage(*paths, NULL, &part));
        json_object_set_new(part, "role", json_string(role));
        json_array_append_new(parts, part);
    }
    return MU_OK;
}

/* Of one data set its inputs; of a blend the list of its data sets. */
static mu_status_t describe_data(const mu_config_t *c, json_t **out)
{
    if (c->data_path)
        return mu_data_lineage(c->data_path, c->split, out);
    json_t *parts = json_array(), *node = json_pack("{s:o}", "parts", parts);
    mu_status_t status = add_parts("train", c->train_data_paths, parts);
    if (status == MU_OK)
        status = add_parts("valid", c->valid_data_paths, parts);
    if (status == MU_OK)
        *out = node;
    else
        json_decref(node);
    return status;
}

mu_status_t mu_run_lineage(const mu_run_t *run, const mu_start_t *start, char **out)
{
    json_t *source = NULL, *parent = NULL, *data = NULL, *root = NULL;
    const char *image = getenv("IMAGE_DIGEST");
    mu_status_t status;
    if (start->lineage) {
        *out = mu_strdup(start->lineage);
        return MU_OK;
    }
    MU_TRY_GOTO(status, read_source(run, &source), out);
    if (start->checkpoint || start->base)
        MU_TRY_GOTO(status, mu_lineage_parent(start->checkpoint ? start->checkpoint : start->base, &parent),
                    out);
    MU_TRY_GOTO(status, describe_data(run->config, &data), out);
    root = json_pack("{s:{s:o, s:o}, s:o, s:O, s:o}", "source", "build", mu_lineage_build(), "config",
                     member(source, "config"), "image",
                     source            ? member(source, "image")
                     : image && *image ? json_string(image)
                                       : json_null(),
                     "data", data, "parent", parent ? json_incref(parent) : json_null());
    *out = root ? json_dumps(root, JSON_COMPACT) : NULL;
    if (!*out)
        status = mu_fail(MU_BUG, "the lineage of the run cannot be written as JSON");
out:
    json_decref(root);
    json_decref(data);
    json_decref(parent);
    json_decref(source);
    return status;
}
