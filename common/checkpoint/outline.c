#include "common/checkpoint/outline.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "common/checkpoint/frame.h"
#include "common/checkpoint/hdf5.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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
        if (!p.stored && !mu_pread_all(o->memory, here, n, (off_t)p.from))
            return mu_fail(MU_IO, "%s: cannot read its outline: %s", o->shard.name, strerror(errno));
        if (p.stored)
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
        mu_digest_add(p.stored ? o->slice : o->frame, bytes + (p.from - from), n);
        if (p.ends) {
            mu_digest_hex(o->slice, p.stored->digest);
            mu_digest_free(o->slice);
            o->slice = NULL;
        }
        at = p.to;
    }
    if (to == o->shard.size)
        mu_digest_hex(o->frame, o->shard.frame);
}

/* The slices of this worker, where libhdf5 puts them in a file of its own in memory. */
static mu_status_t lay_out(const mu_shard_plan_t *plan, int memory, mu_shard_t *shard)
{
    char header[MU_SHARD_HEADER];
    struct stat st;
    mu_slice_t *slices = mu_slices_of(plan->model, plan->tp, plan->dp, plan->tp_rank, plan->dp_rank,
                                      plan->optimizer, &shard->count);
    uint64_t *at = mu_calloc((size_t)shard->count, sizeof *at);
    shard->slices = mu_calloc((size_t)shard->count, sizeof *shard->slices);
    mu_status_t status = mu_hdf5_lay_out(memory, plan, slices, shard->count, at);
    for (int i = 0; status == MU_OK && i < shard->count; i++)
        shard->slices[i] = (mu_stored_t){.slice = slices[i], .at = at[i]};
    mu_shard_header(plan->run_id, plan->step, plan->attempt, shard->name, header);
    if (status == MU_OK && (!mu_pwrite_all(memory, header, sizeof header, 0) || fstat(memory, &st) != 0))
        status = mu_fail(MU_IO, "%s: cannot write its header in memory: %s", shard->name, strerror(errno));
    if (status == MU_OK)
        shard->size = (uint64_t)st.st_size;
    free(at);
    free(slices);
    return status;
}

/* Slices in order, apart, and at whole values. */
static mu_status_t check(const mu_outline_t *o)
{
    int bad;
    if (!mu_frame_fits(&o->shard, o->order, &bad))
        return mu_fail(MU_BUG, "%s: HDF5 laid slice %d over another or past the end", o->shard.name, bad);
    for (int i = 0; i < o->shard.count; i++)
        if (o->shard.slices[i].at % sizeof(float) != 0)
            return mu_fail(MU_BUG, "%s: HDF5 laid slice %d at byte %llu, inside a value", o->shard.name, i,
                           (unsigned long long)o->shard.slices[i].at);
    return MU_OK;
}

mu_status_t mu_outline_make(const mu_shard_plan_t *plan, mu_outline_t *out)
{
    mu_status_t status;
    mu_outline_t o = {.memory = -1};
    snprintf(o.shard.name, sizeof o.shard.name, "shard-tp%02d-dp%02d.h5", plan->tp_rank, plan->dp_rank);
    o.memory = memfd_create(o.shard.name, MFD_CLOEXEC);
    if (o.memory < 0) {
        status = mu_fail(MU_IO, "%s: cannot get memory to lay it out: %s", o.shard.name, strerror(errno));
        goto out;
    }
    MU_TRY_GOTO(status, lay_out(plan, o.memory, &o.shard), out);
    o.order = mu_frame_order(&o.shard);
    MU_TRY_GOTO(status, check(&o), out);
    o.frame = mu_digest_new();
    *out = o;
    return MU_OK;
out:
    if (o.memory >= 0)
        close(o.memory);
    free(o.order);
    mu_shard_release(&o.shard);
    return status;
}

void mu_outline_release(mu_outline_t *o)
{
    if (!o->frame)
        return;
    close(o->memory);
    free(o->order);
    mu_shard_release(&o->shard);
    mu_digest_free(o->frame);
    mu_digest_free(o->slice);
    memset(o, 0, sizeof *o);
}
