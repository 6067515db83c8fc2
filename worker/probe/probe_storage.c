/* The run directory as this host sees it. Runs in a child: a mount that hangs hangs only that. */
#include "worker/probe/probe_internal.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define COOKIE_SECONDS 3 /* a network file system may remember for a while that the file was not there */

static void failed(json_t *seen, const char *step, int error)
{
    json_object_set_new(seen, "state", json_string("error"));
    json_object_set_new(seen, "step", json_string(step));
    json_object_set_new(seen, "detail", json_string(strerror(error)));
}

/* "nfs4 filer:/vol3 at /ckpt": the mount that holds the path, from mountinfo; a part of a file system that is
 * mounted alone is in brackets, "ext4 /dev/sda1[/srv/runs] at /ckpt". */
static char *mount_of(const char *dir, const char *proc)
{
    char path[4096], line[8192], *real = realpath(dir, NULL), *found = NULL;
    size_t best = 0;
    snprintf(path, sizeof path, "%s/self/mountinfo", proc);
    FILE *file = real ? fopen(path, "re") : NULL;
    while (file && fgets(line, sizeof line, file)) {
        char root[4096], point[4096], type[256], source[4096];
        const char *dash = strstr(line, " - ");
        if (!dash || sscanf(line, "%*s %*s %*s %4095s %4095s", root, point) != 2 ||
            sscanf(dash, " - %255s %4095s", type, source) != 2)
            continue;
        size_t n = strcmp(point, "/") == 0 ? 0 : strlen(point);
        if (n < best || strncmp(real, point, n) != 0 || (real[n] != '/' && real[n] != '\0'))
            continue;
        best = n;
        free(found);
        found = strcmp(root, "/") == 0 ? mu_format("%s %s at %s", type, source, point)
                                       : mu_format("%s %s[%s] at %s", type, source, root, point);
    }
    if (file)
        fclose(file);
    free(real);
    return found ? found : mu_strdup("unknown");
}

static bool read_cookie(const char *dir, const char *name, json_t *seen)
{
    char text[129] = "", *path = mu_path_join(dir, name);
    int64_t until = mu_now_ns() + (int64_t)COOKIE_SECONDS * 1000000000;
    int fd, error = 0;
    while ((fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)) < 0 && (error = errno) == ENOENT &&
           mu_now_ns() < until)
        mu_sleep_ms(50);
    free(path);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n < 0)
        failed(seen, "cookie", fd < 0 ? error : errno);
    else
        json_object_set_new(seen, "cookie", json_stringn(text, (size_t)n));
    if (fd >= 0)
        close(fd);
    return n >= 0;
}

/* Hosts may have one name, and their processes one number: a name from those would exist already. */
static char *random_path(const char *dir)
{
    uint64_t word[2];
    randombytes_buf(word, sizeof word);
    return mu_format("%s/.muster-probe-%016" PRIx64 "%016" PRIx64, dir, word[0], word[1]);
}

/* Does once what a checkpoint does often. */
static const char *write_once(const char *path, const char *renamed)
{
    char bytes[4096] = {0};
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return "create";
    const char *step = NULL;
    if (!mu_write_all(fd, bytes, sizeof bytes))
        step = "write";
    else if (fsync(fd) != 0)
        step = "fsync";
    int error = errno;
    if (close(fd) != 0 && !step) {
        step = "close";
        error = errno;
    }
    if (!step && rename(path, renamed) != 0) {
        step = "rename";
        error = errno;
    }
    if (!step && unlink(renamed) != 0) {
        step = "unlink";
        error = errno;
    }
    if (step)
        unlink(path);
    errno = error;
    return step;
}

static bool try_write(const char *dir, json_t *seen)
{
    int64_t begin = mu_now_ns();
    char *renamed = random_path(dir), *path = mu_format("%s.tmp", renamed);
    const char *step = write_once(path, renamed);
    if (step)
        failed(seen, step, errno);
    json_object_set_new(seen, "write_ms", json_real((double)(mu_now_ns() - begin) * 1e-6));
    free(path);
    free(renamed);
    return !step;
}

json_t *mu_probe_storage(const json_t *ask)
{
    const json_t *storage = json_object_get(ask, "storage");
    const char *dir = json_string_value(json_object_get(storage, "dir"));
    const char *cookie = json_string_value(json_object_get(storage, "cookie"));
    json_t *seen = mu_probe_state("ok", NULL);
    struct statvfs space;
    if (!dir || dir[0] != '/' || (cookie && strchr(cookie, '/'))) {
        failed(seen, "question", EINVAL);
        return seen;
    }
    char *mount = mount_of(dir, mu_probe_path(ask, "proc", "/proc"));
    json_object_set_new(seen, "mount", json_string(mount));
    free(mount);
    if (statvfs(dir, &space) != 0) {
        failed(seen, "look", errno);
        return seen;
    }
    json_object_set_new(seen, "free", json_integer((json_int_t)(space.f_bavail * space.f_frsize)));
    json_object_set_new(seen, "inodes",
                        json_integer(space.f_files ? (json_int_t)space.f_favail : (json_int_t)-1));
    if (!cookie || read_cookie(dir, cookie, seen))
        try_write(dir, seen);
    return seen;
}

/* mpirun's daemon keeps its session there, ranks their sockets. */
static const char *write_megabyte(const char *path)
{
    static const char bytes[1 << 20] = {0};
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return "create";
    const char *step = mu_write_all(fd, bytes, sizeof bytes) ? NULL : "write";
    int error = errno;
    if (close(fd) != 0 && !step) {
        step = "close";
        error = errno;
    }
    unlink(path);
    errno = error;
    return step;
}

/* The step that fails, with errno; NULL: none. */
static const char *try_tmp(const char *dir)
{
    struct stat st;
    bool made = mkdir(dir, 0700) == 0;
    if (!made && errno != EEXIST)
        return "mkdir";
    if (lstat(dir, &st) != 0)
        return "look";
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
        errno = EEXIST;
        return "mkdir";
    }
    char *path = random_path(dir);
    const char *step = write_megabyte(path);
    int error = errno;
    if (made)
        rmdir(dir);
    free(path);
    errno = error;
    return step;
}

json_t *mu_probe_tmp(const json_t *ask)
{
    enum { TRIES = 20 }; /* a host that shares this /tmp may remove the folder between two of our calls */
    const char *dir = json_string_value(json_object_get(json_object_get(ask, "tmp"), "dir")), *step = NULL;
    json_t *seen = mu_probe_state("ok", NULL);
    if (!dir || dir[0] != '/') {
        failed(seen, "question", EINVAL);
        return seen;
    }
    for (int i = 0; i < TRIES; i++) {
        step = try_tmp(dir);
        if (!step || errno != ENOENT)
            break;
    }
    if (step)
        failed(seen, step, errno);
    return seen;
}
