/*
 * The texts that inputs hold, opened one after the other: a file is one; an archive (archive.h) is as many as it has
 * members, each of which may be compressed. What is surely no text by its first bytes is refused.
 */
#ifndef MU_DATASET_TEXTS_H
#define MU_DATASET_TEXTS_H

#include "dataset/prepare/archive.h"
#include "dataset/prepare/inputs.h"

/* One text. */
typedef struct mu_text {
    mu_stream_t *stream;     /* NULL: after the last one */
    const char *name;        /* for messages; until the next text */
    mu_text_format_t format; /* by its own name */
    bool member;             /* of an archive */
    int origin;              /* which of the paths given it comes from */
} mu_text_t;

/* A file that was read to its end. */
typedef struct mu_text_file {
    uint64_t bytes; /* as it lies on disk */
    char digest[MU_DIGEST_HEX];
    int64_t members; /* of an archive; -1: it is none */
} mu_text_file_t;

typedef struct mu_texts mu_texts_t;

/* Finds all files. Errors: MU_NOINPUT (mu_inputs_find). */
mu_status_t mu_texts_open(char *const *paths, int n, mu_texts_t **out);
/* Closes the current text and opens the next. Errors, each naming the file: MU_NOINPUT, MU_DATA, MU_IO. */
mu_status_t mu_texts_next(mu_texts_t *texts, mu_text_t *out);
void mu_texts_close(mu_texts_t *texts);

/* Bytes of files taken and in all, compressed ones as they lie on disk; total 0: not known (stdin, pipes). */
void mu_texts_progress(const mu_texts_t *texts, uint64_t *done, uint64_t *total);
const mu_inputs_t *mu_texts_inputs(const mu_texts_t *texts);
const mu_archive_counts_t *mu_texts_archive_counts(const mu_texts_t *texts);
/* Of file i of the inputs, which lies before the current one. */
const mu_text_file_t *mu_texts_file(const mu_texts_t *texts, int i);

#endif
