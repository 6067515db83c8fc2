#include "worker/convert/export_record.h"
#include "common/checkpoint/lineage.h"
#include "common/checkpoint/reference.h"
#include "common/file.h"
#include "common/json.h"
#include "common/log.h"
#include "common/ready_text.h"
#include "worker/convert/hf_card.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

enum { CONFIG_LIMIT = 16 << 20, RECORD_LIMIT = 256 << 20 };

static int is_plain(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* {"file", "digest", "bytes"} of each file; not of README.md, which people go on writing. */
static mu_status_t list_files(const char *dir, json_t *list)
{
    struct dirent **names;
    mu_status_t status = MU_OK;
    int n = scandir(dir, &names, is_plain, alphasort);
    if (n < 0)
        return mu_fail(MU_IO, "%s: %s", dir, strerror(errno));
    for (int i = 0; i < n; i++) {
        char *path = mu_path_join(dir, names[i]->d_name);
        json_t *file = NULL;
        if (status == MU_OK && strcmp(names[i]->d_name, "README.md") != 0)
            status = mu_lineage_file(path, &file);
        if (file) {
            json_object_del(file, "path"); /* the directory will have another name */
            json_object_set_new(file, "file", json_string(names[i]->d_name));
            json_array_append_new(list, file);
        }
        free(path);
        free(names[i]);
    }
    free(names);
    return status;
}

static mu_status_t write_text(const char *dir, const char *name, const char *text, size_t n)
{
    char *path = mu_path_join(dir, name);
    mu_status_t status = mu_file_replace(path, text, n, 0644);
    free(path);
    return status;
}

/* The first of "architectures" in the config.json that was just written; a new string. */
static char *class_of(const char *dir)
{
    char *path = mu_path_join(dir, "config.json");
    mu_buf_t text = MU_BUF_INIT;
    json_t *root = NULL;
    if (mu_file_read(path, CONFIG_LIMIT, &text) == MU_OK)
        root = mu_json_parse(text.data, text.len, MU_JSON_CONFIG, &(json_error_t){0});
    const char *class = json_string_value(json_array_get(json_object_get(root, "architectures"), 0));
    char *copy = mu_strdup(class ? class : "model");
    json_decref(root);
    mu_buf_release(&text);
    free(path);
    return copy;
}

static int64_t parameters_of(const mu_manifest_t *m)
{
    int64_t n = 0;
    for (int i = 0; i < m->tensor_count; i++)
        n += m->tensors[i].shape[0] * m->tensors[i].shape[1];
    return n;
}

static mu_status_t write_card(const mu_checkpoint_t *checkpoint, const char *dir, const char *output,
                              const json_t *model, const json_t *evaluations, const char *run)
{
    const mu_manifest_t *m = mu_checkpoint_manifest(checkpoint);
    const char *slash = strrchr(output, '/');
    char *class = class_of(dir);
    mu_buf_t text = MU_BUF_INIT;
    mu_card_t card = {.name = slash && slash[1] ? slash + 1 : output,
                      .class = class,
                      .parameters = parameters_of(m),
                      .model = model,
                      .config = m->info.config,
                      .run = run,
                      .evaluations = evaluations};
    mu_card_write(&card, &text);
    mu_status_t status = write_text(dir, "README.md", text.data, text.len);
    mu_buf_release(&text);
    free(class);
    return status;
}

mu_status_t mu_export_record(const mu_checkpoint_t *checkpoint, const char *dir, const char *output)
{
    char *run = mu_reference_run(mu_checkpoint_path(checkpoint)), *text = NULL;
    json_t *model = NULL, *files = json_array(), *evaluations = NULL, *root = NULL;
    mu_status_t status;
    MU_TRY_GOTO(status, list_files(dir, files), out);
    MU_TRY_GOTO(status, mu_lineage_model(checkpoint, &model), out);
    evaluations = mu_card_evaluations(run, json_string_value(json_object_get(model, "digest")));
    MU_TRY_GOTO(status, write_card(checkpoint, dir, output, model, evaluations, run), out);
    root = json_pack("{s:s, s:i, s:o, s:O, s:O, s:O}", "format", "muster-export", "version", 1, "build",
                     mu_lineage_build(), "files", files, "model", model, "evaluations", evaluations);
    text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    status = text ? write_text(dir, MU_EXPORT_FILE, text, strlen(text))
                  : mu_fail(MU_BUG, "%s: the lineage cannot be written as JSON", output);
out:
    free(text);
    json_decref(root);
    json_decref(evaluations);
    json_decref(files);
    json_decref(model);
    free(run);
    return status;
}

/* Whether the file lies in `dir` with the size and the digest that muster.json has for it. */
static mu_status_t is_as_written(const char *dir, const json_t *file, bool *yes)
{
    const char *name = json_string_value(json_object_get(file, "file"));
    const char *wanted = json_string_value(json_object_get(file, "digest"));
    const json_t *bytes = json_object_get(file, "bytes");
    char found[MU_DIGEST_HEX];
    struct stat st;
    *yes = false;
    if (!name || strchr(name, '/') || !wanted || !json_is_integer(bytes))
        return MU_OK;
    char *path = mu_path_join(dir, name);
    mu_status_t status = MU_OK;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == json_integer_value(bytes)) {
        status = mu_digest_file(path, found);
        *yes = status == MU_OK && strcmp(found, wanted) == 0;
    }
    free(path);
    return status;
}

static mu_status_t check_files(const char *dir, const json_t *files)
{
    size_t i;
    const json_t *file;
    bool same;
    if (json_array_size(files) == 0)
        return mu_fail(MU_RUNDIR, "%s: is there, but its %s lists no files: remove it", dir, MU_EXPORT_FILE);
    json_array_foreach(files, i, file)
    {
        MU_TRY(is_as_written(dir, file, &same));
        if (!same) {
            const char *name = json_string_value(json_object_get(file, "file"));
            mu_buf_t shown = MU_BUF_INIT;
            mu_text_escape(name ? name : "?", name ? strlen(name) : 1, 255, &shown);
            mu_fail(MU_RUNDIR, "%s: is there, but '%s' is not what was written: remove it", dir, shown.data);
            mu_buf_release(&shown);
            return MU_RUNDIR;
        }
    }
    return MU_OK;
}

mu_status_t mu_export_is_there(const char *output, const mu_checkpoint_t *checkpoint, bool *yes)
{
    char digest[MU_DIGEST_HEX], *manifest = mu_path_join(mu_checkpoint_path(checkpoint), MU_MANIFEST_NAME);
    char *path = mu_path_join(output, MU_EXPORT_FILE);
    mu_buf_t text = MU_BUF_INIT;
    json_t *root = NULL;
    mu_status_t status = mu_digest_file(manifest, digest);
    *yes = false;
    if (status == MU_OK && mu_is_file(path) && mu_file_read(path, RECORD_LIMIT, &text) == MU_OK) {
        root = mu_json_parse(text.data, text.len, MU_JSON_CHECKPOINT, &(json_error_t){0});
        const char *found = json_string_value(json_object_get(json_object_get(root, "model"), "digest"));
        if (found && strcmp(found, digest) == 0) {
            status = check_files(output, json_object_get(root, "files"));
            *yes = status == MU_OK;
        }
    }
    json_decref(root);
    mu_buf_release(&text);
    free(path);
    free(manifest);
    return status;
}
