#include "worker/convert/import_record.h"
#include "common/checkpoint/lineage.h"
#include "common/file.h"
#include "common/json.h"
#include "common/log.h"
#include "worker/convert/export_record.h"

static const size_t RECORD_LIMIT = (size_t)256 << 20;

static mu_status_t add(json_t *list, const char *path)
{
    json_t *file;
    if (!path || !mu_is_file(path))
        return MU_OK;
    MU_TRY(mu_lineage_file(path, &file));
    json_array_append_new(list, file);
    return MU_OK;
}

mu_status_t mu_import_inputs(const mu_import_t *import, json_t **out)
{
    json_t *list = json_array();
    char *config = import->dir ? mu_path_join(import->dir, "config.json") : NULL;
    mu_status_t status = MU_OK;
    for (int i = 0; i < import->list.file_count && status == MU_OK; i++)
        status = add(list, import->list.files[i].path);
    if (status == MU_OK)
        status = add(list, import->tokenizer);
    if (status == MU_OK)
        status = add(list, config);
    free(config);
    if (status == MU_OK)
        *out = list;
    else
        json_decref(list);
    return status;
}

/* "gpt2" of "models/gpt2/"; a new string. */
static char *name_of(const char *dir)
{
    char *whole = realpath(dir, NULL), *slash = whole ? strrchr(whole, '/') : NULL;
    char *name = mu_strdup(slash && slash[1] ? slash + 1 : dir);
    free(whole);
    return name;
}

static bool same_file(const json_t *record, const json_t *input)
{
    const char *path = json_string_value(json_object_get(input, "path")),
               *slash = path ? strrchr(path, '/') : NULL,
               *digest = json_string_value(json_object_get(input, "digest"));
    const json_t *file;
    size_t i;
    json_array_foreach(json_object_get(record, "files"), i, file)
    {
        const char *name = json_string_value(json_object_get(file, "file")),
                   *was = json_string_value(json_object_get(file, "digest"));
        if (slash && name && strcmp(name, slash + 1) == 0)
            return was && digest && strcmp(was, digest) == 0;
    }
    return false;
}

static json_t *exported_from(const mu_import_t *import, const json_t *inputs)
{
    char *path = import->dir ? mu_path_join(import->dir, MU_EXPORT_FILE) : NULL;
    mu_buf_t text = MU_BUF_INIT;
    json_t *record = NULL, *model = NULL;
    if (path && mu_is_file(path) && mu_file_read(path, RECORD_LIMIT, &text) == MU_OK)
        record = mu_json_parse(text.data, text.len, MU_JSON_CHECKPOINT, &(json_error_t){0});
    bool same = record && json_array_size(inputs) > 0;
    for (size_t i = 0; same && i < json_array_size(inputs); i++)
        same = same_file(record, json_array_get(inputs, i));
    if (same)
        model = json_incref(json_object_get(record, "model"));
    else if (record)
        mu_warn(
            "%s: the files beside it are not the ones that it names: the import begins a lineage of its own",
            path);
    json_decref(record);
    mu_buf_release(&text);
    free(path);
    return model ? model : json_null();
}

char *mu_import_lineage(const mu_import_t *import, json_t *inputs)
{
    char *name = import->dir ? name_of(import->dir) : NULL;
    json_t *text = name ? json_string(name) : NULL;
    json_t *root =
        json_pack("{s:{s:o}, s:O, s:o, s:o}", "source", "build", mu_lineage_build(), "inputs", inputs, "name",
                  text ? text : json_null(), "parent", exported_from(import, inputs));
    char *out = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    free(name);
    return out;
}
