#include "common/clock.h"
#include "common/log.h"
#include "common/run/orphan_cleanup.h"
#include "worker/guard/guard_impl.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const int64_t second_ns = 1000000000;
static const int64_t report_limit_ns = 3000000000;   /* for the launcher to take the report of a death */
static const int64_t last_line_limit_ns = 200000000; /* for the log's writer to pass on what came before it */
static const int64_t lease_slack_ns = 200000000; /* the rank has ended when the lease has, not a tick later */
static const int64_t resending_after_ms = 2000;  /* a rank that moves need not be asked why it does not */
enum { LINES_AT_ONCE = 40, LINES_PER_SECOND = 4 };

typedef struct watch {
    mu_guard_t *guard;
    mu_uplink_t up;
    mu_hello_t hello;
    int64_t beat_ns; /* when the last heartbeat went out */
    int greetings;   /* connections that have had a heartbeat */
    mu_death_reason_t reason;
    int64_t asked,
        asked_by; /* the signal that asked this guard to end, and the process that sent it; 0: none */
    int64_t progress, progress_ns; /* the rank's, and when it was first seen */
    int64_t raised;                /* the highest request passed on to the rank */
    bool dead, reported;           /* the rank has ended; the report has gone out at least once */
    int wait_status;
    int64_t dead_ns, death_sequence; /* of the first report that went out */
    int64_t dropped_bytes;
    char last_line[512];
    double lines; /* that may go up now */
    int64_t lines_ns;
} watch_t;

static bool supervised(const watch_t *w)
{
    return w->guard->env->supervised;
}

static void kill_rank(watch_t *w, mu_death_reason_t reason)
{
    if (w->dead)
        return;
    if (w->reason == MU_DEATH_BY_ITSELF)
        w->reason = reason;
    kill(w->guard->rank_pid, SIGKILL);
}

static void raise_request(watch_t *w, int32_t request)
{
    int32_t now = atomic_load(&w->guard->page->request);
    while (request > now && !atomic_compare_exchange_weak(&w->guard->page->request, &now, request))
        ;
}

static void copy_collective(const mu_page_t *page, mu_heartbeat_t *heartbeat)
{
    mu_collective_t last;
    mu_page_collective(page, &last);
    memcpy(heartbeat->comm, last.comm, sizeof heartbeat->comm);
    memcpy(heartbeat->operation, last.operation, sizeof heartbeat->operation);
    heartbeat->collective = (int64_t)last.sequence;
    heartbeat->bytes = last.bytes;
}

/* `stalls` first: the figures of the stall are then of that one or a newer one. */
static void copy_metrics(const mu_page_t *page, mu_heartbeat_t *heartbeat)
{
#define COPY(name, ...) heartbeat->name = atomic_load(&page->name);
    int64_t stalls = atomic_load(&page->stalls);
    MU_METRIC_TABLE(COPY, COPY)
    MU_RANK_METRIC_TABLE(COPY)
    MU_STALL_TABLE(COPY, COPY)
    heartbeat->stalls = stalls;
#undef COPY
}

static void send_heartbeat(watch_t *w)
{
    const mu_page_t *page = w->guard->page;
    mu_message_t m = {.type = MU_MESSAGE_HEARTBEAT};
    mu_heartbeat_t *b = &m.heartbeat;
    char state;
    b->phase = atomic_load(&page->phase);
    b->step = atomic_load(&page->step);
    b->progress = w->progress;
    b->still_ms = (mu_now_ns() - w->progress_ns) / 1000000;
    b->request = atomic_load(&page->request);
    b->status = atomic_load(&page->status);
    b->asked = w->asked;
    b->asked_by = w->asked_by;
    b->in_collective = atomic_load(&page->in_collective);
    copy_metrics(page, b);
    b->dropped_bytes = w->dropped_bytes;
    b->unanswered_ms = (mu_now_ns() - w->up.answered_ns) / 1000000;
    copy_collective(page, b);
    if (!w->dead && b->still_ms > resending_after_ms) {
        mu_resending_t most;
        mu_net_resending(w->guard->rank_pid, &most);
        b->resending = most.times;
        snprintf(b->resending_to, sizeof b->resending_to, "%s", most.peer);
    }
    mu_proc_state(w->guard->rank_pid, &state, &b->rss_bytes);
    b->state = state;
    mu_uplink_send(&w->up, &m);
}

static void send_death(watch_t *w)
{
    const mu_page_t *page = w->guard->page;
    mu_message_t m = {.type = MU_MESSAGE_DEATH};
    mu_death_t *d = &m.death;
    int64_t kills;
    mu_proc_oom(&kills, &d->oom_limit_bytes);
    d->signal = WIFSIGNALED(w->wait_status) ? WTERMSIG(w->wait_status) : 0;
    d->exit_code = WIFEXITED(w->wait_status) ? WEXITSTATUS(w->wait_status) : -1;
    d->oom_kills =
        d->signal == SIGKILL && w->reason == MU_DEATH_BY_ITSELF ? kills - w->guard->oom_kills_before : 0;
    d->reason = w->reason;
    d->phase = atomic_load(&page->phase);
    d->step = atomic_load(&page->step);
    d->time = mu_wall_seconds() - (double)(mu_now_ns() - w->dead_ns) * 1e-9;
    snprintf(d->last_line, sizeof d->last_line, "%s", w->last_line);
    mu_uplink_send(&w->up, &m);
    if (!w->reported)
        w->death_sequence = d->sequence;
    w->reported = true;
}

/* Warnings and errors go up at once, of the controller everything but debug lines; a bucket bounds both. */
static void take_line(watch_t *w, const mu_log_packet_t *packet)
{
    snprintf(w->last_line, sizeof w->last_line, "%s", packet->text);
    w->dropped_bytes = packet->dropped_bytes;
    if (packet->level > (w->guard->env->rank == 0 ? MU_LOG_INFO : MU_LOG_WARN))
        return;
    int64_t now = mu_now_ns();
    w->lines += (double)(now - w->lines_ns) * 1e-9 * (double)LINES_PER_SECOND;
    w->lines_ns = now;
    if (w->lines > (double)LINES_AT_ONCE)
        w->lines = LINES_AT_ONCE;
    if (w->lines < 1)
        return;
    w->lines -= 1;
    mu_message_t m = {.type = MU_MESSAGE_LINE};
    m.line.level = packet->level;
    snprintf(m.line.text, sizeof m.line.text, "%s", packet->text);
    mu_uplink_send(&w->up, &m);
}

static void take_lines(watch_t *w)
{
    while (w->guard->line_fd >= 0) {
        mu_log_packet_t packet = {0};
        ssize_t n = recv(w->guard->line_fd, &packet, sizeof packet, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            close(w->guard->line_fd);
            w->guard->line_fd = -1;
            return;
        }
        packet.text[sizeof packet.text - 1] = '\0';
        take_line(w, &packet);
    }
}

/* The launcher is out of reach: nobody else can end what hangs on connections to it, and a daemon that is
 * killed leaves its folder. Guards of other ranks here have lost the launcher too. */
static void end_attempt_here(const mu_guard_t *guard)
{
    if (guard->daemon_fd >= 0)
        syscall(SYS_pidfd_send_signal, guard->daemon_fd, SIGKILL, NULL, 0);
    if (guard->env->token) {
        mu_orphan_cleanup_processes(guard->env->token, guard->env->attempt);
        mu_orphan_cleanup_folders(guard->env->token);
        mu_orphan_cleanup_copies(guard->env->token, NULL);
    }
}

/* mpirun's daemon takes its job down with SIGTERM, and kills a second later. Whoever else asks (a scheduler that ends
 * a node, a service manager, a person) asks for a checkpoint: the launcher hears of it with the next heartbeat and
 * decides for all ranks. */
static void take_signal(watch_t *w, const struct signalfd_siginfo *info)
{
    if (!supervised(w)) {
        raise_request(w, MU_REQUEST_STOP);
    } else if (info->ssi_signo == SIGTERM && (pid_t)info->ssi_pid == w->guard->daemon_pid) {
        kill_rank(w, MU_DEATH_BY_TEARDOWN);
    } else if (w->asked == 0) {
        w->asked = (int64_t)info->ssi_signo;
        w->asked_by = (int64_t)info->ssi_pid;
        w->beat_ns = 0; /* at once */
    }
}

static void take_signals(watch_t *w)
{
    struct signalfd_siginfo info;
    while (read(w->guard->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            continue; /* seen by waitpid() below */
        take_signal(w, &info);
    }
    int status;
    if (!w->dead && waitpid(w->guard->rank_pid, &status, WNOHANG) == w->guard->rank_pid) {
        w->dead = true;
        w->dead_ns = mu_now_ns();
        w->wait_status = status;
        if (w->reason == MU_DEATH_BY_LEASE)
            end_attempt_here(w->guard);
    }
}

/* Every message since the first report is a report, so an answer to any of them will do. */
static bool report_taken(const watch_t *w)
{
    return w->reported && w->up.answered >= w->death_sequence;
}

/* Whether nothing is left to do but to leave. */
static bool finished(const watch_t *w)
{
    if (!w->dead)
        return false;
    if (!supervised(w) || report_taken(w))
        return true;
    return mu_now_ns() - w->dead_ns > report_limit_ns;
}

static void tick(watch_t *w)
{
    int64_t now = mu_now_ns(), progress = atomic_load(&w->guard->page->progress);
    if (!supervised(w))
        return;
    if (progress != w->progress) {
        w->progress = progress;
        w->progress_ns = now;
    }
    mu_uplink_tick(&w->up);
    if (w->up.order.kill)
        kill_rank(w, MU_DEATH_BY_ORDER);
    if (w->up.order.request > w->raised) { /* once: the controller lowers what it has done */
        w->raised = w->up.order.request;
        raise_request(w, (int32_t)w->raised);
    }
    if (!w->dead && w->reason != MU_DEATH_BY_LEASE &&
        (double)(now + lease_slack_ns - w->up.answered_ns) * 1e-9 > w->guard->env->lease) {
        mu_error("no answer from the launcher for %g s: this rank ends, so that it never goes on alone",
                 w->guard->env->lease);
        kill_rank(w, MU_DEATH_BY_LEASE);
    }
    if (!w->dead && (now - w->beat_ns >= second_ns || w->greetings != w->up.greetings)) {
        w->beat_ns = now;
        w->greetings = w->up.greetings;
        send_heartbeat(w);
    }
    /* the log's writer gets a moment to pass the last line on; then the report goes out, and again each
     * second */
    bool lines_done = w->guard->line_fd < 0 || now - w->dead_ns > last_line_limit_ns;
    if (w->dead && lines_done &&
        (!w->reported || now - w->beat_ns >= second_ns / 4 || w->greetings != w->up.greetings)) {
        w->beat_ns = now;
        w->greetings = w->up.greetings;
        if (!w->reported)
            send_heartbeat(w); /* what the rank did since the last one */
        send_death(w);
    }
}

static int exit_code(const watch_t *w)
{
    if (w->reason == MU_DEATH_BY_LEASE)
        return mu_status_exit(MU_NETWORK);
    if (!WIFEXITED(w->wait_status))
        return 128 + WTERMSIG(w->wait_status);
    /* mpirun kills the other ranks as soon as one exits with anything but 0; a rank that came to its end has
     * reported its code to the launcher, and the others may finish in peace */
    bool orderly = supervised(w) && report_taken(w) && atomic_load(&w->guard->page->phase) == MU_PHASE_FINISH;
    return orderly ? 0 : WEXITSTATUS(w->wait_status);
}

static void hello_fill(watch_t *w)
{
    const mu_guard_env_t *env = w->guard->env;
    mu_hello_t *h = &w->hello;
    if (gethostname(h->host, sizeof h->host - 1) != 0)
        snprintf(h->host, sizeof h->host, "unknown");
    h->guard_pid = getpid();
    h->rank_pid = w->guard->rank_pid;
    h->rank = env->rank;
    h->world_size = env->world_size;
    h->attempt = env->attempt;
    snprintf(h->version, sizeof h->version, "%s", MU_VERSION);
    snprintf(h->config_digest, sizeof h->config_digest, "%s", w->guard->config_digest);
}

int mu_guard_watch(mu_guard_t *guard)
{
    watch_t w = {.guard = guard, .lines = LINES_AT_ONCE, .lines_ns = mu_now_ns(), .progress_ns = mu_now_ns()};
    hello_fill(&w);
    mu_uplink_init(&w.up, guard->env, &w.hello);
    while (!finished(&w)) {
        struct pollfd fds[2 + MU_UPLINKS];
        tick(&w);
        fds[0] = (struct pollfd){guard->signal_fd, POLLIN, 0};
        fds[1] = (struct pollfd){guard->line_fd, POLLIN, 0};
        int links = mu_uplink_poll(&w.up, fds + 2);
        /* while the rank lives nothing is due more often than this; its end comes as a signal */
        int wait_ms = supervised(&w) ? (w.dead ? 20 : 100) : 1000;
        if (poll(fds, (nfds_t)(2 + links), wait_ms) < 0 && errno != EINTR)
            break;
        mu_uplink_move(&w.up, fds + 2);
        take_lines(&w);
        take_signals(&w);
    }
    if (!w.dead) {
        kill(guard->rank_pid, SIGKILL);
        waitpid(guard->rank_pid, &w.wait_status, 0);
    }
    int code = exit_code(&w);
    mu_uplink_close(&w.up);
    return code;
}
