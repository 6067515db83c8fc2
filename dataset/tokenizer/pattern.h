/*
 * What the parts of a tokenizer look for in text: a literal text or a regular expression (onig.h), compiled by PCRE2.
 *
 * A pattern does not change once made and may be used by many threads; a finder belongs to one thread.
 */
#ifndef MU_DATASET_PATTERN_H
#define MU_DATASET_PATTERN_H

#include "dataset/tokenizer/part.h"

#include <stdint.h>

typedef struct mu_pattern mu_pattern_t;
typedef struct mu_finder mu_finder_t;

/* From a part {"String": ...} or {"Regex": ...}. free with mu_pattern_free(). Errors: MU_DATA. */
mu_status_t mu_pattern_read(const mu_part_t *part, mu_pattern_t **out);
/* `where` begins messages. Errors: MU_DATA for an empty text, and as mu_onig_to_pcre2(). */
mu_status_t mu_pattern_new(const char *where, const char *text, bool regex, mu_pattern_t **out);
void mu_pattern_free(mu_pattern_t *pattern); /* NULL is fine */
bool mu_pattern_is_regex(const mu_pattern_t *pattern);
const char *mu_pattern_text(const mu_pattern_t *pattern);

mu_finder_t *mu_finder_new(const mu_pattern_t *pattern); /* the pattern must outlive it */
void mu_finder_free(mu_finder_t *finder);                /* NULL is fine */

/* The matches of a text (valid UTF-8), one after the other, as Oniguruma's iterator gives them: after an empty match
 * the next begins one character later, and no empty match touches the end of the match before. Start with zeros. */
typedef struct mu_found {
    size_t start, end; /* of the match */
    size_t from;       /* where the search goes on */
    bool any;
} mu_found_t;

/* True: found->start and found->end are the next match. False: there is no other, or *status is not MU_OK: MU_DATA
 * when the expression needs more than 10 million steps or 4 MiB of stack at one place; the message names it. */
bool mu_finder_next(mu_finder_t *finder, const char *text, size_t n, mu_found_t *found, mu_status_t *status);

#endif
