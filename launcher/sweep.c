#include "launcher/sweep.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TOKEN_SHOWN = 12, ENVIRON_MAX = 4 << 20 };

void mu_run_tmp_dir(const char *token, mu_buf_t *out)
{
    mu_buf_addf(out, "/tmp/muster-%u-%.*s", (unsigned)geteuid(), TOKEN_SHOWN, token);
}

void mu_run_shm_dir(const char *token, mu_buf_t *out)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp/muster-shm";
    mu_buf_addf(out, "%s/muster-%u-%.*s", base, (unsigned)geteuid(), TOKEN_SHOWN, token);
}

mu_status_t mu_run_tmp_make(const char *dir)
{
    struct stat st;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return mu_fail(MU_RUNDIR, "%s: cannot make: %s", dir, strerror(errno));
    if (lstat(dir, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return mu_fail(MU_RUNDIR, "%s: is there, but is not a private folder of ours", dir);
    return MU_OK;
}

/* Whether /proc/PID/environ has the entry. */
static bool has_entry(int proc, const char *pid, const char *entry)
{
    char path[300];
    snprintf(path, sizeof path, "%s/environ", pid);
    int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    mu_buf_t text = MU_BUF_INIT;
    for (ssize_t n = 1; n > 0 && text.len < ENVIRON_MAX;) {
        mu_buf_reserve(&text, 65536);
        n = read(fd, text.data + text.len, 65536);
        if (n > 0)
            text.len += (size_t)n;
    }
    close(fd);
    bool found = false;
    for (size_t at = 0; at < text.len && !found;) {
        size_t n = strnlen(text.data + at, text.len - at);
        found = n == strlen(entry) && memcmp(text.data + at, entry, n) == 0;
        at += n + 1;
    }
    mu_buf_release(&text);
    return found;
}

/* One pass over /proc. The process is held by a pidfd from before it is looked at, so that its number cannot
 * become somebody else's in between. */
static int kill_marked(const char *entry)
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
        if (has_entry(dirfd(proc), e->d_name, entry)) {
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

int mu_sweep_processes(const char *token)
{
    char *entry = mu_format("MUSTER_RUN_TOKEN=%s", token);
    int first = kill_marked(entry);
    /* a zombie has no environment, so a pass that finds nobody means that all are gone */
    for (int i = 0, left = first; left > 0 && i < 100; i++) {
        mu_sleep_ms(20);
        left = kill_marked(entry);
    }
    free(entry);
    return first;
}

void mu_sweep_folders(const char *token)
{
    mu_buf_t dir = MU_BUF_INIT;
    mu_run_tmp_dir(token, &dir);
    mu_remove_tree(dir.data);
    mu_buf_clear(&dir);
    mu_run_shm_dir(token, &dir);
    mu_remove_tree(dir.data);
    mu_buf_release(&dir);
}
