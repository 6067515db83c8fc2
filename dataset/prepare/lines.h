/* A stream cut at line feeds, with the place of each line. */
#ifndef MU_DATASET_LINES_H
#define MU_DATASET_LINES_H

#include "common/buf.h"
#include "dataset/prepare/stream.h"

typedef struct mu_lines {
    mu_stream_t *stream;
    char *block; /* what was read and not yet taken: [at, end) */
    size_t at, end;
    bool eof;
    int64_t line;    /* of the next byte, from 1 */
    uint64_t offset; /* of the next byte, decompressed */
} mu_lines_t;

void mu_lines_new(mu_lines_t *lines);
void mu_lines_free(mu_lines_t *lines);
/* Begins with a stream, which stays the caller's. A byte order mark at its start is dropped. Errors: the stream's. */
mu_status_t mu_lines_begin(mu_lines_t *lines, mu_stream_t *stream);
/* Adds the bytes up to the next line feed to `out`, and takes the line feed; `out` may become `most` bytes long. *more
 * is false when there was nothing left at all. *fits is false when there was more than that. Errors: the stream's. */
mu_status_t mu_lines_add(mu_lines_t *lines, size_t most, mu_buf_t *out, bool *more, bool *fits);
/* The same with all that is left. */
mu_status_t mu_lines_add_rest(mu_lines_t *lines, size_t most, mu_buf_t *out, bool *more, bool *fits);

#endif
