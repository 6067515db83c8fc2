#include "worker/train/saved_lists.h"
#include "common/log.h"

#include <math.h>

void mu_saved_lists_begin(mu_saved_lists_t *l, int64_t step, int workers)
{
    *l = (mu_saved_lists_t){
        .step = step, .expected = workers, .shards = mu_calloc((size_t)workers, sizeof *l->shards)};
}

mu_status_t mu_saved_lists_add(mu_saved_lists_t *l, const char *message, size_t n)
{
    mu_saved_t saved;
    if (n < sizeof saved)
        return mu_fail(MU_BUG, "a list of %zu bytes came for the state of a step", n);
    memcpy(&saved, message, sizeof saved);
    if (l->got == l->expected || saved.step != l->step)
        return mu_fail(MU_BUG, "a shard of step %lld came, which is not being saved", (long long)saved.step);
    if (saved.status == MU_OK)
        MU_TRY(mu_shard_unpack(message + sizeof saved, n - sizeof saved, &l->shards[l->got]));
    else if (l->status == MU_OK)
        l->status = (mu_status_t)saved.status;
    l->bytes += saved.bytes;
    l->seconds = fmax(l->seconds, saved.seconds);
    l->got++;
    return MU_OK;
}

mu_status_t mu_saved_lists_manifest(const mu_saved_lists_t *l, const mu_commit_t *commit, const char *name,
                                    mu_buf_t *text)
{
    mu_commit_t whole = *commit;
    MU_TRY(l->status);
    whole.shards = l->shards;
    whole.shard_count = l->expected;
    return mu_commit_manifest(&whole, name, text);
}

void mu_saved_lists_release(mu_saved_lists_t *l)
{
    for (int i = 0; i < l->expected; i++)
        mu_shard_release(&l->shards[i]);
    free(l->shards);
    memset(l, 0, sizeof *l);
}
