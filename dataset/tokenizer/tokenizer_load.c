/* tokenizer.json -> tokenizer. What would change ids and is not supported is refused by its path in the file. */
#include "dataset/tokenizer/tokenizer_impl.h"
#include "dataset/tokenizer/tokenizer_files.h"
#include "common/file.h"
#include "common/log.h"

#include <jansson.h>

static mu_status_t read_added_token(mu_tokenizer_t *tok, const char *path, const json_t *vocab, json_t *item,
                                    json_t *seen)
{
    mu_part_t part = {.file = path, .where = "added_tokens", .json = item};
    json_t *id = json_object_get(item, "id");
    const char *content = json_string_value(json_object_get(item, "content"));
    if (!json_is_integer(id) || !content || content[0] == '\0')
        return mu_fail(MU_DATA, "%s: added_tokens: a token without 'id' or 'content'", path);
    json_int_t number = json_integer_value(id);
    if (number < 0 || number >= MU_TOKENIZER_MAX_ID)
        return mu_fail(MU_DATA, "%s: added_tokens: the id of '%s' is not from 0 to %d", path, content,
                       MU_TOKENIZER_MAX_ID - 1);
    mu_added_t added = {.id = (int32_t)number};
    MU_TRY(mu_part_bool(&part, "special", &added.special));
    added.normalized = !added.special;
    MU_TRY(mu_part_bool(&part, "normalized", &added.normalized));
    MU_TRY(mu_part_bool(&part, "lstrip", &added.lstrip));
    MU_TRY(mu_part_bool(&part, "rstrip", &added.rstrip));
    MU_TRY(mu_part_bool(&part, "single_word", &added.single_word));
    MU_TRY(mu_part_keys(&part, (const char *const[]){"id", "content", "special", "normalized", "lstrip",
                                                     "rstrip", "single_word", NULL}));
    json_t *own = json_object_get(vocab, content);
    int32_t known = own ? (int32_t)json_integer_value(own) : -1;
    if (known >= 0 && known != added.id)
        return mu_fail(MU_DATA, "%s: added_tokens: '%s' has id %d, and id %d in the vocabulary", path,
                       content, added.id, known);
    if (json_object_get(seen, content) ||
        (added.id < tok->vocab &&
         (tok->pieces[added.id].added || (known < 0 && tok->pieces[added.id].model))))
        return mu_fail(MU_DATA, "%s: added_tokens: '%s' comes twice, or its id %d is another token's", path,
                       content, added.id);
    json_object_set_new(seen, content, json_true());
    mu_tokenizer_add_added(tok, &added, content);
    return MU_OK;
}

static mu_status_t read_added_tokens(mu_tokenizer_t *tok, const char *path, const json_t *root)
{
    json_t *list = json_object_get(root, "added_tokens"), *item;
    const json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    mu_status_t status = MU_OK;
    size_t i;
    if (list && !json_is_null(list) && !json_is_array(list))
        return mu_fail(MU_DATA, "%s: added_tokens is not an array", path);
    json_t *seen = json_object();
    json_array_foreach(list, i, item)
    {
        status = read_added_token(tok, path, vocab, item, seen);
        if (status != MU_OK)
            break;
    }
    json_decref(seen);
    return status;
}

/* Whether the text of a document is normalized from its very start, which Metaspace's scheme `first` looks at. */
static bool keeps_start(const mu_normalizer_t *normalizer)
{
    for (int i = 0; i < normalizer->count; i++) {
        const mu_step_t *s = &normalizer->step[i];
        if ((s->kind == MU_STEP_STRIP && s->left) || (s->kind == MU_STEP_REPLACE && s->content[0] == '\0'))
            return false;
    }
    return true;
}

/* Parts that each are supported, but not with each other. */
static mu_status_t check_parts(const mu_tokenizer_t *tok, const char *path)
{
    if (tok->pre.byte_level != tok->decoding.byte_level)
        return mu_fail(MU_DATA, "%s: pre_tokenizer and decoder: ByteLevel is in one of them only", path);
    for (int i = 0; i < tok->pre.count; i++)
        if (tok->pre.stage[i].kind == MU_STAGE_METASPACE && tok->pre.stage[i].prepend == MU_PREPEND_FIRST &&
            !keeps_start(&tok->normalizer))
            return mu_fail(
                MU_DATA,
                "%s: pre_tokenizer: Metaspace with prepend_scheme 'first' is not supported after a "
                "normalizer that takes characters away",
                path);
    return MU_OK;
}

/* The tokens of a template must be there. */
static mu_status_t check_template(const mu_tokenizer_t *tok, const char *path)
{
    const mu_ids_t *lists[] = {&tok->post.before, &tok->post.after};
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < lists[k]->len; i++) {
            int32_t id = lists[k]->data[i];
            if (id >= tok->vocab || !(tok->pieces[id].model || tok->pieces[id].added))
                return mu_fail(MU_DATA, "%s: post_processor: id %d has no token", path, id);
        }
    return MU_OK;
}

/* Steps before ByteLevel must change none of the model's tokens. An added token stands for its own text. */
static mu_status_t check_decoding(const mu_tokenizer_t *tok, const char *path)
{
    mu_buf_t name = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    if (!tok->decoding.byte_level || tok->decoding.count == 0)
        return MU_OK;
    for (int32_t id = 0; id < tok->vocab && status == MU_OK; id++) {
        if (!tok->pieces[id].model || tok->pieces[id].added)
            continue;
        mu_buf_clear(&name);
        mu_tokenizer_name(tok, id, &name);
        if (mu_decoding_minds(&tok->decoding, name.data, name.len))
            status = mu_fail(MU_DATA, "%s: decoder: the steps before ByteLevel would change the token '%s'",
                             path, name.data);
    }
    mu_buf_release(&name);
    return status;
}

static void keep_parts(mu_tokenizer_t *tok, const json_t *root)
{
    static const char *const names[MU_KEPT] = {"normalizer", "pre_tokenizer", "post_processor", "decoder"};
    for (int i = 0; i < MU_KEPT; i++) {
        json_t *part = json_object_get(root, names[i]);
        tok->kept[i] = json_is_null(part) ? NULL : json_incref(part);
    }
}

static mu_status_t read_tokenizer(mu_tokenizer_t *tok, const char *path, json_t *json)
{
    static const char *const batch[] = {"truncation", "padding"};
    mu_part_t root = {.file = path, .json = json}, part;
    MU_TRY(mu_part_keys(&root, (const char *const[]){"version", "truncation", "padding", "added_tokens",
                                                     "normalizer", "pre_tokenizer", "post_processor",
                                                     "decoder", "model", NULL}));
    for (size_t i = 0; i < 2; i++)
        if (mu_part_member(&root, batch[i], &part))
            mu_warn("%s: %s is left out: texts keep their length", path, batch[i]);
    tok->pre = (mu_pre_tokenizer_t){.count = 0};
    tok->decoding = (mu_decoding_t){.count = 0};
    MU_TRY(mu_normalizer_read(&root, &tok->normalizer));
    tok->nfc = mu_normalizer_is_nfc(&tok->normalizer);
    if (tok->nfc)
        mu_normalizer_release(&tok->normalizer);
    MU_TRY(mu_pre_tokenizer_read(&root, &tok->pre));
    MU_TRY(mu_post_processor_read(&root, &tok->post));
    MU_TRY(mu_decoding_read(&root, &tok->decoding));
    MU_TRY(check_parts(tok, path));
    MU_TRY(mu_tokenizer_read_model(tok, &root));
    MU_TRY(read_added_tokens(tok, path, json));
    MU_TRY(check_template(tok, path));
    MU_TRY(check_decoding(tok, path));
    keep_parts(tok, json);
    return mu_tokenizer_finish(tok);
}

/* The file of a directory: tokenizer.json before vocab.json. NULL, and the error is logged: it holds neither. */
static char *file_in(const char *dir)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = mu_path_join(dir, names[i]);
        if (mu_is_file(path))
            return path;
        free(path);
    }
    mu_error("%s: holds neither tokenizer.json nor vocab.json", dir);
    return NULL;
}

static mu_status_t read_pair(const char *path, json_t *vocab, const char *merges, mu_tokenizer_t **out)
{
    const char *slash = strrchr(path, '/');
    char *beside = mu_format("%.*smerges.txt", slash ? (int)(slash + 1 - path) : 0, path);
    mu_status_t status = mu_tokenizer_from_gpt2(path, vocab, merges ? merges : beside, out);
    free(beside);
    return status;
}

mu_status_t mu_tokenizer_load_whole(const char *path, const char *merges, mu_tokenizer_t **out, char **whole)
{
    char *file = mu_is_dir(path) ? file_in(path) : mu_strdup(path);
    json_t *root = NULL;
    mu_tokenizer_t *tok = NULL;
    bool pair = false;
    mu_status_t status = file ? mu_tokenizer_read_json(file, &root) : MU_NOINPUT;
    if (status != MU_OK)
        goto out;
    pair = mu_tokenizer_is_vocabulary(root);
    if (pair) {
        MU_TRY_GOTO(status, read_pair(file, root, merges, &tok), out);
    } else {
        if (merges)
            mu_warn("merge_file '%s' is not used: '%s' is a whole tokenizer", merges, file);
        tok = mu_tokenizer_new();
        MU_TRY_GOTO(status, read_tokenizer(tok, file, root), out);
    }
    MU_TRY_GOTO(status, mu_tokenizer_read_beside(tok, file), out);
    *out = tok;
    *whole = pair ? NULL : file;
    tok = NULL;
    file = pair ? file : NULL;
out:
    mu_tokenizer_free(tok);
    json_decref(root);
    free(file);
    return status;
}

mu_status_t mu_tokenizer_load_files(const char *path, const char *merges, mu_tokenizer_t **out)
{
    char *whole = NULL;
    MU_TRY(mu_tokenizer_load_whole(path, merges, out, &whole));
    free(whole);
    return MU_OK;
}

mu_status_t mu_tokenizer_load(const char *path, mu_tokenizer_t **out)
{
    return mu_tokenizer_load_files(path, NULL, out);
}
