/*
 * The controller's side of one checkpoint: the directory, the shards as their lists arrive, the commit.
 *
 *     mu_transaction_begin(&transaction, ...);        makes the temporary directory; transaction.name goes into the command
 *     mu_transaction_add(&transaction, message, n);   each worker's SAVED
 *     if (mu_transaction_complete(&transaction)) mu_transaction_commit(&transaction, info, ...);
 * One at a time. A shard that failed makes the commit fail with that status; nothing becomes visible then.
 */
#ifndef MU_WORKER_CHECKPOINT_TRANSACTION_H
#define MU_WORKER_CHECKPOINT_TRANSACTION_H

#include "common/checkpoint/commit.h"
#include "worker/train/train_protocol.h"

typedef struct mu_transaction {
    bool active;
    int64_t step, bytes, began_ns;
    char *dir, *tmp;    /* RUN/checkpoints, and the temporary directory in it */
    const char *name;   /* tmp without the directory */
    mu_shard_t *shards; /* [expected] */
    int expected, got;
    mu_status_t status; /* first failure of a worker */
} mu_transaction_t;

/* Errors: MU_IO. */
mu_status_t mu_transaction_begin(mu_transaction_t *transaction, const char *dir, int64_t step, int attempt,
                                 int workers);
/* Errors: MU_BUG (not a message of this save). */
mu_status_t mu_transaction_add(mu_transaction_t *transaction, const char *message, size_t n);
static inline bool mu_transaction_complete(const mu_transaction_t *transaction)
{
    return transaction->active && transaction->got == transaction->expected;
}
/* Commits and prunes; `saving` is idle again whatever the result. Errors: the workers', MU_IO. */
mu_status_t mu_transaction_commit(mu_transaction_t *transaction, mu_commit_t *commit, int64_t keep);
/* Drops an unfinished save. */
void mu_transaction_abandon(mu_transaction_t *transaction);

#endif
