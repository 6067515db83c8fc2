/*
 * Counts the operations that change files below a directory (and opens and closes there), and troubles operation
 * number `at` (from 1; 0: none) in one of these ways:
 *     kill    SIGKILL instead of the operation
 *     tear    half of the bytes are written, or the whole operation is done, then SIGKILL
 *     eio     it fails with EIO and does nothing
 *     enospc  it fails with ENOSPC, and so does every later write and open for writing
 *     short   half of the bytes are written, without an error; other operations are left alone
 *     slow    each write to a shard takes `at` milliseconds longer, and a thread that gives way to others does so after
 *             LATE_MS
 * Linked into a program it is armed by faultfs_arm(). Loaded with LD_PRELOAD it is by its environment: FAULT_DIR,
 * FAULT_MODE, FAULT_AT.
 * A trace gets one line an operation: name, path, second path. A record gets one entry for each operation that was
 * done:
 *     KIND PATH-BYTES SECOND-BYTES NUMBER DATA-BYTES\n PATH SECOND DATA
 * KIND c create (NUMBER 1: cut to nothing), w write DATA at byte NUMBER, t cut or extended to NUMBER bytes, m mkdir,
 * r rename to SECOND, u unlink, s synced.
 */
#include "tests/fault/faultfs.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { LATE_MS = 300 };

enum mode { NONE, KILL, TEAR, EIO_ONCE, ENOSPC_ON, SHORT, SLOW };

static struct {
    bool ready;
    const char *dir;
    long at;
    _Atomic long count; /* several threads may write */
    enum mode mode;
    int trace, record;
} fault = {.trace = -1, .record = -1};

static enum mode mode_of(const char *name)
{
    static const char *const names[] = {"", "kill", "tear", "eio", "enospc", "short", "slow"};
    for (int i = 1; name && i <= SLOW; i++)
        if (strcmp(name, names[i]) == 0)
            return (enum mode)i;
    return NONE;
}

void faultfs_arm(const char *dir, const char *mode, long at, int trace, int record)
{
    fault.ready = true;
    fault.dir = dir;
    fault.count = 0;
    fault.at = at;
    fault.mode = mode_of(mode);
    fault.trace = trace;
    fault.record = record;
    if (record >=
        0) /* several threads record: a file of memfd_create() has one position for all, which is not locked */
        syscall(SYS_fcntl, record, F_SETFL, O_APPEND);
}

__attribute__((constructor)) static void start(void)
{
    if (fault.ready)
        return;
    const char *at = getenv("FAULT_AT");
    faultfs_arm(getenv("FAULT_DIR"), getenv("FAULT_MODE"), at ? strtol(at, NULL, 10) : 0, -1, -1);
}

/* The path of a descriptor, or of a name below one. */
static const char *path_at(int fd, const char *name, char out[PATH_MAX])
{
    char link[64], base[PATH_MAX] = "";
    out[0] = '\0';
    if (fd != AT_FDCWD && (!name || name[0] != '/')) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, base, sizeof base - 1);
        base[n > 0 ? n : 0] = '\0';
    }
    if (snprintf(out, PATH_MAX, "%s%s%s", base, base[0] && name ? "/" : "", name ? name : "") >= PATH_MAX)
        out[0] = '\0';
    return out;
}

/* What to do with an operation on a path: NONE, or the mode when its turn has come. */
static enum mode turn(const char *what, const char *path, const char *second, bool writes)
{
    if (!fault.ready)
        start();
    if (!fault.dir || strncmp(path, fault.dir, strlen(fault.dir)) != 0)
        return NONE;
    long count = ++fault.count;
    if (fault.trace >= 0) {
        char line[2 * PATH_MAX + 64];
        int n = snprintf(line, sizeof line, "%s %s %s\n", what, path, second ? second : "-");
        syscall(SYS_write, fault.trace, line, (size_t)n);
    }
    if (fault.mode == SLOW) {
        if (writes && strcmp(what, "write") == 0 && strstr(path, "/shard-"))
            usleep((useconds_t)fault.at * 1000);
        return NONE;
    }
    if (fault.mode == ENOSPC_ON && fault.at > 0 && count >= fault.at && writes)
        return ENOSPC_ON;
    if (count != fault.at || (fault.mode == ENOSPC_ON && !writes))
        return NONE;
    if (fault.mode == KILL)
        raise(SIGKILL);
    return fault.mode;
}

static long failed(enum mode mode)
{
    errno = mode == ENOSPC_ON ? ENOSPC : EIO;
    return -1;
}

static bool fails(enum mode mode)
{
    return mode == EIO_ONCE || mode == ENOSPC_ON;
}

/* An operation that was done. */
static void record(char kind, const char *path, const char *second, long long number, const void *data,
                   size_t n)
{
    char head[128];
    if (fault.record < 0 || !fault.dir || strncmp(path, fault.dir, strlen(fault.dir)) != 0)
        return;
    int length =
        snprintf(head, sizeof head, "%c %zu %zu %lld %zu\n", kind, strlen(path), strlen(second), number, n);
    struct iovec parts[] = {{head, (size_t)length},
                            {(void *)(size_t)path, strlen(path)},
                            {(void *)(size_t)second, strlen(second)},
                            {(void *)(size_t)data, n}};
    syscall(SYS_writev, fault.record, parts, 4);
}

static long after(enum mode mode, long result)
{
    if (mode == TEAR)
        raise(SIGKILL);
    return result;
}

static ssize_t do_pwrite(int fd, const void *bytes, size_t n, off_t offset, bool at)
{
    char path[PATH_MAX];
    enum mode mode = turn("write", path_at(fd, NULL, path), NULL, true);
    if (fails(mode))
        return failed(mode);
    if (mode != NONE && n > 1)
        n /= 2;
    if (!at)
        offset = fault.record >= 0 ? (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR) : 0;
    long done = at ? syscall(SYS_pwrite64, fd, bytes, n, offset) : syscall(SYS_write, fd, bytes, n);
    if (done > 0)
        record('w', path, "", offset, bytes, (size_t)done);
    return after(mode, done);
}

ssize_t write(int fd, const void *bytes, size_t n)
{
    return do_pwrite(fd, bytes, n, 0, false);
}
ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
    return do_pwrite(fd, bytes, n, offset, true);
}
ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t offset)
{
    return do_pwrite(fd, bytes, n, offset, true);
}

static int do_open(int dir, const char *name, int flags, mode_t bits)
{
    char path[PATH_MAX];
    enum mode mode =
        turn(flags & O_CREAT ? "create" : "open", path_at(dir, name, path), NULL, flags & O_CREAT);
    if (fails(mode))
        return (int)failed(mode);
    int fd = (int)syscall(SYS_openat, dir, name, flags, bits);
    if (fd >= 0 && flags & O_CREAT)
        record('c', path, "", flags & O_TRUNC ? 1 : 0, NULL, 0);
    return (int)after(mode, fd);
}

#define OPEN_BODY(dir)                                                                                       \
    va_list args;                                                                                            \
    va_start(args, flags);                                                                                   \
    mode_t bits = flags & O_CREAT ? va_arg(args, mode_t) : 0;                                                \
    va_end(args);                                                                                            \
    return do_open(dir, name, flags, bits)

int open(const char *name, int flags, ...)
{
    OPEN_BODY(AT_FDCWD);
}
int open64(const char *name, int flags, ...)
{
    OPEN_BODY(AT_FDCWD);
}
int openat(int dir, const char *name, int flags, ...)
{
    OPEN_BODY(dir);
}
int openat64(int dir, const char *name, int flags, ...)
{
    OPEN_BODY(dir);
}

/* The names that _FORTIFY_SOURCE calls instead. */
int __open_2(const char *name, int flags);
int __open64_2(const char *name, int flags);
int __openat_2(int dir, const char *name, int flags);
int __openat64_2(int dir, const char *name, int flags);
int __open_2(const char *name, int flags)
{
    return do_open(AT_FDCWD, name, flags, 0);
}
int __open64_2(const char *name, int flags)
{
    return do_open(AT_FDCWD, name, flags, 0);
}
int __openat_2(int dir, const char *name, int flags)
{
    return do_open(dir, name, flags, 0);
}
int __openat64_2(int dir, const char *name, int flags)
{
    return do_open(dir, name, flags, 0);
}

int close(int fd)
{
    char path[PATH_MAX];
    enum mode mode = turn("close", path_at(fd, NULL, path), NULL, false);
    long result = syscall(SYS_close, fd); /* Linux closes even when it reports an error */
    return (int)(fails(mode) ? failed(mode) : after(mode, result));
}

static int do_fsync(int fd)
{
    char path[PATH_MAX];
    enum mode mode = turn("fsync", path_at(fd, NULL, path), NULL, true);
    if (fails(mode))
        return (int)failed(mode);
    long result = syscall(SYS_fsync, fd);
    if (result == 0)
        record('s', path, "", 0, NULL, 0);
    return (int)after(mode, result);
}
int fsync(int fd)
{
    return do_fsync(fd);
}
int fdatasync(int fd)
{
    return do_fsync(fd);
}

static int do_truncate(int fd, off_t size)
{
    char path[PATH_MAX];
    enum mode mode = turn("truncate", path_at(fd, NULL, path), NULL, true);
    if (fails(mode))
        return (int)failed(mode);
    long result = syscall(SYS_ftruncate, fd, size);
    if (result == 0)
        record('t', path, "", size, NULL, 0);
    return (int)after(mode, result);
}
int ftruncate(int fd, off_t size)
{
    return do_truncate(fd, size);
}
int ftruncate64(int fd, off64_t size)
{
    return do_truncate(fd, size);
}

static int do_fallocate(int fd, int how, off_t offset, off_t size)
{
    char path[PATH_MAX];
    enum mode mode = turn("fallocate", path_at(fd, NULL, path), NULL, true);
    if (fails(mode))
        return (int)failed(mode);
    long result = syscall(SYS_fallocate, fd, how, offset, size);
    if (result == 0)
        record('t', path, "", offset + size, NULL, 0);
    return (int)after(mode, result);
}
int fallocate(int fd, int how, off_t offset, off_t size)
{
    return do_fallocate(fd, how, offset, size);
}
int fallocate64(int fd, int how, off64_t offset, off64_t size)
{
    return do_fallocate(fd, how, offset, size);
}

int mkdir(const char *path, mode_t bits)
{
    enum mode mode = turn("mkdir", path, NULL, true);
    if (fails(mode))
        return (int)failed(mode);
    long result = syscall(SYS_mkdirat, AT_FDCWD, path, bits);
    if (result == 0)
        record('m', path, "", 0, NULL, 0);
    return (int)after(mode, result);
}

int rename(const char *from, const char *to)
{
    enum mode mode = turn("rename", from, to, true);
    if (fails(mode))
        return (int)failed(mode);
    long result = syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    if (result == 0)
        record('r', from, to, 0, NULL, 0);
    return (int)after(mode, result);
}

int unlinkat(int dir, const char *name, int flags)
{
    char path[PATH_MAX];
    enum mode mode = turn("unlink", path_at(dir, name, path), NULL, false);
    if (fails(mode))
        return (int)failed(mode);
    long result = syscall(SYS_unlinkat, dir, name, flags);
    if (result == 0)
        record('u', path, "", 0, NULL, 0);
    return (int)after(mode, result);
}

int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}

/* The thread that copies and writes a checkpoint begins late: the step that follows has to copy all of the state. */
int setpriority(__priority_which_t which, id_t who, int value)
{
    if (fault.mode == SLOW)
        usleep(LATE_MS * 1000);
    return (int)syscall(SYS_setpriority, which, who, value);
}
