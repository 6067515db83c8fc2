#include "common/checkpoint/block_writer.h"
#include "common/file.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/vfs.h>

static bool set_direct(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

/* Where writing past the page cache was found to be no slower than through it. A small file waits for the device once,
 * in fsync(). */
static bool likes_direct(int fd, uint64_t size)
{
    enum { EXT4 = 0xef53, XFS = 0x58465342, LEAST = 1 << 20 };
    struct statfs fs;
    return size >= LEAST && fstatfs(fd, &fs) == 0 && (fs.f_type == EXT4 || fs.f_type == XFS);
}

static bool write_bytes(mu_block_writer_t *w, const mu_block_t *block, size_t from, size_t to)
{
    if (from == to || mu_pwrite_all(w->fd, block->bytes + from, to - from, (off_t)(block->at + from)))
        return true;
    /* a device with larger sectors, or the rest of a write that was cut short: the page cache takes any */
    if (!w->direct || errno != EINVAL || !set_direct(w->fd, false))
        return false;
    w->direct = false;
    return mu_pwrite_all(w->fd, block->bytes + from, to - from, (off_t)(block->at + from));
}

static mu_status_t write_block(mu_block_writer_t *w, const mu_block_t *block)
{
    size_t whole = w->direct ? block->n / MU_BLOCK_ALIGN * MU_BLOCK_ALIGN : block->n;
    bool ok = write_bytes(w, block, 0, whole);
    if (ok && whole < block->n) { /* the end of the file */
        w->direct = !set_direct(w->fd, false);
        ok = write_bytes(w, block, whole, block->n);
    }
    if (!ok)
        return mu_fail(MU_IO, "%s: cannot write at byte %llu: %s", w->path, (unsigned long long)block->at,
                       strerror(errno));
    if (!w->direct) /* a hint: an error shows at fsync() */
        (void)sync_file_range(w->fd, (off_t)block->at, (off_t)block->n, SYNC_FILE_RANGE_WRITE);
    return MU_OK;
}

static void *run(void *arg)
{
    mu_block_writer_t *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (w->count == 0 && !w->stop)
            pthread_cond_wait(&w->changed, &w->lock);
        if (w->count == 0)
            break;
        mu_block_t block = w->pending[w->first];
        mu_status_t status = w->status;
        pthread_mutex_unlock(&w->lock);
        if (status == MU_OK)
            status = write_block(w, &block);
        pthread_mutex_lock(&w->lock);
        w->status = status;
        w->first = (w->first + 1) % MU_BLOCKS_PENDING;
        w->count--;
        pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

mu_status_t mu_block_writer_begin(mu_block_writer_t *w, int fd, const char *path, uint64_t size)
{
    memset(w, 0, sizeof *w);
    w->fd = fd;
    w->path = path;
    w->direct = likes_direct(fd, size) && set_direct(fd, true);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    int rc = pthread_create(&w->thread, NULL, run, w);
    if (rc == 0)
        return MU_OK;
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    return mu_fail(MU_NOMEM, "%s: no thread can be made to write it: %s", path, strerror(rc));
}

mu_status_t mu_block_writer_room(mu_block_writer_t *w, int pending)
{
    pthread_mutex_lock(&w->lock);
    while (w->count > pending)
        pthread_cond_wait(&w->changed, &w->lock);
    mu_status_t status = w->status;
    pthread_mutex_unlock(&w->lock);
    return status;
}

mu_status_t mu_block_writer_put(mu_block_writer_t *w, const void *bytes, size_t n, uint64_t at)
{
    MU_TRY(mu_block_writer_room(w, MU_BLOCKS_PENDING - 1));
    pthread_mutex_lock(&w->lock);
    w->pending[(w->first + w->count++) % MU_BLOCKS_PENDING] = (mu_block_t){bytes, n, at};
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    return MU_OK;
}

mu_status_t mu_block_writer_end(mu_block_writer_t *w)
{
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    return w->status;
}
