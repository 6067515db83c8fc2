/*
 * The controller's side of a state that all workers wrote: each sends what it wrote as a mu_saved_t with a list of
 * slices after it, of a checkpoint (SAVED) or of a copy in memory (COPIED).
 *
 *     mu_saved_lists_begin(&lists, step, workers);   with the command to the workers
 *     mu_saved_lists_add(&lists, message, n);        each worker's message
 *     if (mu_saved_lists_complete(&lists)) ...       lists.shards are the state, or lists.status says why not
 *     mu_saved_lists_release(&lists);
 */
#ifndef MU_WORKER_SAVED_LISTS_H
#define MU_WORKER_SAVED_LISTS_H

#include "common/checkpoint/commit.h"
#include "worker/train/train_protocol.h"

typedef struct mu_saved_lists {
    int64_t step, bytes; /* bytes of all files */
    double seconds;      /* of the worker that took longest */
    mu_shard_t *shards;  /* [expected] */
    int expected, got;   /* expected 0: nothing is awaited */
    mu_status_t status;  /* first failure of a worker */
} mu_saved_lists_t;

void mu_saved_lists_begin(mu_saved_lists_t *lists, int64_t step, int workers);
/* Errors: MU_BUG (not a message of this state), MU_DATA. */
mu_status_t mu_saved_lists_add(mu_saved_lists_t *lists, const char *message, size_t n);
static inline bool mu_saved_lists_awaited(const mu_saved_lists_t *lists)
{
    return lists->expected > 0;
}
static inline bool mu_saved_lists_complete(const mu_saved_lists_t *lists)
{
    return lists->expected > 0 && lists->got == lists->expected;
}
/* The text of a manifest of them under `name`. `commit` is without shards. Errors: a worker's, MU_BUG. */
mu_status_t mu_saved_lists_manifest(const mu_saved_lists_t *lists, const mu_commit_t *commit,
                                    const char *name, mu_buf_t *text);
void mu_saved_lists_release(mu_saved_lists_t *lists); /* one filled with zeros is nothing */

#endif
