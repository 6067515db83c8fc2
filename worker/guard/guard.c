#include "worker/guard/guard.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/digest.h"
#include "common/file.h"
#include "common/launch_env.h"
#include "common/log.h"
#include "common/num.h"
#include "common/run/orphan_cleanup.h"
#include "worker/guard/guard_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 1 << 21 };

/* The first of the variables that holds a number; `otherwise` when none does. */
static int number_of(const char *const *names, int otherwise)
{
    for (; *names; names++) {
        const char *text = getenv(*names);
        int64_t value;
        if (text && mu_parse_i64(text, &value) && value >= 0 && value < INT32_MAX)
            return (int)value;
    }
    return otherwise;
}

static char *copy_env(const char *name)
{
    const char *text = getenv(name);
    return text && *text ? mu_strdup(text) : NULL;
}

mu_status_t mu_guard_env_read(mu_guard_env_t *out)
{
    static const char *const rank[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID", NULL};
    static const char *const size[] = {"OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS", NULL};
    static const char *const attempt[] = {MU_ENV_ATTEMPT, NULL};
    mu_guard_env_t env = {.lease = 15};
    env.rank = number_of(rank, 0);
    env.world_size = number_of(size, 0);
    env.attempt = number_of(attempt, 0);
    const char *address = getenv(MU_ENV_CONTROL), *lease = getenv(MU_ENV_LEASE);
    if (address && *address) {
        env.supervised = true;
        if (!mu_address_parse(address, &env.launcher))
            return mu_fail(MU_USAGE, MU_ENV_CONTROL "='%s': not ADDRESS:PORT with a numeric address",
                           address);
        if (lease && (!mu_parse_f64(lease, &env.lease) || env.lease <= 0))
            return mu_fail(MU_USAGE, MU_ENV_LEASE "='%s': not a number of seconds", lease);
        env.run_dir = copy_env(MU_ENV_RUN_DIR);
        env.shm_dir = copy_env(MU_ENV_SHM_DIR);
        env.token = copy_env(MU_ENV_RUN_TOKEN);
        if (env.token && !mu_run_token_ok(env.token))
            return mu_fail(MU_USAGE, MU_ENV_RUN_TOKEN "='%s': not 32 hex digits", env.token);
        if (env.shm_dir && (env.shm_dir[0] != '/' || !strstr(env.shm_dir, "/muster-")))
            return mu_fail(MU_USAGE, MU_ENV_SHM_DIR "='%s': not a folder made for this run", env.shm_dir);
        const char *hex = getenv(MU_ENV_CONTROL_KEY);
        env.key_file = copy_env(MU_ENV_CONTROL_KEY_FILE);
        env.key = mu_control_key_room();
        if (!env.key_file && (!hex || !mu_control_key_parse(hex, env.key))) {
            mu_control_key_free(env.key);
            return mu_fail(MU_AUTH, "%s is set, but neither %s nor %s holds a key of 64 hex digits",
                           MU_ENV_CONTROL, MU_ENV_CONTROL_KEY_FILE, MU_ENV_CONTROL_KEY);
        }
    }
    *out = env;
    return MU_OK;
}

void mu_guard_env_scrub(void)
{
    for (const mu_env_row_t *row = mu_launch_env; row->name; row++) {
        if (row->kind != MU_ENV_SECRET)
            continue;
        char *text = getenv(row->name);
        if (text)
            sodium_memzero(text, strlen(text)); /* where the kernel put it, which a core file shows */
        unsetenv(row->name);
    }
}

/* Not by mu_file_read(), whose buffer grows and leaves copies in memory that the rank inherits. */
static mu_status_t read_key(mu_guard_env_t *env)
{
    if (!env->key_file)
        return MU_OK;
    char text[2 * MU_CONTROL_KEY_BYTES + 2] = "";
    int fd = open(env->key_file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    mu_status_t status = MU_OK;
    if (n < 0)
        status = mu_fail(MU_AUTH, "%s: cannot read: %s", env->key_file, strerror(errno));
    text[strcspn(text, "\n")] = '\0';
    if (status == MU_OK && !mu_control_key_parse(text, env->key))
        status = mu_fail(MU_AUTH, "%s: not a key of 64 hex digits", env->key_file);
    sodium_memzero(text, sizeof text);
    if (fd >= 0)
        close(fd);
    return status;
}

/* Removes the folder of an attempt unless a guard lives in it. */
static void shm_remove_dead(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        mu_remove_tree(dir);
    if (fd >= 0)
        close(fd);
}

/* The folder of Open MPI's shared memory: muster-.../ATTEMPT, one an attempt; what killed attempts left
 * beside it goes. Every guard here holds its lock, and the last one to leave removes it. -1 when there is
 * none. */
static int shm_enter(const char *dir)
{
    if (!dir || mu_make_dirs(dir, 0700) != MU_OK)
        return -1;
    const char *leaf = strrchr(dir, '/');
    char *parent = mu_format("%.*s", (int)(leaf - dir), dir);
    struct stat st; /* /dev/shm is everybody's: whoever made the folder first could change what is in it */
    if (lstat(parent, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 022) != 0) {
        mu_warn("%s: is not a folder of ours alone; it is not used", parent);
        free(parent);
        return -1;
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) != 0) {
        mu_warn("%s: cannot be locked: %s", dir, strerror(errno));
        if (fd >= 0)
            close(fd);
        free(parent);
        return -1;
    }
    DIR *list = opendir(parent);
    for (struct dirent *e; list && (e = readdir(list));) {
        char *sibling = mu_path_join(parent, e->d_name);
        int64_t number;
        if (mu_parse_i64(e->d_name, &number) && strcmp(e->d_name, leaf + 1) != 0)
            shm_remove_dead(sibling);
        free(sibling);
    }
    if (list)
        closedir(list);
    free(parent);
    return fd;
}

static void shm_leave(const char *dir, int fd)
{
    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && mu_remove_tree(dir) == MU_OK) {
        char *parent = mu_strdup(dir);
        *strrchr(parent, '/') = '\0';
        rmdir(parent); /* fails when another attempt is there */
        free(parent);
    }
    close(fd);
}

static void signals_of_guard(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGCHLD);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGQUIT);
    sigaddset(set, SIGUSR1);
}

/* The rank's half of the fork. */
static void become_rank(const mu_guard_env_t *env, pid_t guard_pid, int log_fd, const sigset_t *old_mask)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != guard_pid)
        _exit(mu_status_exit(MU_DIED)); /* the guard went before the line above */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGPIPE,
           SIG_IGN); /* a peer that died is an error of the connection, not the end of this one too */
    sigprocmask(SIG_SETMASK, old_mask, NULL);
    if (log_fd >= 0) {
        fflush(NULL);
        dup2(log_fd, STDOUT_FILENO);
        dup2(log_fd, STDERR_FILENO);
        close(log_fd);
        setvbuf(stdout, NULL, _IOLBF, 0); /* the last line before a crash is the one that matters */
    }
    char tag[32];
    snprintf(tag, sizeof tag, "rank %d", env->rank);
    mu_log_tag(tag);
}

/* The guard's half: never returns. */
static void become_guard(mu_guard_t *guard, mu_guard_env_t *env, mu_guard_log_t *log, int shm_fd,
                         const sigset_t *set)
{
    char tag[32];
    snprintf(tag, sizeof tag, "guard %d", env->rank);
    mu_log_tag(tag);
    prctl(PR_SET_NAME, "muster-guard");
    /* It holds the key, which is in no core file whatever the limit: a core file that goes to a program has none, and
     * PR_SET_DUMPABLE would hide the environment by which the run's processes are found. */
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    signal(SIGPIPE, SIG_IGN);
    if (log->write_fd >= 0)
        close(log->write_fd);
    guard->line_fd = log->line_fd;
    guard->signal_fd = signalfd(-1, set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (guard->signal_fd < 0) {
        mu_error("no signalfd: %s", strerror(errno));
        kill(guard->rank_pid, SIGKILL);
        _exit(mu_status_exit(MU_BUG));
    }
    if (!env->supervised && env->rank == 0)
        mu_info("started by hand: no restart after a failure, no detection of hangs, no log a rank; `muster "
                "run` has "
                "these. SIGTERM saves and stops");
    int code = mu_guard_watch(guard);
    mu_control_key_free(env->key);
    /* the log's writer ends with the rank; on a host whose first process does not reap it would stay a zombie
     */
    for (int i = 0; i < 30 && log->pid > 0 && waitpid(log->pid, NULL, WNOHANG) == 0; i++)
        mu_sleep_ms(10);
    shm_leave(env->shm_dir, shm_fd);
    fflush(NULL);
    _exit(code);
}

/* A pidfd (closed on exec) of our parent, if that is this run's mpirun or its daemon: one whose arguments
 * name the run's folder. -1 otherwise. */
static int open_daemon(const char *token)
{
    char path[64];
    mu_buf_t text = MU_BUF_INIT, folder = MU_BUF_INIT;
    pid_t parent = getppid();
    int fd = (int)syscall(SYS_pidfd_open, parent, 0);
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)parent);
    mu_run_tmp_dir(token, &folder);
    if (fd >= 0 && (mu_file_read(path, ARGUMENTS_MAX, &text) != MU_OK ||
                    !memmem(text.data, text.len, folder.data, folder.len))) {
        close(fd);
        fd = -1;
    }
    mu_buf_release(&text);
    mu_buf_release(&folder);
    return fd;
}

mu_status_t mu_guard_start(const mu_guard_config_t *config, mu_page_t **page)
{
    mu_guard_env_t env;
    mu_guard_log_t log = {-1, -1, -1};
    MU_TRY(mu_guard_env_read(&env));
    mu_guard_t guard = {.env = &env, .daemon_fd = -1, .line_fd = -1, .signal_fd = -1};
    int64_t limit;
    mu_proc_oom(&guard.oom_kills_before, &limit);
    guard.page = mu_page_new();
    if (!guard.page)
        return mu_fail(MU_BUG, "no shared page: %s", strerror(errno));
    if (env.supervised && env.run_dir)
        MU_TRY(mu_guard_log_start(env.run_dir, env.rank, &log));
    int shm_fd = shm_enter(env.shm_dir);

    /* The key and the digest only matter to the guard, but a failure must be seen before there is a rank. */
    MU_TRY(read_key(&env));
    mu_guard_env_scrub();
    char digest[MU_DIGEST_HEX];
    if (env.supervised && config && config->config_path &&
        mu_digest_file(config->config_path, digest) == MU_OK)
        snprintf(guard.config_digest, sizeof guard.config_digest, "%s", digest);

    guard.daemon_pid = getppid();
    if (env.supervised && env.token)
        guard.daemon_fd = open_daemon(env.token);
    sigset_t set, old;
    signals_of_guard(&set);
    sigprocmask(SIG_BLOCK, &set, &old);
    pid_t self = getpid();
    fflush(NULL);
    guard.rank_pid = fork();
    if (guard.rank_pid < 0) {
        sigprocmask(SIG_SETMASK, &old, NULL);
        return mu_fail(MU_BUG, "no process for the rank: %s", strerror(errno));
    }
    if (guard.rank_pid > 0)
        become_guard(&guard, &env, &log, shm_fd, &set);
    mu_control_key_free(env.key);
    become_rank(&env, self, log.write_fd, &old);
    if (log.line_fd >= 0)
        close(log.line_fd);
    if (shm_fd >= 0)
        close(shm_fd); /* the lock belongs to the guards' open file: it must not outlive them here */
    free(env.key_file);
    free(env.run_dir);
    free(env.shm_dir);
    free(env.token);
    if (guard.daemon_fd >= 0)
        close(guard.daemon_fd);
    *page = guard.page;
    return MU_OK;
}
