/*
 * Tokens on their way to the model, with what else is known of them in their upper bits: ids are below 2^29.
 *
 * A sample of a data set with label masks or borders is an array of such tokens. Where none has a mark it is an array
 * of ids.
 */
#ifndef MU_COMMON_TOKEN_MARKS_H
#define MU_COMMON_TOKEN_MARKS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    MU_TOKEN_ID = (1 << 29) - 1,
    MU_TOKEN_BEGINS = 1 << 29,   /* a document begins with it */
    MU_TOKEN_UNCOUNTED = 1 << 30 /* the loss of predicting it does not count */
};
#define MU_TOKEN_VOCAB_MAX ((int64_t)MU_TOKEN_ID + 1)

/* What a sample is filled up with: each such token is a document of its own, and is not counted. */
#define MU_TOKEN_PADDING (MU_TOKEN_BEGINS | MU_TOKEN_UNCOUNTED)

static inline int32_t mu_token_id(int32_t token)
{
    return token & MU_TOKEN_ID;
}

/* Of a sample's n tokens those whose prediction counts: of all but the first, and of those after `eod` (-1: none). */
static inline int64_t mu_tokens_counted(const int32_t *tokens, int64_t n, int32_t eod)
{
    int64_t counted = 0;
    for (int64_t i = 1; i < n; i++)
        counted += !(tokens[i] & MU_TOKEN_UNCOUNTED) && (eod < 0 || mu_token_id(tokens[i - 1]) != eod);
    return counted;
}

#endif
