/* Making a tokenizer from its parts. */
#include "dataset/tokenizer/tokenizer_impl.h"
#include "common/log.h"

mu_tokenizer_t *mu_tokenizer_new(void)
{
    mu_tokenizer_t *tok = mu_calloc(1, sizeof *tok);
    tok->unicode = mu_unicode_new();
    tok->pre.stage[0] = (mu_stage_t){.kind = MU_STAGE_BYTE_LEVEL, .words = MU_WORDS_GPT2};
    tok->pre.count = 1;
    tok->pre.byte_level = tok->decoding.byte_level = true;
    tok->rules.unk = tok->eod = -1;
    mu_matcher_init(&tok->raw);
    mu_matcher_init(&tok->normalized);
    return tok;
}

void mu_tokenizer_free(mu_tokenizer_t *tok)
{
    if (!tok)
        return;
    mu_tokenizer_reopen(tok);
    mu_unicode_free(tok->unicode);
    mu_normalizer_release(&tok->normalizer);
    mu_pre_tokenizer_release(&tok->pre);
    mu_decoding_release(&tok->decoding);
    mu_post_processor_release(&tok->post);
    for (int i = 0; i < MU_KEPT; i++)
        json_decref(tok->kept[i]);
    free(tok->rules.unk_token);
    free(tok->rules.subword_prefix);
    free(tok->rules.word_suffix);
    mu_buf_release(&tok->settings);
    free(tok->pieces);
    mu_buf_release(&tok->bytes);
    free(tok->merges);
    free(tok->added);
    free(tok);
}

static mu_piece_t *piece(mu_tokenizer_t *tok, int32_t id)
{
    if (id >= tok->pieces_cap) {
        int32_t cap = tok->pieces_cap * 2 > id + 1 ? tok->pieces_cap * 2 : id + 1;
        tok->pieces = mu_realloc(tok->pieces, (size_t)cap * sizeof *tok->pieces);
        memset(tok->pieces + tok->pieces_cap, 0, (size_t)(cap - tok->pieces_cap) * sizeof *tok->pieces);
        tok->pieces_cap = cap;
    }
    if (id >= tok->vocab)
        tok->vocab = id + 1;
    return &tok->pieces[id];
}

void mu_tokenizer_add_model(mu_tokenizer_t *tok, int32_t id, const char *name)
{
    mu_piece_t *p = piece(tok, id);
    size_t n = strlen(name);
    p->model = true;
    p->at = (uint32_t)tok->bytes.len;
    const unsigned char *s = (const unsigned char *)name, *end = s + n;
    p->raw = !tok->pre.byte_level;
    while (s < end && !p->raw) {
        int byte = mu_byte_of_symbol(mu_utf8_next(&s));
        if (byte >= 0)
            mu_buf_addc(&tok->bytes, (char)byte);
        else
            p->raw = true;
    }
    if (p->raw) {
        tok->bytes.len = p->at;
        mu_buf_add(&tok->bytes, name, n);
    }
    p->len = (uint32_t)(tok->bytes.len - p->at);
}

void mu_tokenizer_add_added(mu_tokenizer_t *tok, const mu_added_t *added, const char *content)
{
    mu_piece_t *p = piece(tok, added->id);
    p->added = true;
    if (!p->model) { /* stands for its own text, even where it reads like byte symbols */
        p->raw = true;
        p->at = (uint32_t)tok->bytes.len;
        p->len = (uint32_t)strlen(content);
        mu_buf_add(&tok->bytes, content, p->len);
    }
    tok->added = mu_realloc(tok->added, (tok->added_count + 1) * sizeof *tok->added);
    tok->added[tok->added_count++] = *added;
}

static void add_digest(mu_tokenizer_t *tok)
{
    mu_digest_t *digest = mu_digest_new();
    mu_buf_t text = MU_BUF_INIT;
    mu_buf_add(&text, tok->settings.data, tok->settings.len);
    for (int32_t id = 0; id < tok->vocab; id++) {
        const mu_piece_t *p = &tok->pieces[id];
        if (!p->model && !p->added)
            continue;
        mu_buf_addf(&text, "%d %d%d%d %u ", id, p->model, p->raw, p->added, p->len);
        mu_buf_add(&text, mu_piece_bytes(tok, id), p->len);
        mu_buf_addc(&text, '\n');
    }
    for (size_t r = 0; r < tok->merge_count; r++)
        mu_buf_addf(&text, "%d+%d=%d\n", tok->merges[r].left, tok->merges[r].right, tok->merges[r].joined);
    for (size_t i = 0; i < tok->added_count; i++) {
        const mu_added_t *a = &tok->added[i];
        mu_buf_addf(&text, "%d %d%d%d%d%d\n", a->id, a->special, a->normalized, a->lstrip, a->rstrip,
                    a->single_word);
    }
    mu_digest_add(digest, text.data, text.len);
    mu_digest_hex(digest, tok->digest);
    mu_digest_free(digest);
    mu_buf_release(&text);
}

static const char *name_of(const void *arg, int32_t id, size_t *n)
{
    const mu_tokenizer_t *tok = arg;
    *n = tok->pieces[id].len;
    return mu_piece_bytes(tok, id);
}

int32_t mu_tokenizer_find(const mu_tokenizer_t *tok, const void *bytes, size_t n)
{
    return mu_names_find(&tok->names, name_of, tok, bytes, n);
}

/* Ids that are looked up by what tokens read like. */
static void add_names(mu_tokenizer_t *tok)
{
    const mu_model_rules_t *r = &tok->rules;
    for (size_t b = 0; b < 256; b++)
        tok->byte_id[b] = tok->rules.fallback[b] = -1;
    if (!tok->pre.byte_level || r->ignore_merges || r->gaps || r->subword_prefix || r->word_suffix)
        mu_names_init(&tok->names, (size_t)tok->vocab);
    for (int32_t id = 0; id < tok->vocab; id++) {
        const mu_piece_t *p = &tok->pieces[id];
        if (!p->model || p->raw == tok->pre.byte_level)
            continue;
        if (tok->pre.byte_level && p->len == 1)
            tok->byte_id[(unsigned char)mu_piece_bytes(tok, id)[0]] = id;
        if (tok->names.slots)
            mu_names_add(&tok->names, name_of, tok, id);
    }
    for (int b = 0; b < 256 && r->byte_fallback && tok->names.slots; b++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", b);
        tok->rules.fallback[b] = mu_tokenizer_find(tok, name, strlen(name));
    }
}

static void find_end(mu_tokenizer_t *tok)
{
    static const char eod[] = "<|endoftext|>";
    for (int32_t id = 0; id < tok->vocab; id++) {
        const mu_piece_t *p = &tok->pieces[id];
        if ((p->model || p->added) && p->len == sizeof eod - 1 &&
            memcmp(mu_piece_bytes(tok, id), eod, p->len) == 0)
            tok->eod = id;
    }
}

mu_status_t mu_tokenizer_finish(mu_tokenizer_t *tok)
{
    add_names(tok);
    find_end(tok);
    mu_bpe_init(&tok->bpe, tok->merges, tok->merge_count);
    mu_tokenizer_settle(tok);
    add_digest(tok);
    return mu_tokenizer_add_matchers(tok);
}

void mu_tokenizer_reopen(mu_tokenizer_t *tok)
{
    mu_names_release(&tok->names);
    mu_bpe_release(&tok->bpe);
    mu_matcher_release(&tok->raw);
    mu_matcher_release(&tok->normalized);
}

int32_t mu_tokenizer_vocab(const mu_tokenizer_t *tok)
{
    return tok->vocab;
}

int32_t mu_tokenizer_eod(const mu_tokenizer_t *tok)
{
    return tok->eod;
}

const char *mu_tokenizer_digest(const mu_tokenizer_t *tok)
{
    return tok->digest;
}
