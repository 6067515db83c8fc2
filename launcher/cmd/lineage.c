#include "launcher/cmd/lineage.h"
#include "common/checkpoint/foreign.h"
#include "common/checkpoint/lineage.h"
#include "common/file.h"
#include "common/json.h"
#include "common/log.h"
#include "dataset/store/data_lineage.h"
#include "dataset/store/dataset.h"

static const size_t EXPORT_LIMIT = (size_t)256 << 20;

bool mu_lineage_is_export(const char *path)
{
    char *file = mu_path_join(path, MU_EXPORT_FILE);
    bool yes = mu_is_file(file);
    free(file);
    return yes;
}

static mu_status_t open_export(const char *path, json_t **out)
{
    char *file = mu_path_join(path, MU_EXPORT_FILE), *whole = realpath(path, NULL);
    mu_buf_t text = MU_BUF_INIT;
    json_error_t error;
    json_t *root = NULL;
    mu_status_t status = mu_file_read(file, EXPORT_LIMIT, &text);
    if (status == MU_OK) {
        root = mu_json_parse(text.data, text.len, MU_JSON_CHECKPOINT, &error);
        const char *format = json_string_value(json_object_get(root, "format"));
        if (!root)
            status = mu_fail(MU_DATA, "%s:%d:%d: not JSON: %s", file, error.line, error.column, error.text);
        else if (!format || strcmp(format, "muster-export") != 0 ||
                 !json_is_object(json_object_get(root, "model")))
            status = mu_fail(MU_DATA, "%s: is no lineage of an export: 'format' or 'model' is missing", file);
    }
    if (status == MU_OK) {
        json_object_set_new(root, "kind", json_string("export"));
        json_object_set_new(root, "path", json_string(whole ? whole : path));
        *out = root;
    } else {
        json_decref(root);
    }
    mu_buf_release(&text);
    free(whole);
    free(file);
    return status;
}

static mu_status_t open_data(const char *path, json_t **out)
{
    mu_dataset_t *data;
    MU_TRY(mu_dataset_open(path, &(mu_dataset_options_t){0}, &data));
    mu_status_t status = mu_data_lineage(path, MU_SPLIT_DEFAULT, out);
    if (status == MU_OK) {
        json_object_set_new(*out, "kind", json_string("data"));
        json_object_set_new(*out, "version", json_string(mu_dataset_version(data)));
    }
    mu_dataset_close(data);
    return status;
}

mu_status_t mu_lineage_open(const char *path, json_t **out)
{
    mu_checkpoint_t *checkpoint;
    if (mu_lineage_is_export(path))
        return open_export(path, out);
    if (!mu_checkpoint_is_one(path) && mu_dataset_exists(path))
        return open_data(path, out);
    MU_TRY(mu_checkpoint_newest(path, INT64_MAX, &checkpoint));
    if (!checkpoint)
        return mu_foreign_refuse(NULL, path);
    mu_status_t status = mu_lineage_model(checkpoint, out);
    mu_checkpoint_close(checkpoint);
    return status;
}
