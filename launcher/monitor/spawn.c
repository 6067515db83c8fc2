#include "launcher/monitor/spawn.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

mu_status_t mu_spawn(char *const *argv, char *const *envp, mu_spawn_t *out)
{
    int fd[2];
    *out = (mu_spawn_t){.output_fd = -1};
    if (pipe2(fd, O_CLOEXEC) != 0)
        return mu_fail(MU_BUG, "no pipe for %s: %s", argv[0], strerror(errno));
    fflush(NULL);
    pid_t launcher = getpid(), pid = fork();
    if (pid < 0) {
        close(fd[0]);
        close(fd[1]);
        return mu_fail(MU_BUG, "no process for %s: %s", argv[0], strerror(errno));
    }
    if (pid == 0) {
        /* A group, so that signals of the terminal do not reach it, but no session: Linux schedules sessions
         * against each other (sched_autogroup), and ranks that poll then keep us from the processor for
         * seconds, as seen on Linux 6.18. Among the processes of one session a sleeper's turn comes at once. */
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG,
              SIGKILL); /* the launcher is killed: ranks end in a second, not after the lease */
        if (getppid() != launcher)
            _exit(127);
        /* mpirun turns a signal into the death of all ranks within two seconds, which is no time to save. Whoever
         * signals everything at once (a service manager, `scancel --full`) signals the launcher too, and guards ask it:
         * it stops the ranks in good order. mpirun itself ends after them, or is killed. Its children get an empty
         * mask from it. */
        static const int asking[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
        sigset_t blocked;
        sigemptyset(&blocked);
        for (size_t i = 0; i < sizeof asking / sizeof *asking; i++)
            sigaddset(&blocked, asking[i]);
        sigprocmask(SIG_SETMASK, &blocked, NULL);
        signal(SIGPIPE, SIG_DFL); /* what is ignored stays so over an exec */
        int null = open("/dev/null", O_RDONLY);
        dup2(null, STDIN_FILENO);
        dup2(fd[1], STDOUT_FILENO);
        dup2(fd[1], STDERR_FILENO);
        execvpe(argv[0], argv, envp);
        dprintf(STDERR_FILENO, "%s: cannot be started: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    close(fd[1]);
    fcntl(fd[0], F_SETFL, O_NONBLOCK);
    out->pid = pid;
    out->output_fd = fd[0];
    return MU_OK;
}

/* Whether a help text names no cause: a warning, or the end of a rank, which its guard reports. */
static bool says_little(const char *help)
{
    static const char *const words[] = {"deprecated", "Primary job", "mpirun noticed", "mpirun has exited",
                                        "mpirun detected"};
    bool little = *help == '\0' || strncasecmp(help, "warning", 7) == 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        little |= strstr(help, words[i]) != NULL;
    return little;
}

/* A help text stands between two lines of dashes. The first one that names a cause is the cause of what follows; those
 * that repeat (Open MPI counts them in brackets) are not kept. */
static void keep_help(mu_spawn_t *s)
{
    size_t dashes = strspn(s->line, "-");
    if (dashes > 20 && s->line[dashes] == '\0') {
        bool ends = s->frames++ % 2 == 1;
        if (ends && s->help_ns == 0 && says_little(s->help))
            *s->help = '\0';
        else if (ends && s->help_ns == 0 && strncmp(s->help, "It looks like MPI_INIT", 22) == 0) {
            memcpy(s->general, s->help, sizeof s->general);
            *s->help = '\0';
        } else if (ends && s->help_ns == 0)
            s->help_ns = mu_now_ns();
        return;
    }
    size_t used = strlen(s->help);
    const char *text = s->line + strspn(s->line, " \t");
    if (s->frames % 2 == 1 && s->help_ns == 0 && *text && used < sizeof s->help - 2)
        snprintf(s->help + used, sizeof s->help - used, "%s%s", used ? " " : "", text);
}

void mu_spawn_help(const mu_spawn_t *s, char *out, size_t size)
{
    const char *text = *s->help ? s->help : s->general;
    size_t n = strlen(text), head = size / 2 - 8, tail = size / 2;
    if (n < size)
        snprintf(out, size, "%s", text);
    else
        snprintf(out, size, "%.*s ... %s", (int)head, text, text + n - tail);
}

/* Open MPI frames its help texts with lines of dashes, and repeats in them what guards say better. */
static void keep_line(mu_spawn_t *s)
{
    s->line[s->len] = '\0';
    s->len = 0;
    keep_help(s);
    if (s->line[strspn(s->line, "- \t\r")] != '\0')
        memcpy(s->last_line, s->line, sizeof s->last_line);
}

void mu_spawn_read(mu_spawn_t *s, mu_rundir_writer_t *writer)
{
    char piece[8192];
    for (int i = 0; i < 16 && s->output_fd >= 0; i++) {
        ssize_t n = read(s->output_fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            close(s->output_fd);
            s->output_fd = -1;
            return;
        }
        mu_rundir_writer_output(writer, piece, (size_t)n);
        for (ssize_t k = 0; k < n; k++) {
            if (piece[k] == '\n')
                keep_line(s);
            else if (s->len < sizeof s->line - 1)
                s->line[s->len++] = piece[k];
        }
    }
}

void mu_spawn_reap(mu_spawn_t *s)
{
    int status;
    if (s->gone || waitpid(s->pid, &status, WNOHANG) != s->pid)
        return;
    s->gone = true;
    s->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    s->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

void mu_spawn_end(mu_spawn_t *s, mu_rundir_writer_t *writer)
{
    if (!s->gone)
        kill(-s->pid, SIGKILL);
    mu_spawn_read(s, writer);
    if (s->output_fd >= 0)
        close(s->output_fd);
    s->output_fd = -1;
}
