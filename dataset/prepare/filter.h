/*
 * What is taken out of documents, and which documents are left out: control characters, documents that are too short or
 * too long, and documents that were there before. Applied in this order, each counted.
 *
 * Memory: with drop_duplicates 24 to 48 bytes for each different document.
 */
#ifndef MU_DATASET_FILTER_H
#define MU_DATASET_FILTER_H

#include "common/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mu_filter_options {
    bool strip_control;           /* all of Unicode's category Cc but tab, line feed and carriage return */
    bool drop_duplicates;         /* the same text as an earlier document, byte by byte */
    int64_t min_chars, max_chars; /* code points; 0: no limit */
    bool digest;                  /* wanted even without drop_duplicates */
} mu_filter_options_t;

typedef struct mu_filter_counts {
    int64_t control;    /* characters taken out */
    int64_t too_short;  /* documents left out; what is empty without its control characters is one */
    int64_t too_long;   /* documents left out */
    int64_t duplicates; /* documents left out */
} mu_filter_counts_t;

typedef struct mu_filter mu_filter_t;

mu_filter_t *mu_filter_new(const mu_filter_options_t *options);
/* Whether the document is kept. *text and *n become what is left of it, which is the filter's until its next call.
 * *digest, where it is wanted, becomes 64 bits of the text's digest, else 0. The text: valid UTF-8. */
bool mu_filter_keep(mu_filter_t *filter, const char **text, size_t *n, uint64_t *digest);
const mu_filter_counts_t *mu_filter_counts(const mu_filter_t *filter);
void mu_filter_free(mu_filter_t *filter);

#endif
