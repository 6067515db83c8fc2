/*
 * Writing one file in large blocks, from its first byte to its last, by a thread of its own: while a block is on its
 * way the caller fills the next. The device has work from the first block on, so that little is left for the sync at
 * the end.
 *
 *     mu_block_writer_begin(&writer, fd, path, size);
 *     for each block: mu_block_writer_room(&writer, 1); fill it; mu_block_writer_put(&writer, bytes, n, at);
 *     mu_block_writer_end(&writer);        all is written, the thread is gone; then fsync, close
 *
 * On a local file system of disks (ext4, XFS) the blocks of a file of 1 MiB or more go past the page cache (O_DIRECT):
 * no copy, no pages to find for them, and training keeps its cache. Elsewhere they go through it, and the kernel is
 * asked to begin with each at once. Either way a file is durable after its fsync() only.
 */
#ifndef MU_COMMON_BLOCK_WRITER_H
#define MU_COMMON_BLOCK_WRITER_H

#include "common/status.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

enum { MU_BLOCK_ALIGN = 4096, MU_BLOCKS_PENDING = 4 };

typedef struct mu_block {
    const char *bytes;
    size_t n;
    uint64_t at;
} mu_block_t;

typedef struct mu_block_writer {
    int fd;
    const char *path;
    bool direct, stop;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    mu_block_t pending[MU_BLOCKS_PENDING];
    int first, count; /* of pending, a ring; the first is being written */
    mu_status_t status;
} mu_block_writer_t;

/* `path` is for messages and must outlive the writer. size: of the file. Errors: MU_NOMEM (no thread). */
mu_status_t mu_block_writer_begin(mu_block_writer_t *writer, int fd, const char *path, uint64_t size);
/* Waits until at most `pending` blocks are on their way: then the memory of those before can be used again. The first
 * failure of a write is the result of this and of everything after it. Errors: MU_IO. */
mu_status_t mu_block_writer_room(mu_block_writer_t *writer, int pending);
/* Hands a block over; it must stay as it is until it is written. Blocks follow each other without gaps, begin at
 * multiples of MU_BLOCK_ALIGN in memory and in the file, and all but the last have such a length. At most
 * MU_BLOCKS_PENDING at once, else this waits. */
mu_status_t mu_block_writer_put(mu_block_writer_t *writer, const void *bytes, size_t n, uint64_t at);
/* Waits for all of them. Must follow begin, whatever happened between. */
mu_status_t mu_block_writer_end(mu_block_writer_t *writer);

#endif
