#include "worker/checkpoint/shard.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "worker/checkpoint/frame.h"
#include "worker/checkpoint/hdf5.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "values are stored as they lie in memory");

void mu_shard_release(mu_shard_t *shard)
{
    free(shard->slices);
    *shard = (mu_shard_t){.slices = NULL};
}

/* Opens what libhdf5 laid out, and makes the file system promise the room before any value is written. */
static mu_status_t open_with_room(const char *path, mu_shard_t *shard, int *out)
{
    struct stat st;
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return mu_fail(MU_IO, "%s: cannot open: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0 || st.st_size <= 0) {
        mu_status_t status = mu_fail(MU_IO, "%s: empty after HDF5 laid it out: the volume may be full", path);
        close(fd);
        return status;
    }
    /* not every file system can promise (NFS before 4.2 cannot); there a full disk shows when writing */
    if (fallocate(fd, 0, 0, st.st_size) != 0 && (errno == ENOSPC || errno == EDQUOT || errno == EIO)) {
        mu_status_t status = mu_fail(MU_IO, "%s: no room for its %lld bytes: %s", path, (long long)st.st_size,
                                     strerror(errno));
        close(fd);
        return status;
    }
    shard->size = (uint64_t)st.st_size;
    *out = fd;
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

static mu_status_t write_values(const mu_shard_plan_t *plan, const char *path, int fd, mu_shard_t *shard)
{
    char header[MU_SHARD_HEADER];
    mu_shard_header(plan->run_id, plan->step, plan->attempt, shard->name, header);
    if (!mu_pwrite_all(fd, header, sizeof header, 0))
        return mu_fail(MU_IO, "%s: cannot write at byte 0: %s", path, strerror(errno));
    float *staging = aligned_alloc(64, staging_bytes(shard));
    if (!staging)
        return mu_fail(MU_NOMEM, "%s: no memory for %zu bytes of staging", path, staging_bytes(shard));
    mu_status_t status = MU_OK;
    for (int i = 0; status == MU_OK && i < shard->count; i++)
        status = write_slice(plan, path, fd, &shard->slices[i], staging);
    free(staging);
    return status;
}

/* The digest of what libhdf5 wrote, after a look that every slice has its own place. */
static mu_status_t digest_frame(const char *path, int fd, mu_shard_t *shard)
{
    int *order = mu_frame_order(shard), bad = 0;
    mu_status_t status = MU_OK;
    if (!mu_frame_fits(shard, order, &bad))
        status = mu_fail(MU_IO, "%s: HDF5 laid a dataset out over another or past the end of the file", path);
    else if (!mu_frame_digest(fd, shard, order, shard->frame))
        status = mu_fail(MU_IO, "%s: cannot read back: %s", path, strerror(errno));
    free(order);
    return status;
}

/* The slices of this worker, where libhdf5 put them. */
static mu_status_t lay_out(const mu_shard_plan_t *plan, const char *path, mu_shard_t *shard)
{
    mu_slice_t *slices = mu_slices_of(plan->model, plan->tp, plan->dp, plan->tp_rank, plan->dp_rank,
                                      plan->optimizer, &shard->count);
    uint64_t *at = mu_calloc((size_t)shard->count, sizeof *at);
    shard->slices = mu_calloc((size_t)shard->count, sizeof *shard->slices);
    mu_status_t status = mu_hdf5_lay_out(path, plan, slices, shard->count, at);
    if (status == MU_OK)
        status = mu_hdf5_check(path, plan, slices, shard->count, at);
    for (int i = 0; status == MU_OK && i < shard->count; i++)
        shard->slices[i] = (mu_stored_t){.slice = slices[i], .at = at[i]};
    free(at);
    free(slices);
    return status;
}

mu_status_t mu_shard_write(const mu_shard_plan_t *plan, mu_shard_t *out)
{
    mu_status_t status;
    mu_shard_t shard = {.slices = NULL};
    int fd = -1;
    snprintf(shard.name, sizeof shard.name, "shard-tp%02d-dp%02d.h5", plan->tp_rank, plan->dp_rank);
    char *path = mu_path_join(plan->dir, shard.name);
    /* the controller has made it; on a network volume asking again refreshes a stale view of the parent */
    if (mkdir(plan->dir, 0700) != 0 && errno != EEXIST) {
        status = mu_fail(MU_IO, "%s: cannot make directory: %s", plan->dir, strerror(errno));
        goto out;
    }
    MU_TRY_GOTO(status, lay_out(plan, path, &shard), out_unlink);
    MU_TRY_GOTO(status, open_with_room(path, &shard, &fd), out_unlink);
    MU_TRY_GOTO(status, write_values(plan, path, fd, &shard), out_unlink);
    MU_TRY_GOTO(status, digest_frame(path, fd, &shard), out_unlink);
    if (fsync(fd) != 0) {
        status = mu_fail(MU_IO, "%s: cannot sync: %s", path, strerror(errno));
        goto out_unlink;
    }
    int closed = close(fd);
    fd = -1;
    if (closed != 0) {
        status = mu_fail(MU_IO, "%s: cannot close: %s", path, strerror(errno));
        goto out_unlink;
    }
    MU_TRY_GOTO(status, mu_sync_dir(plan->dir), out_unlink);
    *out = shard;
    free(path);
    return MU_OK;
out_unlink: /* gives the room back, which a full disk needs */
    if (fd >= 0)
        close(fd);
    unlink(path);
out:
    free(path);
    mu_shard_release(&shard);
    return status;
}
