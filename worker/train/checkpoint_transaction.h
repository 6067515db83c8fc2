/*
 * The controller's side of one checkpoint: the directory, the shards as their lists arrive, the commit.
 *
 *     mu_saving_begin(&saving, ...);        makes the temporary directory; saving.name goes into the command
 *     mu_saving_add(&saving, message, n);   each worker's SAVED
 *     if (mu_saving_complete(&saving)) mu_saving_commit(&saving, info, ...);
 * One at a time. A shard that failed makes the commit fail with that status; nothing becomes visible then.
 */
#ifndef MU_WORKER_SAVING_H
#define MU_WORKER_SAVING_H

#include "common/checkpoint/commit.h"
#include "worker/train/train_protocol.h"

typedef struct mu_saving {
    bool active;
    int64_t step, bytes, began_ns;
    char *dir, *tmp;    /* RUN/checkpoints, and the temporary directory in it */
    const char *name;   /* tmp without the directory */
    mu_shard_t *shards; /* [expected] */
    int expected, got;
    mu_status_t status; /* first failure of a worker */
} mu_saving_t;

/* Errors: MU_IO. */
mu_status_t mu_saving_begin(mu_saving_t *saving, const char *dir, int64_t step, int attempt, int workers);
/* Errors: MU_BUG (not a message of this save). */
mu_status_t mu_saving_add(mu_saving_t *saving, const char *message, size_t n);
static inline bool mu_saving_complete(const mu_saving_t *saving)
{
    return saving->active && saving->got == saving->expected;
}
/* Commits and prunes; `saving` is idle again whatever the result. Errors: the workers', MU_IO. */
mu_status_t mu_saving_commit(mu_saving_t *saving, mu_commit_t *commit, int64_t keep);
/* Drops an unfinished save. */
void mu_saving_abandon(mu_saving_t *saving);

#endif
