/* What must hold for every tokenizer that was loaded, whatever its file looked like. */
#ifndef MU_TESTS_FUZZ_TOKENIZER_CHECK_H
#define MU_TESTS_FUZZ_TOKENIZER_CHECK_H

#include "dataset/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz.h"

/* A text may be cut where mu_tokenizer_cut() says. */
static inline void check_cut(const mu_tokenizer_t *tok, mu_encoder_t *encoder, const char *text, size_t n,
                             const mu_ids_t *ids)
{
    size_t at = mu_tokenizer_cut(tok, text, n);
    mu_ids_t parts = MU_IDS_INIT;
    FUZZ_CHECK(at <= n);
    if (at == 0)
        return;
    FUZZ_CHECK(mu_encoder_encode(encoder, text, at, &parts, NULL) == MU_OK);
    FUZZ_CHECK(mu_encoder_continue(encoder, text + at, n - at, &parts, NULL) == MU_OK);
    FUZZ_CHECK(parts.len == ids->len);
    FUZZ_CHECK(ids->len == 0 || memcmp(parts.data, ids->data, ids->len * sizeof *ids->data) == 0);
    mu_ids_release(&parts);
}

/* A special token more: its own text is it, and other text has the ids that it had. */
static inline void check_special(mu_tokenizer_t *tok, const mu_tokenizer_t *base, const char *text, size_t n,
                                 const mu_ids_t *ids)
{
    static char name[] = "<|fuzz|>";
    char *names[] = {name};
    mu_ids_t again = MU_IDS_INIT;
    mu_status_t status = mu_tokenizer_add_specials(tok, names, 1);
    FUZZ_CHECK(status == MU_OK || status == MU_DATA || status == MU_USAGE);
    FUZZ_CHECK(mu_tokenizer_extends(tok, base));
    if (mu_tokenizer_vocab(tok) > mu_tokenizer_vocab(base)) {
        FUZZ_CHECK(mu_tokenizer_encode(tok, name, sizeof name - 1, &again) == MU_OK);
        FUZZ_CHECK(again.len == 1 && again.data[0] == mu_tokenizer_vocab(base));
        again.len = 0;
    }
    if (!memmem(text, n, "<|fuzz|>", 8)) {
        FUZZ_CHECK(mu_tokenizer_encode(tok, text, n, &again) == MU_OK);
        FUZZ_CHECK(again.len == ids->len);
        FUZZ_CHECK(ids->len == 0 || memcmp(again.data, ids->data, ids->len * sizeof *ids->data) == 0);
    }
    mu_ids_release(&again);
}

/* A saved copy is the same tokenizer. */
static inline void check_copy(const mu_tokenizer_t *tok, const char *text, size_t n, const mu_ids_t *ids)
{
    mu_ids_t again = MU_IDS_INIT;
    mu_tokenizer_t *copy = NULL;
    char *path = fuzz_file("saved.json", "", 0);
    FUZZ_CHECK(mu_tokenizer_save(tok, path) == MU_OK);
    FUZZ_CHECK(mu_tokenizer_load(path, &copy) == MU_OK);
    FUZZ_CHECK(strcmp(mu_tokenizer_digest(tok), mu_tokenizer_digest(copy)) == 0);
    FUZZ_CHECK(mu_tokenizer_encode(copy, text, n, &again) == MU_OK);
    FUZZ_CHECK(again.len == ids->len);
    FUZZ_CHECK(ids->len == 0 || memcmp(again.data, ids->data, ids->len * sizeof *ids->data) == 0);
    check_special(copy, tok, text, n, ids);
    mu_tokenizer_free(copy);
    mu_ids_release(&again);
    free(path);
}

/* Ids are in range and decode. Takes the tokenizer. Loading one takes 10 ms, so every fourth input is copied.
 */
static inline void check_tokenizer(mu_tokenizer_t *tok, const char *text, size_t n)
{
    mu_ids_t ids = MU_IDS_INIT;
    mu_buf_t back = MU_BUF_INIT;
    mu_encoder_t *encoder = mu_encoder_new(tok);
    if (!fuzz_ok(mu_encoder_encode(encoder, text, n, &ids, NULL), MU_DATA,
                 MU_DATA)) /* an expression without end */
        goto out;
    for (size_t i = 0; i < ids.len; i++)
        FUZZ_CHECK(ids.data[i] >= 0 && ids.data[i] < mu_tokenizer_vocab(tok));
    FUZZ_CHECK(mu_tokenizer_eod(tok) < mu_tokenizer_vocab(tok));
    FUZZ_CHECK(mu_tokenizer_decode(tok, ids.data, ids.len, &back) == MU_OK);
    check_cut(tok, encoder, text, n, &ids);
    if (n % 4 == 0)
        check_copy(tok, text, n, &ids);
out:
    mu_encoder_free(encoder);
    mu_tokenizer_free(tok);
    mu_ids_release(&ids);
    mu_buf_release(&back);
}

#endif
