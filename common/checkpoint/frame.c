#include "common/checkpoint/frame.h"
#include "common/file.h"
#include "common/num.h"

void mu_shard_header(const char *run_id, int64_t step, int attempt, const char *name,
                     char out[MU_SHARD_HEADER])
{
    memset(out, 0, MU_SHARD_HEADER);
    snprintf(out, MU_SHARD_HEADER,
             "muster checkpoint shard, HDF5 from byte %d\nrun %s\nstep %lld\nattempt %d\nfile %s\n",
             MU_SHARD_HEADER, run_id, (long long)step, attempt, name);
}

static int by_byte(const void *a, const void *b, void *shard)
{
    const mu_stored_t *s = ((const mu_shard_t *)shard)->slices;
    uint64_t x = s[*(const int *)a].at, y = s[*(const int *)b].at;
    return (x > y) - (x < y);
}

int *mu_frame_order(const mu_shard_t *shard)
{
    int *order = mu_alloc(sizeof *order * (size_t)shard->count);
    for (int i = 0; i < shard->count; i++)
        order[i] = i;
    mu_shard_t *unconst = (mu_shard_t *)(uintptr_t)shard; /* qsort_r passes its argument without const */
    qsort_r(order, (size_t)shard->count, sizeof *order, by_byte, unconst);
    return order;
}

bool mu_frame_fits(const mu_shard_t *shard, const int *order, int *bad)
{
    uint64_t end = MU_SHARD_HEADER;
    for (int i = 0; i < shard->count; i++) {
        const mu_stored_t *s = &shard->slices[order[i]];
        *bad = order[i];
        if (s->at < end || !mu_add_u64(s->at, mu_slice_bytes(&s->slice), &end) || end > shard->size)
            return false;
    }
    return shard->size >= MU_SHARD_HEADER;
}

bool mu_frame_digest(int fd, const mu_shard_t *shard, const int *order, char out[MU_DIGEST_HEX])
{
    enum { BLOCK = 1 << 16 };
    char *block = mu_alloc(BLOCK);
    mu_digest_t *digest = mu_digest_new();
    uint64_t from = 0;
    bool ok = true;
    for (int i = 0; ok && i <= shard->count; i++) {
        const mu_stored_t *s = i < shard->count ? &shard->slices[order[i]] : NULL;
        uint64_t to = s ? s->at : shard->size;
        while (ok && from < to) {
            size_t n = to - from < BLOCK ? (size_t)(to - from) : BLOCK;
            ok = mu_pread_all(fd, block, n, (off_t)from);
            if (ok)
                mu_digest_add(digest, block, n);
            from += n;
        }
        if (s)
            from = s->at + mu_slice_bytes(&s->slice);
    }
    if (ok)
        mu_digest_hex(digest, out);
    mu_digest_free(digest);
    free(block);
    return ok;
}
