/*
 * Normalizers of tokenizer.json: a list of changes that a text goes through before it is cut into words.
 *
 * Supported: NFC, NFD, NFKC, NFKD, Lowercase, Strip, Prepend, Replace (by text or regular expression), and a Sequence
 * of them. A normalizer does not change once made; a mu_normalizing_t belongs to one thread.
 */
#ifndef MU_DATASET_NORMALIZER_H
#define MU_DATASET_NORMALIZER_H

#include "dataset/tokenizer/pattern.h"
#include "dataset/tokenizer/unicode_forms.h"

enum { MU_NORMALIZER_STEPS = 16 };

typedef enum mu_step_kind {
    MU_STEP_FORM,
    MU_STEP_LOWERCASE,
    MU_STEP_STRIP,
    MU_STEP_PREPEND,
    MU_STEP_REPLACE
} mu_step_kind_t;

typedef struct mu_step {
    mu_step_kind_t kind;
    mu_form_t form;
    bool left, right;      /* STRIP */
    char *content;         /* PREPEND, REPLACE */
    mu_pattern_t *pattern; /* REPLACE */
} mu_step_t;

typedef struct mu_normalizer {
    mu_step_t step[MU_NORMALIZER_STEPS];
    int count;
} mu_normalizer_t;

/* Reads the member "normalizer" of `root` into zeros. mu_normalizer_release() even after an error. Errors: MU_DATA. */
mu_status_t mu_normalizer_read(const mu_part_t *root, mu_normalizer_t *out);
void mu_normalizer_release(mu_normalizer_t *normalizer);
/* NFC and nothing else, which unicode.h does without a copy of the text. */
bool mu_normalizer_is_nfc(const mu_normalizer_t *normalizer);
/* Appends what decides its results, the same for each spelling of a file. */
void mu_normalizer_describe(const mu_normalizer_t *normalizer, mu_buf_t *out);

typedef struct mu_normalizing {
    mu_finder_t *finder[MU_NORMALIZER_STEPS];
    mu_buf_t text[2];
} mu_normalizing_t;

void mu_normalizing_init(const mu_normalizer_t *normalizer, mu_normalizing_t *out);
void mu_normalizing_release(mu_normalizing_t *work);
/* Normalizes *text, n bytes, valid UTF-8: *text and *n become the result, which lives until the next call. `continues`:
 * the text goes on where another ended, so nothing is prepended. Errors: MU_DATA, of an expression or when the result
 * has more than 2^31 - 1 bytes. */
mu_status_t mu_normalize(const mu_normalizer_t *normalizer, mu_normalizing_t *work,
                         const mu_unicode_t *unicode, bool continues, const char **text, size_t *n);

#endif
