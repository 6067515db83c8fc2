#include "launcher/monitor/rundir_writer.h"
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

struct mu_rundir_writer {
    char *dir;
    int lock_fd; /* of the claim: a child that still writes keeps the directory claimed */
    pid_t pid;
    int fd;           /* -1: the child died, and a new one starts in a moment */
    int64_t start_ns; /* of the child */
    mu_buf_t state;   /* the newest run.json: a new child writes it first */
    bool moved;       /* the directory is another one now: nothing is written any more */
    mu_stop_t stop;
    bool drain; /* one is there that nobody has asked for yet */
    char drained[256];
    int marks_sent, marks_back; /* see mu_rundir_writer_flush() */
    int64_t dropped;
};

/* What the launcher sends: the first byte of a packet, then its bytes. */
enum { STATE = 'S', EVENT = 'E', REMOVE_KEY = 'K', OUTPUT = 'M', MARK = 'F' };
/* What the child sends: the first byte is a mu_stop_t, MARK (it has come to that packet), or DRAIN followed by a host's
 * name. */
enum { DRAIN = 'D' };
enum { EXIT_MOVED = 3 }; /* of the child: the directory is no longer the one that is claimed */
static const int64_t again_ns = 500000000; /* a child that dies at once is not started faster than this */

/* ---- the child ---- */

static void append(const char *dir, const char *name, const char *bytes, size_t n)
{
    char *path = mu_path_join(dir, name);
    struct stat st; /* a FIFO that somebody made there would hold us up */
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)))
        mu_warn("%s: is not a file: nothing is written to it", path);
    else if (fd < 0 || !mu_write_all(fd, bytes, n))
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
    if (packet[0] == STATE) {
        char *path = mu_path_join(dir, "run.json");
        mu_file_replace(path, bytes, n - 1, 0600);
        free(path);
    } else if (packet[0] == REMOVE_KEY) {
        remove_key(dir, bytes, n - 1);
    } else {
        append(dir, packet[0] == EVENT ? "events.jsonl" : "logs/mpirun.log", bytes, n - 1);
    }
}

static void leave_if_moved(const char *dir, int lock_fd)
{
    if (lock_fd >= 0 && !mu_rundir_stands(dir, lock_fd))
        _exit(EXIT_MOVED);
}

static void write_for_ever(const char *dir, int lock_fd, int fd)
{
    static char packet[PACKET_MAX];
    mu_stop_t passed_on = MU_STOP_NONE;
    for (;;) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, LOOK_MS) < 0 && errno != EINTR)
            return;
        if (p.revents) {
            ssize_t n = recv(fd, packet, sizeof packet, MSG_DONTWAIT);
            if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
                return;
            if (n > 0 && packet[0] == STATE)
                leave_if_moved(dir, lock_fd);
            if (n > 0 && packet[0] == MARK)
                send(fd, packet, 1, MSG_NOSIGNAL);
            else if (n > 0)
                obey(dir, packet, (size_t)n);
            if (n > 0 && packet[0] != STATE)
                continue; /* a burst of lines does not look for `stop` after each */
        }
        leave_if_moved(dir, lock_fd);
        if (mu_drain_take(dir, packet + 1)) {
            packet[0] = DRAIN;
            send(fd, packet, strlen(packet + 1) + 1, MSG_NOSIGNAL);
        }
        mu_stop_t stop = mu_stop_asked(dir);
        if (stop > passed_on) {
            char byte = (char)stop;
            passed_on = stop;
            send(fd, &byte, 1, MSG_NOSIGNAL);
        }
    }
}

/* ---- the launcher's side ---- */

/* The child keeps its socket and the lock, not the connections and pipes of its parent. */
static void close_others(int fd, int lock_fd)
{
    unsigned low = (unsigned)(fd < lock_fd ? fd : lock_fd), high = (unsigned)(fd < lock_fd ? lock_fd : fd);
    if (lock_fd < 0)
        low = high = (unsigned)fd;
    if (low > 3)
        close_range(3, low - 1, 0);
    if (high > low + 1)
        close_range(low + 1, high - 1, 0);
    close_range(high + 1, ~0U, 0);
}

static void become_writer(const mu_rundir_writer_t *writer, int fd)
{
    /* no PDEATHSIG: what a launcher that was killed had queued still gets written, then the socket ends. For the same
     * reason a signal to everything of a run does not end it. */
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGPIPE};
    prctl(PR_SET_NAME, "muster-writer");
    setpgid(0, 0); /* as in spawn.c */
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    close_others(fd, writer->lock_fd);
    write_for_ever(writer->dir, writer->lock_fd, fd);
    _exit(0);
}

static mu_status_t start_child(mu_rundir_writer_t *writer)
{
    int fd[2], size = QUEUE_BYTES;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) != 0)
        return mu_fail(MU_BUG, "no socket for the run directory's writer: %s", strerror(errno));
    setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        become_writer(writer, fd[1]);
    close(fd[1]);
    if (pid < 0) {
        close(fd[0]);
        return mu_fail(MU_BUG, "no process for the run directory's writer: %s", strerror(errno));
    }
    writer->pid = pid;
    writer->fd = fd[0];
    writer->start_ns = mu_now_ns();
    return MU_OK;
}

mu_status_t mu_rundir_writer_start(const char *run_dir, int lock_fd, mu_rundir_writer_t **out)
{
    mu_rundir_writer_t *writer = mu_calloc(1, sizeof *writer);
    writer->dir = mu_strdup(run_dir);
    writer->lock_fd = lock_fd;
    mu_status_t status = start_child(writer);
    if (status == MU_OK) {
        *out = writer;
        return MU_OK;
    }
    free(writer->dir);
    free(writer);
    return status;
}

static void queue(mu_rundir_writer_t *writer, char kind, const char *bytes, size_t n);

/* The child has died: somebody killed it, or the kernel did for memory. A new one takes over. */
static void replace_child(mu_rundir_writer_t *writer)
{
    int how = 0;
    if (writer->moved)
        return;
    if (writer->fd >= 0) {
        close(writer->fd);
        writer->fd = -1;
        waitpid(writer->pid, &how, 0);
        if (WIFEXITED(how) && WEXITSTATUS(how) == EXIT_MOVED) {
            writer->moved = true;
            return;
        }
        mu_warn("the run directory's writer (pid %lld) %s %d: starting it again; entries may be missing",
                (long long)writer->pid, WIFSIGNALED(how) ? "was killed by signal" : "ended with exit code",
                WIFSIGNALED(how) ? WTERMSIG(how) : WEXITSTATUS(how));
        writer->dropped++;
    }
    if (mu_now_ns() - writer->start_ns < again_ns || start_child(writer) != MU_OK)
        return;
    if (writer->state.len > 0)
        queue(writer, STATE, writer->state.data, writer->state.len);
    mu_rundir_writer_event(writer, "writer", NULL, -1,
                           "the run directory's writer died and was started again");
}

/* Whether the packet is on its way. Errors other than a full queue mean that the child is gone. */
static bool send_packet(mu_rundir_writer_t *writer, const char *packet, size_t n)
{
    if (writer->fd < 0)
        replace_child(writer);
    if (writer->fd < 0)
        return false;
    if (send(writer->fd, packet, n, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return true;
    if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
        replace_child(writer);
    return false;
}

static void queue(mu_rundir_writer_t *writer, char kind, const char *bytes, size_t n)
{
    char packet[PACKET_MAX];
    if (!writer)
        return;
    while (n > 0) {
        size_t part = n < sizeof packet - 1 ? n : sizeof packet - 1;
        packet[0] = kind;
        memcpy(packet + 1, bytes, part);
        writer->dropped += !send_packet(writer, packet, part + 1);
        bytes += part;
        n -= part;
    }
}

void mu_rundir_writer_state(mu_rundir_writer_t *writer, const mu_run_state_t *state)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_run_state_json(state, &text);
    mu_buf_release(&writer->state);
    writer->state = text;
    queue(writer, STATE, text.data, text.len);
}

void mu_rundir_writer_event(mu_rundir_writer_t *writer, const char *kind, const char *host, int rank,
                            const char *format, ...)
{
    mu_buf_t text = MU_BUF_INIT, line = MU_BUF_INIT;
    va_list args;
    va_start(args, format);
    mu_buf_vaddf(&text, format, args);
    va_end(args);
    mu_event_json(kind, host, rank, text.data, &line);
    queue(writer, EVENT, line.data, line.len);
    mu_buf_release(&text);
    mu_buf_release(&line);
}

void mu_rundir_writer_over(mu_rundir_writer_t *writer, int exit_code, const mu_run_state_t *state)
{
    mu_buf_t line = MU_BUF_INIT;
    mu_event_over_json(exit_code, state->checkpoint_s, state->last_checkpoint,
                       mu_status_text(mu_status_from_exit(exit_code)), &line);
    queue(writer, EVENT, line.data, line.len);
    mu_buf_release(&line);
}

void mu_rundir_writer_remove_key(mu_rundir_writer_t *writer, ino_t inode)
{
    char bytes[sizeof inode];
    memcpy(bytes, &inode, sizeof inode);
    queue(writer, REMOVE_KEY, bytes, sizeof bytes);
}

void mu_rundir_writer_output(mu_rundir_writer_t *writer, const char *bytes, size_t n)
{
    queue(writer, OUTPUT, bytes, n);
}

int mu_rundir_writer_fd(const mu_rundir_writer_t *writer)
{
    return writer->fd;
}

static void listen_to_child(mu_rundir_writer_t *writer)
{
    char packet[257];
    ssize_t n = -1;
    if (writer->fd < 0)
        replace_child(writer);
    while (writer->fd >= 0 && (n = recv(writer->fd, packet, sizeof packet - 1, MSG_DONTWAIT)) > 0) {
        packet[n] = '\0';
        if (packet[0] == DRAIN) {
            writer->drain = true;
            snprintf(writer->drained, sizeof writer->drained, "%s", packet + 1);
        } else if (packet[0] == MARK) {
            writer->marks_back++;
        } else if ((mu_stop_t)packet[0] > writer->stop) {
            writer->stop = (mu_stop_t)packet[0];
        }
    }
    if (writer->fd >= 0 && (n == 0 || (errno != EAGAIN && errno != EINTR)))
        replace_child(writer);
}

/* A child that dies takes its marks with it. */
bool mu_rundir_writer_flush(mu_rundir_writer_t *writer, int ms)
{
    const char mark = MARK;
    int64_t until = mu_now_ns() + (int64_t)ms * 1000000;
    if (!send_packet(writer, &mark, 1))
        return false;
    int wanted = ++writer->marks_sent;
    for (;;) {
        pid_t pid = writer->pid;
        listen_to_child(writer);
        if (writer->marks_back == wanted)
            return true;
        int64_t left = (until - mu_now_ns()) / 1000000;
        if (writer->fd < 0 || writer->pid != pid || left <= 0)
            break;
        struct pollfd p = {writer->fd, POLLIN, 0};
        poll(&p, 1, (int)left);
    }
    return false;
}

mu_stop_t mu_rundir_writer_stop(mu_rundir_writer_t *writer)
{
    listen_to_child(writer);
    return writer->stop;
}

bool mu_rundir_writer_moved(mu_rundir_writer_t *writer)
{
    listen_to_child(writer);
    return writer->moved;
}

const char *mu_rundir_writer_drain(mu_rundir_writer_t *writer)
{
    listen_to_child(writer);
    bool drain = writer->drain;
    writer->drain = false;
    return drain ? writer->drained : NULL;
}

/* Whether the child has written all that was queued. */
static bool end_child(mu_rundir_writer_t *writer)
{
    int how = 0, waited = 0;
    shutdown(writer->fd, SHUT_WR);
    for (; waited < END_MS && waitpid(writer->pid, &how, WNOHANG) == 0; waited += 10)
        mu_sleep_ms(10);
    if (waited >= END_MS)
        mu_warn("the run directory does not answer: its last entries may be missing");
    close(writer->fd);
    return waited >= END_MS || (WIFEXITED(how) && (WEXITSTATUS(how) == 0 || WEXITSTATUS(how) == EXIT_MOVED));
}

void mu_rundir_writer_end(mu_rundir_writer_t *writer)
{
    if (!writer)
        return;
    if (!writer->moved && (writer->fd < 0 || !end_child(writer))) {
        /* it was killed on the way: the last state is what people and other programs read */
        if (start_child(writer) == MU_OK) {
            queue(writer, STATE, writer->state.data, writer->state.len);
            end_child(writer);
        }
    }
    if (writer->dropped > 0 && !writer->moved)
        mu_warn("%lld entries of the run directory were dropped: its volume was too slow, or its writer died",
                (long long)writer->dropped);
    mu_buf_release(&writer->state);
    free(writer->dir);
    free(writer);
}
