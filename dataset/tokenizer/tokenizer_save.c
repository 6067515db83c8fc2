/* tokenizer -> tokenizer.json, in the form that every version of the tokenizers library reads. */
#include "dataset/tokenizer/tokenizer_impl.h"
#include "common/file.h"
#include "common/log.h"

#include <jansson.h>

/* The parts of a tokenizer that no file was read for: GPT-NeoX's. */
static json_t *byte_level(void)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1,
                     "use_regex", 1);
}

static json_t *kept(const mu_tokenizer_t *tok, int part)
{
    bool read = tok->kept[MU_KEPT_DECODER] != NULL; /* every file has one */
    if (tok->kept[part])
        return json_incref(tok->kept[part]);
    if (part == MU_KEPT_NORMALIZER && !read && tok->nfc)
        return json_pack("{s:s}", "type", "NFC");
    return read || part == MU_KEPT_NORMALIZER ? json_null() : byte_level();
}

static json_t *name_of(const mu_tokenizer_t *tok, int32_t id, mu_buf_t *name)
{
    mu_buf_clear(name);
    mu_tokenizer_name(tok, id, name);
    return json_stringn(name->data, name->len);
}

static json_t *added_tokens(const mu_tokenizer_t *tok)
{
    json_t *list = json_array();
    mu_buf_t name = MU_BUF_INIT;
    for (size_t i = 0; i < tok->added_count; i++) {
        const mu_added_t *a = &tok->added[i];
        json_array_append_new(list, json_pack("{s:i, s:o, s:b, s:b, s:b, s:b, s:b}", "id", a->id, "content",
                                              name_of(tok, a->id, &name), "single_word", a->single_word,
                                              "lstrip", a->lstrip, "rstrip", a->rstrip, "normalized",
                                              a->normalized, "special", a->special));
    }
    mu_buf_release(&name);
    return list;
}

static json_t *vocabulary(const mu_tokenizer_t *tok)
{
    json_t *vocab = json_object();
    mu_buf_t name = MU_BUF_INIT;
    for (int32_t id = 0; id < tok->vocab; id++)
        if (tok->pieces[id].model) {
            mu_buf_clear(&name);
            mu_tokenizer_name(tok, id, &name);
            json_object_set_new(vocab, name.data, json_integer(id));
        }
    mu_buf_release(&name);
    return vocab;
}

/* "a b" as long as no token has a space in it, else ["a", "b"], which older versions cannot read. */
static json_t *merges(const mu_tokenizer_t *tok)
{
    json_t *list = json_array();
    mu_buf_t left = MU_BUF_INIT, right = MU_BUF_INIT;
    bool pairs = false;
    for (int32_t id = 0; id < tok->vocab; id++)
        pairs = pairs || (tok->pieces[id].model && tok->pieces[id].raw &&
                          memchr(mu_piece_bytes(tok, id), ' ', tok->pieces[id].len));
    for (size_t r = 0; r < tok->merge_count; r++) {
        const mu_merge_t *m = &tok->merges[r];
        if (pairs) {
            json_t *a = name_of(tok, m->left, &left), *b = name_of(tok, m->right, &right);
            json_array_append_new(list, json_pack("[o, o]", a, b));
            continue;
        }
        mu_buf_clear(&left);
        mu_tokenizer_name(tok, m->left, &left);
        mu_buf_addc(&left, ' ');
        mu_tokenizer_name(tok, m->right, &left);
        json_array_append_new(list, json_stringn(left.data, left.len));
    }
    mu_buf_release(&left);
    mu_buf_release(&right);
    return list;
}

mu_status_t mu_tokenizer_save(const mu_tokenizer_t *tok, const char *path)
{
    const mu_model_rules_t *r = &tok->rules;
    json_t *model = json_pack("{s:s, s:n, s:s?, s:s?, s:s?, s:b, s:b, s:b, s:o, s:o}", "type", "BPE",
                              "dropout", "unk_token", r->unk_token, "continuing_subword_prefix",
                              r->subword_prefix, "end_of_word_suffix", r->word_suffix, "fuse_unk",
                              r->fuse_unk, "byte_fallback", r->byte_fallback, "ignore_merges",
                              r->ignore_merges, "vocab", vocabulary(tok), "merges", merges(tok));
    if (!r->ignore_merges) /* which versions before 2024 do not know */
        json_object_del(model, "ignore_merges");
    json_t *root =
        json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding",
                  "added_tokens", added_tokens(tok), "normalizer", kept(tok, MU_KEPT_NORMALIZER),
                  "pre_tokenizer", kept(tok, MU_KEPT_PRE_TOKENIZER), "post_processor",
                  kept(tok, MU_KEPT_POST_PROCESSOR), "decoder", kept(tok, MU_KEPT_DECODER), "model", model);
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    if (!text)
        return mu_fail(MU_BUG, "%s: the tokenizer does not fit JSON", path);
    mu_status_t status = mu_file_replace(path, text, strlen(text), 0644);
    free(text);
    return status;
}
