#include "launcher/run/run_impl.h"
#include "common/clock.h"

#include <signal.h>

static volatile sig_atomic_t signals; /* requests to stop; every wait looks at it */

/* One request may come as several signals: bash passes SIGHUP on to its jobs after the kernel has sent it, timeout(1)
 * signals its child and then its group. What comes within a second of another is the same request, and a terminal that
 * closes never asks for more than the first one. */
static void count_signal(int number)
{
    static volatile int64_t last_ns; /* the handler runs with all of these signals blocked */
    int64_t now = mu_now_ns();
    bool again = signals > 0 && (number == SIGHUP || now - last_ns < 1000000000);
    last_ns = now;
    if (!again)
        signals++;
}

const volatile sig_atomic_t *mu_launch_catch_signals(void)
{
    struct sigaction action = {.sa_handler = count_signal};
    sigfillset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGQUIT, &action,
              NULL); /* a terminal's Ctrl-\\ asks for an end too; a core file would hold nothing */
    if (signal(SIGHUP, SIG_IGN) != SIG_IGN) /* nohup's wish stands */
        sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    return &signals;
}
