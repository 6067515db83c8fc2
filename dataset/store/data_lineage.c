#include "dataset/store/data_lineage.h"
#include "common/file.h"
#include "common/json.h"
#include "common/log.h"
#include "dataset/store/shard_file.h"

static const size_t MANIFEST_LIMIT = (size_t)1 << 30;

/* The whole path; of a pair, of its index, without the ending. */
static json_t *whole_path(const char *path)
{
    char *file = mu_is_dir(path) ? mu_strdup(path) : mu_format("%s.idx", path), *whole = realpath(file, NULL);
    size_t n = whole ? strlen(whole) : 0;
    if (whole && !mu_is_dir(path) && n > 4)
        whole[n - 4] = '\0';
    json_t *text = json_string(whole ? whole : path);
    free(whole);
    free(file);
    return text ? text : json_null(); /* not UTF-8 */
}

static void take(json_t *node, const char *key, const json_t *from, const char *as)
{
    json_t *value = json_object_get(from, key);
    json_object_set_new(node, as, value ? json_incref(value) : json_null());
}

/* {"name", "digest", "bytes", ...} of `muster prepare` as {"path", ...}: absolute where that file can be found. */
static json_t *input_node(const json_t *input)
{
    json_t *node = json_object();
    const char *name = json_string_value(json_object_get(input, "name"));
    char *whole = name ? realpath(name, NULL) : NULL;
    json_t *path = json_string(whole ? whole : name ? name : "");
    json_object_set_new(node, "path", path ? path : json_null());
    take(node, "digest", input, "digest");
    take(node, "bytes", input, "bytes");
    if (json_object_get(input, "tag"))
        take(node, "tag", input, "tag");
    free(whole);
    return node;
}

/* A list of very many files is cut there; the digest is of all. A set that does not say what it was made of: null. */
static void add_inputs(json_t *node, const json_t *made)
{
    const json_t *list = json_object_get(made, "inputs"), *input;
    json_t *inputs = json_is_array(list) ? json_array() : json_null();
    size_t i;
    json_array_foreach(list, i, input) json_array_append_new(inputs, input_node(input));
    json_object_set_new(node, "inputs", inputs);
    if (json_is_array(list) &&
        json_integer_value(json_object_get(made, "files")) > (json_int_t)json_array_size(list)) {
        take(node, "files", made, "files");
        take(node, "inputs_digest", made, "inputs_digest");
    }
}

mu_status_t mu_data_lineage(const char *path, const char *split, json_t **out)
{
    mu_buf_t text = MU_BUF_INIT;
    json_error_t error;
    json_t *root = NULL, *node = json_pack("{s:o}", "path", whole_path(path));
    char *file = mu_path_join(path, MU_DATASET_MANIFEST);
    mu_status_t status = MU_OK;
    if (!mu_is_dir(path)) {
        json_object_set_new(node, "split", split ? json_string(split) : json_null());
        goto out;
    }
    MU_TRY_GOTO(status, mu_file_read(file, MANIFEST_LIMIT, &text), out);
    root = mu_json_parse(text.data, text.len, MU_JSON_DATA, &error);
    if (!root) {
        status = mu_fail(MU_DATA, "%s:%d:%d: not JSON: %s", file, error.line, error.column, error.text);
        goto out;
    }
    take(node, "version", root, "version");
    take(node, "digest", json_object_get(root, "tokenizer"), "tokenizer_digest");
    add_inputs(node, json_object_get(root, "made"));
out:
    if (status == MU_OK)
        *out = node;
    else
        json_decref(node);
    json_decref(root);
    mu_buf_release(&text);
    free(file);
    return status;
}
