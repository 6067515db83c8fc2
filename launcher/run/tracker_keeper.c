#include "launcher/run/tracker_keeper.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAUSE_MS = 500, PAUSE_MOST_MS = 30000, END_MS = 2000, PRIORITY = 10, CANNOT_EXEC = 126 };

static volatile sig_atomic_t ending;

static void count_signal(int number)
{
    (void)number;
    ending = 1;
}

/* A signal to everything of the run asks the launcher, which ends its trackers when the run has ended. */
static void set_signals(void)
{
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE};
    struct sigaction action = {.sa_handler = count_signal};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    sigaction(MU_KEEPER_END_SIGNAL, &action, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void become_tracker(char *const *argv, pid_t keeper, const mu_secrets_t *secrets, const char *prefix)
{
    prctl(PR_SET_PDEATHSIG, MU_TRACK_END_SIGNAL);
    if (getppid() != keeper)
        _exit(0);
    signal(SIGPIPE, SIG_DFL);
    if (nice(PRIORITY) == -1)
        errno = 0; /* it runs as it is */
    mu_secrets_give(secrets, prefix);
    execv(argv[0], argv);
    mu_error("%s: cannot be started: %s", argv[0], strerror(errno));
    _exit(CANNOT_EXEC);
}

/* Waits for the tracker's end; once `ending`, no longer than END_MS. */
static int wait_for(pid_t pid)
{
    int how = 0, waited = 0;
    bool signalled = false;
    while (waitpid(pid, &how, WNOHANG) == 0) {
        if (ending && !signalled)
            kill(pid, MU_TRACK_END_SIGNAL);
        signalled = ending;
        waited += signalled ? 50 : 0;
        if (waited > END_MS)
            kill(pid, SIGKILL);
        mu_sleep_ms(50);
    }
    return how;
}

/* Whether another start may do better. */
static bool may_pass(int how)
{
    if (WIFSIGNALED(how))
        return true;
    mu_status_t status = mu_status_from_exit(WEXITSTATUS(how));
    return WEXITSTATUS(how) != 0 && WEXITSTATUS(how) != CANNOT_EXEC &&
           (status == MU_BUG || status == MU_IO ||
            status == MU_RUNDIR /* the last launcher's tracker may still work on the run */);
}

static void keep(char *const *argv, const mu_secrets_t *secrets, const char *prefix)
{
    for (int pause = PAUSE_MS;; pause = pause * 2 < PAUSE_MOST_MS ? pause * 2 : PAUSE_MOST_MS) {
        int64_t began = mu_now_ns();
        pid_t keeper = getpid(), pid = fork();
        if (pid == 0)
            become_tracker(argv, keeper, secrets, prefix);
        int how = pid > 0 ? wait_for(pid) : SIGKILL;
        if (ending || !may_pass(how))
            _exit(WIFEXITED(how) ? WEXITSTATUS(how) : mu_status_exit(MU_STOPPED));
        if (mu_now_ns() - began > (int64_t)PAUSE_MOST_MS * 1000000)
            pause = PAUSE_MS;
        mu_warn("tracker: %s %d: starting it again", WIFSIGNALED(how) ? "killed by signal" : "exit",
                WIFSIGNALED(how) ? WTERMSIG(how) : WEXITSTATUS(how));
        for (int waited = 0; waited < pause && !ending; waited += 50)
            mu_sleep_ms(50);
    }
}

static void become_keeper(char *const *argv, const char *log_path, const mu_secrets_t *secrets,
                          const char *prefix, pid_t launcher)
{
    prctl(PR_SET_NAME, "muster-keeper");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != launcher)
        _exit(0);
    setpgid(0, 0); /* Ctrl-C is the launcher's */
    set_signals();
    mu_log_sink_set(NULL, NULL); /* the launcher's draws a terminal */
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK, 0600);
    int null = open("/dev/null", O_RDWR);
    dup2(null, STDIN_FILENO);
    dup2(log >= 0 ? log : null, STDOUT_FILENO);
    dup2(log >= 0 ? log : null, STDERR_FILENO);
    close_range(3, ~0U, 0); /* the claim of the directory among them */
    keep(argv, secrets, prefix);
}

pid_t mu_keeper_start(char *const *argv, const char *log_path, const mu_secrets_t *secrets,
                      const char *prefix)
{
    fflush(NULL);
    pid_t launcher = getpid(), pid = fork();
    if (pid == 0) {
        become_keeper(argv, log_path, secrets, prefix, launcher);
        _exit(0);
    }
    if (pid < 0)
        mu_warn("no process for a tracker: %s", strerror(errno));
    return pid > 0 ? pid : 0;
}
