/*
 * Writing one shard file: everything that one worker adds to a checkpoint. No MPI here: the caller sends the
 * packed result to the controller.
 *
 * Calling sequence, on every worker, after the controller's mu_checkpoint_begin():
 *     mu_shard_plan_t plan = {.dir = ..., .model = ..., ...};
 *     mu_shard_t shard;
 *     mu_shard_write(&plan, &shard);     the file is durable when this returns MU_OK
 *     mu_shard_pack(&shard, &buf);       ... send buf to the controller ...
 *     mu_shard_release(&shard);
 * and on the controller, for each worker: mu_shard_unpack(), then mu_checkpoint_commit() (commit.h).
 *
 * libhdf5 is used to make a layout only: by mu_shard_layout_make(), and by what gets a plan without one. One thread of
 * a process at a time may do so. The format is docs/format-checkpoint.md.
 */
#ifndef MU_COMMON_SHARD_H
#define MU_COMMON_SHARD_H

#include "common/buf.h"
#include "common/digest.h"
#include "common/checkpoint/slices.h"

#define MU_SHARD_NAME   129  /* bytes of a file name in a checkpoint, with the NUL */
#define MU_SHARD_HEADER 4096 /* bytes of our own before the HDF5 superblock (HDF5's user block) */

/* Copies `n` values of a slice that mu_slices_of() gives this worker, row-major fp32, from its value number `first`
 * on, into `out` (host memory). The values of a file are asked for in the order in which they lie in it. An error is
 * logged by the callback and ends the write with that status. */
typedef mu_status_t (*mu_shard_source_t)(void *arg, const mu_slice_t *slice, int64_t first, int64_t n,
                                         float *out);

/* libhdf5's part of a worker's files, which no step changes but in a few bytes. For the 450 slices of a model with 12
 * layers it takes libhdf5 30 ms. */
typedef struct mu_shard_layout mu_shard_layout_t;

typedef struct mu_shard_plan {
    const char *dir; /* mu_checkpoint_begin()'s directory */
    const mu_model_t *model;
    int tp, dp, tp_rank, dp_rank;
    bool optimizer; /* the moments too */
    /* the identity that each shard carries, so that a file of another save is noticed: the manifest's */
    const char *run_id;
    int64_t step;
    int attempt;
    mu_shard_source_t read;
    mu_shard_source_t read_beside; /* for the thread of mu_shard_write_copy(); NULL: `read` is */
    void *arg;
    size_t block;                    /* bytes of one write to the volume; 0: 4 MiB */
    const mu_shard_layout_t *layout; /* of this worker in this run; NULL: one is made each time */
} mu_shard_plan_t;

typedef struct mu_stored {
    mu_slice_t slice;
    uint64_t at;                /* byte in the file where the values begin */
    char digest[MU_DIGEST_HEX]; /* of mu_slice_bytes() bytes from there */
} mu_stored_t;

typedef struct mu_shard {
    char name[MU_SHARD_NAME];  /* "shard-tp00-dp01.h5" */
    uint64_t size;             /* of the file in bytes */
    char frame[MU_DIGEST_HEX]; /* of all bytes of the file that belong to no slice, in order */
    mu_stored_t *slices;
    int count;
} mu_shard_t;

/* Of the plan dir, step, attempt and the source do not matter. Errors: MU_IO, MU_BUG. */
mu_status_t mu_shard_layout_make(const mu_shard_plan_t *plan, mu_shard_layout_t **out);
void mu_shard_layout_free(mu_shard_layout_t *layout); /* NULL is nothing */

/* Writes DIR/shard-tpTT-dpDD.h5 and syncs it. Errors: MU_IO (the path and the reason; a full disk is found
 * before the data is written), and what the source returns. */
mu_status_t mu_shard_write(const mu_shard_plan_t *plan, mu_shard_t *out);

/* The same in two halves: a copy of the values in memory, and the file from that copy, by another thread. The bytes and
 * the order of operations on the volume are those of mu_shard_write(). The values are copied by both threads: the one
 * that writes begins at the front, and the one that will change the values takes what is left when it comes to that.
 *
 *     mu_shard_copy_begin(&plan, memory, bytes, &copy);
 *     other thread:  mu_shard_write_copy(copy, &shard);
 *     this one:      mu_shard_copy_rest(copy);      before it changes a value
 *     both are done: mu_shard_copy_free(copy);
 */
typedef struct mu_shard_copy mu_shard_copy_t;

/* The size of the file, which does not depend on the step, and its name. Errors: as of mu_shard_copy(). */
mu_status_t mu_shard_size(const mu_shard_plan_t *plan, uint64_t *size, char name[MU_SHARD_NAME]);
/* The memory that a copy takes: the size in whole pages. Errors: as of mu_shard_copy(). */
mu_status_t mu_shard_copy_bytes(const mu_shard_plan_t *plan, uint64_t *out);
/* memory: aligned to 4096 bytes; the copy's until mu_shard_copy_free(). Errors: MU_BUG (it does not fit `bytes`),
 * MU_IO. */
mu_status_t mu_shard_copy_begin(const mu_shard_plan_t *plan, void *memory, uint64_t bytes,
                                mu_shard_copy_t **out);
/* Copies what nobody has copied yet, and waits for what the other thread is copying now. No value is read after it.
 * Errors: what the source returns, also to the other thread. */
mu_status_t mu_shard_copy_rest(mu_shard_copy_t *copy);
/* Gives up what nobody has copied yet: mu_shard_write_copy() fails then, unless it is past that. No value is read after
 * it. */
void mu_shard_copy_give_up(mu_shard_copy_t *copy);
/* Begin and rest. Errors: of both. */
mu_status_t mu_shard_copy(const mu_shard_plan_t *plan, void *memory, uint64_t bytes, mu_shard_copy_t **out);
/* The file, durable. Calls no libhdf5. Once for each copy. Errors: MU_IO, MU_NOMEM, what the source returns, MU_STOPPED
 * (given up). */
mu_status_t mu_shard_write_copy(mu_shard_copy_t *copy, mu_shard_t *out);
/* Digests a whole copy that no file of ours is made from: its bytes are the file's. Once for each copy. */
void mu_shard_digest_copy(mu_shard_copy_t *copy, mu_shard_t *out);
/* Bytes handed to the volume so far, of mu_shard_write_copy() in another thread. */
uint64_t mu_shard_copy_written(const mu_shard_copy_t *copy);
void mu_shard_copy_free(mu_shard_copy_t *copy); /* NULL is nothing */

void mu_shard_release(mu_shard_t *shard);

/* The result as text (the manifest's entry of this file), and back. Errors: MU_DATA. */
void mu_shard_pack(const mu_shard_t *shard, mu_buf_t *out);
mu_status_t mu_shard_unpack(const char *text, size_t n, mu_shard_t *out);

/* The header of a shard file: a line of text for each part of its identity, zeros after it. */
void mu_shard_header(const char *run_id, int64_t step, int attempt, const char *name,
                     char out[MU_SHARD_HEADER]);

#endif
