#include "common/buf.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "worker/guard/guard_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIPE_BYTES = 1 << 20, LINE_MAX_BYTES = 4096 };

/* What a rank may write to its log: this much at once, and this much a second over time. */
static const double burst_bytes = 64.0 * (1 << 20), bytes_per_second = 2.0 * (1 << 20);

typedef struct writer {
    int in, file, guard;
    double allowance;
    int64_t refilled_ns, dropped;
    char line[LINE_MAX_BYTES];
    size_t len;
} writer_t;

/* How much a line matters: what muster's own log says, and the words of those who do not use it. */
static mu_log_level_t level_of(const char *line)
{
    static const char *const errors[] = {
        ": error: ",       "Sanitizer", "*** Process received signal", "Signal: ",
        "MPI_ABORT",       "MPI_ERR",   "An error occurred in MPI",    "Assertion",
        "terminate called"};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strstr(line, errors[i]))
            return MU_LOG_ERROR;
    if (strstr(line, ": warning: "))
        return MU_LOG_WARN;
    return strstr(line, ": debug: ") ? MU_LOG_DEBUG : MU_LOG_INFO;
}

static void tell_line(writer_t *w)
{
    mu_log_packet_t packet = {.dropped_bytes = w->dropped};
    w->line[w->len] = '\0';
    packet.level = (int32_t)level_of(w->line);
    size_t n = w->len < sizeof packet.text ? w->len : sizeof packet.text - 1;
    memcpy(packet.text, w->line, n);
    w->len = 0;
    if (n > 0) /* a guard that is busy misses a line; the file has it */
        send(w->guard, &packet, offsetof(mu_log_packet_t, text) + n + 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void split_lines(writer_t *w, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == '\n') {
            tell_line(w);
        } else if (bytes[i] != '\0') {
            w->line[w->len++] = bytes[i];
            if (w->len == sizeof w->line - 1)
                tell_line(w);
        }
    }
}

static void keep(writer_t *w, const char *bytes, size_t n)
{
    int64_t now = mu_now_ns();
    w->allowance += (double)(now - w->refilled_ns) * 1e-9 * bytes_per_second;
    w->refilled_ns = now;
    if (w->allowance > burst_bytes)
        w->allowance = burst_bytes;
    /* a full disk costs lines, never the run */
    if (w->allowance < (double)n || !mu_write_all(w->file, bytes, n))
        w->dropped += (int64_t)n;
    else
        w->allowance -= (double)n;
}

static void write_log(writer_t *w)
{
    static char piece[65536];
    for (;;) {
        ssize_t n = read(w->in, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        keep(w, piece, (size_t)n);
        split_lines(w, piece, (size_t)n);
    }
    tell_line(w);
    if (w->dropped > 0) {
        char text[96];
        int n =
            snprintf(text, sizeof text, "(%lld bytes of output were dropped here)\n", (long long)w->dropped);
        mu_write_all(w->file, text, (size_t)n);
    }
}

/* Nothing of mpirun's may stay open here: it waits for the last holder of its pipes. */
static void cut_loose(void)
{
    prctl(PR_SET_NAME, "muster-log");
    setpgid(0, 0); /* mpirun kills a rank's process group, and the last lines matter most then */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd <= 2 && null >= 0; fd++)
        dup2(null, fd);
}

mu_status_t mu_guard_log_start(const char *run_dir, int rank, mu_guard_log_t *out)
{
    mu_status_t status = MU_OK;
    int in[2], lines[2], file = -1;
    char *path = mu_format("%s/logs/rank-%05d.log", run_dir, rank);
    struct stat st;
    file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (file < 0) {
        status = mu_fail(mu_make_status(errno), "%s: cannot open: %s", path, strerror(errno));
        goto out;
    }
    if (fstat(file, &st) != 0 || !S_ISREG(st.st_mode)) {
        status = mu_fail(MU_RUNDIR, "%s: is not a file", path);
        goto out_file;
    }
    if (pipe2(in, O_CLOEXEC) != 0) {
        status = mu_fail(MU_BUG, "no pipe for the log: %s", strerror(errno));
        goto out_file;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, lines) != 0) {
        status = mu_fail(MU_BUG, "no socket for the log: %s", strerror(errno));
        goto out_pipe;
    }
    fcntl(in[1], F_SETPIPE_SZ, PIPE_BYTES); /* a pause of the storage is no pause of the rank */
    pid_t pid = fork();
    if (pid < 0) {
        status = mu_fail(MU_BUG, "no process for the log: %s", strerror(errno));
        close(lines[0]);
        close(lines[1]);
        goto out_pipe;
    }
    if (pid == 0) {
        close(in[1]);
        close(lines[0]);
        cut_loose();
        writer_t writer = {.in = in[0],
                           .file = file,
                           .guard = lines[1],
                           .allowance = burst_bytes,
                           .refilled_ns = mu_now_ns()};
        write_log(&writer);
        _exit(0);
    }
    close(in[0]);
    close(lines[1]);
    out->pid = pid;
    out->write_fd = in[1];
    out->line_fd = lines[0];
    goto out_file;
out_pipe:
    close(in[0]);
    close(in[1]);
out_file:
    close(file);
out:
    free(path);
    return status;
}
