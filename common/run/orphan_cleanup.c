#include "common/run/orphan_cleanup.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/launch_env.h"
#include "common/log.h"
#include "common/num.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TOKEN_SHOWN = 12, TOKEN_LENGTH = 32, ENVIRON_MAX = 4 << 20, TMP_ROOM = 16 << 20 };

void mu_run_tmp_dir(const char *token, mu_buf_t *out)
{
    mu_buf_addf(out, "/tmp/muster-%u-%.*s", (unsigned)geteuid(), TOKEN_SHOWN, token);
}

void mu_run_shm_dir(const char *token, mu_buf_t *out)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp/muster-shm";
    mu_buf_addf(out, "%s/muster-%u-%.*s", base, (unsigned)geteuid(), TOKEN_SHOWN, token);
}

void mu_run_copies_dir(const char *token, mu_buf_t *out)
{
    mu_buf_addf(out, "/dev/shm/muster-%u-%.*s.copies", (unsigned)geteuid(), TOKEN_SHOWN, token);
}

static bool is_private(const struct stat *st)
{
    return S_ISDIR(st->st_mode) && st->st_uid == geteuid() && (st->st_mode & 077) == 0;
}

static bool is_foreign(const char *dir)
{
    struct stat st;
    return lstat(dir, &st) == 0 && !is_private(&st);
}

bool mu_run_folders_foreign(const char *token)
{
    mu_buf_t tmp = MU_BUF_INIT, shm = MU_BUF_INIT, copies = MU_BUF_INIT;
    mu_run_tmp_dir(token, &tmp);
    mu_run_shm_dir(token, &shm);
    mu_run_copies_dir(token, &copies);
    bool foreign = is_foreign(tmp.data) || is_foreign(shm.data) || is_foreign(copies.data);
    mu_buf_release(&tmp);
    mu_buf_release(&shm);
    mu_buf_release(&copies);
    return foreign;
}

mu_status_t mu_run_tmp_room(const char *dir)
{
    char *path = mu_path_join(dir, "room");
    mu_status_t status = MU_OK;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int error = fd < 0 ? errno : posix_fallocate(fd, 0, TMP_ROOM);
    if (error != 0)
        status = mu_fail(MU_IO,
                         "%s: no room for the %d MiB that mpirun's files need: %s: free some on that volume",
                         dir, TMP_ROOM >> 20, strerror(error));
    if (fd >= 0) {
        close(fd);
        unlink(path);
    }
    free(path);
    return status;
}

mu_status_t mu_run_tmp_make(const char *dir, int *fd)
{
    struct stat st;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return mu_fail(MU_IO, "%s: cannot make: %s", dir, strerror(errno));
    if (lstat(dir, &st) != 0 || !is_private(&st))
        return mu_fail(MU_IO, "%s: is there, but is not a private folder of ours", dir);
    *fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*fd < 0 || flock(*fd, LOCK_SH | LOCK_NB) != 0)
        return mu_fail(MU_IO, "%s: cannot be locked: %s", dir, strerror(errno));
    return MU_OK;
}

bool mu_run_token_ok(const char *token)
{
    return strlen(token) == TOKEN_LENGTH && strspn(token, "0123456789abcdef") == TOKEN_LENGTH;
}

static void read_environ(int proc, const char *pid, mu_buf_t *out)
{
    char path[300];
    snprintf(path, sizeof path, "%s/environ", pid);
    int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    mu_fd_drain(fd, ENVIRON_MAX, out);
    if (fd >= 0)
        close(fd);
    mu_buf_addc(out, '\0');
}

/* The value of NAME= in an environment, or NULL. */
static const char *entry_of(const mu_buf_t *text, const char *name)
{
    size_t length = strlen(name);
    for (size_t at = 0; at < text->len; at += strlen(text->data + at) + 1)
        if (strncmp(text->data + at, name, length) == 0)
            return text->data + at + length;
    return NULL;
}

/* mpirun's daemon on a host came over ssh, without the run's environment. Its arguments name the run's folders, one of
 * them with the attempt: .../muster-UID-TOKEN/ATTEMPT. */
static bool is_daemon_of(int proc, const char *pid, const char *token, int64_t last)
{
    char path[300];
    mu_buf_t text = MU_BUF_INIT, folder = MU_BUF_INIT;
    int64_t attempt = -1;
    snprintf(path, sizeof path, "%s/cmdline", pid);
    int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    mu_fd_drain(fd, ENVIRON_MAX, &text);
    if (fd >= 0)
        close(fd);
    mu_buf_addc(&text, '\0');
    const char *name = strrchr(text.data, '/');
    name = name ? name + 1 : text.data;
    bool daemon = strcmp(name, "orted") == 0 || strcmp(name, "prted") == 0, ours = false;
    mu_buf_addf(&folder, "/muster-%u-%.*s", (unsigned)geteuid(), TOKEN_SHOWN, token);
    for (const char *at = text.data, *end = text.data + text.len; daemon && at < end;) {
        const char *hit = memmem(at, (size_t)(end - at), folder.data, folder.len);
        if (!hit)
            break;
        ours = true;
        at = hit + folder.len;
        if (*at == '/' && at[1] >= '0' && at[1] <= '9')
            attempt = strtoll(at + 1, NULL, 10);
    }
    mu_buf_release(&text);
    mu_buf_release(&folder);
    return ours && (attempt >= 0 ? attempt <= last : last == INT64_MAX);
}

static bool is_marked(int proc, const char *pid, const char *token, int64_t last)
{
    mu_buf_t text = MU_BUF_INIT;
    int64_t number;
    read_environ(proc, pid, &text);
    const char *its = entry_of(&text, MU_ENV_RUN_TOKEN "="), *attempt = entry_of(&text, MU_ENV_ATTEMPT "=");
    bool marked = its && strcmp(its, token) == 0;
    if (marked && attempt && mu_parse_i64(attempt, &number) && number > last)
        marked = false;
    mu_buf_release(&text);
    return marked || is_daemon_of(proc, pid, token, last);
}

/* One pass over /proc. The process is held by a pidfd from before it is looked at, so that its number cannot
 * become somebody else's in between. */
static int kill_marked(const char *token, int64_t last)
{
    int killed = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *e; proc && (e = readdir(proc));) {
        int64_t pid;
        struct stat st;
        if (!mu_parse_i64(e->d_name, &pid) || pid <= 1 || pid == getpid() ||
            fstatat(dirfd(proc), e->d_name, &st, 0) != 0 || st.st_uid != geteuid())
            continue;
        int fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
        if (fd < 0 && errno != ENOSYS)
            continue;
        if (is_marked(dirfd(proc), e->d_name, token, last)) {
            long r =
                fd >= 0 ? syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) : kill((pid_t)pid, SIGKILL);
            killed += r == 0;
        }
        if (fd >= 0)
            close(fd);
    }
    if (proc)
        closedir(proc);
    return killed;
}

int mu_orphan_cleanup_processes(const char *token, int64_t last)
{
    int first = kill_marked(token, last);
    /* a zombie has no environment, so a pass that finds nobody means that all are gone */
    for (int i = 0, left = first; left > 0 && i < 100; i++) {
        mu_sleep_ms(20);
        left = kill_marked(token, last);
    }
    return first;
}

/* /tmp and /dev/shm are everybody's: only a folder of our own is followed into. */
static void sweep_folder(const char *dir)
{
    struct stat st;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0)
        mu_remove_tree(dir);
    close(fd);
}

void mu_orphan_cleanup_folders(const char *token)
{
    mu_buf_t dir = MU_BUF_INIT;
    mu_run_tmp_dir(token, &dir);
    sweep_folder(dir.data);
    mu_buf_clear(&dir);
    mu_run_shm_dir(token, &dir);
    sweep_folder(dir.data);
    mu_buf_release(&dir);
}

void mu_orphan_cleanup_copies(const char *token, const char *keep)
{
    mu_buf_t dir = MU_BUF_INIT;
    struct stat st;
    mu_run_copies_dir(token, &dir);
    int fd = open(dir.data, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool ours = fd >= 0 && fstat(fd, &st) == 0 && is_private(&st);
    DIR *stream = ours && keep ? fdopendir(fd) : NULL;
    for (struct dirent *e; stream && (e = readdir(stream));) {
        char *path = mu_path_join(dir.data, e->d_name);
        if (e->d_name[0] != '.' && strcmp(e->d_name, keep) != 0)
            mu_remove_tree(path);
        free(path);
    }
    if (ours && !keep)
        mu_remove_tree(dir.data);
    if (stream)
        closedir(stream);
    else if (fd >= 0)
        close(fd);
    mu_buf_release(&dir);
}
