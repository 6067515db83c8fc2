#include "launcher/serve/backend.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READ_AT_ONCE = 65536, UNSENT_MOST = 256 << 20, END_MS = 5000 };

/* The request that warms the engine up; clients' are counted from above it. */
static const uint64_t warm_id = 0;

static mu_status_t listen_at(const char *path, int *out)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return mu_fail(MU_IO, "%s: too long for the name of a socket: set TMPDIR to a shorter folder", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1) != 0) {
        mu_status_t status = mu_fail(MU_IO, "%s: cannot listen: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return status;
    }
    *out = fd;
    return MU_OK;
}

/* A process group of its own: Ctrl-C is the front's, which lets running answers end. It dies with the front. */
static void become(mu_backend_spawn_t spawn, void *arg, const char *checkpoint, const char *socket,
                   pid_t front)
{
    sigset_t none;
    sigemptyset(&none);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != front)
        _exit(1);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0)
        dup2(null, 0);
    dup2(2, 1);
    _exit(mu_status_exit(spawn(arg, checkpoint, socket)));
}

mu_status_t mu_backend_start(const char *dir, int number, mu_backend_spawn_t spawn, void *arg,
                             mu_served_t *model, mu_backend_t **out)
{
    mu_backend_t *b = mu_calloc(1, sizeof *b);
    pid_t front = getpid();
    mu_status_t status;
    b->fd = b->listen_fd = -1;
    b->socket = mu_format("%s/engine-%d", dir, number);
    MU_TRY_GOTO(status, listen_at(b->socket, &b->listen_fd), fail);
    fflush(NULL);
    b->pid = fork();
    if (b->pid < 0) {
        status = mu_fail(MU_BUG, "no process for an engine: %s", strerror(errno));
        b->pid = 0;
        goto fail;
    }
    if (b->pid == 0)
        become(spawn, arg, model->path, b->socket, front);
    b->model = model;
    *out = b;
    return MU_OK;
fail:
    mu_backend_stop(b);
    return status;
}

void mu_backend_send(mu_backend_t *b, const mu_engine_message_t *message)
{
    mu_engine_write(message, &b->out);
    if (b->out.len > UNSENT_MOST)
        b->state = MU_BACKEND_DEAD;
}

/* ---- the socket ---- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void accept_engine(mu_backend_t *b)
{
    struct ucred peer;
    socklen_t n = sizeof peer;
    int fd = accept4(b->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) != 0 || peer.uid != geteuid()) {
        close(fd);
        return;
    }
    b->fd = fd;
    close_fd(&b->listen_fd);
    unlink(b->socket);
}

static void greet(mu_backend_t *b, const mu_engine_hello_t *hello)
{
    int32_t id = b->model->nends > 0 ? b->model->ends[0] : 0;
    mu_engine_message_t warm = {
        .type = MU_ENGINE_REQUEST, .id = warm_id, .request = {.most = 1, .top = -1, .ids = &id, .count = 1}};
    if (hello->version != MU_ENGINE_VERSION) {
        mu_error("the engine speaks version %u, wanted %d: install muster and muster-worker of one build",
                 hello->version, MU_ENGINE_VERSION);
        b->state = MU_BACKEND_DEAD;
        return;
    }
    b->hello = *hello;
    b->state = MU_BACKEND_WARMING;
    mu_backend_send(b, &warm);
}

static void take_message(mu_backend_t *b, mu_engine_message_t *m, mu_backend_take_t take, void *arg)
{
    if (m->type == MU_ENGINE_HELLO && b->state == MU_BACKEND_LOADING) {
        greet(b, &m->hello);
    } else if (m->id == warm_id && b->state == MU_BACKEND_WARMING) {
        if (m->type == MU_ENGINE_DONE)
            b->state = m->done == MU_ENGINE_FAILED || m->done == MU_ENGINE_REFUSED ? MU_BACKEND_DEAD
                                                                                   : MU_BACKEND_READY;
    } else if (b->state == MU_BACKEND_READY &&
               (m->type == MU_ENGINE_SCORE || m->type == MU_ENGINE_TOKEN || m->type == MU_ENGINE_DONE)) {
        take(arg, b, m);
    } else {
        mu_error("the engine sent a unexpected frame of type %d", (int)m->type);
        b->state = MU_BACKEND_DEAD;
    }
    mu_engine_release(m);
}

static void take_frames(mu_backend_t *b, mu_backend_take_t take, void *arg)
{
    size_t at = 0, used;
    mu_engine_message_t m;
    mu_engine_read_t got = MU_ENGINE_MORE;
    while (b->state != MU_BACKEND_DEAD && at < b->in.len &&
           (got = mu_engine_read(b->in.data + at, b->in.len - at, &used, &m)) == MU_ENGINE_GOT) {
        at += used;
        take_message(b, &m, take, arg);
    }
    if (got == MU_ENGINE_BAD) {
        mu_error("the engine sent what is no frame");
        b->state = MU_BACKEND_DEAD;
    }
    memmove(b->in.data, b->in.data + at, b->in.len - at);
    b->in.len -= at;
}

static void read_socket(mu_backend_t *b, mu_backend_take_t take, void *arg)
{
    while (b->state != MU_BACKEND_DEAD) {
        mu_buf_reserve(&b->in, READ_AT_ONCE);
        ssize_t n = read(b->fd, b->in.data + b->in.len, READ_AT_ONCE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            b->state = MU_BACKEND_DEAD;
            return;
        }
        b->in.len += (size_t)n;
        take_frames(b, take, arg);
    }
}

static void write_socket(mu_backend_t *b)
{
    size_t at = 0;
    while (at < b->out.len) {
        ssize_t n = send(b->fd, b->out.data + at, b->out.len - at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            b->state = MU_BACKEND_DEAD;
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    if (at > 0)
        memmove(b->out.data, b->out.data + at, b->out.len - at);
    b->out.len -= at;
}

void mu_backend_pump(mu_backend_t *b, mu_backend_take_t take, void *arg)
{
    if (b->fd < 0 && b->listen_fd >= 0)
        accept_engine(b);
    if (b->fd < 0 || b->state == MU_BACKEND_DEAD)
        return;
    read_socket(b, take, arg);
    if (b->state != MU_BACKEND_DEAD)
        write_socket(b);
}

/* ---- the process ---- */

bool mu_backend_reap(mu_backend_t *b)
{
    int how;
    if (b->pid > 0 && waitpid(b->pid, &how, WNOHANG) == b->pid) {
        b->exit = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
        b->pid = 0;
        b->state = MU_BACKEND_DEAD;
    }
    return b->pid == 0;
}

void mu_backend_stop(mu_backend_t *b)
{
    if (!b)
        return;
    close_fd(&b->fd);
    close_fd(&b->listen_fd);
    unlink(b->socket);
    for (int64_t end = mu_now_ns() + (int64_t)END_MS * 1000000; b->pid > 0 && !mu_backend_reap(b);) {
        if (mu_now_ns() > end) {
            kill(-b->pid, SIGKILL);
            waitpid(b->pid, NULL, 0);
            break;
        }
        mu_sleep_ms(10);
    }
    free(b->socket);
    mu_buf_release(&b->in);
    mu_buf_release(&b->out);
    free(b);
}
