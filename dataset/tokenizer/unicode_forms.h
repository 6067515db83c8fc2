/*
 * Normal forms and case of text, for normalizers of tokenizer.json. NFC, which most tokenizers use, is in unicode.h.
 *
 * Like that one these are Unicode 9's, as in the tokenizers library: characters that came later stay as they are.
 */
#ifndef MU_DATASET_UNICODE_FORMS_H
#define MU_DATASET_UNICODE_FORMS_H

#include "dataset/tokenizer/unicode.h"

typedef enum mu_form { MU_FORM_NFC, MU_FORM_NFD, MU_FORM_NFKC, MU_FORM_NFKD } mu_form_t;

/* Appends the normal form of valid UTF-8. NFKC makes 11 bytes of one at most. */
void mu_unicode_form(const mu_unicode_t *unicode, mu_form_t form, const char *text, size_t n, mu_buf_t *out);
/* Appends the text with each character in lower case; U+0130 becomes two characters. */
void mu_unicode_lower(const char *text, size_t n, mu_buf_t *out);

#endif
