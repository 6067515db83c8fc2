#include "launcher/monitor/scribe.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PACKET_MAX = 16384, QUEUE_BYTES = 4 << 20, LOOK_MS = 400, END_MS = 5000 };

struct mu_scribe {
    pid_t pid;
    int fd;
    mu_stop_t stop;
    bool drain; /* one is there that nobody has asked for yet */
    char drained[256];
    int64_t dropped;
};

/* What the child tells: the first byte is a mu_stop_t, or DRAIN with a host's name behind it. */
enum { DRAIN = 'D' };

/* ---- the child ---- */

static void append(const char *dir, const char *name, const char *bytes, size_t n)
{
    char *path = mu_path_join(dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || !mu_write_all(fd, bytes, n))
        mu_warn("%s: cannot write: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(path);
}

static void remove_key(const char *dir, const char *inode, size_t n)
{
    struct stat st;
    ino_t wanted;
    char *path = mu_path_join(dir, "control.key");
    if (n == sizeof wanted && memcpy(&wanted, inode, n) && lstat(path, &st) == 0 && st.st_ino == wanted)
        unlink(path);
    free(path);
}

static void obey(const char *dir, const char *packet, size_t n)
{
    const char *bytes = packet + 1;
    if (packet[0] == 'S') {
        char *path = mu_path_join(dir, "run.json");
        mu_file_replace(path, bytes, n - 1, 0600);
        free(path);
    } else if (packet[0] == 'K') {
        remove_key(dir, bytes, n - 1);
    } else {
        append(dir, packet[0] == 'E' ? "events.jsonl" : "logs/mpirun.log", bytes, n - 1);
    }
}

static void write_for_ever(const char *dir, int fd)
{
    static char packet[PACKET_MAX];
    mu_stop_t told = MU_STOP_NONE;
    for (;;) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, LOOK_MS) < 0 && errno != EINTR)
            return;
        if (p.revents) {
            ssize_t n = recv(fd, packet, sizeof packet, MSG_DONTWAIT);
            if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
                return;
            if (n > 0)
                obey(dir, packet, (size_t)n);
            if (n > 0 && packet[0] != 'S')
                continue; /* a burst of lines does not look for `stop` after each */
        }
        if (mu_drain_take(dir, packet + 1)) {
            packet[0] = DRAIN;
            send(fd, packet, strlen(packet + 1) + 1, MSG_NOSIGNAL);
        }
        mu_stop_t stop = mu_stop_asked(dir);
        if (stop > told) {
            char byte = (char)stop;
            told = stop;
            send(fd, &byte, 1, MSG_NOSIGNAL);
        }
    }
}

/* ---- the launcher's side ---- */

mu_status_t mu_scribe_start(const char *run_dir, mu_scribe_t **out)
{
    int fd[2], size = QUEUE_BYTES;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) != 0)
        return mu_fail(MU_BUG, "no socket for the scribe: %s", strerror(errno));
    setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        close(fd[0]);
        close(fd[1]);
        return mu_fail(MU_BUG, "no process for the scribe: %s", strerror(errno));
    }
    if (pid == 0) {
        /* no PDEATHSIG: what a launcher that was killed had queued still gets written, then the socket ends
         */
        prctl(PR_SET_NAME, "muster-scribe");
        setpgid(0, 0); /* as in spawn.c */
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_IGN);
        close(fd[0]);
        write_for_ever(run_dir, fd[1]);
        _exit(0);
    }
    close(fd[1]);
    mu_scribe_t *scribe = mu_calloc(1, sizeof *scribe);
    scribe->pid = pid;
    scribe->fd = fd[0];
    *out = scribe;
    return MU_OK;
}

static void queue(mu_scribe_t *scribe, char kind, const char *bytes, size_t n)
{
    char packet[PACKET_MAX];
    if (!scribe)
        return;
    while (n > 0) {
        size_t part = n < sizeof packet - 1 ? n : sizeof packet - 1;
        packet[0] = kind;
        memcpy(packet + 1, bytes, part);
        if (send(scribe->fd, packet, part + 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            scribe->dropped++;
        bytes += part;
        n -= part;
    }
}

void mu_scribe_state(mu_scribe_t *scribe, const mu_run_state_t *state)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_run_state_json(state, &text);
    queue(scribe, 'S', text.data, text.len);
    mu_buf_release(&text);
}

void mu_scribe_event(mu_scribe_t *scribe, const char *kind, const char *host, int rank, const char *format,
                     ...)
{
    mu_buf_t text = MU_BUF_INIT, line = MU_BUF_INIT;
    va_list args;
    va_start(args, format);
    mu_buf_vaddf(&text, format, args);
    va_end(args);
    mu_event_json(kind, host, rank, text.data, &line);
    queue(scribe, 'E', line.data, line.len);
    mu_buf_release(&text);
    mu_buf_release(&line);
}

void mu_scribe_remove_key(mu_scribe_t *scribe, ino_t inode)
{
    char bytes[sizeof inode];
    memcpy(bytes, &inode, sizeof inode);
    queue(scribe, 'K', bytes, sizeof bytes);
}

void mu_scribe_output(mu_scribe_t *scribe, const char *bytes, size_t n)
{
    queue(scribe, 'M', bytes, n);
}

int mu_scribe_fd(const mu_scribe_t *scribe)
{
    return scribe->fd;
}

static void listen_to_child(mu_scribe_t *scribe)
{
    char told[257];
    for (ssize_t n; (n = recv(scribe->fd, told, sizeof told - 1, MSG_DONTWAIT)) > 0;) {
        told[n] = '\0';
        if (told[0] == DRAIN) {
            scribe->drain = true;
            snprintf(scribe->drained, sizeof scribe->drained, "%s", told + 1);
        } else if ((mu_stop_t)told[0] > scribe->stop) {
            scribe->stop = (mu_stop_t)told[0];
        }
    }
}

mu_stop_t mu_scribe_stop(mu_scribe_t *scribe)
{
    listen_to_child(scribe);
    return scribe->stop;
}

const char *mu_scribe_drain(mu_scribe_t *scribe)
{
    listen_to_child(scribe);
    bool drain = scribe->drain;
    scribe->drain = false;
    return drain ? scribe->drained : NULL;
}

void mu_scribe_end(mu_scribe_t *scribe)
{
    if (!scribe)
        return;
    shutdown(scribe->fd, SHUT_WR);
    int waited = 0;
    for (; waited < END_MS && waitpid(scribe->pid, NULL, WNOHANG) == 0; waited += 10)
        mu_sleep_ms(10);
    if (waited >= END_MS)
        mu_warn("the run directory does not answer: its last entries may be missing");
    if (scribe->dropped > 0)
        mu_warn("%lld entries of the run directory were dropped: its volume was too slow",
                (long long)scribe->dropped);
    close(scribe->fd);
    free(scribe);
}
