#include "common/checkpoint/shard.h"
#include "common/file.h"
#include "common/log.h"
#include "common/meter.h"
#include "common/num.h"
#include "common/checkpoint/frame.h"
#include "common/checkpoint/hdf5.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "values are stored as they lie in memory");

void mu_shard_release(mu_shard_t *shard)
{
    free(shard->slices);
    *shard = (mu_shard_t){.slices = NULL};
}

/* Creates the file, and makes the file system promise the room before any value is written. */
static mu_status_t create_with_room(const char *path, uint64_t size, int *out)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return mu_fail(MU_IO, "%s: cannot create: %s", path, strerror(errno));
    /* not every file system can promise (NFS before 4.2 cannot); there a full disk shows when writing */
    if (fallocate(fd, 0, 0, (off_t)size) != 0 && (errno == ENOSPC || errno == EDQUOT || errno == EIO)) {
        mu_status_t status = mu_fail(MU_IO, "%s: no room for its %llu bytes: %s", path,
                                     (unsigned long long)size, strerror(errno));
        close(fd);
        unlink(path);
        return status;
    }
    *out = fd;
    return MU_OK;
}

/* Copies the bytes [from, to) that libhdf5 laid out, digesting them as frame. */
static mu_status_t write_gap(const char *path, int fd, int memory, uint64_t from, uint64_t to,
                             mu_digest_t *frame)
{
    char block[MU_SHARD_HEADER];
    for (size_t n; from < to; from += n) {
        n = to - from < sizeof block ? (size_t)(to - from) : sizeof block;
        if (!mu_pread_all(memory, block, n, (off_t)from))
            return mu_fail(MU_IO, "%s: cannot read its outline: %s", path, strerror(errno));
        mu_digest_add(frame, block, n);
        if (!mu_pwrite_all(fd, block, n, (off_t)from))
            return mu_fail(MU_IO, "%s: cannot write at byte %llu: %s", path, (unsigned long long)from,
                           strerror(errno));
    }
    return MU_OK;
}

/* Copies the values of one slice from the source to the file, whole rows at a time. */
static mu_status_t write_slice(const mu_shard_plan_t *plan, const char *path, int fd, mu_stored_t *stored,
                               float *staging)
{
    const mu_slice_t *slice = &stored->slice;
    size_t row = (size_t)slice->count[1] * sizeof(float);
    int64_t rows = mu_max_i64(1, (int64_t)(MU_SHARD_STAGING / row));
    mu_digest_t *digest = mu_digest_new();
    mu_status_t status = MU_OK;
    for (int64_t done = 0; status == MU_OK && done < slice->count[0]; done += rows) {
        int64_t offset[2] = {slice->offset[0] + done, slice->offset[1]};
        int64_t count[2] = {mu_min_i64(rows, slice->count[0] - done), slice->count[1]};
        size_t bytes = (size_t)count[0] * row;
        status = plan->read(plan->arg, slice->tensor, slice->state, offset, count, staging);
        if (status != MU_OK)
            break;
        mu_digest_add(digest, staging, bytes);
        off_t at = (off_t)(stored->at + (uint64_t)done * row);
        if (!mu_pwrite_all(fd, staging, bytes, at))
            status =
                mu_fail(MU_IO, "%s: cannot write at byte %lld: %s", path, (long long)at, strerror(errno));
        mu_meter_add(bytes);
    }
    mu_digest_hex(digest, stored->digest);
    mu_digest_free(digest);
    return status;
}

static size_t staging_bytes(const mu_shard_t *shard)
{
    size_t bytes = MU_SHARD_STAGING;
    for (int i = 0; i < shard->count; i++) {
        size_t row = (size_t)shard->slices[i].slice.count[1] * sizeof(float);
        bytes = row > bytes ? row : bytes;
    }
    return (bytes + 63) / 64 * 64;
}

/* The whole file from its first byte to its last, in one pass: outline and values as they come. */
static mu_status_t write_bytes(const mu_shard_plan_t *plan, const char *path, int fd, int memory,
                               const int *order, mu_shard_t *shard)
{
    float *staging = aligned_alloc(64, staging_bytes(shard));
    if (!staging)
        return mu_fail(MU_NOMEM, "%s: no memory for %zu bytes of staging", path, staging_bytes(shard));
    mu_digest_t *frame = mu_digest_new();
    mu_status_t status = MU_OK;
    uint64_t from = 0;
    for (int i = 0; status == MU_OK && i < shard->count; i++) {
        mu_stored_t *stored = &shard->slices[order[i]];
        status = write_gap(path, fd, memory, from, stored->at, frame);
        if (status == MU_OK)
            status = write_slice(plan, path, fd, stored, staging);
        from = stored->at + mu_slice_bytes(&stored->slice);
    }
    if (status == MU_OK)
        status = write_gap(path, fd, memory, from, shard->size, frame);
    mu_digest_hex(frame, shard->frame);
    mu_digest_free(frame);
    free(staging);
    return status;
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

static mu_status_t write_durably(const mu_shard_plan_t *plan, const char *path, int memory, mu_shard_t *shard)
{
    mu_status_t status;
    int fd = -1, bad, *order = mu_frame_order(shard);
    if (!mu_frame_fits(shard, order, &bad)) {
        status = mu_fail(MU_BUG, "%s: HDF5 laid slice %d over another or past the end", path, bad);
        goto out;
    }
    MU_TRY_GOTO(status, create_with_room(path, shard->size, &fd), out);
    status = write_bytes(plan, path, fd, memory, order, shard);
    if (status == MU_OK && fsync(fd) != 0)
        status = mu_fail(MU_IO, "%s: cannot sync: %s", path, strerror(errno));
    if (close(fd) != 0 && status == MU_OK)
        status = mu_fail(MU_IO, "%s: cannot close: %s", path, strerror(errno));
    if (status == MU_OK)
        status = mu_sync_dir(plan->dir);
    if (status != MU_OK)
        unlink(path); /* gives the room back, which a full disk needs */
out:
    free(order);
    return status;
}

mu_status_t mu_shard_write(const mu_shard_plan_t *plan, mu_shard_t *out)
{
    mu_status_t status;
    mu_shard_t shard = {.slices = NULL};
    snprintf(shard.name, sizeof shard.name, "shard-tp%02d-dp%02d.h5", plan->tp_rank, plan->dp_rank);
    char *path = mu_path_join(plan->dir, shard.name);
    int memory = memfd_create(shard.name, MFD_CLOEXEC);
    if (memory < 0) {
        status = mu_fail(MU_IO, "%s: cannot get memory to lay it out: %s", path, strerror(errno));
        goto out;
    }
    /* the controller has made it; on a network volume asking again refreshes a stale view of the parent */
    if (mkdir(plan->dir, 0700) != 0 && errno != EEXIST) {
        status = mu_fail(MU_IO, "%s: cannot make directory: %s", plan->dir, strerror(errno));
        goto out;
    }
    MU_TRY_GOTO(status, lay_out(plan, memory, &shard), out);
    MU_TRY_GOTO(status, write_durably(plan, path, memory, &shard), out);
    *out = shard;
    shard = (mu_shard_t){.slices = NULL};
out:
    if (memory >= 0)
        close(memory);
    mu_shard_release(&shard);
    free(path);
    return status;
}
