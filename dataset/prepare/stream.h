/*
 * The bytes of one file, decompressed: plain, gzip (several members, dictzip), zstd (several frames), xz, bzip2 or lz4,
 * known by the first bytes and never by the name. Memory is bounded: zstd windows above 128 MiB are refused, and xz
 * dictionaries above 1 GiB. So is a file that unpacks to more than 2,048 times its size (beyond the first 256 MiB),
 * which no text does.
 *
 * Calling sequence: mu_stream_open or mu_stream_open_over, perhaps mu_stream_peek, mu_stream_read until it gives 0
 * bytes, perhaps mu_stream_digest, mu_stream_close. One thread at a time.
 */
#ifndef MU_DATASET_STREAM_H
#define MU_DATASET_STREAM_H

#include "common/digest.h"
#include "common/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MU_STREAM_HEAD = 512, MU_STREAM_RATIO_MAX = 2048 };
#define MU_STREAM_FREE_OUTPUT ((uint64_t)256 << 20) /* no ratio is looked at below */

typedef struct mu_stream mu_stream_t;

/* Where bytes come from that are no file: up to n of them; *got is 0 only at the end. Logs its errors. */
typedef struct mu_bytes {
    mu_status_t (*read)(void *arg, void *out, size_t n, size_t *got);
    void *arg;
} mu_bytes_t;

/* path "-" is stdin, which close leaves open. Errors: MU_NOINPUT when it cannot be opened; those of read. */
mu_status_t mu_stream_open(const char *path, mu_stream_t **out);
/* `name` stands for the source in messages. */
mu_status_t mu_stream_open_over(const char *name, mu_bytes_t source, mu_stream_t **out);
/* The first MU_STREAM_HEAD bytes, decompressed, or all there are. Before the first read; they are still read. */
mu_status_t mu_stream_peek(mu_stream_t *stream, const char **bytes, size_t *n);
/* Up to n bytes; *got is 0 only at the end. Errors, each naming the file: MU_DATA (damaged, cut short,
 * checksum wrong, bytes after the end of the compressed data, a bomb), MU_IO; those of the source. */
mu_status_t mu_stream_read(mu_stream_t *stream, void *out, size_t n, size_t *got);
/* Bytes of the file taken so far, before decompression. */
uint64_t mu_stream_consumed(const mu_stream_t *stream);

/* Whether it is a regular file that is not compressed; then reading can go on at another byte. seek: as lseek(2). */
bool mu_stream_seekable(const mu_stream_t *stream);
int64_t mu_stream_seek(mu_stream_t *stream, int64_t offset, int whence);

/* Digest and size of the file as it lies on disk; of one opened by path, and after the last read, since it goes to the
 * end of the file. Errors: MU_IO. */
mu_status_t mu_stream_digest(mu_stream_t *stream, char digest[MU_DIGEST_HEX], uint64_t *bytes);
void mu_stream_close(mu_stream_t *stream);

#endif
