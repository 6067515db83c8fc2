/*
 * The controller's side of copies in memory (worker/train/peer_copy.h): one after the other, each held until all
 * workers have copied their state, so that a death costs the steps since the newest one and no more.
 *
 *     mu_copying_begin(&copying, step, workers);     with MU_COMMAND_COPY
 *     mu_copying_add(&copying, message, n);          each worker's COPIED
 *     if (mu_copying_complete(&copying)) mu_copying_manifest(&copying, &commit, &text);    for MU_COMMAND_KEEP
 *     mu_copying_end(&copying);
 */
#ifndef MU_WORKER_COPY_TRANSACTION_H
#define MU_WORKER_COPY_TRANSACTION_H

#include "common/checkpoint/commit.h"
#include "worker/train/train_protocol.h"

typedef struct mu_copying {
    bool active;
    int64_t step, bytes; /* bytes of all pieces */
    double seconds;      /* of the worker that took longest */
    mu_shard_t *shards;  /* [expected] */
    int expected, got;
} mu_copying_t;

void mu_copying_begin(mu_copying_t *copying, int64_t step, int workers);
/* Errors: MU_BUG (not a message of this copy), MU_DATA. */
mu_status_t mu_copying_add(mu_copying_t *copying, const char *message, size_t n);
static inline bool mu_copying_complete(const mu_copying_t *copying)
{
    return copying->active && copying->got == copying->expected;
}
/* The manifest's text. `commit` without shards, which are the copy's. Errors: MU_BUG. */
mu_status_t mu_copying_manifest(const mu_copying_t *copying, const mu_commit_t *commit, mu_buf_t *text);
void mu_copying_end(mu_copying_t *copying); /* one filled with zeros is nothing */

#endif
