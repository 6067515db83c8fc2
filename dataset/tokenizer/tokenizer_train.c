#include "dataset/tokenizer/tokenizer_train.h"
#include "common/meter.h"
#include "dataset/tokenizer/bpe_train.h"
#include "dataset/tokenizer/tokenizer_impl.h"
#include "common/log.h"

#include <xxhash.h>

#define LONGEST_WORD   1024
#define BYTES_PER_WORD 32
#define FIRST_BYTE_ID  2

typedef struct words {
    mu_counted_word_t *list;
    size_t len, cap, max;
    mu_buf_t bytes;
    uint32_t *slots; /* open addressing: index + 1, 0 is empty */
    size_t mask;
    uint64_t forgotten;
} words_t;

static size_t free_slot(const words_t *w, const char *bytes, size_t n)
{
    size_t i = (size_t)XXH3_64bits(bytes, n) & w->mask;
    while (w->slots[i]) {
        const mu_counted_word_t *word = &w->list[w->slots[i] - 1];
        if (word->len == n && memcmp(w->bytes.data + word->at, bytes, n) == 0)
            break;
        i = (i + 1) & w->mask;
    }
    return i;
}

static void rehash(words_t *w, size_t size)
{
    free(w->slots);
    w->slots = mu_calloc(size, sizeof *w->slots);
    w->mask = size - 1;
    for (size_t i = 0; i < w->len; i++)
        w->slots[free_slot(w, w->bytes.data + w->list[i].at, w->list[i].len)] = (uint32_t)i + 1;
}

/* Drops words seen `count` times or less, moving the others together. */
static void forget(words_t *w, uint64_t count)
{
    size_t kept = 0, at = 0;
    for (size_t i = 0; i < w->len; i++) {
        mu_counted_word_t word = w->list[i];
        if (word.count <= count)
            continue;
        memmove(w->bytes.data + at, w->bytes.data + word.at, word.len);
        word.at = at;
        at += word.len;
        w->list[kept++] = word;
    }
    w->forgotten += w->len - kept;
    w->len = kept;
    w->bytes.len = at;
}

static void make_room(words_t *w)
{
    if (w->forgotten == 0)
        mu_warn(
            "more than %zu distinct words: the rarest are forgotten from here on, counts become approximate",
            w->max);
    for (uint64_t count = 1; w->len > w->max / 2 || w->bytes.len > w->max * BYTES_PER_WORD / 2; count *= 2)
        forget(w, count);
    rehash(w, w->mask + 1);
}

static void count_word(words_t *w, const char *bytes, size_t n)
{
    size_t i = free_slot(w, bytes, n);
    if (w->slots[i]) {
        w->list[w->slots[i] - 1].count++;
        return;
    }
    if (w->len >= w->max || w->bytes.len + n > w->max * BYTES_PER_WORD) {
        make_room(w);
        i = free_slot(w, bytes, n);
    }
    if (w->len == w->cap) {
        w->cap = w->cap ? w->cap * 2 : 4096;
        w->list = mu_realloc(w->list, w->cap * sizeof *w->list);
    }
    w->list[w->len] = (mu_counted_word_t){w->bytes.len, (uint32_t)n, 1};
    w->slots[i] = (uint32_t)++w->len;
    mu_buf_add(&w->bytes, bytes, n);
    if (w->len * 2 > w->mask)
        rehash(w, (w->mask + 1) * 2);
}

static void count_text(words_t *w, const mu_unicode_t *unicode, const char *text, size_t n, mu_buf_t *nfc)
{
    mu_buf_clear(nfc);
    if (mu_unicode_nfc(unicode, text, n, nfc)) {
        text = nfc->data;
        n = nfc->len;
    }
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    while (p < end) {
        const unsigned char *stop = mu_word_end(unicode, p, end);
        if (stop - p <= LONGEST_WORD)
            count_word(w, (const char *)p, (size_t)(stop - p));
        else
            w->forgotten++;
        p = stop;
    }
}

/* Ids 0 to 257. */
static void add_first_tokens(mu_tokenizer_t *tok)
{
    static const char *const special[FIRST_BYTE_ID] = {"<|endoftext|>", "<|padding|>"};
    mu_buf_t name = MU_BUF_INIT;
    int32_t id = FIRST_BYTE_ID;
    for (int32_t i = 0; i < FIRST_BYTE_ID; i++)
        mu_tokenizer_add_model(tok, i, special[i]);
    for (uint32_t c = 0; c < 512; c++) {
        int byte = mu_byte_of_symbol(c);
        if (byte < 0)
            continue;
        mu_buf_clear(&name);
        mu_utf8_add(&name, c);
        tok->byte_id[byte] = id;
        mu_tokenizer_add_model(tok, id++, name.data);
    }
    mu_buf_release(&name);
    for (int32_t i = 0; i < FIRST_BYTE_ID; i++) {
        mu_added_t added = {.id = i, .special = true};
        mu_tokenizer_add_added(tok, &added, special[i]);
    }
}

static void add_merges(mu_tokenizer_t *tok, const words_t *words, const mu_tokenizer_train_options_t *options)
{
    mu_buf_t name = MU_BUF_INIT;
    mu_meter_phase("tokenizer train: merging", MU_METER_COUNT, (uint64_t)(options->vocab - tok->vocab));
    mu_bpe_learn(words->list, words->len, words->bytes.data, tok->byte_id, tok->vocab, options->vocab,
                 options->min_count, &tok->merges, &tok->merge_count);
    for (size_t r = 0; r < tok->merge_count; r++) {
        const mu_merge_t *m = &tok->merges[r];
        if (m->joined < tok->vocab)
            continue; /* known from other halves */
        mu_buf_clear(&name);
        mu_tokenizer_name(tok, m->left, &name);
        mu_tokenizer_name(tok, m->right, &name);
        mu_tokenizer_add_model(tok, m->joined, name.data);
    }
    mu_buf_release(&name);
}

mu_status_t mu_tokenizer_train(mu_text_source_t next, void *arg, const mu_tokenizer_train_options_t *options,
                               mu_tokenizer_t **out, mu_tokenizer_train_counts_t *counts)
{
    if (options->vocab < MU_TOKENIZER_MIN_VOCAB || options->vocab >= MU_TOKENIZER_MAX_ID)
        return mu_fail(MU_USAGE, "vocabulary size %d: wanted is %d (two special tokens and 256 bytes) to %d",
                       options->vocab, MU_TOKENIZER_MIN_VOCAB, MU_TOKENIZER_MAX_ID - 1);
    mu_tokenizer_t *tok = mu_tokenizer_new();
    words_t words = {.max = options->max_words < 1024 ? 1024 : options->max_words};
    mu_tokenizer_train_counts_t seen = {0};
    mu_buf_t nfc = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    const char *text;
    size_t n;
    tok->nfc = true;
    rehash(&words, 65536);
    for (;;) {
        MU_TRY_GOTO(status, next(arg, &text, &n), out);
        if (!text)
            break;
        seen.texts++;
        seen.bytes += n;
        count_text(&words, tok->unicode, text, n, &nfc);
    }
    if (words.len == 0) {
        status = mu_fail(MU_DATA, "no text to train a tokenizer on");
        goto out;
    }
    seen.words = words.len;
    seen.forgotten = words.forgotten;
    add_first_tokens(tok);
    add_merges(tok, &words, options);
    MU_TRY_GOTO(status, mu_tokenizer_finish(tok), out);
    if (counts)
        *counts = seen;
    *out = tok;
    tok = NULL;
out:
    mu_buf_release(&nfc);
    free(words.list);
    mu_buf_release(&words.bytes);
    free(words.slots);
    mu_tokenizer_free(tok);
    return status;
}
