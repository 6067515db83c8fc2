/*
 * Documents in the order in which they came, on disk, until they are cut into shards: files in a directory, of
 * tokens, of lengths, and of label masks where there are some.
 *
 * Calling sequence: mu_spool_create, mu_spool_add for each document, mu_spool_rewind, mu_spool_documents and
 * mu_spool_tokens, mu_spool_remove.
 */
#ifndef MU_DATASET_SPOOL_H
#define MU_DATASET_SPOOL_H

#include "common/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What is kept of a document. */
typedef struct mu_spooled {
    int64_t tokens;
    uint64_t text_bytes;
} mu_spooled_t;

typedef struct mu_spool {
    int width; /* bytes of a token: 2 or 4 */
    int64_t count;
    char *tokens_path, *documents_path, *labels_path; /* labels: NULL without */
    FILE *tokens, *documents, *labels;                /* while it grows */
    int tokens_fd, documents_fd, labels_fd;           /* afterwards; -1: not open */
} mu_spool_t;

/* Makes DIR/NAME.tokens, DIR/NAME.documents and, with labels, DIR/NAME.labels, which must not be there. Errors: MU_IO;
 * then it is good for mu_spool_remove. */
mu_status_t mu_spool_create(mu_spool_t *spool, const char *dir, const char *name, int width, bool labels);
/* ids fit the width; labels: a byte each, for a spool with labels. Errors: MU_IO. */
mu_status_t mu_spool_add(mu_spool_t *spool, const int32_t *ids, const unsigned char *labels, size_t n,
                         uint64_t text_bytes);
/* Ends the writing. Errors: MU_IO. */
mu_status_t mu_spool_rewind(mu_spool_t *spool);
/* Documents first up to first + n. Errors: MU_IO. */
mu_status_t mu_spool_documents(const mu_spool_t *spool, int64_t first, int64_t n, mu_spooled_t *out);
/* `bytes` bytes of the tokens from byte `at` on; the disk's room for them is given back where the file system can do
 * that, so they are read once. Errors: MU_IO. */
mu_status_t mu_spool_tokens(const mu_spool_t *spool, int64_t at, size_t bytes, void *out);
/* The labels of n tokens from token `at` on, in the same way. */
mu_status_t mu_spool_labels(const mu_spool_t *spool, int64_t at, size_t n, unsigned char *out);
/* Closes and removes the files; one that is all zeros is fine. */
void mu_spool_remove(mu_spool_t *spool);

#endif
