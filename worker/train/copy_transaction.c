#include "worker/train/copy_transaction.h"
#include "common/log.h"

#include <math.h>

void mu_copying_begin(mu_copying_t *c, int64_t step, int workers)
{
    *c = (mu_copying_t){.active = true,
                        .step = step,
                        .expected = workers,
                        .shards = mu_calloc((size_t)workers, sizeof *c->shards)};
}

mu_status_t mu_copying_add(mu_copying_t *c, const char *message, size_t n)
{
    mu_saved_t saved;
    if (n < sizeof saved)
        return mu_fail(MU_BUG, "a list of %zu bytes came for a copy in memory", n);
    memcpy(&saved, message, sizeof saved);
    if (!c->active || saved.step != c->step || c->got == c->expected)
        return mu_fail(MU_BUG, "a piece of step %lld came, which is not being copied", (long long)saved.step);
    MU_TRY(mu_shard_unpack(message + sizeof saved, n - sizeof saved, &c->shards[c->got]));
    c->bytes += saved.bytes;
    c->seconds = fmax(c->seconds, saved.seconds);
    c->got++;
    return MU_OK;
}

mu_status_t mu_copying_manifest(const mu_copying_t *c, const mu_commit_t *commit, mu_buf_t *text)
{
    mu_commit_t whole = *commit;
    whole.shards = c->shards;
    whole.shard_count = c->expected;
    return mu_commit_manifest(&whole, "copies in memory", text);
}

void mu_copying_end(mu_copying_t *c)
{
    for (int i = 0; i < c->expected; i++)
        mu_shard_release(&c->shards[i]);
    free(c->shards);
    memset(c, 0, sizeof *c);
}
