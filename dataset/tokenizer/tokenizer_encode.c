/* Text to ids: added tokens, NFC, words, merges, with the ids of recent words kept. */
#include "dataset/tokenizer/tokenizer_impl.h"
#include "common/log.h"

/* One cache line a word: most words are short and become few ids. */
#define KEY_BYTES 24
#define LINE_IDS  9
#define LINES     65536

typedef struct line {
    uint64_t key[KEY_BYTES / 8]; /* the word, zeros after it it */
    int32_t ids[LINE_IDS];
    uint8_t len, count; /* len 0: empty */
} line_t;

_Static_assert(sizeof(line_t) == 64, "a word's line is one cache line");

struct mu_encoder {
    const mu_tokenizer_t *tok;
    line_t *lines;
    mu_bpe_work_t work;
    mu_ids_t word;
    mu_buf_t repaired, nfc, prefixed, symbol;
    mu_normalizing_t normalizing;
    mu_cutter_t cutter;
    mu_ids_t *out; /* of the cutter's words */
};

static void take_word(void *arg, const unsigned char *p, size_t n);

mu_encoder_t *mu_encoder_new(const mu_tokenizer_t *tok)
{
    mu_encoder_t *e = mu_calloc(1, sizeof *e);
    e->tok = tok;
    e->lines = mu_calloc(LINES, sizeof *e->lines);
    mu_normalizing_init(&tok->normalizer, &e->normalizing);
    mu_cutter_init(&tok->pre, tok->unicode, take_word, e, &e->cutter);
    return e;
}

void mu_encoder_free(mu_encoder_t *e)
{
    if (!e)
        return;
    free(e->lines);
    mu_bpe_work_release(&e->work);
    mu_ids_release(&e->word);
    mu_buf_release(&e->repaired);
    mu_buf_release(&e->nfc);
    mu_buf_release(&e->prefixed);
    mu_buf_release(&e->symbol);
    mu_normalizing_release(&e->normalizing);
    mu_cutter_release(&e->cutter);
    free(e);
}

/* Copies at most KEY_BYTES bytes over zeros, without reading past them. */
static inline void copy_key(unsigned char *key, const unsigned char *p, size_t n)
{
    if (n >= 8) {
        memcpy(key, p, 8);
        if (n > 16)
            memcpy(key + 8, p + 8, 8);
        memcpy(key + n - 8, p + n - 8, 8);
    } else if (n >= 4) {
        memcpy(key, p, 4);
        memcpy(key + n - 4, p + n - 4, 4);
    } else {
        key[0] = p[0];
        key[n / 2] = p[n / 2];
        key[n - 1] = p[n - 1];
    }
}

static inline size_t line_of(const uint64_t key[3], size_t n)
{
    uint64_t h = (key[0] ^ n) * 0x9E3779B97F4A7C15u;
    h = (h ^ h >> 32 ^ key[1]) * 0xD6E8FEB86659FD93u;
    h = (h ^ h >> 32 ^ key[2]) * 0xD6E8FEB86659FD93u;
    return (size_t)(h >> 40) & (LINES - 1);
}

/* The token of one symbol of a word, with what the model puts around it; -1: none. */
static int32_t symbol_id(mu_encoder_t *e, const unsigned char *p, size_t n, bool first, bool last)
{
    const mu_model_rules_t *r = &e->tok->rules;
    if (!r->subword_prefix && !r->word_suffix)
        return mu_tokenizer_find(e->tok, p, n);
    mu_buf_clear(&e->symbol);
    if (r->subword_prefix && !first)
        mu_buf_adds(&e->symbol, r->subword_prefix);
    mu_buf_add(&e->symbol, p, n);
    if (r->word_suffix && last)
        mu_buf_adds(&e->symbol, r->word_suffix);
    return mu_tokenizer_find(e->tok, e->symbol.data, e->symbol.len);
}

/* The bytes of a symbol without a token, as <0xHH>; false when one of them has none. Of a byte it is the character that
 * stands for it. */
static bool fall_back(mu_encoder_t *e, const unsigned char *p, size_t n)
{
    const int32_t *fallback = e->tok->rules.fallback;
    if (e->tok->pre.byte_level) {
        mu_buf_clear(&e->symbol);
        mu_utf8_add(&e->symbol, mu_symbol_of_byte(*p));
        p = (const unsigned char *)e->symbol.data;
        n = e->symbol.len;
    }
    for (size_t i = 0; i < n; i++)
        if (fallback[p[i]] < 0)
            return false;
    for (size_t i = 0; i < n; i++)
        e->word.data[e->word.len++] = fallback[p[i]];
    return true;
}

/* A word's symbols, characters or (byte level) bytes. What has no token is unk_token; that is put when the next symbol
 * with a token comes, after bytes that fell back meanwhile, as in the tokenizers library. */
static void find_symbols(mu_encoder_t *e, const unsigned char *p, size_t n)
{
    const mu_model_rules_t *r = &e->tok->rules;
    const unsigned char *begin = p, *end = p + n;
    bool pending = false;
    while (p < end) {
        const unsigned char *at = p;
        if (e->tok->pre.byte_level)
            p++;
        else
            mu_utf8_next(&p);
        int32_t id = symbol_id(e, at, (size_t)(p - at), at == begin, p == end);
        if (id >= 0) {
            if (pending)
                e->word.data[e->word.len++] = r->unk;
            pending = false;
            e->word.data[e->word.len++] = id;
        } else if (!(r->byte_fallback && fall_back(e, at, (size_t)(p - at))) && r->unk_token) {
            if (pending && !r->fuse_unk)
                e->word.data[e->word.len++] = r->unk;
            pending = true;
        }
    }
    if (pending)
        e->word.data[e->word.len++] = r->unk;
}

static void find_bytes(mu_encoder_t *e, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int32_t id = e->tok->byte_id[p[i]];
        if (id >= 0)
            e->word.data[e->word.len++] = id;
    }
}

/* Merges one word into e->word. */
static void merge_word(mu_encoder_t *e, const unsigned char *p, size_t n)
{
    const mu_model_rules_t *r = &e->tok->rules;
    e->word.len = 0;
    mu_ids_reserve(&e->word, 2 * n); /* a byte's character has two bytes at most */
    int32_t whole = r->ignore_merges ? mu_tokenizer_find(e->tok, p, n) : -1;
    if (whole >= 0) {
        e->word.data[e->word.len++] = whole;
        return;
    }
    if (e->tok->pre.byte_level && !r->gaps && !r->subword_prefix && !r->word_suffix)
        find_bytes(e, p, n);
    else
        find_symbols(e, p, n);
    e->word.len = mu_bpe_merge(&e->tok->bpe, &e->work, e->word.data, e->word.len);
}

static void add_ids(mu_ids_t *out, const int32_t *ids, size_t n)
{
    mu_ids_reserve(out, n);
    for (size_t i = 0; i < n; i++)
        out->data[out->len + i] = ids[i];
    out->len += n;
}

static void encode_word(mu_encoder_t *e, const unsigned char *p, size_t n, mu_ids_t *out)
{
    if (n > KEY_BYTES) {
        merge_word(e, p, n);
        add_ids(out, e->word.data, e->word.len);
        return;
    }
    uint64_t key[KEY_BYTES / 8] = {0};
    copy_key((unsigned char *)key, p, n);
    line_t *line = &e->lines[line_of(key, n)];
    if (line->len != n || line->key[0] != key[0] || line->key[1] != key[1] || line->key[2] != key[2]) {
        merge_word(e, p, n);
        if (e->word.len > LINE_IDS) {
            add_ids(out, e->word.data, e->word.len);
            return;
        }
        memcpy(line->key, key, sizeof key);
        line->len = (uint8_t)n;
        line->count = (uint8_t)e->word.len;
        for (size_t i = 0; i < e->word.len; i++)
            line->ids[i] = e->word.data[i];
    }
    add_ids(out, line->ids, line->count);
}

/* A text without words, part by part where the parts do not see each other (find_boundary). */
static void encode_run(mu_encoder_t *e, const unsigned char *p, size_t n, mu_ids_t *out)
{
    const char *boundary = e->tok->boundary;
    const unsigned char *end = p + n, *at = p, *found;
    size_t length = strlen(boundary);
    while (length > 0 && (found = memmem(at, (size_t)(end - at), boundary, length))) {
        bool follows = (size_t)(found - p) >= length && memcmp(found - length, boundary, length) == 0;
        if (found > p && !follows) {
            encode_word(e, p, (size_t)(found - p), out);
            p = found;
        }
        at = found + length;
    }
    if (p < end)
        encode_word(e, p, (size_t)(end - p), out);
}

static void take_word(void *arg, const unsigned char *p, size_t n)
{
    mu_encoder_t *e = arg;
    encode_run(e, p, n, e->out);
}

static void encode_direct(mu_encoder_t *e, const char *text, size_t n, mu_ids_t *out)
{
    if (e->tok->prefix_space && text[0] != ' ') {
        mu_buf_clear(&e->prefixed);
        mu_buf_addc(&e->prefixed, ' ');
        mu_buf_add(&e->prefixed, text, n);
        text = e->prefixed.data;
        n++;
    }
    const unsigned char *p = (const unsigned char *)text, *end = p + n, *stop;
    const mu_unicode_t *unicode = e->tok->unicode;
    int digits = e->tok->words == MU_WORDS_LLAMA ? 3 : 1;
    if (e->tok->words == MU_WORDS_NONE) {
        encode_word(e, p, n, out);
    } else if (e->tok->words == MU_WORDS_GPT2) {
        for (; p < end; p = stop) {
            stop = mu_word_end(unicode, p, end);
            encode_word(e, p, (size_t)(stop - p), out);
        }
    } else {
        for (; p < end; p = stop) {
            stop = mu_word_end_long(unicode, digits, p, end);
            encode_word(e, p, (size_t)(stop - p), out);
        }
    }
}

static mu_status_t encode_plain(mu_encoder_t *e, const char *text, size_t n, bool first, mu_ids_t *out)
{
    if (n == 0)
        return MU_OK;
    if (e->tok->direct) {
        encode_direct(e, text, n, out);
        return MU_OK;
    }
    e->out = out;
    return mu_cutter_cut(&e->cutter, text, n, first);
}

/* Text between added tokens that are not normalized. `first`: it begins the document; `continues`: it goes on with the
 * text before it, where that was cut. */
static mu_status_t encode_normalized(mu_encoder_t *e, const char *text, size_t n, bool first, bool continues,
                                     mu_ids_t *out)
{
    const mu_tokenizer_t *tok = e->tok;
    if (tok->nfc) {
        mu_buf_clear(&e->nfc);
        if (mu_unicode_nfc(tok->unicode, text, n, &e->nfc)) {
            text = e->nfc.data;
            n = e->nfc.len;
        }
    } else if (tok->normalizer.count > 0) {
        MU_TRY(mu_normalize(&tok->normalizer, &e->normalizing, tok->unicode, continues, &text, &n));
    }
    mu_match_t match = {0};
    while (mu_matcher_next(tok, &tok->normalized, text, n, &match)) {
        if (match.gap < match.start)
            MU_TRY(encode_plain(e, text + match.gap, match.start - match.gap, first && match.gap == 0, out));
        mu_ids_add(out, match.id);
    }
    return encode_plain(e, text + match.done, n - match.done, first && match.done == 0, out);
}

static mu_status_t encode_text(mu_encoder_t *e, const char *text, size_t n, bool continues, mu_ids_t *out,
                               size_t *replaced)
{
    size_t bad = 0;
    /* U+FFFD and NFC make three bytes of one at most, and merging counts in int32_t */
    if (n > INT32_MAX / 4)
        return mu_fail(MU_DATA,
                       "a text of %zu bytes is too long to tokenize at once: divide it into documents", n);
    if (mu_utf8_valid(text, n) < n) {
        mu_buf_clear(&e->repaired);
        bad = (size_t)mu_utf8_repair(text, n, &e->repaired);
        text = e->repaired.data;
        n = e->repaired.len;
    }
    mu_match_t match = {0};
    while (mu_matcher_next(e->tok, &e->tok->raw, text, n, &match)) {
        bool start = match.gap == 0;
        if (match.gap < match.start)
            MU_TRY(encode_normalized(e, text + match.gap, match.start - match.gap, start && !continues,
                                     start && continues, out));
        mu_ids_add(out, match.id);
    }
    if (match.done < n)
        MU_TRY(encode_normalized(e, text + match.done, n - match.done, match.done == 0 && !continues,
                                 match.done == 0 && continues, out));
    if (replaced)
        *replaced = bad;
    return MU_OK;
}

mu_status_t mu_encoder_encode(mu_encoder_t *e, const char *text, size_t n, mu_ids_t *out, size_t *replaced)
{
    return encode_text(e, text, n, false, out, replaced);
}

mu_status_t mu_encoder_continue(mu_encoder_t *e, const char *text, size_t n, mu_ids_t *out, size_t *replaced)
{
    return encode_text(e, text, n, true, out, replaced);
}

mu_status_t mu_tokenizer_encode(const mu_tokenizer_t *tok, const char *text, size_t n, mu_ids_t *out)
{
    mu_encoder_t *e = mu_encoder_new(tok);
    mu_status_t status = mu_encoder_encode(e, text, n, out, NULL);
    mu_encoder_free(e);
    return status;
}

mu_status_t mu_tokenizer_encode_prompt(const mu_tokenizer_t *tok, const char *text, size_t n, mu_ids_t *out)
{
    const mu_ids_t *before = &tok->post.before;
    mu_ids_t ids = MU_IDS_INIT;
    mu_status_t status = mu_tokenizer_encode(tok, text, n, &ids);
    bool there = ids.len >= before->len &&
                 (before->len == 0 || memcmp(ids.data, before->data, before->len * sizeof *ids.data) == 0);
    if (status == MU_OK && !there)
        add_ids(out, before->data, before->len);
    if (status == MU_OK)
        add_ids(out, ids.data, ids.len);
    mu_ids_release(&ids);
    return status;
}
