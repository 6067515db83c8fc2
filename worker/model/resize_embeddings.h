/*
 * More tokens for a model: the rows that its embedding, and its own head, get for them.
 *
 * A new token's row is the mean of the rows of the tokens that were there (Hewitt, "Initializing new word
 * embeddings for pretrained language models", 2021). In a head its logit is then the mean of the others, so
 * it is at most as likely as they are on average, and what the model writes hardly changes; a random row, or
 * one that has padded the vocabulary until now, may be the likeliest of all or one that is never written. It
 * is the same in every layout. Rows that newly pad the vocabulary take part in the softmax too, and are the
 * same mean; rows that padded it before, and stand for no token yet, stay as they are.
 */
#ifndef MU_WORKER_RESIZE_EMBEDDINGS_H
#define MU_WORKER_RESIZE_EMBEDDINGS_H

#include "common/status.h"
#include <stdint.h>

typedef struct mu_resize {
    int64_t rows;    /* of the embedding as it was */
    int64_t ids;     /* tokens that it knew, at most `rows`: their mean is taken */
    int64_t new_ids; /* tokens that it is to know: ids .. new_ids - 1 are new; equal: none */
} mu_resize_t;

/* Reads rows [first, first + n) of the matrix as it was, all columns. */
typedef mu_status_t (*mu_resize_rows_t)(void *arg, int64_t first, int64_t n, float *out);

/* Reads rows [first, first + n) of the grown matrix of `cols` columns. Where new rows are among them, the old
 * tokens' are read whole: memory for ids * cols floats. Errors: those of `old`. */
mu_status_t mu_resize_read(const mu_resize_t *growth, int64_t cols, mu_resize_rows_t old, void *arg,
                           int64_t first, int64_t n, float *out);

#endif
