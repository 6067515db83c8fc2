/* A Hugging Face directory as the source of an import (worker/convert/hf_import.h). */
#include "common/json.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "common/checkpoint/manifest.h"
#include "worker/convert/hf_companions.h"
#include "worker/convert/hf_import.h"
#include "worker/convert/safetensors.h"

#include <jansson.h>

enum { CONFIG_LIMIT = 16 << 20, INDEX_LIMIT = 256 << 20, SHOWN = 8 };

static mu_status_t open_config(const char *dir, mu_import_t *import)
{
    mu_buf_t text = MU_BUF_INIT, yaml = MU_BUF_INIT;
    char *path = mu_path_join(dir, "config.json");
    mu_config_t *config;
    mu_status_t status;
    MU_TRY_GOTO(status, mu_file_read_text(path, CONFIG_LIMIT, &text), out);
    MU_TRY_GOTO(status, mu_hf_config_read(path, text.data, text.len, &import->family, &yaml), out);
    MU_TRY_GOTO(status, mu_config_load_text(path, yaml.data, &config), out);
    import->config = config;
    mu_model_type_t type;
    MU_TRY_GOTO(
        status,
        mu_hf_type(path, &import->config->model, (mu_model_type_t)import->config->muster.model_type, &type),
        out);
    import->what = mu_hf_class(type);
out:
    free(path);
    mu_buf_release(&text);
    mu_buf_release(&yaml);
    return status;
}

/* What ends a text of this model: generation_config.json says it, else config.json, as in Transformers. */
static mu_status_t read_end_tokens(const char *dir, mu_import_t *import)
{
    static const char *const names[] = {"generation_config.json", "config.json"};
    mu_buf_t ids = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    for (int i = 0; i < 2 && status == MU_OK && ids.len == 0; i++) {
        mu_buf_t text = MU_BUF_INIT;
        char *path = mu_path_join(dir, names[i]);
        if (mu_is_file(path)) {
            status = mu_file_read(path, CONFIG_LIMIT, &text);
            if (status == MU_OK)
                status = mu_hf_end_tokens(path, text.data, text.len, import->config->model.vocab, &ids);
        }
        mu_buf_release(&text);
        free(path);
    }
    if (status == MU_OK && ids.len > 0)
        mu_config_settle(&import->config, &(mu_config_facts_t){.end_tokens = ids.data});
    mu_buf_release(&ids);
    return status;
}

/* The plain name of a file beside the index; 78 is no use here, so anything else is damage. */
static mu_status_t open_shard(const char *dir, const char *index, const char *name, mu_import_t *import)
{
    if (!mu_manifest_name_ok(name))
        return mu_fail(MU_DATA, "%s: 'weight_map' names the file '%s': a plain name is wanted", index, name);
    char *path = mu_path_join(dir, name);
    mu_status_t status = MU_OK;
    bool known = false;
    for (int i = 0; i < import->list.file_count; i++)
        known |= strcmp(import->list.files[i].path, path) == 0;
    if (!known)
        status = mu_safetensors_open(path, &import->list);
    free(path);
    return status;
}

/* Each tensor of the map is in the file that the map names; a tied head may stand in the map alone. */
static mu_status_t check_map(const char *index, json_t *map, const mu_import_t *import)
{
    const mu_foreign_t *list = &import->list;
    const char *name;
    json_t *file;
    json_object_foreach(map, name, file)
    {
        const mu_foreign_tensor_t *t = mu_foreign_find(list, name);
        const char *path = t ? mu_foreign_path(list, t) : NULL, *slash = path ? strrchr(path, '/') : NULL;
        if (!t && mu_hf_ignored(import->family, &import->config->model, name))
            continue;
        if (!slash || strcmp(slash + 1, json_string_value(file)) != 0)
            return mu_fail(MU_DATA, "%s: tensor '%s' is not in '%s'", index, name, json_string_value(file));
    }
    return MU_OK;
}

static mu_status_t open_map(const char *dir, const char *index, json_t *root, mu_import_t *import)
{
    json_t *map = json_object_get(root, "weight_map"), *file;
    const char *name;
    if (!json_is_object(map))
        return mu_fail(MU_DATA, "%s: there is no 'weight_map'", index);
    json_object_foreach(map, name, file)
    {
        if (!json_is_string(file))
            return mu_fail(MU_DATA, "%s: 'weight_map': '%s' is no file's name", index, name);
        MU_TRY(open_shard(dir, index, json_string_value(file), import));
    }
    MU_TRY(mu_foreign_sort(&import->list));
    return check_map(index, map, import);
}

static mu_status_t open_index(const char *dir, const char *index, mu_import_t *import)
{
    mu_buf_t text = MU_BUF_INIT;
    json_error_t error;
    mu_status_t status = mu_file_read_text(index, INDEX_LIMIT, &text);
    if (status == MU_OK) {
        json_t *root = mu_json_parse(text.data, text.len, MU_JSON_CONFIG, &error);
        status = root ? open_map(dir, index, root, import)
                      : mu_fail(MU_DATA, "%s:%d:%d: %s", index, error.line, error.column, error.text);
        json_decref(root);
    }
    mu_buf_release(&text);
    return status;
}

static mu_status_t open_files(const char *dir, mu_import_t *import)
{
    char *one = mu_path_join(dir, "model.safetensors"),
         *index = mu_path_join(dir, "model.safetensors.index.json");
    mu_status_t status;
    if (mu_is_file(one)) {
        status = mu_safetensors_open(one, &import->list);
        if (status == MU_OK)
            status = mu_foreign_sort(&import->list);
    } else if (mu_is_file(index)) {
        status = open_index(dir, index, import);
    } else {
        status = mu_fail(MU_NOINPUT,
                         "%s: holds neither model.safetensors nor model.safetensors.index.json: other "
                         "formats are saved anew by from_pretrained(...).save_pretrained(...)",
                         dir);
    }
    free(one);
    free(index);
    return status;
}

/* With the prefix of the class or, as old files have it, without; a GPT-NeoX's head also under the name that
 * Transformers 5 has for it in memory, and in files that it is asked to leave unconverted. */
static const mu_foreign_tensor_t *find_own(const mu_import_t *import, const char *name)
{
    const char *prefix = mu_hf_prefix(import->family);
    size_t n = strlen(prefix);
    const mu_foreign_tensor_t *t = mu_foreign_find(&import->list, name);
    if (!t && strcmp(name, "embed_out.weight") == 0)
        t = mu_foreign_find(&import->list, "lm_head.weight");
    return t || strncmp(name, prefix, n) != 0 ? t : mu_foreign_find(&import->list, name + n);
}

static const char *const head_names[] = {"lm_head.weight", "embed_out.weight"};
enum { HEAD_NAMES = 2 };

/* A tied model's one matrix may be stored under the head's name alone. */
static const mu_foreign_tensor_t *find(const mu_import_t *import, mu_tensor_kind_t kind, const char *name)
{
    const mu_foreign_tensor_t *t = find_own(import, name);
    for (int i = 0; i < HEAD_NAMES && !t && kind == MU_T_EMBED_IN && import->config->model.tied_head; i++)
        t = mu_foreign_find(&import->list, head_names[i]);
    return t;
}

static bool same_place(const mu_foreign_tensor_t *a, const mu_foreign_tensor_t *b)
{
    return a->file == b->file && a->at == b->at && a->elements == b->elements;
}

static mu_status_t same_values(const mu_import_t *import, const mu_foreign_tensor_t *a,
                               const mu_foreign_tensor_t *b, bool *same)
{
    enum { CHUNK = 1 << 16 };
    float *x = mu_alloc(CHUNK * sizeof *x), *y = mu_alloc(CHUNK * sizeof *y);
    mu_status_t status = MU_OK;
    *same = a->elements == b->elements;
    for (int64_t at = 0; *same && at < a->elements && status == MU_OK; at += CHUNK) {
        int64_t n = a->elements - at < CHUNK ? a->elements - at : CHUNK;
        status = mu_foreign_read(&import->list, a, at, n, x);
        if (status == MU_OK)
            status = mu_foreign_read(&import->list, b, at, n, y);
        *same = status == MU_OK && memcmp(x, y, (size_t)n * sizeof *x) == 0;
    }
    free(x);
    free(y);
    return status;
}

/* config.json says that the head is the embedding; a head in the file must then be that too. */
static mu_status_t check_tied(const mu_import_t *import)
{
    const mu_foreign_tensor_t *embedding = import->of[0];
    for (int i = 0; i < HEAD_NAMES && import->config->model.tied_head; i++) {
        const mu_foreign_tensor_t *head = mu_foreign_find(&import->list, head_names[i]);
        bool same = !head || same_place(head, embedding);
        if (!same)
            MU_TRY(same_values(import, head, embedding, &same));
        if (!same)
            return mu_fail(
                MU_DATA,
                "%s: config.json ties the head to the embedding (tie_word_embeddings), and tensor '%s' is "
                "another than '%s': set tie_word_embeddings to false to use that head, or leave the tensor "
                "out of the file",
                mu_foreign_path(&import->list, head), head->name, embedding->name);
    }
    return MU_OK;
}

static mu_status_t resolve_part(const char *dir, mu_import_t *import, int index, int part)
{
    mu_tensor_t t;
    mu_buf_t name = MU_BUF_INIT;
    int64_t want[2];
    char a[128], b[128];
    mu_status_t status = MU_OK;
    const mu_model_t *m = &import->config->model;
    mu_model_tensor(m, index, &t);
    mu_hf_name(import->family, &t, part, &name);
    mu_hf_shape(import->family, m, &t, part, want);
    const mu_foreign_tensor_t *f = find(import, t.kind, name.data);
    if (!f)
        status = mu_fail(MU_DATA, "%s: tensor '%s' is not there", dir, name.data);
    else if (f->dims != t.dims || f->shape[0] != want[0] || (t.dims == 2 && f->shape[1] != want[1]))
        status = mu_fail(MU_DATA, "%s: tensor '%s' is %s, config.json makes it %s",
                         mu_foreign_path(&import->list, f), f->name,
                         mu_foreign_shape(f->dims, f->shape, a, sizeof a),
                         mu_foreign_shape(t.dims, want, b, sizeof b));
    else if (f->type == MU_FOREIGN_OTHER)
        status = mu_fail(MU_DATA, "%s: tensor '%s' is not of type F32, F16 or BF16",
                         mu_foreign_path(&import->list, f), f->name);
    import->of[index * MU_HF_PARTS + part] = f;
    mu_buf_release(&name);
    return status;
}

static mu_status_t resolve_one(const char *dir, mu_import_t *import, int index)
{
    mu_tensor_t t;
    mu_status_t status = MU_OK;
    mu_model_tensor(&import->config->model, index, &t);
    for (int part = 0; part < mu_hf_parts(import->family, &t) && status == MU_OK; part++)
        status = resolve_part(dir, import, index, part);
    return status;
}

/* A tensor that the model has no place for would be lost in silence. */
static mu_status_t refuse_others(const mu_import_t *import, int count)
{
    int others = 0;
    for (int i = 0; i < import->list.count; i++) {
        const mu_foreign_tensor_t *f = &import->list.tensors[i];
        bool used = mu_hf_ignored(import->family, &import->config->model, f->name);
        for (int k = 0; !used && k < count * MU_HF_PARTS; k++)
            used = import->of[k] && same_place(import->of[k], f);
        if (!used && others++ < SHOWN)
            mu_error("%s: tensor '%s' has no place in the model that config.json describes",
                     mu_foreign_path(&import->list, f), f->name);
    }
    return others == 0 ? MU_OK
                       : mu_fail(MU_DATA, "%d tensors have no place in a %s of %lld layers", others,
                                 import->what, (long long)import->config->model.layers);
}

static mu_status_t resolve(const char *dir, mu_import_t *import)
{
    int count = mu_model_tensor_count(&import->config->model), missing = 0;
    mu_status_t status = MU_OK;
    import->of = mu_calloc((size_t)count * MU_HF_PARTS, sizeof(void *));
    for (int i = 0; i < count && missing < SHOWN; i++) {
        mu_status_t one = resolve_one(dir, import, i);
        missing += one != MU_OK;
        status = status == MU_OK ? one : status;
    }
    MU_TRY(status);
    MU_TRY(check_tied(import));
    return refuse_others(import, count);
}

static mu_status_t read_whole(mu_import_t *import, int tensor)
{
    if (import->whole_of == tensor)
        return MU_OK;
    const mu_foreign_tensor_t *f = import->of[tensor * MU_HF_PARTS];
    import->whole_of = -1;
    import->whole = mu_realloc(import->whole, (size_t)f->elements * sizeof(float));
    MU_TRY(mu_foreign_read(&import->list, f, 0, f->elements, import->whole));
    import->whole_of = tensor;
    return MU_OK;
}

/* Rows of query_key_value, head by head. */
static mu_status_t read_parts(mu_import_t *import, int tensor, int64_t first, int64_t rows, int64_t columns,
                              float *out)
{
    for (int64_t done = 0, n; done < rows; done += n) {
        int part;
        int64_t row;
        n = mu_min_i64(rows - done, mu_hf_run(&import->config->model, first + done, &part, &row));
        MU_TRY(mu_foreign_read(&import->list, import->of[tensor * MU_HF_PARTS + part], row * columns,
                               n * columns, out + done * columns));
    }
    return MU_OK;
}

static mu_status_t read_rows(void *arg, int tensor, mu_state_t state, const int64_t offset[2],
                             const int64_t count[2], float *out)
{
    mu_import_t *import = arg;
    mu_tensor_t t;
    (void)state; /* weights are all that is asked for */
    mu_model_tensor(&import->config->model, tensor, &t);
    if (mu_hf_parts(import->family, &t) > 1)
        return read_parts(import, tensor, offset[0], count[0], t.shape[1], out);
    if (!mu_hf_reordered(import->family, &t))
        return mu_foreign_read(&import->list, import->of[tensor * MU_HF_PARTS], offset[0] * t.shape[1],
                               count[0] * t.shape[1], out);
    MU_TRY(read_whole(import, tensor));
    mu_hf_gather(&import->config->model, &t, import->whole, offset[0], count[0], out);
    return MU_OK;
}

mu_status_t mu_hf_source_open(const char *dir, mu_import_t *out)
{
    mu_import_t import = {.read = read_rows, .whole_of = -1, .slices = MU_HF_PARTS};
    mu_status_t status;
    MU_TRY(mu_path_visible(dir));
    if (!mu_is_dir(dir))
        return mu_fail(MU_NOINPUT, "%s: is no directory", dir);
    MU_TRY_GOTO(status, open_config(dir, &import), fail);
    MU_TRY_GOTO(status, read_end_tokens(dir, &import), fail);
    MU_TRY_GOTO(status, open_files(dir, &import), fail);
    MU_TRY_GOTO(status, resolve(dir, &import), fail);
    import.tokenizer = mu_import_find_tokenizer(dir);
    MU_TRY_GOTO(status, mu_hf_companions_read(dir, import.tokenizer, &import.companions), fail);
    *out = import;
    return MU_OK;
fail:
    mu_import_release(&import);
    return status;
}
