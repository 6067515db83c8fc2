/* Where a tokenizer's files keep a chat template. */
#include "common/file.h"
#include "common/json.h"
#include "common/log.h"
#include "dataset/chat/chat_template.h"

#include <string.h>

static const size_t LIMIT = (size_t)4 << 20;

/* bos_token is spelled as a text or as an object with "content". */
static char *token(const json_t *root, const char *key)
{
    const json_t *value = json_object_get(root, key);
    const char *text = json_string_value(value);
    if (!text)
        text = json_string_value(json_object_get(value, "content"));
    return text ? mu_strdup(text) : NULL;
}

/* A text, or a list of named ones, of which "default" counts. */
static char *template_of(const json_t *root)
{
    const json_t *value = json_object_get(root, "chat_template"), *one;
    size_t i;
    if (json_is_string(value))
        return mu_strdup(json_string_value(value));
    json_array_foreach(value, i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));
        const char *text = json_string_value(json_object_get(one, "template"));
        if (name && text && strcmp(name, "default") == 0)
            return mu_strdup(text);
    }
    return NULL;
}

static void take_config(const json_t *root, const char *where, mu_chat_files_t *out)
{
    char *jinja = template_of(root), *bos = token(root, "bos_token");
    if (bos) {
        free(out->bos);
        out->bos = bos;
    }
    if (jinja) {
        free(out->jinja);
        free(out->where);
        out->jinja = jinja;
        out->where = mu_strdup(where);
    }
}

/* A template in a file of its own is what Transformers takes first. */
static void take_jinja(const char *text, const char *where, mu_chat_files_t *out)
{
    free(out->jinja);
    free(out->where);
    out->jinja = mu_strdup(text);
    out->where = mu_strdup(where);
}

static mu_status_t read_json(const char *path, json_t **out)
{
    mu_buf_t text = MU_BUF_INIT;
    json_error_t error;
    mu_status_t status = mu_file_read_text(path, LIMIT, &text);
    if (status == MU_OK) {
        *out = mu_json_parse_real(text.data, text.len, MU_JSON_CONFIG, &error);
        if (!*out)
            status = mu_fail(MU_DATA, "%s:%d:%d: not JSON: %s", path, error.line, error.column, error.text);
    }
    mu_buf_release(&text);
    return status;
}

static mu_status_t read_configs(const char *dir, mu_chat_files_t *out)
{
    static const char *const names[] = {"special_tokens_map.json", "tokenizer_config.json",
                                        "chat_template.json"};
    mu_status_t status = MU_OK;
    for (size_t i = 0; status == MU_OK && i < sizeof names / sizeof *names; i++) {
        char *path = mu_path_join(dir, names[i]);
        json_t *root = NULL;
        if (mu_is_file(path))
            status = read_json(path, &root);
        if (status == MU_OK && root)
            take_config(root, path, out);
        json_decref(root);
        free(path);
    }
    return status;
}

mu_status_t mu_chat_files_read(const char *tokenizer, mu_chat_files_t *out)
{
    const char *slash = strrchr(tokenizer, '/');
    char *dir = mu_is_dir(tokenizer) ? mu_strdup(tokenizer)
                : slash              ? mu_format("%.*s", (int)(slash - tokenizer), tokenizer)
                                     : mu_strdup(".");
    if (!*dir) {
        free(dir);
        dir = mu_strdup("/");
    }
    char *path = mu_path_join(dir, "chat_template.jinja");
    mu_buf_t text = MU_BUF_INIT;
    *out = (mu_chat_files_t){0};
    mu_status_t status = read_configs(dir, out);
    if (status == MU_OK && mu_is_file(path))
        status = mu_file_read_text(path, LIMIT, &text);
    if (status == MU_OK && text.len > 0)
        take_jinja(text.data, path, out);
    if (status != MU_OK)
        mu_chat_files_release(out);
    mu_buf_release(&text);
    free(path);
    free(dir);
    return status;
}

void mu_chat_files_take(const char *name, const char *companions, mu_chat_files_t *out)
{
    static const char *const names[] = {"special_tokens_map.json", "tokenizer_config.json",
                                        "chat_template.json"};
    json_error_t error;
    json_t *root = companions ? mu_json_parse(companions, strlen(companions), MU_JSON_CONFIG, &error) : NULL;
    const json_t *its = json_object_get(root, "files");
    *out = (mu_chat_files_t){0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *text = json_string_value(json_object_get(its, names[i]));
        json_t *config = text ? mu_json_parse_real(text, strlen(text), MU_JSON_CONFIG, &error) : NULL;
        char *where = mu_format("%s: %s", name, names[i]);
        if (config)
            take_config(config, where, out);
        free(where);
        json_decref(config);
    }
    const char *jinja = json_string_value(json_object_get(its, "chat_template.jinja"));
    if (jinja) {
        char *where = mu_format("%s: chat_template.jinja", name);
        take_jinja(jinja, where, out);
        free(where);
    }
    json_decref(root);
}

void mu_chat_files_release(mu_chat_files_t *files)
{
    free(files->jinja);
    free(files->bos);
    free(files->where);
    *files = (mu_chat_files_t){0};
}
