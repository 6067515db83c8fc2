#include "worker/convert/hf_companions.h"
#include "common/digest.h"
#include "common/file.h"
#include "common/json.h"
#include "common/log.h"

#include <jansson.h>

enum { LIMIT = 4 << 20 };

/* config.json is kept for what our own does not say: ids. */
static const struct {
    const char *name;
    bool of_tokenizer, written;
} files[] = {
    {"config.json", false, false},         {"generation_config.json", false, true},
    {"chat_template.jinja", false, true},  {"chat_template.json", false, true},
    {"tokenizer_config.json", true, true}, {"special_tokens_map.json", true, true},
    {"added_tokens.json", true, true},
};
enum { FILES = sizeof files / sizeof *files };

struct mu_hf_companions {
    json_t *root, *config;
    bool fit;
};

mu_status_t mu_hf_companions_read(const char *dir, const char *tokenizer, char **out)
{
    char digest[MU_DIGEST_HEX] = "";
    json_t *root = json_object(), *its = json_object();
    mu_status_t status = MU_OK;
    for (int i = 0; i < FILES && status == MU_OK; i++) {
        mu_buf_t text = MU_BUF_INIT;
        char *path = mu_path_join(dir, files[i].name);
        if (mu_is_file(path) && (status = mu_file_read(path, LIMIT, &text)) == MU_OK) {
            json_t *value = json_stringn(text.data ? text.data : "", text.len);
            if (!value || memchr(text.data ? text.data : "", '\0', text.len))
                mu_warn("%s: is no UTF-8 text: left out", path);
            else
                json_object_set(its, files[i].name, value);
            json_decref(value);
        }
        mu_buf_release(&text);
        free(path);
    }
    if (status == MU_OK && tokenizer)
        status = mu_digest_file(tokenizer, digest);
    json_object_set_new(root, "tokenizer", json_string(digest));
    json_object_set(root, "files", its);
    *out = status == MU_OK && json_object_size(its) > 0 ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(its);
    json_decref(root);
    return status;
}

static const char *text_of(const mu_hf_companions_t *c, const char *name)
{
    return json_string_value(json_object_get(json_object_get(c->root, "files"), name));
}

/* A file's JSON; NULL where it is absent or no object. */
static json_t *parse(const mu_hf_companions_t *c, const char *name)
{
    const char *text = text_of(c, name);
    json_error_t error;
    json_t *root = text ? mu_json_parse(text, strlen(text), MU_JSON_CONFIG, &error) : NULL;
    if (json_is_object(root))
        return root;
    json_decref(root);
    return NULL;
}

mu_hf_companions_t *mu_hf_companions_open(const char *text, const char *tokenizer)
{
    mu_hf_companions_t *c = mu_calloc(1, sizeof *c);
    c->root = text ? json_loads(text, 0, NULL) : NULL;
    c->config = parse(c, "config.json");
    const char *was = json_string_value(json_object_get(c->root, "tokenizer"));
    c->fit = was && tokenizer && strcmp(was, tokenizer) == 0;
    return c;
}

void mu_hf_companions_close(mu_hf_companions_t *c)
{
    if (!c)
        return;
    json_decref(c->root);
    json_decref(c->config);
    free(c);
}

bool mu_hf_companions_fit(const mu_hf_companions_t *c)
{
    return c->fit && text_of(c, "tokenizer_config.json");
}

bool mu_hf_companions_known(const mu_hf_companions_t *c)
{
    return c->config != NULL;
}

static int id_of(const json_t *object, const char *key)
{
    const json_t *id = json_object_get(object, key);
    return json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < INT32_MAX
               ? (int)json_integer_value(id)
               : -1;
}

int mu_hf_companions_id(const mu_hf_companions_t *c, const char *key)
{
    json_t *generation = parse(c, "generation_config.json");
    int id = id_of(c->config, key);
    id = id >= 0 ? id : id_of(generation, key);
    json_decref(generation);
    return id;
}

char *mu_hf_companions_setting(const mu_hf_companions_t *c, const char *key)
{
    json_t *settings = parse(c, "tokenizer_config.json");
    const json_t *value = json_object_get(settings, key);
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    json_decref(settings);
    return text;
}

/* As it was, unless the user has other ids that end a text. */
static char *generation_text(const mu_hf_companions_t *c, const int32_t *end, int ends)
{
    json_t *root = parse(c, "generation_config.json"), *ids = json_array();
    if (!root) {
        json_decref(ids);
        return NULL;
    }
    for (int i = 0; i < ends; i++)
        json_array_append_new(ids, json_integer(end[i]));
    const json_t *was = json_object_get(root, "eos_token_id"), *one = json_array_get(ids, 0);
    bool same = ends == 0 || json_equal(was, ends == 1 && !json_is_array(was) ? one : ids);
    if (!same)
        json_object_set(root, "eos_token_id", ends == 1 ? json_array_get(ids, 0) : ids);
    char *text = same ? mu_strdup(text_of(c, "generation_config.json")) : json_dumps(root, 0);
    json_decref(ids);
    json_decref(root);
    return text;
}

static mu_status_t write_file(const char *dir, const char *name, const char *text)
{
    char *path = mu_path_join(dir, name);
    mu_status_t status = mu_file_replace(path, text, strlen(text), 0644);
    free(path);
    return status;
}

mu_status_t mu_hf_companions_write(const mu_hf_companions_t *c, const char *dir, const int32_t *end, int ends,
                                   bool *generation)
{
    char *text = generation_text(c, end, ends);
    mu_status_t status = text ? write_file(dir, "generation_config.json", text) : MU_OK;
    *generation = text != NULL;
    free(text);
    for (int i = 0; i < FILES && status == MU_OK; i++) {
        bool done = !files[i].written || strcmp(files[i].name, "generation_config.json") == 0;
        if (!done && text_of(c, files[i].name) && (c->fit || !files[i].of_tokenizer))
            status = write_file(dir, files[i].name, text_of(c, files[i].name));
    }
    return status;
}
