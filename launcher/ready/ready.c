#include "launcher/ready/ready_internal.h"
#include "common/clock.h"
#include "common/digest.h"
#include "common/file.h"
#include "common/launch_env.h"
#include "common/log.h"
#include "common/open_files.h"
#include "launcher/mpi/agent.h"

#include <ifaddrs.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#define LOOKUP_THREADS 128
#define LAST_CALL      30.0

/* Each login keeps three pipes, each dial a socket. */
static mu_status_t raise_file_limit(int hosts)
{
    char what[32];
    snprintf(what, sizeof what, "%d hosts", hosts);
    int64_t files = (int64_t)hosts * 4 + 256;
    return mu_open_files_allow(files, files, what);
}

static mu_status_t find_worker(mu_ready_t *ready)
{
    mu_buf_t path = MU_BUF_INIT, command = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    if (ready->options.worker) {
        mu_buf_adds(&path, ready->options.worker);
    } else {
        MU_TRY_GOTO(status, mu_program_dir(&path), done);
        mu_buf_adds(&path, "/muster-worker");
    }
    if (ready->options.build)
        snprintf(ready->build, sizeof ready->build, "%s", ready->options.build);
    else if (ready->options.until == MU_STAGE_READY)
        MU_TRY_GOTO(status, mu_digest_file(path.data, ready->build), done);
    /* exec: the probe takes the shell's place, and its exit code is the login's */
    mu_buf_adds(&command, "exec ");
    if (ready->options.token) /* by `env`, since shells do not agree on how to say it */
        mu_buf_addf(&command, "env " MU_ENV_RUN_TOKEN "=%s " MU_ENV_ATTEMPT "=%lld ", ready->options.token,
                    (long long)ready->options.attempt);
    MU_TRY_GOTO(status, mu_shell_word(path.data, &command), done);
    mu_buf_adds(&command, " --probe");
    ready->worker = mu_buf_detach(&path);
    ready->command = mu_buf_detach(&command);
done:
    mu_buf_release(&path);
    mu_buf_release(&command);
    return status;
}

mu_status_t mu_ready_new(const mu_hosts_t *hosts, const mu_ssh_t *ssh, const mu_ready_options_t *options,
                         mu_ready_t **out)
{
    mu_ready_t *ready = mu_calloc(1, sizeof *ready);
    mu_status_t status;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    ready->hosts = hosts;
    ready->ssh = ssh;
    ready->options = *options;
    if (ready->options.until == 0)
        ready->options.until = MU_STAGE_READY;
    ready->min_hosts =
        options->min_hosts > 0 && options->min_hosts < hosts->count ? options->min_hosts : hosts->count;
    ready->login_limit = cores > 4 ? 8 * (int)cores : 32;
    ready->terminal = isatty(STDERR_FILENO);
    ready->host = mu_calloc((size_t)hosts->count, sizeof *ready->host);
    for (int i = 0; i < hosts->count; i++) {
        ready->host[i].fd = -1;
        ready->host[i].login = (mu_login_t){.in = -1, .out = -1, .err = -1};
    }
    if (gethostname(ready->self, sizeof ready->self - 1) != 0)
        ready->self[0] = '\0';
    mu_machine_id(ready->machine);
    if (getifaddrs(&ready->interfaces) != 0)
        ready->interfaces = NULL;
    signal(SIGPIPE, SIG_IGN); /* a probe that is gone is an error of write(2) */
    MU_TRY_GOTO(status, raise_file_limit(hosts->count), fail);
    MU_TRY_GOTO(status, find_worker(ready), fail);
    MU_TRY_GOTO(status,
                mu_lookup_new(hosts->count < LOOKUP_THREADS ? hosts->count : LOOKUP_THREADS, &ready->lookup),
                fail);
    *out = ready;
    return MU_OK;
fail:
    mu_ready_free(ready);
    return status;
}

void mu_ready_free(mu_ready_t *ready)
{
    if (!ready)
        return;
    int n = 0, count = ready->hosts->count;
    mu_login_t **open = mu_alloc((size_t)count * sizeof *open);
    for (int i = 0; i < count; i++)
        if (ready->host[i].login.pid)
            open[n++] = &ready->host[i].login;
    mu_login_end(open, n, 500);
    free(open);
    for (int i = 0; i < count; i++) {
        mu_ready_drop(ready, i);
        mu_buf_release(&ready->host[i].detail);
    }
    mu_lookup_free(ready->lookup);
    if (ready->interfaces)
        freeifaddrs(ready->interfaces);
    mu_buf_release(&ready->line);
    mu_buf_release(&ready->last_line);
    free(ready->worker);
    free(ready->command);
    free(ready->host);
    free(ready);
}

/* 77 comes before 80: a wrong key needs a person, an unfit host only its replacement. */
static mu_status_t worst_permanent(const mu_ready_t *ready)
{
    static const mu_status_t order[] = {MU_AUTH, MU_CONFIG, MU_PREFLIGHT};
    for (size_t k = 0; k < sizeof order / sizeof *order; k++)
        for (int i = 0; i < ready->hosts->count; i++)
            if (ready->host[i].phase == MU_READY_PHASE_FAILED &&
                mu_reason_status(ready->host[i].reason) == order[k])
                return order[k];
    return MU_UNREADY;
}

/* Whether the wait is over, and how. */
static bool is_over(mu_ready_t *ready, int64_t now, mu_status_t *status)
{
    mu_ready_sum_t sum = mu_ready_sum(ready);
    bool enough = sum.ready >= ready->min_hosts;
    if (ready->options.stop && *ready->options.stop) {
        *status = mu_fail(MU_STOPPED, "stopped while waiting for hosts (%d of %d ready)", sum.ready,
                          ready->hosts->count);
        return true;
    }
    if (enough && ready->last_call_ns == 0) {
        double call = ready->options.last_call > 0 ? ready->options.last_call : LAST_CALL;
        ready->last_call_ns = now + (int64_t)(call * 1e9);
    }
    if (enough && (sum.waiting == 0 || now >= ready->last_call_ns || now >= ready->end_ns)) {
        *status = MU_OK;
        return true;
    }
    if (ready->hosts->count - sum.failed < ready->min_hosts) {
        if (ready->settle_ns == 0)
            ready->settle_ns = now + MU_READY_SETTLE_NS;
        *status = worst_permanent(ready);
        return sum.unseen == 0 || now >= ready->settle_ns || now >= ready->end_ns;
    }
    *status = MU_UNREADY;
    return now >= ready->end_ns;
}

/* Fills pollfds, and owner[k] with the host of entry k (-1: the lookups). */
static int gather(mu_ready_t *ready, struct pollfd *fds, int *owner, int64_t *next_ns)
{
    int n = 0;
    fds[n] = (struct pollfd){mu_lookup_fd(ready->lookup), POLLIN, 0};
    owner[n++] = -1;
    for (int i = 0; i < ready->hosts->count; i++) {
        const mu_ready_state_t *host = &ready->host[i];
        if (host->phase == MU_READY_PHASE_DIAL || host->phase == MU_READY_PHASE_LISTEN) {
            fds[n] = (struct pollfd){host->fd, host->phase == MU_READY_PHASE_DIAL ? POLLOUT : POLLIN, 0};
            owner[n++] = i;
        } else if (host->login.pid) {
            fds[n] = (struct pollfd){host->login.out, POLLIN, 0};
            owner[n++] = i;
        }
        if (host->phase != MU_READY_PHASE_READY && host->phase != MU_READY_PHASE_FAILED &&
            host->phase != MU_READY_PHASE_QUEUE && host->next_ns < *next_ns)
            *next_ns = host->next_ns;
    }
    return n;
}

/* One turn: timers, new logins, then what poll tells. The 50 ms are for the ends of children, which poll does
 * not tell, for the stop flag, and for the progress line. */
static void poll_once(mu_ready_t *ready, struct pollfd *fds, int *owner)
{
    int64_t now = mu_now_ns(), next_ns = now + 50000000;
    for (int i = 0; i < ready->hosts->count; i++) {
        mu_ready_state_t *host = &ready->host[i];
        if (host->phase == MU_READY_PHASE_QUEUE && ready->logins < ready->login_limit)
            mu_ready_login_start(ready, i);
        else
            mu_ready_timer(ready, i, now);
    }
    int n = gather(ready, fds, owner, &next_ns);
    int64_t wait_ms = (next_ns - mu_now_ns()) / 1000000 + 1;
    if (poll(fds, (nfds_t)n, wait_ms < 0 ? 0 : (int)wait_ms) < 0)
        return; /* a signal: the stop flag is looked at next */
    for (int k = 0; k < n; k++)
        if (owner[k] >= 0 && fds[k].revents && !ready->host[owner[k]].login.pid)
            mu_ready_socket_event(ready, owner[k]);
    for (int i = 0; i < ready->hosts->count; i++)
        if (ready->host[i].login.pid)
            mu_ready_login_event(ready, i);
    mu_found_t found;
    while (mu_lookup_pop(ready->lookup, &found))
        mu_ready_found(ready, &found);
}

mu_status_t mu_ready_wait(mu_ready_t *ready)
{
    size_t most = (size_t)ready->hosts->count + 1;
    struct pollfd *fds = mu_calloc(most, sizeof *fds);
    int *owner = mu_calloc(most, sizeof *owner);
    mu_status_t status = MU_OK;
    ready->begin_ns = mu_now_ns();
    ready->end_ns = ready->begin_ns + (int64_t)(ready->options.timeout * 1e9);
    ready->line_ns = ready->begin_ns;
    ready->settle_ns = ready->last_call_ns = 0;
    for (;;) {
        poll_once(ready, fds, owner);
        int64_t now = mu_now_ns();
        bool over = is_over(ready, now, &status);
        mu_ready_progress(ready, now, over);
        mu_ready_pods(ready, now);
        if (over)
            break;
    }
    mu_ready_verdict(ready, status, mu_now_ns());
    free(fds);
    free(owner);
    return status;
}

int mu_ready_count(const mu_ready_t *ready)
{
    return mu_ready_sum(ready).ready;
}

mu_ready_host_t mu_ready_host(const mu_ready_t *ready, int index)
{
    const mu_ready_state_t *host = &ready->host[index];
    return (mu_ready_host_t){.stage = host->phase == MU_READY_PHASE_READY ? MU_STAGE_READY : host->stage,
                             .reason = host->reason,
                             .detail = host->detail.data ? host->detail.data : "",
                             .address = host->address,
                             .launcher = host->launcher,
                             .local = host->local,
                             .tries = host->tries,
                             .ready_after = host->ready_after,
                             .hello = host->hello};
}

const char *mu_ready_control_address(const mu_ready_t *ready)
{
    for (int i = 0; i < ready->hosts->count; i++) {
        const mu_ready_state_t *host = &ready->host[i];
        if (host->phase == MU_READY_PHASE_READY && !host->local && host->launcher[0])
            return host->launcher;
    }
    return "";
}

json_t *mu_ready_json(const mu_ready_t *ready)
{
    static const char *const stages[] = {"name", "connect", "banner", "login", "ready"};
    json_t *hosts = json_array();
    for (int i = 0; i < ready->hosts->count; i++) {
        mu_ready_host_t host = mu_ready_host(ready, i);
        json_array_append_new(hosts,
                              json_pack("{s:s, s:s, s:b, s:s, s:s, s:s, s:b, s:i, s:f}", "host",
                                        ready->hosts->host[i].name, "stage", stages[host.stage], "ready",
                                        host.stage == MU_STAGE_READY, "reason", mu_reason_name(host.reason),
                                        "detail", host.detail, "address", host.address, "local", host.local,
                                        "tries", host.tries, "ready_after", host.ready_after));
    }
    return json_pack("{s:o}", "hosts", hosts);
}
