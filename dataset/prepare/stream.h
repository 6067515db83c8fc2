/*
 * The bytes of one file, decompressed: plain, gzip (several members, dictzip) or zstd (several frames), known
 * by the first bytes and never by the name. Memory is bounded: zstd windows above 128 MiB are refused. So is
 * a file that unpacks to more than 2,048 times its size (beyond the first 256 MiB), which no text does.
 *
 * Calling sequence: mu_stream_open, mu_stream_read until it gives 0 bytes, mu_stream_close. One thread at a
 * time.
 */
#ifndef MU_DATASET_STREAM_H
#define MU_DATASET_STREAM_H

#include "common/status.h"
#include <stddef.h>
#include <stdint.h>

typedef struct mu_stream mu_stream_t;

/* path "-" is stdin, which close leaves open. Errors: MU_NOINPUT when it cannot be opened. */
mu_status_t mu_stream_open(const char *path, mu_stream_t **out);
/* Up to n bytes; *got is 0 only at the end. Errors, each naming the file: MU_DATA (damaged, cut short,
 * checksum wrong, bytes behind the end of the compressed data, a bomb), MU_IO. */
mu_status_t mu_stream_read(mu_stream_t *stream, void *out, size_t n, size_t *got);
/* Bytes of the file taken so far, before decompression. */
uint64_t mu_stream_consumed(const mu_stream_t *stream);
void mu_stream_close(mu_stream_t *stream);

#endif
