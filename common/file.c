#include "common/file.h"
#include "common/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

bool mu_write_all(int fd, const void *bytes, size_t n)
{
    const char *p = bytes;
    while (n > 0) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

bool mu_pwrite_all(int fd, const void *bytes, size_t n, off_t offset)
{
    const char *p = bytes;
    while (n > 0) {
        ssize_t w = pwrite(fd, p, n, offset);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return false;
        p += w;
        offset += w;
        n -= (size_t)w;
    }
    return true;
}

void mu_fd_drain(int fd, size_t most, mu_buf_t *out)
{
    for (ssize_t n = fd < 0 ? 0 : 1; n > 0 && out->len < most;) {
        mu_buf_reserve(out, 65536);
        n = read(fd, out->data + out->len, 65536);
        if (n > 0)
            out->len += (size_t)n;
    }
}

bool mu_pread_all(int fd, void *bytes, size_t n, off_t offset)
{
    char *p = bytes;
    while (n > 0) {
        ssize_t r = pread(fd, p, n, offset);
        if (r < 0 && errno == EINTR)
            continue;
        if (r == 0)
            errno = EPROTO;
        if (r <= 0)
            return false;
        p += r;
        offset += r;
        n -= (size_t)r;
    }
    return true;
}

char *mu_path_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return mu_strdup(".");
    return slash == path ? mu_strdup("/") : mu_format("%.*s", (int)(slash - path), path);
}

mu_status_t mu_sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return mu_fail(MU_IO, "%s: cannot open directory: %s", path, strerror(errno));
    mu_status_t status = MU_OK;
    /* EINVAL: a file system that keeps no directory of its own (some FUSE ones); there is nothing more to ask
     * of it */
    if (fsync(fd) != 0 && errno != EINVAL)
        status = mu_fail(MU_IO, "%s: cannot sync directory: %s", path, strerror(errno));
    close(fd);
    return status;
}

mu_status_t mu_file_replace(const char *path, const void *bytes, size_t n, mode_t mode)
{
    mu_status_t status = MU_OK;
    char *temporary = mu_format("%s.tmp-%ld", path, (long)getpid());
    char *parent = mu_path_parent(path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) {
        status = mu_fail(MU_IO, "%s: cannot create: %s", temporary, strerror(errno));
        goto out;
    }
    if (!mu_write_all(fd, bytes, n) || fsync(fd) != 0) {
        status = mu_fail(MU_IO, "%s: cannot write: %s", temporary, strerror(errno));
        close(fd);
        goto out_unlink;
    }
    if (close(fd) != 0) {
        status = mu_fail(MU_IO, "%s: cannot close: %s", temporary, strerror(errno));
        goto out_unlink;
    }
    if (rename(temporary, path) != 0) {
        status = mu_fail(MU_IO, "%s: cannot rename to '%s': %s", temporary, path, strerror(errno));
        goto out_unlink;
    }
    status = mu_sync_dir(parent);
    goto out;
out_unlink:
    unlink(temporary);
out:
    free(parent);
    free(temporary);
    return status;
}

mu_status_t mu_open_status(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
    case EACCES:
    case EPERM:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case ENXIO: /* a socket */
        return MU_NOINPUT;
    default:
        return MU_IO;
    }
}

mu_status_t mu_make_status(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EIO:
    case ESTALE:
    case ETIMEDOUT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return MU_IO;
    default:
        return MU_RUNDIR;
    }
}

mu_status_t mu_file_read(const char *path, size_t limit, mu_buf_t *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mu_fail(mu_open_status(errno), "%s: cannot open: %s", path, strerror(errno));
    mu_status_t status = MU_OK;
    size_t total = 0;
    for (;;) {
        mu_buf_reserve(out, 65536);
        ssize_t n = read(fd, out->data + out->len, 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            status = mu_fail(mu_open_status(errno), "%s: cannot read: %s", path, strerror(errno));
        if (n <= 0)
            break;
        total += (size_t)n;
        if (total > limit) {
            status = mu_fail(MU_DATA, "%s: larger than the %zu bytes that such a file may have", path, limit);
            break;
        }
        out->len += (size_t)n;
        out->data[out->len] = '\0';
    }
    close(fd);
    return status;
}

mu_status_t mu_file_read_text(const char *path, size_t limit, mu_buf_t *out)
{
    size_t before = out->len;
    MU_TRY(mu_file_read(path, limit, out));
    if (out->len - before >= 3 && memcmp(out->data + before, "\xEF\xBB\xBF", 3) == 0) {
        memmove(out->data + before, out->data + before + 3, out->len - before - 2); /* and the NUL */
        out->len -= 3;
    }
    return MU_OK;
}

mu_status_t mu_make_dirs(const char *path, mode_t mode)
{
    mu_status_t status = MU_OK;
    char *copy = mu_strdup(path);
    for (char *p = copy + 1; status == MU_OK; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char keep = *p;
        *p = '\0';
        if (mkdir(copy, mode ? mode : 0700) != 0 && errno != EEXIST)
            status = mu_fail(mu_make_status(errno), "%s: cannot make directory: %s", copy, strerror(errno));
        else if (keep == '\0' && !mu_is_dir(copy))
            status = mu_fail(MU_RUNDIR, "%s: is not a directory", copy);
        *p = keep;
        if (keep == '\0')
            break;
    }
    free(copy);
    return status;
}

static mu_status_t remove_at(int parent, const char *name, const char *shown)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return MU_OK;
    if (errno != EISDIR && errno != EPERM)
        return mu_fail(MU_IO, "%s: cannot remove: %s", shown, strerror(errno));
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return mu_fail(MU_IO, "%s: cannot open directory: %s", shown, strerror(errno));
    }
    mu_status_t status = MU_OK;
    for (struct dirent *e; status == MU_OK && (e = readdir(dir));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *child = mu_path_join(shown, e->d_name);
        status = remove_at(dirfd(dir), e->d_name, child);
        free(child);
    }
    closedir(dir);
    if (status == MU_OK && unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        status = mu_fail(MU_IO, "%s: cannot remove directory: %s", shown, strerror(errno));
    return status;
}

mu_status_t mu_remove_tree(const char *path)
{
    return remove_at(AT_FDCWD, path, path);
}

mu_status_t mu_path_visible(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 || errno == ENOENT || errno == ENOTDIR)
        return MU_OK;
    int error = errno;
    return mu_fail(mu_open_status(error), "%s: cannot look at it: %s", path, strerror(error));
}

bool mu_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool mu_is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

char *mu_path_join(const char *dir, const char *name)
{
    size_t n = strlen(dir);
    return mu_format("%s%s%s", dir, n > 0 && dir[n - 1] == '/' ? "" : "/", name);
}

/* The path without links; of one that is not there yet, as it is written, from here, without a slash at its end. */
static char *whole_path(const char *path)
{
    char *real = realpath(path, NULL), *here = real || path[0] == '/' ? NULL : getcwd(NULL, 0);
    if (!real)
        real = here ? mu_path_join(here, path) : mu_strdup(path);
    for (size_t n = strlen(real); n > 1 && real[n - 1] == '/'; n--)
        real[n - 1] = '\0';
    free(here);
    return real;
}

bool mu_same_path(const char *a, const char *b)
{
    char *x = whole_path(a), *y = whole_path(b);
    bool same = strcmp(x, y) == 0;
    free(x);
    free(y);
    return same;
}

mu_status_t mu_program_dir(mu_buf_t *out)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0)
        return mu_fail(MU_BUG, "/proc/self/exe: cannot read: %s", strerror(errno));
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    mu_buf_add(out, path, slash ? (size_t)(slash - path) : (size_t)n);
    return MU_OK;
}
