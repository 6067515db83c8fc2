#include "worker/train/checkpoint_transaction.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/num.h"

mu_status_t mu_transaction_begin(mu_transaction_t *s, const char *dir, int64_t step, int attempt, int workers)
{
    memset(s, 0, sizeof *s);
    MU_TRY(mu_checkpoint_begin(dir, step, attempt, &s->tmp));
    s->active = true;
    s->step = step;
    s->began_ns = mu_now_ns();
    s->dir = mu_strdup(dir);
    s->name = strrchr(s->tmp, '/') + 1;
    s->expected = workers;
    s->shards = mu_calloc((size_t)workers, sizeof *s->shards);
    return MU_OK;
}

mu_status_t mu_transaction_add(mu_transaction_t *s, const char *message, size_t n)
{
    mu_saved_t saved;
    if (n < sizeof saved)
        return mu_fail(MU_BUG, "a list of %zu bytes came for a checkpoint", n);
    memcpy(&saved, message, sizeof saved);
    if (!s->active || saved.step != s->step || s->got == s->expected)
        return mu_fail(MU_BUG, "a shard of step %lld came, which is not being saved", (long long)saved.step);
    if (saved.status != MU_OK && s->status == MU_OK)
        s->status = (mu_status_t)saved.status;
    if (saved.status == MU_OK)
        MU_TRY(mu_shard_unpack(message + sizeof saved, n - sizeof saved, &s->shards[s->got]));
    s->bytes += saved.bytes;
    s->got++;
    return MU_OK;
}

static void release(mu_transaction_t *s)
{
    for (int i = 0; i < s->expected; i++)
        mu_shard_release(&s->shards[i]);
    free(s->shards);
    free(s->tmp);
    free(s->dir);
    mu_checkpoint_info_release(&s->info);
    memset(s, 0, sizeof *s);
}

static void *commit_and_prune(void *arg)
{
    mu_transaction_t *s = arg;
    char size[32];
    if (s->status == MU_OK)
        s->status = mu_checkpoint_commit(s->dir, s->tmp, &s->commit);
    if (s->status == MU_OK) {
        mu_info("checkpoint step %lld saved: %s in %.2f s%s%s", (long long)s->step,
                mu_human_bytes((uint64_t)s->bytes, size, sizeof size),
                (double)(mu_now_ns() - s->began_ns) * 1e-9, s->background ? ", beside the steps" : "",
                s->commit.best ? ", the best so far" : "");
        s->status = mu_checkpoint_prune(s->dir, s->keep, s->info.attempt);
    } else {
        mu_error("checkpoint step %lld could not be saved; earlier ones stand", (long long)s->step);
        mu_checkpoint_abandon(s->tmp);
    }
    atomic_store(&s->done, true);
    return NULL;
}

void mu_transaction_commit(mu_transaction_t *s, const mu_commit_t *commit, int64_t keep)
{
    s->commit = *commit;
    s->commit.info = &s->info;
    s->commit.shards = s->shards;
    s->commit.shard_count = s->expected;
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
