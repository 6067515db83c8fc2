/*
 * The members of a tar or zip archive, one after the other, in their order, without unpacking any to disk. tar: POSIX
 * (ustar and pax), GNU's and the old one, also several joined; zip: also ZIP64, and from a pipe as far as it can be
 * read without its directory at the end. libarchive reads them, in bounded memory.
 *
 * Left out and counted: links, devices, pipes, and members whose name has a part ".."; and, as in a directory
 * (inputs.h), hidden files and what is no data by its name. Directories are not members.
 *
 *     mu_archive_open(stream, path, MU_ARCHIVE_TAR, &archive);
 *     while ((status = mu_archive_next(archive, &name)) == MU_OK && name)
 *         mu_archive_read(archive, ...) until it gives 0 bytes, or not at all;
 *     mu_archive_close(archive);
 */
#ifndef MU_DATASET_ARCHIVE_H
#define MU_DATASET_ARCHIVE_H

#include "dataset/prepare/stream.h"

typedef enum mu_archive_kind { MU_ARCHIVE_NONE, MU_ARCHIVE_TAR, MU_ARCHIVE_ZIP } mu_archive_kind_t;

typedef struct mu_archive_counts {
    int64_t members;  /* given */
    int64_t links;    /* symbolic and hard */
    int64_t devices;  /* and pipes and sockets */
    int64_t outside;  /* a part of the name is ".." */
    int64_t left_out; /* no data by their names */
} mu_archive_counts_t;

typedef struct mu_archive mu_archive_t;

/* By the first MU_STREAM_HEAD bytes of a file, or all it has. */
mu_archive_kind_t mu_archive_kind(const char *head, size_t n);
/* The stream stays the caller's and must outlive the archive. `path` names it in messages. `counts` grow. Errors:
 * MU_DATA. */
mu_status_t mu_archive_open(mu_stream_t *stream, const char *path, mu_archive_kind_t kind,
                            mu_archive_counts_t *counts, mu_archive_t **out);
/* The next member; *name is NULL after the last one, and else the archive's until the next call: "PATH: MEMBER",
 * without control characters. Errors, each naming the archive and, where it is known, the member: MU_DATA (damaged,
 * cut short, encrypted, compressed in a way that is not known), and those of the stream. */
mu_status_t mu_archive_next(mu_archive_t *archive, const char **name);
/* Bytes of the current member, as mu_bytes_t reads; arg: the mu_archive_t. */
mu_status_t mu_archive_read(void *arg, void *out, size_t n, size_t *got);
void mu_archive_close(mu_archive_t *archive);

#endif
