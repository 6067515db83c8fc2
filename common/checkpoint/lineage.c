#include "common/checkpoint/lineage.h"
#include "common/buf.h"
#include "common/digest.h"
#include "common/file.h"
#include "common/log.h"
#include "common/revision.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

json_t *mu_lineage_build(void)
{
    return json_pack("{s:s, s:s?, s:b}", "version", MU_VERSION, "revision",
                     *mu_build_revision ? mu_build_revision : NULL, "changed", mu_build_changed);
}

/* Absolute where it exists. A path that is not UTF-8 cannot be written as JSON: null. */
static json_t *path_json(const char *path)
{
    char *whole = realpath(path, NULL);
    json_t *text = json_string(whole ? whole : path);
    free(whole);
    return text ? text : json_null();
}

mu_status_t mu_lineage_file(const char *path, json_t **out)
{
    char digest[MU_DIGEST_HEX];
    struct stat st;
    MU_TRY(mu_digest_file(path, digest));
    if (stat(path, &st) != 0)
        return mu_fail(mu_open_status(errno), "%s: %s", path, strerror(errno));
    *out = json_pack("{s:o, s:s, s:I}", "path", path_json(path), "digest", digest, "bytes",
                     (json_int_t)st.st_size);
    return MU_OK;
}

static json_t *or_null(json_t *value)
{
    return value ? json_incref(value) : json_null();
}

/* {"version", "tokenizer_digest", and what the manifest says of the data set} */
static json_t *data_node(const mu_checkpoint_info_t *info, json_t *lineage)
{
    if (!info->data_version)
        return json_null();
    json_t *node =
        json_pack("{s:s, s:s?}", "version", info->data_version, "tokenizer_digest", info->tokenizer_digest);
    json_t *more = json_object_get(lineage, "data");
    if (more)
        json_object_update_missing(node, more);
    return node;
}

mu_status_t mu_lineage_model(const mu_checkpoint_t *checkpoint, json_t **out)
{
    const mu_manifest_t *m = mu_checkpoint_manifest(checkpoint);
    const mu_checkpoint_info_t *info = &m->info;
    char digest[MU_DIGEST_HEX], config[MU_DIGEST_HEX] = "";
    char *path = mu_path_join(mu_checkpoint_path(checkpoint), MU_MANIFEST_NAME);
    mu_status_t status = mu_digest_file(path, digest);
    free(path);
    if (status != MU_OK)
        return status;
    if (info->config)
        mu_digest_bytes(info->config, strlen(info->config), config);
    json_t *lineage = info->lineage ? json_loads(info->lineage, 0, NULL) : NULL;
    *out = json_pack(
        "{s:s, s:s?, s:I, s:s, s:o, s:f, s:s?, s:s?, s:o, s:o, s:o, s:o, s:o, s:o}", "kind", "model",
        "run_id", info->run_id, "step", (json_int_t)info->step, "digest", digest, "path",
        path_json(mu_checkpoint_path(checkpoint)), "time", info->time, "written_by", m->written_by, "config",
        *config ? config : NULL, "source", or_null(json_object_get(lineage, "source")), "image",
        or_null(json_object_get(lineage, "image")), "data", data_node(info, lineage), "inputs",
        or_null(json_object_get(lineage, "inputs")), "name", or_null(json_object_get(lineage, "name")),
        "parent", or_null(json_object_get(lineage, "parent")));
    json_decref(lineage);
    return *out ? MU_OK : mu_fail(MU_DATA, "%s: its lineage cannot be read", mu_checkpoint_path(checkpoint));
}

/* The chain of parents ends after so many. */
static void cut(json_t *node)
{
    for (int depth = 1; json_is_object(node); depth++) {
        if (depth == MU_LINEAGE_DEPTH && json_is_object(json_object_get(node, "parent"))) {
            json_object_set_new(node, "parent", json_null());
            json_object_set_new(node, "cut", json_true());
        }
        node = json_object_get(node, "parent");
    }
}

mu_status_t mu_lineage_parent(const mu_checkpoint_t *checkpoint, json_t **out)
{
    json_t *node;
    MU_TRY(mu_lineage_model(checkpoint, &node));
    json_t *parent = json_object_get(node, "parent");
    const char *own = json_string_value(json_object_get(node, "run_id")),
               *its = json_string_value(json_object_get(parent, "run_id"));
    if (own && its && strcmp(own, its) == 0) /* the run was resumed before */
        json_object_set_new(node, "parent", or_null(json_object_get(parent, "parent")));
    cut(node);
    *out = node;
    return MU_OK;
}
