/*
 * Reading checkpoints: any part of any tensor, whatever layout wrote it, without libhdf5 and without MPI.
 *
 * Calling sequence of a start:
 *     mu_checkpoint_newest(path, INT64_MAX, &checkpoint);       NULL: nothing there
 *     mu_checkpoint_read(checkpoint, "embed_in.weight", MU_STATE_WEIGHT, offset, count, out); ...
 *     mu_checkpoint_close(checkpoint);
 * With many ranks the controller finds the checkpoint and sends its path; each worker opens and reads it.
 * When a worker's read fails with MU_DATA, all give up this one and the controller asks for the newest below
 * that step. Nothing is written and nothing is locked; an open checkpoint may be used by several threads at
 * once.
 *
 * What is verified when:
 *   open    the manifest's digest and every rule of mu_manifest_parse(); each file is a regular one of the
 *           recorded size, and its header names this run, step, attempt and file
 *   read    the digest of every slice that the wanted part touches, over the very bytes that are handed out
 *   verify  every byte of every file
 */
#ifndef MU_COMMON_CHECKPOINT_READER_H
#define MU_COMMON_CHECKPOINT_READER_H

#include "common/checkpoint/manifest.h"

typedef struct mu_checkpoint mu_checkpoint_t;

/* Opens one checkpoint directory. Errors: MU_NOINPUT (no such directory, or no manifest in it), MU_DATA
 * (damaged, or of a later format version: what is wrong and what is wanted), MU_IO. */
mu_status_t mu_checkpoint_open(const char *path, mu_checkpoint_t **out);
/* What a manifest says, of a checkpoint whose files are not here: nothing can be read of it. `name` stands for its
 * path. Errors: MU_DATA. */
mu_status_t mu_checkpoint_open_manifest(const char *name, const char *text, size_t n, mu_checkpoint_t **out);
void mu_checkpoint_close(mu_checkpoint_t *checkpoint); /* NULL is fine */

/* The newest valid checkpoint with a step below `below` in `path`: a directory of checkpoints, a run
 * directory (its checkpoints/), or one checkpoint itself, as a model reference names it (reference.h). A newer one
 * that is not valid is warned of, with the reason. MU_OK with *out NULL: there is no checkpoint at all. MU_NOVALID:
 * there are some, each is logged with what is wrong. MU_IO: the directory cannot be read. */
mu_status_t mu_checkpoint_newest(const char *path, int64_t below, mu_checkpoint_t **out);
/* The same for a path, not for RUN@best and its like. */
mu_status_t mu_checkpoint_newest_in(const char *path, int64_t below, mu_checkpoint_t **out);

/* Whether `path` is one checkpoint, whole or damaged: a directory whose manifest begins like a checkpoint's,
 * or that is named like one. Logs nothing. */
bool mu_checkpoint_is_one(const char *path);

const mu_manifest_t *mu_checkpoint_manifest(const mu_checkpoint_t *checkpoint);
const char *mu_checkpoint_path(const mu_checkpoint_t *checkpoint); /* as opened */
/* The manifest's index of a tensor, -1 when there is none. */
int mu_checkpoint_find(const mu_checkpoint_t *checkpoint, const char *tensor);

/* Copies a part of a tensor, row-major, into out[count[0] * count[1]]. Errors: MU_DATA (the checkpoint has no
 * such tensor, state or part; or a digest does not match: file, byte and tensor are named), MU_IO. After an
 * error the content of `out` must not be used. */
mu_status_t mu_checkpoint_read(const mu_checkpoint_t *checkpoint, const char *tensor, mu_state_t state,
                               const int64_t offset[2], const int64_t count[2], float *out);

/* The same part will be read soon: the volume may begin with it. Waits for nothing, and fails in silence. */
void mu_checkpoint_expect(const mu_checkpoint_t *checkpoint, const char *tensor, mu_state_t state,
                          const int64_t offset[2], const int64_t count[2]);

/* Whether the checkpoint's tensors are exactly `model`'s, of a model with adapters those. Errors: MU_CONFIG with each
 * difference (name, shape found, shape wanted). */
mu_status_t mu_checkpoint_match(const mu_checkpoint_t *checkpoint, const mu_model_t *model);

/* Digests every byte of the files index `part`, part + parts, ... (part 0 of 1: all); tokenizer.json belongs
 * to part 0. Each bad one is logged. Errors: MU_DATA, MU_IO. */
mu_status_t mu_checkpoint_verify(const mu_checkpoint_t *checkpoint, int part, int parts);

/* The checkpoints in a directory, newest first, valid or not. */
typedef struct mu_checkpoint_entry {
    char name[64]; /* "step-00000100" */
    int64_t step;
    mu_status_t
        status; /* MU_OK: valid as mu_checkpoint_open() sees it, or mu_checkpoint_verify() if `full` */
    char *why;  /* what is wrong; NULL when valid */
    double loss, valid_loss; /* NAN: unknown */
    int tp, dp;              /* 0: unknown */
    uint64_t bytes;          /* of the shards; 0: unknown */
} mu_checkpoint_entry_t;

typedef struct mu_checkpoint_list {
    mu_checkpoint_entry_t *entries;
    int count;
} mu_checkpoint_list_t;

/* Lists `path` (as mu_checkpoint_newest() takes it). A directory that is absent or holds no checkpoint gives
 * an empty list. Errors: MU_IO (the directory cannot be read). */
mu_status_t mu_checkpoint_scan(const char *path, bool full, mu_checkpoint_list_t *out);
void mu_checkpoint_list_release(mu_checkpoint_list_t *list);

#endif
