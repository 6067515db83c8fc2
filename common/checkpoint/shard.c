#include "common/checkpoint/shard.h"
#include "common/file.h"
#include "common/log.h"
#include "common/meter.h"
#include "common/num.h"
#include "common/checkpoint/block_writer.h"
#include "common/checkpoint/outline.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "values are stored as they lie in memory");

enum {
    BLOCK = 4 << 20, /* of one write */
    BUFFERS = 3,     /* one is filled, one written, one waits */
    HUGE_PAGE = 2 << 20,
    STEP = 1 << 20 /* filled, then digested while it is in the core's cache */
};

struct mu_shard_copy {
    mu_outline_t outline;
    mu_shard_plan_t plan; /* with a dir of its own */
    char *dir;
    size_t block;
    char *image;   /* the whole file */
    uint64_t size; /* of it; the outline's is handed over while the other thread may still ask */
    _Atomic uint64_t written;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under the lock */
    uint64_t taken;     /* up to there the image is made, or being made */
    int makers;         /* threads that make a part of it now */
    mu_status_t status; /* their first failure: then nothing more is made */
};

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

/* Makes the bytes [from, to) of the file from the plan's values, and digests them. */
static mu_status_t make_bytes(const mu_shard_plan_t *plan, mu_outline_t *outline, uint64_t from, uint64_t to,
                              char *out)
{
    for (uint64_t at = from, n; at < to; at += n) {
        n = to - at < STEP ? to - at : STEP;
        MU_TRY(mu_outline_fill(outline, plan, at, at + n, out + (at - from)));
        mu_outline_digest(outline, at, at + n, out + (at - from));
        mu_meter_add(n);
    }
    return MU_OK;
}

static size_t block_bytes(size_t wanted)
{
    return wanted ? (wanted + MU_BLOCK_ALIGN - 1) / MU_BLOCK_ALIGN * MU_BLOCK_ALIGN : BLOCK;
}

/* From the plan's values: block by block, each filled while the one before is written. */
static mu_status_t write_values(const mu_shard_plan_t *plan, mu_outline_t *outline, mu_block_writer_t *writer)
{
    size_t block = block_bytes(plan->block);
    uint64_t size = outline->shard.size;
    size_t bytes = (BUFFERS * block + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    char *buffers = aligned_alloc(HUGE_PAGE, bytes);
    mu_status_t status = MU_OK;
    if (!buffers)
        return mu_fail(MU_NOMEM, "%s: no memory for %zu bytes of staging", writer->path, BUFFERS * block);
    if (block >= HUGE_PAGE)
        (void)madvise(buffers, bytes, MADV_HUGEPAGE); /* fewer pieces for the device to fetch */
    for (uint64_t at = 0, n, i = 0; status == MU_OK && at < size; at += n, i++) {
        char *buffer = buffers + i % BUFFERS * block;
        n = size - at < block ? size - at : block;
        MU_TRY_GOTO(status, mu_block_writer_room(writer, BUFFERS - 1), out);
        MU_TRY_GOTO(status, make_bytes(plan, outline, at, at + n, buffer), out);
        status = mu_block_writer_put(writer, buffer, (size_t)n, at);
    }
out:
    (void)mu_block_writer_room(writer, 0); /* none of the buffers is read any more */
    free(buffers);
    return status;
}

/* ---- the image of a copy, made by two threads ---- */

/* The next `most` bytes that nobody has taken; false where there are none. */
static bool take(mu_shard_copy_t *copy, uint64_t most, uint64_t *from, uint64_t *to)
{
    uint64_t size = copy->size;
    pthread_mutex_lock(&copy->lock);
    *from = copy->taken;
    *to = copy->status == MU_OK && size - *from > most ? *from + most : size;
    copy->taken = *to;
    bool any = copy->status == MU_OK && *from < *to;
    copy->makers += any;
    pthread_mutex_unlock(&copy->lock);
    return any;
}

static void made(mu_shard_copy_t *copy, mu_status_t status)
{
    pthread_mutex_lock(&copy->lock);
    copy->makers--;
    copy->status = copy->status == MU_OK ? status : copy->status;
    pthread_cond_broadcast(&copy->changed);
    pthread_mutex_unlock(&copy->lock);
}

/* Until nobody makes any of it. */
static mu_status_t await_makers(mu_shard_copy_t *copy)
{
    pthread_mutex_lock(&copy->lock);
    while (copy->makers > 0)
        pthread_cond_wait(&copy->changed, &copy->lock);
    mu_status_t status = copy->status;
    pthread_mutex_unlock(&copy->lock);
    return status;
}

static mu_status_t make_image(mu_shard_copy_t *copy, uint64_t most, mu_shard_source_t read)
{
    uint64_t from, to;
    mu_shard_plan_t plan = copy->plan;
    plan.read = read ? read : plan.read;
    while (take(copy, most, &from, &to))
        made(copy, mu_outline_fill(&copy->outline, &plan, from, to, copy->image + from));
    return await_makers(copy);
}

mu_status_t mu_shard_copy_rest(mu_shard_copy_t *copy)
{
    return make_image(copy, UINT64_MAX, NULL);
}

void mu_shard_copy_give_up(mu_shard_copy_t *copy)
{
    uint64_t from, to;
    if (take(copy, UINT64_MAX, &from, &to))
        made(copy, MU_STOPPED);
    (void)await_makers(copy);
}

/* ---- files ---- */

/* From a copy: the file's own bytes, as they lie there. */
static mu_status_t write_copy(mu_shard_copy_t *copy, mu_block_writer_t *writer)
{
    uint64_t size = copy->size;
    for (uint64_t at = 0, n; at < size; at += n) {
        n = size - at < copy->block ? size - at : copy->block;
        mu_outline_digest(&copy->outline, at, at + n, copy->image + at);
        MU_TRY(mu_block_writer_put(writer, copy->image + at, (size_t)n, at));
        atomic_store(&copy->written, at);
    }
    return MU_OK;
}

/* One of the two makes the bytes. */
static mu_status_t write_durably(const char *dir, mu_outline_t *outline, const mu_shard_plan_t *plan,
                                 mu_shard_copy_t *copy)
{
    mu_status_t status;
    mu_block_writer_t writer;
    int fd = -1;
    char *path = mu_path_join(dir, outline->shard.name);
    /* the controller has made it; on a network volume asking again refreshes a stale view of the parent */
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        status = mu_fail(MU_IO, "%s: cannot make directory: %s", dir, strerror(errno));
        goto out;
    }
    MU_TRY_GOTO(status, create_with_room(path, outline->shard.size, &fd), out);
    status = mu_block_writer_begin(&writer, fd, path, outline->shard.size);
    if (status == MU_OK) {
        status = plan ? write_values(plan, outline, &writer) : write_copy(copy, &writer);
        mu_status_t written = mu_block_writer_end(&writer);
        status = status == MU_OK ? written : status;
    }
    if (status == MU_OK && fsync(fd) != 0)
        status = mu_fail(MU_IO, "%s: cannot sync: %s", path, strerror(errno));
    if (close(fd) != 0 && status == MU_OK)
        status = mu_fail(MU_IO, "%s: cannot close: %s", path, strerror(errno));
    if (status == MU_OK)
        status = mu_sync_dir(dir);
    if (status != MU_OK)
        unlink(path); /* gives the room back, which a full disk needs */
out:
    free(path);
    return status;
}

static void hand_over(mu_outline_t *outline, mu_shard_t *out)
{
    *out = outline->shard;
    outline->shard = (mu_shard_t){.slices = NULL};
}

mu_status_t mu_shard_write(const mu_shard_plan_t *plan, mu_shard_t *out)
{
    mu_outline_t outline = {.frame = NULL};
    mu_status_t status = mu_outline_make(plan, &outline);
    if (status == MU_OK)
        status = write_durably(plan->dir, &outline, plan, NULL);
    if (status == MU_OK)
        hand_over(&outline, out);
    mu_outline_release(&outline);
    return status;
}

mu_status_t mu_shard_size(const mu_shard_plan_t *plan, uint64_t *size, char name[MU_SHARD_NAME])
{
    mu_outline_t outline;
    MU_TRY(mu_outline_make(plan, &outline));
    *size = outline.shard.size;
    memcpy(name, outline.shard.name, MU_SHARD_NAME);
    mu_outline_release(&outline);
    return MU_OK;
}

mu_status_t mu_shard_copy_bytes(const mu_shard_plan_t *plan, uint64_t *out)
{
    char name[MU_SHARD_NAME];
    MU_TRY(mu_shard_size(plan, out, name));
    *out = (*out + MU_BLOCK_ALIGN - 1) / MU_BLOCK_ALIGN * MU_BLOCK_ALIGN;
    return MU_OK;
}

mu_status_t mu_shard_copy_begin(const mu_shard_plan_t *plan, void *memory, uint64_t bytes,
                                mu_shard_copy_t **out)
{
    mu_shard_copy_t *copy = mu_calloc(1, sizeof *copy);
    pthread_mutex_init(&copy->lock, NULL);
    pthread_cond_init(&copy->changed, NULL);
    mu_status_t status = mu_outline_make(plan, &copy->outline);
    uint64_t size = copy->outline.shard.size;
    if (status == MU_OK && size > bytes)
        status = mu_fail(MU_BUG, "%s: %llu bytes do not fit the %llu of its copy", copy->outline.shard.name,
                         (unsigned long long)size, (unsigned long long)bytes);
    if (status != MU_OK) {
        mu_shard_copy_free(copy);
        return status;
    }
    copy->plan = *plan;
    copy->plan.dir = copy->dir = mu_strdup(plan->dir);
    copy->block = block_bytes(plan->block);
    copy->image = memory;
    copy->size = size;
    *out = copy;
    return MU_OK;
}

mu_status_t mu_shard_copy(const mu_shard_plan_t *plan, void *memory, uint64_t bytes, mu_shard_copy_t **out)
{
    mu_shard_copy_t *copy;
    MU_TRY(mu_shard_copy_begin(plan, memory, bytes, &copy));
    mu_status_t status = mu_shard_copy_rest(copy);
    if (status == MU_OK)
        *out = copy;
    else
        mu_shard_copy_free(copy);
    return status;
}

mu_status_t mu_shard_write_copy(mu_shard_copy_t *copy, mu_shard_t *out)
{
    MU_TRY(make_image(copy, copy->block, copy->plan.read_beside));
    MU_TRY(write_durably(copy->dir, &copy->outline, NULL, copy));
    hand_over(&copy->outline, out);
    return MU_OK;
}

void mu_shard_digest_copy(mu_shard_copy_t *copy, mu_shard_t *out)
{
    mu_outline_digest(&copy->outline, 0, copy->size, copy->image);
    hand_over(&copy->outline, out);
}

uint64_t mu_shard_copy_written(const mu_shard_copy_t *copy)
{
    return atomic_load(&copy->written);
}

void mu_shard_copy_free(mu_shard_copy_t *copy)
{
    if (!copy)
        return;
    mu_outline_release(&copy->outline);
    pthread_cond_destroy(&copy->changed);
    pthread_mutex_destroy(&copy->lock);
    free(copy->dir);
    free(copy);
}
