/* The model of a tokenizer.json, and what it shares with vocab.json + merges.txt: tokens and merges. */
#include "dataset/tokenizer/tokenizer_impl.h"
#include "dataset/tokenizer/tokenizer_files.h"
#include "common/json.h"
#include "common/file.h"
#include "common/log.h"

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
    const char *prefix = tok->rules.subword_prefix;
    size_t n = prefix && strncmp(right, prefix, strlen(prefix)) == 0 ? strlen(prefix) : 0;
    char *joined = mu_format("%s%s", left, right + n);
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

/* What is put around symbols. With a byte level these are bytes, so it must be spelled as it is. */
static mu_status_t read_affix(const mu_part_t *model, const char *key, bool byte_level, char **out)
{
    mu_part_t part;
    const char *text;
    if (!mu_part_member(model, key, &part))
        return MU_OK;
    MU_TRY(mu_part_text(model, key, &text));
    for (const char *p = text; byte_level && *p; p++)
        if (*p <= ' ' || *p > '~')
            return mu_part_refuse(&part, text, "printable ASCII, with ByteLevel");
    *out = text[0] ? mu_strdup(text) : NULL;
    return MU_OK;
}

static mu_status_t check_dropout(const mu_part_t *model)
{
    mu_part_t part;
    if (!mu_part_member(model, "dropout", &part) ||
        (json_is_number(part.json) && json_number_value(part.json) == 0))
        return MU_OK;
    return mu_fail(MU_DATA, "%s: %s: supported is null: ids must not depend on chance", part.file,
                   part.where);
}

static mu_status_t read_unk(const mu_part_t *model, const json_t *vocab, mu_model_rules_t *rules)
{
    mu_part_t part;
    const char *text;
    if (!mu_part_member(model, "unk_token", &part))
        return MU_OK;
    MU_TRY(mu_part_text(model, "unk_token", &text));
    rules->unk_token = mu_strdup(text);
    rules->unk = id_of(vocab, text);
    return MU_OK;
}

static mu_status_t read_rules(const mu_part_t *model, const json_t *vocab, bool byte_level,
                              mu_model_rules_t *rules)
{
    MU_TRY(check_dropout(model));
    MU_TRY(read_affix(model, "continuing_subword_prefix", byte_level, &rules->subword_prefix));
    MU_TRY(read_affix(model, "end_of_word_suffix", byte_level, &rules->word_suffix));
    MU_TRY(mu_part_bool(model, "ignore_merges", &rules->ignore_merges));
    MU_TRY(mu_part_bool(model, "byte_fallback", &rules->byte_fallback));
    MU_TRY(mu_part_bool(model, "fuse_unk", &rules->fuse_unk));
    return read_unk(model, vocab, rules);
}

/* What becomes of a character, or byte, that has no token. */
static mu_status_t check_unknown(const mu_part_t *model, const json_t *vocab, bool byte_level,
                                 mu_model_rules_t *rules)
{
    bool all = byte_level && has_all_symbols(vocab) && !rules->subword_prefix && !rules->word_suffix;
    if (all)
        return MU_OK;
    rules->gaps = byte_level && (rules->byte_fallback || rules->unk_token);
    if (rules->unk_token && rules->unk < 0)
        return mu_fail(MU_DATA, "%s: model.unk_token: '%s' is not in the vocabulary", model->file,
                       rules->unk_token);
    if (byte_level && !rules->gaps && !has_all_symbols(vocab))
        mu_warn("%s: some byte has no token: it is left out of texts, as the tokenizers library does",
                model->file);
    if (!byte_level && !rules->unk_token && !rules->byte_fallback)
        mu_warn("%s: the model has no unk_token: characters without a token are left out of texts, as the "
                "tokenizers "
                "library does",
                model->file);
    return MU_OK;
}

mu_status_t mu_tokenizer_read_model(mu_tokenizer_t *tok, const mu_part_t *root)
{
    mu_part_t model;
    json_t *item;
    size_t i;
    if (!mu_part_member(root, "model", &model) || !json_is_object(model.json))
        return mu_fail(MU_DATA, "%s: no object 'model': not a tokenizer.json", root->file);
    /* files of old versions have no type; vocab and merges make it BPE */
    const char *type = mu_part_type(&model);
    if (type[0] && strcmp(type, "BPE") != 0)
        return mu_part_refuse(&model, type, "BPE");
    json_t *vocab = json_object_get(model.json, "vocab"), *merges = json_object_get(model.json, "merges");
    MU_TRY(mu_tokenizer_read_vocab(tok, root->file, vocab));
    MU_TRY(read_rules(&model, vocab, tok->pre.byte_level, &tok->rules));
    MU_TRY(check_unknown(&model, vocab, tok->pre.byte_level, &tok->rules));
    MU_TRY(mu_part_keys(&model, (const char *const[]){"dropout", "unk_token", "continuing_subword_prefix",
                                                      "end_of_word_suffix", "fuse_unk", "byte_fallback",
                                                      "ignore_merges", "vocab", "merges", NULL}));
    if (!json_is_array(merges))
        return mu_fail(MU_DATA, "%s: model.merges is not an array", root->file);
    tok->merges = mu_calloc(json_array_size(merges), sizeof *tok->merges);
    json_array_foreach(merges, i, item) MU_TRY(read_merge(tok, root->file, i + 1, vocab, item));
    return MU_OK;
}
