/*
 * The controller's side of one checkpoint: the directory, the shards as their lists arrive, the commit.
 *
 *     mu_transaction_begin(&transaction, ...);        makes the temporary directory; transaction.name goes into the
 *                                                     command
 *     transaction.info = ...                          once the step's report is there; set `described`
 *     mu_saved_lists_add(&transaction.lists, message, n);     each worker's SAVED
 *     if (mu_saved_lists_complete(&transaction.lists)) mu_transaction_commit(&transaction, &commit, keep);
 *     while (!mu_transaction_done(&transaction)) ...   the volume is waited for by a thread
 *     mu_transaction_end(&transaction);
 * One at a time. A shard that failed makes the commit fail with that status; nothing becomes visible then.
 */
#ifndef MU_WORKER_CHECKPOINT_TRANSACTION_H
#define MU_WORKER_CHECKPOINT_TRANSACTION_H

#include "worker/train/saved_lists.h"
#include <pthread.h>
#include <stdatomic.h>

typedef struct mu_transaction {
    bool active;
    bool background; /* the workers go on meanwhile */
    int64_t began_ns;
    char *dir, *tmp;  /* RUN/checkpoints, and the temporary directory in it */
    const char *name; /* tmp without the directory */
    mu_saved_lists_t lists;
    mu_checkpoint_info_t info; /* the transaction's own */
    bool described;            /* info is there */
    mu_status_t status;        /* of the commit */
    /* the commit */
    mu_commit_t commit;
    int64_t keep;
    bool committing;
    pthread_t thread;
    _Atomic bool done;
} mu_transaction_t;

/* Errors: MU_IO. */
mu_status_t mu_transaction_begin(mu_transaction_t *transaction, const char *dir, int64_t step, int attempt,
                                 int workers);
/* Begins to commit and prune, in a thread: on a slow volume that takes seconds. `commit` is copied, without info and
 * shards, which are the transaction's. */
void mu_transaction_commit(mu_transaction_t *transaction, const mu_commit_t *commit, int64_t keep);
/* Whether a commit has come to its end. */
static inline bool mu_transaction_done(const mu_transaction_t *transaction)
{
    return transaction->active && atomic_load(&transaction->done);
}
/* The result of a commit; waits for it. The transaction is idle again whatever it is. Errors: the workers', MU_IO. */
mu_status_t mu_transaction_end(mu_transaction_t *transaction);
/* Drops an unfinished save; a commit under way is waited for. */
void mu_transaction_abandon(mu_transaction_t *transaction);

#endif
