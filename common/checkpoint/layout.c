#include "common/checkpoint/layout.h"
#include "common/file.h"
#include "common/log.h"
#include "common/checkpoint/frame.h"
#include "common/checkpoint/hdf5.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The slices of this worker, where libhdf5 puts them in a file of its own in memory. */
static mu_status_t lay_out(const mu_shard_plan_t *plan, int memory, mu_shard_t *shard)
{
    struct stat st;
    mu_slice_t *slices = mu_slices_of(plan->model, plan->tp, plan->dp, plan->tp_rank, plan->dp_rank,
                                      plan->optimizer, &shard->count);
    uint64_t *at = mu_calloc((size_t)shard->count, sizeof *at);
    shard->slices = mu_calloc((size_t)shard->count, sizeof *shard->slices);
    mu_status_t status = mu_hdf5_lay_out(memory, plan, slices, shard->count, at);
    for (int i = 0; status == MU_OK && i < shard->count; i++)
        shard->slices[i] = (mu_stored_t){.slice = slices[i], .at = at[i]};
    if (status == MU_OK && fstat(memory, &st) != 0)
        status = mu_fail(MU_IO, "%s: its layout in memory has no size: %s", shard->name, strerror(errno));
    if (status == MU_OK)
        shard->size = (uint64_t)st.st_size;
    free(at);
    free(slices);
    return status;
}

/* Slices in order, apart, and at whole values. */
static mu_status_t check(const mu_shard_layout_t *l)
{
    int bad;
    if (!mu_frame_fits(&l->shard, l->order, &bad))
        return mu_fail(MU_BUG, "%s: HDF5 laid slice %d over another or past the end", l->shard.name, bad);
    for (int i = 0; i < l->shard.count; i++)
        if (l->shard.slices[i].at % sizeof(float) != 0)
            return mu_fail(MU_BUG, "%s: HDF5 laid slice %d at byte %llu, inside a value", l->shard.name, i,
                           (unsigned long long)l->shard.slices[i].at);
    return MU_OK;
}

/* Takes what lies around the values. */
static mu_status_t take_frame(mu_shard_layout_t *l, int memory)
{
    const mu_shard_t *s = &l->shard;
    uint64_t from = 0, values = 0;
    l->skipped = mu_calloc((size_t)s->count + 1, sizeof *l->skipped);
    for (int i = 0; i < s->count; i++) {
        l->skipped[i] = values;
        values += mu_slice_bytes(&s->slices[l->order[i]].slice);
    }
    l->skipped[s->count] = values;
    l->frame_bytes = (size_t)(s->size - values);
    l->frame = mu_alloc(l->frame_bytes);
    for (int i = 0; i <= s->count; i++) {
        const mu_stored_t *next = i < s->count ? &s->slices[l->order[i]] : NULL;
        uint64_t to = next ? next->at : s->size;
        if (!mu_pread_all(memory, l->frame + (from - l->skipped[i]), (size_t)(to - from), (off_t)from))
            return mu_fail(MU_IO, "%s: cannot read its layout in memory: %s", s->name, strerror(errno));
        from = next ? to + mu_slice_bytes(&next->slice) : to;
    }
    return MU_OK;
}

/* The next place of some bytes from *at on, or NULL. *at becomes the first byte after it. */
static const char *next_of(const mu_shard_layout_t *l, const void *bytes, size_t n, size_t *at)
{
    const char *found = memmem(l->frame + *at, l->frame_bytes - *at, bytes, n);
    if (found)
        *at = (size_t)(found - l->frame) + n;
    return found;
}

static mu_status_t find_step(mu_shard_layout_t *l)
{
    const int64_t step = MU_LAYOUT_STEP;
    size_t at = 0;
    const char *found = next_of(l, &step, sizeof step, &at);
    if (!found || next_of(l, &step, sizeof step, &at))
        return mu_fail(MU_BUG, "%s: HDF5 laid the step out %s", l->shard.name, found ? "twice" : "nowhere");
    l->step = (uint64_t)(found - l->frame);
    return MU_OK;
}

/* Each dataset has the time at which it was made: a message of type 18 with 8 bytes, no flags, version 1, then the
 * seconds (the HDF5 file format's "object modification time"). */
static void find_times(mu_shard_layout_t *l, time_t from, time_t to)
{
    static const unsigned char message[] = {18, 0, 8, 0, 0, 0, 0, 0, 1, 0, 0, 0};
    uint32_t seconds;
    size_t at = 0;
    l->times = mu_calloc((size_t)l->shard.count, sizeof *l->times);
    while (l->time_count < l->shard.count && next_of(l, message, sizeof message, &at) &&
           at + sizeof seconds <= l->frame_bytes) {
        memcpy(&seconds, l->frame + at, sizeof seconds);
        if (seconds >= (uint32_t)from && seconds <= (uint32_t)to)
            l->times[l->time_count++] = at;
    }
}

mu_status_t mu_shard_layout_make(const mu_shard_plan_t *plan, mu_shard_layout_t **out)
{
    mu_shard_layout_t *l = mu_calloc(1, sizeof *l);
    mu_shard_plan_t any_step = *plan;
    mu_status_t status;
    time_t began = time(NULL);
    any_step.step = MU_LAYOUT_STEP;
    l->run_id = mu_strdup(plan->run_id);
    l->tp = plan->tp;
    l->dp = plan->dp;
    l->tp_rank = plan->tp_rank;
    l->dp_rank = plan->dp_rank;
    l->optimizer = plan->optimizer;
    snprintf(l->shard.name, sizeof l->shard.name, "shard-tp%02d-dp%02d.h5", plan->tp_rank, plan->dp_rank);
    int memory = memfd_create(l->shard.name, MFD_CLOEXEC);
    if (memory < 0) {
        status = mu_fail(MU_IO, "%s: cannot get memory to lay it out: %s", l->shard.name, strerror(errno));
        goto out;
    }
    MU_TRY_GOTO(status, lay_out(&any_step, memory, &l->shard), out);
    l->order = mu_frame_order(&l->shard);
    MU_TRY_GOTO(status, check(l), out);
    MU_TRY_GOTO(status, take_frame(l, memory), out);
    MU_TRY_GOTO(status, find_step(l), out);
    find_times(l, began, time(NULL));
    *out = l;
    l = NULL;
out:
    if (memory >= 0)
        close(memory);
    mu_shard_layout_free(l);
    return status;
}

void mu_shard_layout_free(mu_shard_layout_t *l)
{
    if (!l)
        return;
    mu_shard_release(&l->shard);
    free(l->run_id);
    free(l->order);
    free(l->skipped);
    free(l->frame);
    free(l->times);
    free(l);
}

bool mu_shard_layout_fits(const mu_shard_layout_t *l, const mu_shard_plan_t *plan)
{
    return l->tp == plan->tp && l->dp == plan->dp && l->tp_rank == plan->tp_rank &&
           l->dp_rank == plan->dp_rank && l->optimizer == plan->optimizer &&
           strcmp(l->run_id, plan->run_id) == 0;
}

char *mu_shard_layout_frame(const mu_shard_layout_t *l, const mu_shard_plan_t *plan)
{
    uint32_t now = (uint32_t)time(NULL);
    char *frame = mu_alloc(l->frame_bytes);
    memcpy(frame, l->frame, l->frame_bytes);
    mu_shard_header(plan->run_id, plan->step, plan->attempt, l->shard.name, frame);
    memcpy(frame + l->step, &plan->step, sizeof plan->step);
    for (int i = 0; i < l->time_count; i++)
        memcpy(frame + l->times[i], &now, sizeof now);
    return frame;
}
