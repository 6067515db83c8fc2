#include "launcher/ready/clean_hosts.h"
#include "common/clock.h"
#include "common/control/probe_words.h"
#include "launcher/ready/ready_internal.h"

#include <poll.h>

static const int64_t limit_ns = 3000000000;

/* Takes an answer in; whether nothing more is to come from this login. */
static bool has_answered(mu_login_t *login)
{
    mu_buf_t line = MU_BUF_INIT;
    mu_login_read(login);
    bool done = mu_login_line(login, MU_PROBE_FACTS, &line) || login->ended;
    mu_buf_release(&line);
    return done;
}

void mu_clean_hosts(mu_ready_t *ready, const char *token)
{
    int n = ready->hosts->count, waiting = 0;
    int64_t end_ns = mu_now_ns() + limit_ns;
    bool *asked = mu_calloc((size_t)n, sizeof *asked);
    struct pollfd *fds = mu_calloc((size_t)n, sizeof *fds);
    char *line = mu_format(MU_PROBE_ASK "{\"orphan_cleanup\":{\"token\":\"%s\",\"last\":%lld}}\n", token,
                           (long long)INT64_MAX);
    for (int i = 0; i < n; i++) {
        mu_ready_state_t *host = &ready->host[i];
        asked[i] = !host->local && host->phase == MU_READY_PHASE_READY &&
                   mu_login_write(&host->login, line, strlen(line));
        waiting += asked[i];
    }
    while (waiting > 0 && mu_now_ns() < end_ns) {
        for (int i = 0; i < n; i++)
            fds[i] = (struct pollfd){asked[i] ? ready->host[i].login.out : -1, POLLIN, 0};
        poll(fds, (nfds_t)n, 20);
        for (int i = 0; i < n; i++)
            if (asked[i] && has_answered(&ready->host[i].login)) {
                asked[i] = false;
                waiting--;
            }
    }
    free(line);
    free(fds);
    free(asked);
}
