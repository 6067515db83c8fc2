#include "common/checkpoint/outline.h"
#include "common/log.h"
#include "common/checkpoint/layout.h"

/* Bytes that belong together: of one slice, or of what lies between two. */
typedef struct piece {
    mu_stored_t *stored; /* NULL: between slices */
    uint64_t from, to;
    bool ends; /* the slice's last */
} piece_t;

/* The piece that begins at `from` and ends before `to` or with its slice. *next: where to look in the order, kept by
 * who walks on. */
static piece_t piece_at(const mu_outline_t *o, int *next, uint64_t from, uint64_t to)
{
    const mu_shard_t *s = &o->shard;
    for (; *next < s->count; ++*next) {
        mu_stored_t *stored = &s->slices[o->order[*next]];
        uint64_t end = stored->at + mu_slice_bytes(&stored->slice);
        if (end <= from)
            continue;
        if (stored->at > from)
            return (piece_t){NULL, from, stored->at < to ? stored->at : to, false};
        return (piece_t){stored, from, end < to ? end : to, end <= to};
    }
    return (piece_t){NULL, from, to, false};
}

mu_status_t mu_outline_fill(const mu_outline_t *o, const mu_shard_plan_t *plan, uint64_t from, uint64_t to,
                            char *out)
{
    int next = 0;
    for (uint64_t at = from; at < to;) {
        piece_t p = piece_at(o, &next, at, to);
        char *here = out + (p.from - from);
        size_t n = (size_t)(p.to - p.from);
        if (!p.stored)
            memcpy(here, o->frame + (p.from - o->skipped[next]), n);
        else
            MU_TRY(plan->read(plan->arg, &p.stored->slice, (int64_t)((p.from - p.stored->at) / sizeof(float)),
                              (int64_t)(n / sizeof(float)), (float *)(void *)here));
        at = p.to;
    }
    return MU_OK;
}

void mu_outline_digest(mu_outline_t *o, uint64_t from, uint64_t to, const char *bytes)
{
    for (uint64_t at = from; at < to;) {
        piece_t p = piece_at(o, &o->next, at, to);
        size_t n = (size_t)(p.to - p.from);
        if (p.stored && !o->slice)
            o->slice = mu_digest_new();
        mu_digest_add(p.stored ? o->slice : o->around, bytes + (p.from - from), n);
        if (p.ends) {
            mu_digest_hex(o->slice, p.stored->digest);
            mu_digest_free(o->slice);
            o->slice = NULL;
        }
        at = p.to;
    }
    if (to == o->shard.size)
        mu_digest_hex(o->around, o->shard.frame);
}

static void *copy_of(const void *from, size_t n, size_t size)
{
    void *copy = mu_calloc(n, size);
    memcpy(copy, from, n * size);
    return copy;
}

mu_status_t mu_outline_make(const mu_shard_plan_t *plan, mu_outline_t *out)
{
    const mu_shard_layout_t *layout = plan->layout;
    mu_shard_layout_t *own = NULL;
    if (!layout) {
        MU_TRY(mu_shard_layout_make(plan, &own));
        layout = own;
    }
    if (!mu_shard_layout_fits(layout, plan))
        return mu_fail(MU_BUG, "%s: a file of another worker or run is to have its layout",
                       layout->shard.name);
    size_t count = (size_t)layout->shard.count;
    *out = (mu_outline_t){.shard = layout->shard,
                          .order = copy_of(layout->order, count, sizeof *layout->order),
                          .skipped = copy_of(layout->skipped, count + 1, sizeof *layout->skipped),
                          .frame = mu_shard_layout_frame(layout, plan),
                          .around = mu_digest_new()};
    out->shard.slices = copy_of(layout->shard.slices, count, sizeof *layout->shard.slices);
    mu_shard_layout_free(own);
    return MU_OK;
}

void mu_outline_release(mu_outline_t *o)
{
    if (!o->frame)
        return;
    free(o->order);
    free(o->skipped);
    free(o->frame);
    mu_shard_release(&o->shard);
    mu_digest_free(o->around);
    mu_digest_free(o->slice);
    memset(o, 0, sizeof *o);
}
