/* tokenizer.json -> tokenizer. What would change ids and is not supported is refused by name. */
#include "dataset/tokenizer/tokenizer_impl.h"
#include "dataset/tokenizer/tokenizer_files.h"
#include "common/json.h"
#include "common/file.h"
#include "common/log.h"

#include <jansson.h>

mu_status_t mu_tokenizer_read_json(const char *path, json_t **out)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = mu_file_read_text(path, MU_TOKENIZER_MAX_FILE, &text);
    if (status == MU_OK) {
        json_error_t error;
        *out = mu_json_parse(text.data, text.len, MU_JSON_TOKENIZER, &error);
        if (!*out)
            status =
                mu_fail(MU_DATA, "%s:%d:%d: not a JSON text: %s", path, error.line, error.column, error.text);
    }
    mu_buf_release(&text);
    return status;
}

/* A member that is there and not null. */
static json_t *member(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static mu_status_t get_bool(const char *path, const char *where, const json_t *object, const char *key,
                            bool *value)
{
    json_t *v = member(object, key);
    if (!v)
        return MU_OK;
    if (!json_is_boolean(v))
        return mu_fail(MU_DATA, "%s: %s.%s: found something that is neither true nor false", path, where,
                       key);
    *value = json_is_true(v);
    return MU_OK;
}

/* The "type" of a component; "" when it has none. */
static const char *type_of(const json_t *component)
{
    const char *type = json_string_value(json_object_get(component, "type"));
    return type ? type : "";
}

static mu_status_t refuse(const char *path, const char *where, const char *found, const char *wanted)
{
    return mu_fail(MU_DATA, "%s: %s: found '%s', supported is %s", path, where, found, wanted);
}

/* Calls `one` for a component, or for each member of a "Sequence" of them. */
typedef mu_status_t (*component_t)(mu_tokenizer_t *tok, const char *path, const json_t *component);

static mu_status_t each(mu_tokenizer_t *tok, const char *path, const json_t *root, const char *where,
                        const char *list, component_t one)
{
    json_t *component = member(root, where), *item;
    size_t i;
    if (!component)
        return MU_OK;
    if (strcmp(type_of(component), "Sequence") != 0)
        return one(tok, path, component);
    json_t *items = json_object_get(component, list);
    if (!json_is_array(items))
        return mu_fail(MU_DATA, "%s: %s: a Sequence without the array '%s'", path, where, list);
    json_array_foreach(items, i, item) MU_TRY(one(tok, path, item));
    return MU_OK;
}

static mu_status_t read_normalizer(mu_tokenizer_t *tok, const char *path, const json_t *component)
{
    if (strcmp(type_of(component), "NFC") != 0)
        return refuse(path, "normalizer", type_of(component), "NFC or none");
    tok->nfc = true;
    return MU_OK;
}

/* What a template puts around one text. Corpora are encoded without it, so that documents stand one after the other
 * with one end token between; what it would put is named, since a model may have been trained to see it. */
static mu_status_t read_template(const char *path, const json_t *component)
{
    json_t *parts = json_object_get(component, "single"), *part;
    size_t i, texts = 0;
    if (!json_is_array(parts))
        return mu_fail(MU_DATA, "%s: post_processor: a TemplateProcessing without the array 'single'", path);
    json_array_foreach(parts, i, part)
    {
        const char *token = json_string_value(json_object_get(json_object_get(part, "SpecialToken"), "id"));
        texts += json_is_object(json_object_get(part, "Sequence"));
        if (token)
            mu_info("%s: post_processor: it puts '%s' %s each text; texts are encoded without", path, token,
                    texts > 0 ? "after" : "before");
        else if (!json_is_object(json_object_get(part, "Sequence")))
            return mu_fail(MU_DATA,
                           "%s: post_processor: part %zu of 'single' is neither Sequence nor SpecialToken",
                           path, i + 1);
    }
    return texts == 1 ? MU_OK
                      : mu_fail(MU_DATA, "%s: post_processor: 'single' holds the text %zu times, wanted once",
                                path, texts);
}

static mu_status_t read_post_processor(mu_tokenizer_t *tok, const char *path, const json_t *component)
{
    (void)tok;
    if (strcmp(type_of(component), "TemplateProcessing") == 0)
        return read_template(path, component);
    if (strcmp(type_of(component), "ByteLevel") != 0)
        return refuse(path, "post_processor", type_of(component), "ByteLevel, TemplateProcessing or none");
    return MU_OK;
}

static mu_status_t read_pre_tokenizer(mu_tokenizer_t *tok, const char *path, const json_t *root)
{
    json_t *component = member(root, "pre_tokenizer");
    if (!component)
        return mu_fail(MU_DATA, "%s: pre_tokenizer: found none, supported is ByteLevel", path);
    if (strcmp(type_of(component), "Sequence") == 0) {
        json_t *items = json_object_get(component, "pretokenizers");
        if (json_array_size(items) != 1)
            return refuse(path, "pre_tokenizer", "Sequence", "ByteLevel alone");
        component = json_array_get(items, 0);
    }
    if (strcmp(type_of(component), "ByteLevel") != 0)
        return refuse(path, "pre_tokenizer", type_of(component), "ByteLevel");
    tok->prefix_space = true; /* the library's defaults */
    tok->words = true;
    MU_TRY(get_bool(path, "pre_tokenizer", component, "add_prefix_space", &tok->prefix_space));
    return get_bool(path, "pre_tokenizer", component, "use_regex", &tok->words);
}

static mu_status_t read_decoder(const char *path, const json_t *root)
{
    json_t *decoder = member(root, "decoder");
    if (!decoder)
        return mu_fail(MU_DATA, "%s: decoder: found none, supported is ByteLevel", path);
    return strcmp(type_of(decoder), "ByteLevel") == 0
               ? MU_OK
               : refuse(path, "decoder", type_of(decoder), "ByteLevel");
}

mu_status_t mu_tokenizer_read_vocab(mu_tokenizer_t *tok, const char *path, json_t *vocab)
{
    const char *name;
    json_t *value;
    if (json_object_size(vocab) == 0)
        return mu_fail(MU_DATA, "%s: the vocabulary is not an object of token names with ids", path);
    json_object_foreach(vocab, name, value)
    {
        json_int_t id = json_integer_value(value);
        if (!json_is_integer(value) || id < 0 || id >= MU_TOKENIZER_MAX_ID)
            return mu_fail(MU_DATA, "%s: vocabulary: the id of '%s' is not an integer from 0 to %d", path,
                           name, MU_TOKENIZER_MAX_ID - 1);
        if (name[0] == '\0')
            return mu_fail(MU_DATA, "%s: vocabulary: id %d has an empty name", path, (int)id);
        if (id < tok->vocab && tok->pieces[id].model)
            return mu_fail(MU_DATA, "%s: vocabulary: '%s' has id %d, which another token has already", path,
                           name, (int)id);
        mu_tokenizer_add_model(tok, (int32_t)id, name);
    }
    return MU_OK;
}

static int32_t id_of(const json_t *vocab, const char *name)
{
    json_t *value = json_object_get(vocab, name);
    return value ? (int32_t)json_integer_value(value) : -1;
}

mu_status_t mu_tokenizer_add_merge(mu_tokenizer_t *tok, const char *path, size_t number, json_t *vocab,
                                   const char *left, const char *right)
{
    char *joined = mu_format("%s%s", left, right);
    mu_merge_t merge = {id_of(vocab, left), id_of(vocab, right), id_of(vocab, joined)};
    const char *unknown = merge.left < 0 ? left : merge.right < 0 ? right : merge.joined < 0 ? joined : NULL;
    mu_status_t status = MU_OK;
    if (unknown)
        status = mu_fail(MU_DATA, "%s: merge %zu ('%s' with '%s'): '%s' is not in the vocabulary", path,
                         number, left, right, unknown);
    else
        tok->merges[tok->merge_count++] = merge;
    free(joined);
    return status;
}

mu_status_t mu_tokenizer_split_merge(const char *path, size_t number, char *line, char **right)
{
    char *space = strchr(line, ' ');
    if (!space || space == line || space[1] == '\0' || strchr(space + 1, ' '))
        return mu_fail(MU_DATA, "%s: merge %zu: found '%.100s', wanted two tokens with one space between",
                       path, number, line);
    *space = '\0';
    *right = space + 1;
    return MU_OK;
}

static mu_status_t read_merge(mu_tokenizer_t *tok, const char *path, size_t number, json_t *vocab,
                              const json_t *item)
{
    if (json_is_string(item)) {
        char *line = mu_strdup(json_string_value(item)), *right = NULL;
        mu_status_t status = MU_OK;
        /* the library skips such lines wherever they are */
        if (strncmp(line, "#version", 8) != 0)
            status = mu_tokenizer_split_merge(path, number, line, &right);
        if (status == MU_OK && right)
            status = mu_tokenizer_add_merge(tok, path, number, vocab, line, right);
        free(line);
        return status;
    }
    const char *left = json_string_value(json_array_get(item, 0));
    const char *right = json_string_value(json_array_get(item, 1));
    if (json_array_size(item) != 2 || !left || !right)
        return mu_fail(MU_DATA, "%s: merge %zu is neither \"a b\" nor [\"a\", \"b\"]", path, number);
    return mu_tokenizer_add_merge(tok, path, number, vocab, left, right);
}

/* The bytes that UTF-8 can contain must all have symbols before a setting for missing ones means nothing. */
static bool has_all_symbols(const json_t *vocab)
{
    bool all = true;
    mu_buf_t name = MU_BUF_INIT;
    for (unsigned b = 0; b < 0xF5; b++) {
        mu_buf_clear(&name);
        mu_utf8_add(&name, mu_symbol_of_byte((unsigned char)b));
        all = all && (b == 0xC0 || b == 0xC1 || json_object_get(vocab, name.data));
    }
    mu_buf_release(&name);
    return all;
}

static mu_status_t check_model(const char *path, const json_t *model, const json_t *vocab)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    bool fallback = false, ignore_merges = false;
    json_t *dropout = member(model, "dropout");
    if (dropout && !(json_is_number(dropout) && json_number_value(dropout) == 0))
        return mu_fail(MU_DATA, "%s: model.dropout: supported is null: ids must not depend on chance", path);
    for (size_t i = 0; i < 2; i++) {
        json_t *affix = member(model, affixes[i]);
        if (affix && (!json_is_string(affix) || json_string_length(affix) > 0))
            return mu_fail(MU_DATA, "%s: model.%s: supported is null", path, affixes[i]);
    }
    MU_TRY(get_bool(path, "model", model, "ignore_merges", &ignore_merges));
    if (ignore_merges)
        return mu_fail(MU_DATA, "%s: model.ignore_merges: supported is false", path);
    MU_TRY(get_bool(path, "model", model, "byte_fallback", &fallback));
    if (has_all_symbols(vocab))
        return MU_OK;
    if (fallback || member(model, "unk_token"))
        return mu_fail(
            MU_DATA, "%s: model: some byte has no token, and unk_token or byte_fallback wants another for it",
            path);
    mu_warn("%s: some byte has no token: it is left out of texts, as the tokenizers library does", path);
    return MU_OK;
}

static mu_status_t read_model(mu_tokenizer_t *tok, const char *path, const json_t *root)
{
    json_t *model = member(root, "model"), *item;
    size_t i;
    if (!json_is_object(model))
        return mu_fail(MU_DATA, "%s: no object 'model': not a tokenizer.json", path);
    /* files of old versions have no type; these two members make it BPE */
    const char *type = member(model, "type") ? type_of(model) : "BPE";
    if (strcmp(type, "BPE") != 0)
        return refuse(path, "model", type, "BPE");
    json_t *vocab = json_object_get(model, "vocab"), *merges = json_object_get(model, "merges");
    MU_TRY(mu_tokenizer_read_vocab(tok, path, vocab));
    MU_TRY(check_model(path, model, vocab));
    if (!json_is_array(merges))
        return mu_fail(MU_DATA, "%s: model.merges is not an array", path);
    tok->merges = mu_calloc(json_array_size(merges), sizeof *tok->merges);
    json_array_foreach(merges, i, item) MU_TRY(read_merge(tok, path, i + 1, vocab, item));
    return MU_OK;
}

static mu_status_t read_added_token(mu_tokenizer_t *tok, const char *path, const json_t *vocab,
                                    const json_t *item, json_t *seen)
{
    json_t *id = json_object_get(item, "id");
    const char *content = json_string_value(json_object_get(item, "content"));
    if (!json_is_integer(id) || !content || content[0] == '\0')
        return mu_fail(MU_DATA, "%s: added_tokens: a token without 'id' or 'content'", path);
    json_int_t number = json_integer_value(id);
    if (number < 0 || number >= MU_TOKENIZER_MAX_ID)
        return mu_fail(MU_DATA, "%s: added_tokens: the id of '%s' is not from 0 to %d", path, content,
                       MU_TOKENIZER_MAX_ID - 1);
    mu_added_t added = {.id = (int32_t)number};
    MU_TRY(get_bool(path, "added_tokens", item, "special", &added.special));
    added.normalized = !added.special;
    MU_TRY(get_bool(path, "added_tokens", item, "normalized", &added.normalized));
    MU_TRY(get_bool(path, "added_tokens", item, "lstrip", &added.lstrip));
    MU_TRY(get_bool(path, "added_tokens", item, "rstrip", &added.rstrip));
    MU_TRY(get_bool(path, "added_tokens", item, "single_word", &added.single_word));
    int32_t known = id_of(vocab, content);
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
    json_t *list = member(root, "added_tokens"), *item;
    const json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    mu_status_t status = MU_OK;
    size_t i;
    if (list && !json_is_array(list))
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

static mu_status_t read_tokenizer(mu_tokenizer_t *tok, const char *path, const json_t *root)
{
    static const char *const batch[] = {"truncation", "padding"};
    for (size_t i = 0; i < 2; i++)
        if (member(root, batch[i]))
            mu_warn("%s: %s is left out: texts keep their length", path, batch[i]);
    MU_TRY(each(tok, path, root, "normalizer", "normalizers", read_normalizer));
    MU_TRY(read_pre_tokenizer(tok, path, root));
    MU_TRY(each(tok, path, root, "post_processor", "processors", read_post_processor));
    MU_TRY(read_decoder(path, root));
    MU_TRY(read_model(tok, path, root));
    return read_added_tokens(tok, path, root);
}

mu_status_t mu_tokenizer_load(const char *path, mu_tokenizer_t **out)
{
    char *inside = NULL, *merges = NULL;
    json_t *root = NULL;
    mu_tokenizer_t *tok = NULL;
    mu_status_t status = MU_OK;
    if (mu_is_dir(path)) {
        inside = mu_path_join(path, "tokenizer.json");
        if (!mu_is_file(inside)) {
            free(inside);
            inside = mu_path_join(path, "vocab.json");
        }
        if (!mu_is_file(inside)) {
            status = mu_fail(MU_NOINPUT, "%s: holds neither tokenizer.json nor vocab.json", path);
            goto out;
        }
        path = inside;
    }
    MU_TRY_GOTO(status, mu_tokenizer_read_json(path, &root), out);
    if (json_is_object(root) && !json_is_object(json_object_get(root, "model")) &&
        json_is_integer(json_object_iter_value(json_object_iter(root)))) {
        const char *slash = strrchr(path, '/');
        merges = mu_format("%.*smerges.txt", slash ? (int)(slash + 1 - path) : 0, path);
        status = mu_tokenizer_from_gpt2(path, root, merges, out);
        goto out;
    }
    tok = mu_tokenizer_new();
    MU_TRY_GOTO(status, read_tokenizer(tok, path, root), out);
    mu_tokenizer_finish(tok);
    *out = tok;
    tok = NULL;
out:
    mu_tokenizer_free(tok);
    json_decref(root);
    free(merges);
    free(inside);
    return status;
}
