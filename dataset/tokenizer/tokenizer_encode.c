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
    mu_buf_t repaired, nfc, prefixed;
};

mu_encoder_t *mu_encoder_new(const mu_tokenizer_t *tok)
{
    mu_encoder_t *e = mu_calloc(1, sizeof *e);
    e->tok = tok;
    e->lines = mu_calloc(LINES, sizeof *e->lines);
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
    free(e);
}

static inline uint8_t class_at(const mu_unicode_t *unicode, const unsigned char **p)
{
    return mu_unicode_flags(unicode, mu_utf8_next(p)) & MU_CHAR_CLASS;
}

const unsigned char *mu_word_end(const mu_unicode_t *unicode, const unsigned char *p,
                                 const unsigned char *end)
{
    const unsigned char *next = p, *at = p;
    if (*p == '\'' && end - p >= 2) {
        if (p[1] == 's' || p[1] == 't' || p[1] == 'm' || p[1] == 'd')
            return p + 2;
        if (end - p >= 3 &&
            ((p[1] == 'r' && p[2] == 'e') || (p[1] == 'v' && p[2] == 'e') || (p[1] == 'l' && p[2] == 'l')))
            return p + 3;
    }
    if (*p == ' ' && end - p >= 2)
        next = p + 1; /* belongs to the word after it, unless that is space too */
    uint8_t class = class_at(unicode, &next);
    if (class != MU_CHAR_SPACE) {
        do
            at = next;
        while (next < end && class_at(unicode, &next) == class);
        return at == next ? next : at;
    }
    /* a run of space: all of it at the end of the text, else all but its last character, but at least one */
    const unsigned char *last = p;
    for (next = p; next < end;) {
        at = next;
        if (class_at(unicode, &next) != MU_CHAR_SPACE)
            return last == p ? at : last;
        last = at;
    }
    return end;
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

/* Merges one word into e->word. */
static void merge_word(mu_encoder_t *e, const unsigned char *p, size_t n)
{
    e->word.len = 0;
    mu_ids_reserve(&e->word, n);
    for (size_t i = 0; i < n; i++) {
        int32_t id = e->tok->byte_id[p[i]];
        if (id >= 0)
            e->word.data[e->word.len++] = id;
    }
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

static void encode_plain(mu_encoder_t *e, const char *text, size_t n, mu_ids_t *out)
{
    if (n == 0)
        return;
    if (e->tok->prefix_space && text[0] != ' ') {
        mu_buf_clear(&e->prefixed);
        mu_buf_addc(&e->prefixed, ' ');
        mu_buf_add(&e->prefixed, text, n);
        text = e->prefixed.data;
        n++;
    }
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    while (p < end) {
        const unsigned char *stop = e->tok->words ? mu_word_end(e->tok->unicode, p, end) : end;
        encode_word(e, p, (size_t)(stop - p), out);
        p = stop;
    }
}

static void encode_normalized(mu_encoder_t *e, const char *text, size_t n, mu_ids_t *out)
{
    if (e->tok->nfc) {
        mu_buf_clear(&e->nfc);
        if (mu_unicode_nfc(e->tok->unicode, text, n, &e->nfc)) {
            text = e->nfc.data;
            n = e->nfc.len;
        }
    }
    mu_match_t match = {0};
    while (mu_matcher_next(e->tok, &e->tok->normalized, text, n, &match)) {
        if (match.gap < match.start)
            encode_plain(e, text + match.gap, match.start - match.gap, out);
        mu_ids_add(out, match.id);
    }
    encode_plain(e, text + match.done, n - match.done, out);
}

mu_status_t mu_encoder_encode(mu_encoder_t *e, const char *text, size_t n, mu_ids_t *out, size_t *replaced)
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
        if (match.gap < match.start)
            encode_normalized(e, text + match.gap, match.start - match.gap, out);
        mu_ids_add(out, match.id);
    }
    encode_normalized(e, text + match.done, n - match.done, out);
    if (replaced)
        *replaced = bad;
    return MU_OK;
}

mu_status_t mu_tokenizer_encode(const mu_tokenizer_t *tok, const char *text, size_t n, mu_ids_t *out)
{
    mu_encoder_t *e = mu_encoder_new(tok);
    mu_status_t status = mu_encoder_encode(e, text, n, out, NULL);
    mu_encoder_free(e);
    return status;
}
