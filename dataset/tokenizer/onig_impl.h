/* What the two halves of the reader of Oniguruma's expressions share: onig.c and onig_set.c only. */
#ifndef MU_DATASET_ONIG_IMPL_H
#define MU_DATASET_ONIG_IMPL_H

#include "dataset/tokenizer/onig.h"
#include "dataset/tokenizer/unicode.h"
#include "dataset/tokenizer/utf8.h"

#include <ctype.h>
#include <stdbool.h>

enum { MU_ONIG_DEPTH = 32 };

typedef struct onig {
    const char *where, *regex;
    const unsigned char *p;
    mu_buf_t *out;
    int depth;
    bool fold;         /* inside (?i:...) */
    uint32_t previous; /* the literal before, inside (?i:...); 0: none */
} onig_t;

/* Returns MU_DATA with a message: `at` is where in the expression, `why` what is wrong there. */
mu_status_t mu_onig_refuse(const onig_t *o, const unsigned char *at, const char *why);
/* Skips `text`, when that stands here. */
bool mu_onig_take(onig_t *o, const char *text);
/* Appends a character that stands for itself, inside a class and outside of one. */
void mu_onig_add_literal(mu_buf_t *out, uint32_t c);
/* After a backslash, when it stands for one character: true and that character, or *status of an error. */
bool mu_onig_read_character(onig_t *o, uint32_t *c, mu_status_t *status);
/* After a backslash: a set of characters, written as it may stand inside [...]. */
mu_status_t mu_onig_read_set(onig_t *o, mu_buf_t *out);
/* After '['. */
mu_status_t mu_onig_read_class(onig_t *o, mu_buf_t *out);

#endif
