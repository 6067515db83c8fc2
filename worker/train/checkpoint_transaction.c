#include "worker/train/checkpoint_transaction.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/num.h"

mu_status_t mu_transaction_begin(mu_transaction_t *s, const char *dir, int64_t step, int attempt, int workers)
{
    memset(s, 0, sizeof *s);
    MU_TRY(mu_checkpoint_begin(dir, step, attempt, &s->tmp));
    s->active = true;
    s->began_ns = mu_now_ns();
    s->dir = mu_strdup(dir);
    s->name = strrchr(s->tmp, '/') + 1;
    mu_saved_lists_begin(&s->lists, step, workers);
    return MU_OK;
}

static void release(mu_transaction_t *s)
{
    mu_saved_lists_release(&s->lists);
    free(s->tmp);
    free(s->dir);
    mu_checkpoint_info_release(&s->info);
    memset(s, 0, sizeof *s);
}

static void *commit_and_prune(void *arg)
{
    mu_transaction_t *s = arg;
    char size[32];
    long long step = (long long)s->lists.step;
    s->status = s->lists.status;
    if (s->status == MU_OK)
        s->status = mu_checkpoint_commit(s->dir, s->tmp, &s->commit);
    if (s->status == MU_OK) {
        mu_info("checkpoint step %lld saved: %s in %.2f s%s%s", step,
                mu_human_bytes((uint64_t)s->lists.bytes, size, sizeof size),
                (double)(mu_now_ns() - s->began_ns) * 1e-9, s->background ? ", beside the steps" : "",
                s->commit.best ? ", the best so far" : "");
        s->status = mu_checkpoint_prune(s->dir, s->keep, s->info.attempt);
    } else {
        mu_error("checkpoint step %lld could not be saved; earlier ones stand", step);
        mu_checkpoint_abandon(s->tmp);
    }
    atomic_store(&s->done, true);
    return NULL;
}

void mu_transaction_commit(mu_transaction_t *s, const mu_commit_t *commit, int64_t keep)
{
    s->commit = *commit;
    s->commit.info = &s->info;
    s->commit.shards = s->lists.shards;
    s->commit.shard_count = s->lists.expected;
    s->keep = keep;
    s->committing = true;
    int rc = pthread_create(&s->thread, NULL, commit_and_prune, s);
    if (rc != 0) {
        s->status = mu_fail(MU_NOMEM, "no thread can be made to commit a checkpoint: %s", strerror(rc));
        mu_checkpoint_abandon(s->tmp);
        s->committing = false;
        atomic_store(&s->done, true);
    }
}

mu_status_t mu_transaction_end(mu_transaction_t *s)
{
    if (s->committing)
        pthread_join(s->thread, NULL);
    mu_status_t status = s->status;
    release(s);
    return status;
}

void mu_transaction_abandon(mu_transaction_t *s)
{
    if (!s->active)
        return;
    if (s->committing) {
        mu_transaction_end(s);
        return;
    }
    mu_checkpoint_abandon(s->tmp);
    release(s);
}
