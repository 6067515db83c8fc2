#include "launcher/ready/ssh_login.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/control/probe_words.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOISE_MAX 4096
#define SAID_MAX  16384

extern char **environ;

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* A login outlives the signals that ask a launcher to stop, which schedulers send to all processes of a job:
 * hosts are cleaned over it afterwards. We end it by SIGHUP. */
static bool spawn(pid_t *pid, char *const *argv, const int child[3])
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t blocked, defaults;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGUSR1);
    sigaddset(&blocked, SIGQUIT);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGHUP);
    sigaddset(&defaults, SIGCHLD);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    for (int i = 0; i < 3; i++)
        posix_spawn_file_actions_adddup2(&actions, child[i], i);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attr, &blocked);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    int error = posix_spawnp(pid, argv[0], &actions, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    errno = error;
    return error == 0;
}

bool mu_login_start(mu_login_t *login, char *const *argv)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1};
    *login = (mu_login_t){.in = -1, .out = -1, .err = -1};
    bool fine = pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0 &&
                spawn(&login->pid, argv, (int[]){in[0], out[1], err[1]});
    int saved = errno;
    close_fd(&in[0]);
    close_fd(&out[1]);
    close_fd(&err[1]);
    if (!fine) {
        close_fd(&in[1]);
        close_fd(&out[0]);
        close_fd(&err[0]);
        login->pid = 0;
        errno = saved;
        return false;
    }
    login->in = in[1];
    login->out = out[0];
    login->err = err[0];
    fcntl(login->in, F_SETFL, O_NONBLOCK);
    fcntl(login->out, F_SETFL, O_NONBLOCK);
    fcntl(login->err, F_SETFL, O_NONBLOCK);
    return true;
}

static void drain(int *fd, mu_buf_t *into, size_t most)
{
    char bytes[16384];
    while (*fd >= 0) {
        ssize_t n = read(*fd, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            close_fd(fd);
            return;
        }
        size_t room = into->len < most ? most - into->len : 0;
        mu_buf_add(into, bytes, (size_t)n < room ? (size_t)n : room);
    }
}

void mu_login_read(mu_login_t *login)
{
    int wait_status;
    /* first its end, then its last words: nothing is lost between the two */
    if (!login->ended && waitpid(login->pid, &wait_status, WNOHANG) == login->pid) {
        login->ended = true;
        login->exit_code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
    }
    drain(&login->out, &login->pending, MU_PROBE_LINE + 1);
    drain(&login->err, &login->said, SAID_MAX);
}

static void make_noise(mu_login_t *login, const char *bytes, size_t n)
{
    size_t room = login->noise.len < NOISE_MAX ? NOISE_MAX - login->noise.len : 0;
    mu_buf_add(&login->noise, bytes, n < room ? n : room);
}

static void drop_pending(mu_login_t *login, size_t n)
{
    memmove(login->pending.data, login->pending.data + n, login->pending.len - n + 1);
    login->pending.len -= n;
}

bool mu_login_line(mu_login_t *login, const char *word, mu_buf_t *out)
{
    size_t length = strlen(word);
    mu_buf_clear(out);
    for (;;) {
        char *line = login->pending.data;
        char *newline = line ? memchr(line, '\n', login->pending.len) : NULL;
        if (!newline) {
            if (login->pending.len > MU_PROBE_LINE || (login->out < 0 && login->pending.len > 0)) {
                make_noise(login, line, login->pending.len);
                drop_pending(login, login->pending.len);
            }
            return false;
        }
        size_t n = (size_t)(newline - line);
        /* a start file of the shell may print without a newline before it */
        const char *at = memmem(line, n, word, length);
        bool ours = at != NULL;
        if (ours) {
            mu_buf_add(out, at + length, n - length - (size_t)(at - line));
            make_noise(login, line, (size_t)(at - line));
        } else
            make_noise(login, line, n + 1);
        drop_pending(login, n + 1);
        if (ours)
            return true;
    }
}

bool mu_login_write(mu_login_t *login, const char *bytes, size_t n)
{
    return login->in >= 0 && mu_write_all(login->in, bytes, n);
}

static bool wait_all(mu_login_t *const *login, int n, int ms)
{
    int64_t until = mu_now_ns() + (int64_t)ms * 1000000;
    for (;;) {
        int left = 0;
        for (int i = 0; i < n; i++) {
            if (login[i]->pid && !login[i]->ended)
                mu_login_read(login[i]);
            left += login[i]->pid && !login[i]->ended;
        }
        if (left == 0 || mu_now_ns() > until)
            return left == 0;
        mu_sleep_ms(2);
    }
}

static void kill_all(mu_login_t *const *login, int n, int signal)
{
    for (int i = 0; i < n; i++)
        if (login[i]->pid && !login[i]->ended)
            kill(login[i]->pid, signal);
}

void mu_login_end(mu_login_t *const *login, int n, int patience_ms)
{
    for (int i = 0; i < n; i++)
        close_fd(&login[i]->in);
    if (!wait_all(login, n, patience_ms)) {
        kill_all(login, n, SIGHUP);
        if (!wait_all(login, n, 100)) {
            kill_all(login, n, SIGKILL);
            wait_all(login, n, 1000);
        }
    }
    for (int i = 0; i < n; i++) {
        close_fd(&login[i]->out);
        close_fd(&login[i]->err);
        mu_buf_release(&login[i]->pending);
        mu_buf_release(&login[i]->noise);
        mu_buf_release(&login[i]->said);
        *login[i] = (mu_login_t){.in = -1, .out = -1, .err = -1};
    }
}
