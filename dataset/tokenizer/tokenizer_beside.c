/* Files beside a tokenizer that say more of it, as Transformers reads them: tokenizer_config.json,
 * special_tokens_map.json, added_tokens.json. They name the token that ends a text, and tokens that Transformers would
 * add to the tokenizer. */
#include "dataset/tokenizer/tokenizer_impl.h"
#include "dataset/tokenizer/tokenizer_files.h"
#include "common/file.h"
#include "common/json.h"
#include "common/log.h"

/* A token is spelled as its text or as an object with "content"; NULL: neither. */
static const char *content_of(const json_t *token)
{
    const char *text = json_string_value(token);
    return text ? text : json_string_value(json_object_get(token, "content"));
}

/* The token of this text, -1: none; of two the added one. */
static int32_t token_of(const mu_tokenizer_t *tok, const char *content)
{
    size_t n = strlen(content);
    int32_t found = -1;
    for (int32_t id = 0; id < tok->vocab; id++) {
        const mu_piece_t *p = &tok->pieces[id];
        if ((p->model || p->added) && p->len == n && memcmp(mu_piece_bytes(tok, id), content, n) == 0) {
            if (p->added)
                return id;
            found = id;
        }
    }
    return found;
}

static mu_status_t check_named(const mu_tokenizer_t *tok, const char *path, const char *key,
                               const char *content)
{
    int32_t id = content ? token_of(tok, content) : 0;
    if (id < 0)
        return mu_fail(
            MU_DATA,
            "%s: %s: the tokenizer has no token '%s', and Transformers would add it with an id of its own: "
            "save the tokenizer again with Transformers, or take this line out",
            path, key, content);
    if (content && !tok->pieces[id].added)
        mu_warn("%s: %s: '%s' is no added token of the tokenizer: a text that holds it is cut there like any "
                "other",
                path, key, content);
    return MU_OK;
}

/* eos_token, pad_token and their kin, and the list of others. */
static mu_status_t check_roles(const mu_tokenizer_t *tok, const char *path, json_t *root)
{
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "pad_token",
                                       "sep_token", "cls_token", "mask_token"};
    static const char others[] = "additional_special_tokens";
    json_t *item;
    size_t i;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        MU_TRY(check_named(tok, path, keys[k], content_of(json_object_get(root, keys[k]))));
    json_array_foreach(json_object_get(root, others), i, item)
        MU_TRY(check_named(tok, path, others, content_of(item)));
    return MU_OK;
}

static mu_status_t check_id(const mu_tokenizer_t *tok, const char *path, const char *content, double id)
{
    int32_t found = content ? token_of(tok, content) : -1;
    if (found >= 0 && (double)found == id && tok->pieces[found].added)
        return MU_OK;
    return mu_fail(MU_DATA,
                   "%s: the added token '%s' of id %.0f is not one of the tokenizer: Transformers would add "
                   "it: save the "
                   "tokenizer again with Transformers",
                   path, content ? content : "", id);
}

/* {"50256": {"content": ...}} of tokenizer_config.json */
static mu_status_t check_decoder(const mu_tokenizer_t *tok, const char *path, json_t *root)
{
    const char *id;
    json_t *token;
    json_object_foreach(json_object_get(root, "added_tokens_decoder"), id, token)
        MU_TRY(check_id(tok, path, content_of(token), strtod(id, NULL)));
    return MU_OK;
}

static mu_status_t check_config(const mu_tokenizer_t *tok, const char *path, json_t *root)
{
    MU_TRY(check_roles(tok, path, root));
    return check_decoder(tok, path, root);
}

/* added_tokens.json: {content: id} */
static mu_status_t check_added(const mu_tokenizer_t *tok, const char *path, json_t *root)
{
    const char *content;
    json_t *id;
    json_object_foreach(root, content, id)
        MU_TRY(check_id(tok, path, content, json_is_number(id) ? json_number_value(id) : -1));
    return MU_OK;
}

static mu_status_t read_object(const char *file, json_t **root)
{
    mu_buf_t text = MU_BUF_INIT;
    json_error_t error;
    mu_status_t status = mu_file_read_text(file, MU_TOKENIZER_MAX_FILE, &text);
    if (status == MU_OK) {
        *root = mu_json_parse_real(text.data, text.len, MU_JSON_CONFIG, &error);
        if (!*root)
            status =
                mu_fail(MU_DATA, "%s:%d:%d: not a JSON text: %s", file, error.line, error.column, error.text);
    }
    mu_buf_release(&text);
    return status;
}

/* Reads NAME beside `path` if it is there, and lets `check` look at it. json_decref() *root, which is NULL without
 * it. */
static mu_status_t read_one(const mu_tokenizer_t *tok, const char *path, const char *name, json_t **root,
                            mu_status_t (*check)(const mu_tokenizer_t *, const char *, json_t *))
{
    const char *slash = strrchr(path, '/');
    char *file = mu_format("%.*s%s", slash ? (int)(slash + 1 - path) : 0, path, name);
    mu_status_t status = MU_OK;
    *root = NULL;
    if (mu_is_file(file)) {
        status = read_object(file, root);
        if (status == MU_OK && !json_is_object(*root))
            status = mu_fail(MU_DATA, "%s: wanted an object", file);
        if (status == MU_OK)
            status = check(tok, file, *root);
    }
    free(file);
    return status;
}

static void take_end(mu_tokenizer_t *tok, const json_t *root)
{
    const char *content = content_of(json_object_get(root, "eos_token"));
    if (content)
        tok->eod = token_of(tok, content);
}

mu_status_t mu_tokenizer_read_beside(mu_tokenizer_t *tok, const char *path)
{
    json_t *config = NULL, *map = NULL, *added = NULL;
    mu_status_t status;
    MU_TRY_GOTO(status, read_one(tok, path, "tokenizer_config.json", &config, check_config), out);
    MU_TRY_GOTO(status, read_one(tok, path, "special_tokens_map.json", &map, check_roles), out);
    MU_TRY_GOTO(status, read_one(tok, path, "added_tokens.json", &added, check_added), out);
    take_end(tok, config);
    if (!json_object_get(config, "added_tokens_decoder")) /* of older versions: there the map counts more */
        take_end(tok, map);
out:
    json_decref(config);
    json_decref(map);
    json_decref(added);
    return status;
}

void mu_tokenizer_set_eod(mu_tokenizer_t *tok, int32_t id)
{
    tok->eod = id;
}

mu_status_t mu_tokenizer_save_beside(const mu_tokenizer_t *tok, const char *dir)
{
    static const char usual[] = "<|endoftext|>"; /* which needs no file */
    const mu_piece_t *p = tok->eod < 0 ? NULL : &tok->pieces[tok->eod];
    if (!p || (p->len == sizeof usual - 1 && memcmp(mu_piece_bytes(tok, tok->eod), usual, p->len) == 0))
        return MU_OK;
    json_t *root = json_pack("{s:s%}", "eos_token", mu_piece_bytes(tok, tok->eod), (size_t)p->len);
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL,
         *path = mu_path_join(dir, "special_tokens_map.json");
    mu_status_t status = text ? mu_file_replace(path, text, strlen(text), 0644)
                              : mu_fail(MU_DATA, "%s: the end token is no text", path);
    json_decref(root);
    free(text);
    free(path);
    return status;
}
