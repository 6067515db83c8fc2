#include "launcher/monitor/supervise.h"
#include "common/clock.h"
#include "common/run/completion.h"
#include "common/file.h"
#include "common/log.h"
#include "common/control/phase.h"
#include "launcher/monitor/dedup.h"
#include "common/ready_text.h"
#include "launcher/monitor/spawn.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

/* A turn waits so long for the first message, and lets others gather for so long: many guards are cheaper
 * that way. When one took longer than the last of these, it was the launcher who stood still. */
enum { TICK_MS = 100, GATHER_MS = 5, STILL_MS = 1000 };
static const int64_t ms_ns = 1000000;
/* How long to wait for an even earlier cause; for the cause of a broken connection; for mpirun after the
 * ranks; for ranks after the order to die; between mpirun's signals; between two writings of run.json. */
static const int64_t settle_ms = 300, cause_ms = 2000, leave_ms = 5000, kill_ms = 1500, state_ms = 1000;

typedef enum course { RUNNING, SETTLING, KILLING } course_t;

typedef struct attempt {
    mu_supervisor_t *s;
    mu_rank_table_t rank_table;
    mu_spawn_t mpirun;
    mu_dedup_t dedup;
    course_t course;
    mu_failure_t failure; /* the root cause so far */
    bool announced;
    char what[512]; /* as it was announced; heartbeats that come later tell less */
    int64_t failure_ns, kill_ns, all_dead_ns, gone_ns, state_ns;
    int64_t turned_ns; /* the end of the last turn */
    int64_t
        retransmitting_ns; /* when it was reported that the network loses packets; 0: not, since ranks moved last */
    int64_t judged_ns;  /* 0: a death was reported, which cannot wait */
    bool mpirun_killed; /* by us */
    int drains_before;
    int64_t stalls; /* that events.jsonl has */
    mu_order_t order;
} attempt_t;

/* ---- what comes in ---- */

static bool take_hello(attempt_t *a, const mu_hello_t *hello, int64_t now)
{
    mu_supervisor_t *s = a->s;
    int before = a->rank_table.present;
    if (!mu_rank_table_hello(&a->rank_table, hello, now))
        return false;
    int present = a->rank_table.present;
    if (present == before)
        return true;
    if (strcmp(hello->version, MU_VERSION) != 0 || strcmp(hello->config_digest, s->config_digest) != 0) {
        mu_buf_t name = MU_BUF_INIT;
        mu_rank_table_name(&a->rank_table, (int)hello->rank, &name);
        mu_error("%s %s: every host must see the same muster and the same run directory", name.data,
                 strcmp(hello->version, MU_VERSION) != 0 ? "is another version of muster"
                                                         : "read another RUN/config.yml");
        mu_buf_release(&name);
        a->failure = (mu_failure_t){MU_FAILURE_ABSENT, (int)hello->rank, MU_PREFLIGHT, 0};
        a->announced = true;
        a->course = SETTLING;
        a->failure_ns = now;
        return true;
    }
    if (present == a->rank_table.size) {
        mu_debug("all %d ranks are there after %.1f s", present,
                 (double)(now - a->rank_table.begin_ns) * 1e-9);
        mu_rundir_writer_event(s->writer, "joined", NULL, -1, "all %d ranks said hello", present);
        mu_rundir_writer_remove_key(s->writer, s->key_inode);
    }
    return true;
}

static void answer(attempt_t *a, int rank)
{
    mu_order_t order = a->order;
    order.sequence = a->rank_table.member[rank].sequence;
    mu_server_order(a->s->server, rank, &order);
}

static void answer_all(attempt_t *a)
{
    for (int i = 0; i < a->rank_table.size; i++)
        answer(a, i);
}

static void take_line(attempt_t *a, int rank, const mu_line_t *line)
{
    mu_buf_t text = MU_BUF_INIT;
    if (a->s->many_hosts && *a->rank_table.member[rank].hello.host) {
        mu_text_escape(a->rank_table.member[rank].hello.host, strlen(a->rank_table.member[rank].hello.host),
                       64, &text);
        mu_buf_adds(&text, ": ");
    }
    mu_text_escape(line->text, strlen(line->text), sizeof line->text, &text);
    if (mu_dedup_line(&a->dedup, rank, text.data, mu_now_ns()))
        mu_progress_print(a->s->progress, text.data);
    mu_buf_release(&text);
}

/* A stopped process is named as soon as it has been seen twice; it is ended only when its limit has passed.
 */
static void name_stopped(attempt_t *a, int rank)
{
    const mu_rank_entry_t *m = &a->rank_table.member[rank];
    if (m->stopped != 2)
        return;
    mu_buf_t name = MU_BUF_INIT;
    mu_rank_table_name(&a->rank_table, rank, &name);
    mu_warn("%s is stopped (state T, pid %lld); it ends in %.0f s unless it goes on", name.data,
            (long long)m->hello.rank_pid, mu_rank_table_limit(&a->rank_table, m->heartbeat.phase));
    mu_rundir_writer_event(a->s->writer, "stopped", m->hello.host, rank, "the process is stopped (state T)");
    mu_buf_release(&name);
}

/* Somebody signalled a guard: whoever ends a host, or everything of this run. If the launcher was signalled too, the
 * run stops. If not, the host is about to go: save, and start again. */
static void take_asked(attempt_t *a, int rank)
{
    const mu_rank_entry_t *m = &a->rank_table.member[rank];
    if (m->heartbeat.asked == 0)
        return;
    mu_buf_t name = MU_BUF_INIT;
    mu_rank_table_name(&a->rank_table, rank, &name);
    mu_rundir_writer_event(a->s->writer, "asked", m->hello.host, rank,
                           "pid %lld sent signal %lld to the rank's guard", (long long)m->heartbeat.asked_by,
                           (long long)m->heartbeat.asked);
    if (a->s->drains == a->drains_before) {
        mu_info("%s: pid %lld sent signal %lld (%s) to its guard: saving a checkpoint%s", name.data,
                (long long)m->heartbeat.asked_by, (long long)m->heartbeat.asked,
                strsignal((int)m->heartbeat.asked),
                a->s->stops > 0 ? "" : "; the ranks start again when all hosts are ready");
        a->s->drains++;
    }
    mu_buf_release(&name);
}

/* A step or a checkpoint took more than three medians. Of several since the last heartbeat the newest is known. */
static void take_stall(attempt_t *a, const mu_heartbeat_t *b)
{
    static const char *const words[] = {
#define STALL_WORDS(name, text) text,
        MU_STALL_CAUSE_TABLE(STALL_WORDS)
#undef STALL_WORDS
    };
    if (b->stalls <= a->stalls || b->stall_cause < 0 || b->stall_cause >= MU_STALL_CAUSES)
        return;
    int rank = b->stall_rank > 0 && b->stall_rank < a->rank_table.size ? (int)b->stall_rank : -1;
    a->stalls = b->stalls;
    mu_rundir_writer_event(a->s->writer, "stall", rank > 0 ? a->rank_table.member[rank].hello.host : NULL,
                           rank, "%s %lld took %.0f ms, %.1f times the median of %.0f ms: %.0f ms %s",
                           b->stall_cause == MU_STALL_CHECKPOINT ? "the checkpoint of step" : "step",
                           (long long)b->stall_step, b->stall_ms,
                           b->stall_ms / fmax(b->stall_median_ms, 1e-3), b->stall_median_ms,
                           b->stall_cause_ms, words[b->stall_cause]);
}

/* What a new attempt has not found out yet stands as the last one left it. */
static void take_metrics(attempt_t *a, const mu_heartbeat_t *b)
{
    mu_run_state_t *state = a->s->state;
    int64_t iters = state->train_iters, saved = state->last_checkpoint, skipped = state->checkpoints_skipped;
#define TAKE(name, ...) state->name = b->name;
    MU_METRIC_TABLE(TAKE, TAKE)
#undef TAKE
    if (b->train_iters == 0)
        state->train_iters = iters;
    if (b->last_checkpoint > saved)
        mu_rundir_writer_event(a->s->writer, "checkpoint", NULL, -1, "step %lld is saved",
                               (long long)b->last_checkpoint);
    if (b->checkpoints_skipped > skipped)
        mu_rundir_writer_event(
            a->s->writer, "skipped", NULL, -1,
            "no checkpoint near step %lld: the one before was still being written; %lld skipped in "
            "this attempt",
            (long long)b->step, (long long)b->checkpoints_skipped);
    if (b->last_checkpoint <= saved &&
        b->phase < MU_PHASE_STEP) /* later: an older one was resumed, or none */
        state->last_checkpoint = saved;
}

static void take_heartbeat(attempt_t *a, int rank, const mu_heartbeat_t *heartbeat, int64_t now)
{
    mu_run_state_t *state = a->s->state;
    bool asked = a->rank_table.member[rank].heartbeat.asked != 0;
    mu_rank_table_heartbeat(&a->rank_table, rank, heartbeat, now);
    name_stopped(a, rank);
    if (!asked)
        take_asked(a, rank);
    if (rank != 0)
        return;
    const mu_heartbeat_t *b = &a->rank_table.member[0].heartbeat;
    if (b->step > 0 || b->phase >= MU_PHASE_FIRST_STEP)
        state->step = b->step;
    take_metrics(a, b);
    take_stall(a, b);
    mu_progress_heartbeat(a->s->progress, b, now);
}

static void take_death(attempt_t *a, int rank, const mu_death_t *death, int64_t now)
{
    if (a->rank_table.member[rank].dead)
        return;
    mu_rank_table_death(&a->rank_table, rank, death, now);
    a->judged_ns = 0;
    mu_buf_t text = MU_BUF_INIT;
    mu_failure_t end = {MU_FAILURE_DEATH, rank, MU_OK, 0};
    mu_failure_text(&a->rank_table, &end, &text);
    mu_rundir_writer_event(a->s->writer, "ended", a->rank_table.member[rank].hello.host, rank, "%s",
                           text.data);
    mu_buf_release(&text);
}

static bool take_message(void *arg, int rank, const mu_message_t *message)
{
    attempt_t *a = arg;
    int64_t now = mu_now_ns();
    switch (message->type) {
    case MU_MESSAGE_HELLO:
        return take_hello(a, &message->hello, now);
    case MU_MESSAGE_HEARTBEAT:
        take_heartbeat(a, rank, &message->heartbeat, now);
        answer(a, rank);
        break;
    case MU_MESSAGE_DEATH:
        take_death(a, rank, &message->death, now);
        answer(a, rank);
        break;
    case MU_MESSAGE_LINE:
        take_line(a, rank, &message->line);
        break;
    default:
        break;
    }
    return true;
}

void mu_supervisor_poll_requests(mu_supervisor_t *s)
{
    while (s->signals_heard < *s->signals) {
        s->signals_heard++;
        s->stops++;
        mu_info("signal: %s", s->stops == 1 ? "saving a checkpoint, then stopping; once more stops at once"
                                            : "stopping at once");
        mu_rundir_writer_event(s->writer, "stop", NULL, -1, "a signal");
    }
    int asked = (int)mu_rundir_writer_stop(s->writer);
    if (asked > s->stops) {
        s->stops = asked;
        mu_info("the file `stop`: %s",
                asked == 1 ? "saving a checkpoint, then stopping" : "stopping at once");
        mu_rundir_writer_event(s->writer, "stop", NULL, -1, "the file `stop`");
    }
    const char *host = mu_rundir_writer_drain(s->writer);
    if (host) {
        mu_buf_t name = MU_BUF_INIT;
        mu_text_escape(host, strlen(host), 64, &name);
        s->drains++;
        mu_info("%s is about to go: saving a checkpoint; the ranks start again when all hosts are ready",
                name.len > 0 ? name.data : "a host");
        mu_rundir_writer_event(s->writer, "drain", host, -1, "the host is about to go");
        mu_buf_release(&name);
    }
}

/* ---- what follows from it ---- */

static void announce(attempt_t *a)
{
    mu_buf_t who = MU_BUF_INIT, what = MU_BUF_INIT;
    mu_rank_table_name(&a->rank_table, a->failure.rank, &who);
    mu_failure_text(&a->rank_table, &a->failure, &what);
    mu_error("%s %s", who.data, what.data);
    mu_rundir_writer_event(a->s->writer, "failed", a->rank_table.member[a->failure.rank].hello.host,
                           a->failure.rank, "%s", what.data);
    a->announced = true;
    snprintf(a->what, sizeof a->what, "%s", what.data);
    mu_buf_release(&who);
    mu_buf_release(&what);
}

/* Why a rank that stands still is not ended yet. */
static void report_retransmitting(attempt_t *a, int64_t now)
{
    double limit, still = mu_rank_table_stalled(&a->rank_table, now, &limit);
    int rank =
        a->s->limits.hang > 0 || still <= limit ? -1 : mu_rank_table_retransmitting(&a->rank_table, now);
    if (still < 1)
        a->retransmitting_ns = 0;
    if (rank < 0 || a->retransmitting_ns != 0)
        return;
    mu_buf_t who = MU_BUF_INIT, what = MU_BUF_INIT;
    mu_failure_t stuck = {MU_FAILURE_STUCK, rank, MU_NETWORK, still};
    mu_rank_table_name(&a->rank_table, rank, &who);
    mu_failure_text(&a->rank_table, &stuck, &what);
    mu_warn("%s %s; it ends after %.0f s unless it goes on", who.data, what.data, MU_RETRANSMIT_LIMIT);
    mu_rundir_writer_event(a->s->writer, "lossy", a->rank_table.member[rank].hello.host, rank, "%s",
                           what.data);
    a->retransmitting_ns = now;
    mu_buf_release(&who);
    mu_buf_release(&what);
}

static void begin_killing(attempt_t *a, int64_t now)
{
    a->course = KILLING;
    a->kill_ns = now;
    a->order.kill = 1;
    answer_all(a);
}

static void judge(attempt_t *a, int64_t now)
{
    mu_failure_t t;
    if (a->course == KILLING || now - a->judged_ns < TICK_MS * ms_ns)
        return;
    a->judged_ns = now;
    report_retransmitting(a, now);
    mu_rank_table_failure(&a->rank_table, now, &t);
    bool better = a->failure.kind == MU_FAILURE_NONE ||
                  (a->failure.kind == MU_FAILURE_SECONDARY && t.kind == MU_FAILURE_DEATH);
    if (t.kind != MU_FAILURE_NONE && better) {
        a->failure = t;
        a->failure_ns = now;
        a->course = SETTLING;
        if (t.kind != MU_FAILURE_SECONDARY)
            announce(a);
    }
    int64_t wait_ms = a->failure.kind == MU_FAILURE_SECONDARY ? cause_ms : settle_ms;
    if (a->course == SETTLING && now - a->failure_ns > wait_ms * ms_ns) {
        /* a guard that went with its rank reports nothing: it fell silent before the others' connections
         * broke */
        mu_failure_t silent;
        if (a->failure.kind == MU_FAILURE_SECONDARY && mu_rank_table_vanished(&a->rank_table, now, &silent) &&
            silent.seconds * 1e3 >= (double)cause_ms)
            a->failure = silent;
        if (!a->announced)
            announce(a);
        begin_killing(a, now);
    }
}

/* mpirun ended although nobody has said that a rank did: its own failure, or reports that are still on their
 * way. */
static void judge_mpirun(attempt_t *a, int64_t now)
{
    if (a->course != RUNNING || !a->mpirun.gone || a->rank_table.dead == a->rank_table.size)
        return;
    if (a->gone_ns == 0)
        a->gone_ns = now;
    if (now - a->gone_ns <= cause_ms * ms_ns)
        return;
    if (a->failure.kind == MU_FAILURE_NONE && mu_rank_table_vanished(&a->rank_table, now, &a->failure))
        announce(a);
    begin_killing(a, now);
}

/* mpirun said why it cannot start the ranks, and none has reported: it may go on waiting, but not we. */
static void judge_help(attempt_t *a, int64_t now)
{
    const int64_t patience_ms =
        3000; /* a text that was no end after all: ranks report within a second of their start */
    if (a->course == RUNNING && a->rank_table.present == 0 && a->mpirun.help_ns != 0 &&
        now - a->mpirun.help_ns > patience_ms * ms_ns)
        begin_killing(a, now);
}

static void pass_stop_on(attempt_t *a, int64_t now)
{
    if (a->s->stops >= 2) { /* maybe without a first request: nothing is asked to save then */
        if (a->course != KILLING)
            begin_killing(a, now);
    } else if ((a->s->stops == 1 || a->s->drains > a->drains_before) && a->order.request < MU_REQUEST_STOP) {
        a->order.request = MU_REQUEST_STOP;
        answer_all(a);
    }
    if (a->course != KILLING && mu_rundir_writer_moved(a->s->writer)) {
        mu_error("%s is no longer the directory that this run began in: it was moved, removed or replaced",
                 a->s->run_dir);
        begin_killing(a, now);
    }
}

static void kill_mpirun(attempt_t *a, int64_t now)
{
    bool quiet = a->rank_table.dead == a->rank_table.present;
    int64_t since = now - a->kill_ns;
    if (a->mpirun.gone)
        return;
    if (!a->mpirun_killed && since > (quiet ? kill_ms : 2 * kill_ms) * ms_ns + settle_ms * ms_ns) {
        kill(-a->mpirun.pid, SIGKILL); /* it leads a group of its own; its daemons elsewhere end without it */
        a->mpirun_killed = true;
    }
}

/* The figures that all workers have. */
static void spread_metrics(attempt_t *a)
{
    mu_run_state_t *state = a->s->state;
#define SPREAD(name) mu_rank_table_spread(&a->rank_table, offsetof(mu_heartbeat_t, name), &state->name);
    MU_RANK_METRIC_TABLE(SPREAD)
#undef SPREAD
    snprintf(state->slowest_host, sizeof state->slowest_host, "%s",
             state->rank_compute_ms.rank > 0 ? a->rank_table.member[state->rank_compute_ms.rank].hello.host
                                             : "");
}

static void tell_state(attempt_t *a, int64_t now)
{
    mu_run_state_t *state = a->s->state;
    int64_t phase = a->rank_table.member[0].heartbeat.phase;
    const char *word = phase == MU_PHASE_SAVE         ? "saving"
                       : phase >= MU_PHASE_FIRST_STEP ? "running"
                                                      : "starting";
    if (strcmp(word, state->state) != 0 || now - a->state_ns > state_ms * ms_ns) {
        snprintf(state->state, sizeof state->state, "%s", word);
        state->time = mu_wall_seconds();
        a->state_ns = now;
        spread_metrics(a);
        mu_rundir_writer_state(a->s->writer, state);
    }
}

static bool over(attempt_t *a, int64_t now)
{
    if (a->rank_table.dead == a->rank_table.size && a->all_dead_ns == 0)
        a->all_dead_ns = now;
    if (a->course == RUNNING && a->all_dead_ns && !a->mpirun.gone && now - a->all_dead_ns > leave_ms * ms_ns)
        begin_killing(a, now);
    if (!a->mpirun.gone)
        return false;
    /* while reports may still come, guards are heard: a death that nobody reported cannot be explained later
     */
    return a->course == KILLING
               ? a->rank_table.dead == a->rank_table.present || now - a->kill_ns > 2 * kill_ms * ms_ns
               : a->all_dead_ns != 0;
}

static void poll_once(attempt_t *a)
{
    mu_supervisor_t *s = a->s;
    struct pollfd fds[] = {{mu_server_fd(s->server), POLLIN, 0},
                           {mu_rundir_writer_fd(s->writer), POLLIN, 0},
                           {a->mpirun.output_fd, POLLIN, 0}};
    poll(fds, sizeof fds / sizeof *fds, TICK_MS);
    mu_server_move(s->server, take_message, a);
    mu_spawn_read(&a->mpirun, s->writer);
    mu_supervisor_poll_requests(s);
    mu_spawn_reap(&a->mpirun);
    mu_sleep_ms(GATHER_MS);
}

static void notice_pause(attempt_t *a, int64_t now)
{
    int64_t still = now - a->turned_ns;
    a->turned_ns = now;
    if (still <= STILL_MS * ms_ns)
        return;
    mu_rank_table_pause(&a->rank_table, still, now);
    mu_rundir_writer_event(a->s->writer, "paused", NULL, -1, "the launcher itself stood still for %.1f s",
                           (double)still * 1e-9);
}

/* ---- the end ---- */

/* Whether the controller recorded an end. On a shared volume its file may be seen a moment later. */
static bool recorded_end(const attempt_t *a, mu_completion_t *out)
{
    const mu_rank_entry_t *controller = &a->rank_table.member[0];
    bool by_itself =
        controller->dead && controller->death.reason == MU_DEATH_BY_ITSELF && controller->death.signal == 0;
    int64_t until = mu_now_ns() + (by_itself ? (int64_t)(a->s->completion_wait * 1e9) : 0);
    for (;;) {
        if (mu_completion_read(a->s->run_dir, a->s->state->attempt, out))
            return true;
        if (mu_now_ns() >= until)
            return false;
        mu_sleep_ms(50);
    }
}

/* All ranks ended without a failure of their own, and the controller recorded no end: the first to go is the cause. */
static void blame_first(attempt_t *a)
{
    int first = 0;
    for (int i = 1; i < a->rank_table.size; i++)
        if (a->rank_table.member[i].death_ns < a->rank_table.member[first].death_ns)
            first = i;
    a->failure = (mu_failure_t){MU_FAILURE_DEATH, first, MU_DIED, 0};
}

/* mpirun was killed, by no order of ours: ranks that lost it, or vanished with it, are not the cause. */
static bool mpirun_was_killed(const attempt_t *a)
{
    const mu_failure_t *t = &a->failure;
    bool own = t->kind == MU_FAILURE_DEATH && a->rank_table.member[t->rank].death.signal != 0 &&
               a->rank_table.member[t->rank].death.reason == MU_DEATH_BY_ITSELF;
    return a->mpirun.signal != 0 && !a->mpirun_killed && !own;
}

static void describe_mpirun(const attempt_t *a, mu_outcome_t *out)
{
    int code = a->mpirun.code;
    /* a rank that could not even make a connection left its code with mpirun */
    mu_status_t status = mu_status_from_exit(code);
    out->status = code != 0 && mu_status_exit(status) == code ? status : MU_NETWORK;
    snprintf(out->who, sizeof out->who, "mpirun");
    char help[400];
    mu_spawn_help(&a->mpirun, help, sizeof help);
    if (*help && a->rank_table.present == 0)
        snprintf(out->what, sizeof out->what, "did not start the ranks: %s", help);
    else if (a->mpirun.signal != 0)
        snprintf(out->what, sizeof out->what, "was killed by signal %d (%s) at step %lld", a->mpirun.signal,
                 strsignal(a->mpirun.signal), (long long)a->s->state->step);
    else
        snprintf(out->what, sizeof out->what, "ended with exit code %d before all ranks had reported", code);
    if (a->mpirun.signal != 0 && !a->mpirun_killed)
        out->status = MU_DIED;
    mu_buf_t line = MU_BUF_INIT;
    mu_text_escape(a->mpirun.last_line, strlen(a->mpirun.last_line), sizeof out->last_line - 16, &line);
    snprintf(out->last_line, sizeof out->last_line, "%s", line.data ? line.data : "");
    mu_buf_release(&line);
    snprintf(out->log, sizeof out->log, "%s/logs/mpirun.log", a->s->run_dir);
}

/* What MPI_Init says, mpirun prints: a rank that ends by itself in it leaves no line in its own log. */
static void add_help(const attempt_t *a, const mu_death_t *d, mu_outcome_t *out)
{
    char help[400];
    size_t used = strlen(out->what);
    mu_spawn_help(&a->mpirun, help, sizeof help);
    if (!*help || a->failure.kind != MU_FAILURE_DEATH || d->signal != 0 || out->phase > MU_PHASE_MPI_INIT)
        return;
    snprintf(out->what + used, sizeof out->what - used, ": %s", help);
    snprintf(out->log, sizeof out->log, "%s/logs/mpirun.log", a->s->run_dir);
}

static void describe(attempt_t *a, mu_outcome_t *out)
{
    const mu_failure_t *t = &a->failure;
    mu_completion_t end;
    mu_buf_t text = MU_BUF_INIT;
    *out =
        (mu_outcome_t){.rank = -1, .phase = -1, .ran = a->rank_table.present > 0, .time = mu_wall_seconds()};
    if (mu_rundir_writer_moved(a->s->writer)) {
        out->status = MU_RUNDIR;
        snprintf(out->who, sizeof out->who, "the run directory");
        snprintf(out->what, sizeof out->what, "%.400s was moved, removed or replaced", a->s->run_dir);
        return;
    }
    if (recorded_end(a, &end)) {
        a->s->state->step = end.step;
        if (end.checkpoint >= 0)
            a->s->state->last_checkpoint = end.checkpoint;
        out->status = end.status;
        out->idle = end.status == MU_OK && end.begun == end.step;
        out->drained = out->status == MU_STOPPED && a->s->stops == 0 && a->s->drains > a->drains_before;
        return;
    }
    if (a->s->stops >= 2) {
        out->status = MU_STOPPED;
        return;
    }
    if (mpirun_was_killed(a) || (t->kind == MU_FAILURE_NONE && a->rank_table.dead < a->rank_table.size)) {
        describe_mpirun(a, out);
        return;
    }
    if (t->kind == MU_FAILURE_NONE)
        blame_first(a);
    out->phase = (int)(a->rank_table.member[t->rank].dead ? a->rank_table.member[t->rank].death.phase
                                                          : a->rank_table.member[t->rank].heartbeat.phase);
    const mu_death_t *d = &a->rank_table.member[t->rank].death;
    out->status = t->status;
    out->rank = t->rank;
    mu_rank_table_name(&a->rank_table, t->rank, &text);
    snprintf(out->who, sizeof out->who, "%s", text.data);
    mu_buf_clear(&text);
    mu_failure_text(&a->rank_table, t, &text);
    snprintf(out->what, sizeof out->what, "%s", *a->what ? a->what : text.data);
    mu_buf_clear(&text);
    mu_text_escape(d->last_line, strlen(d->last_line), 400, &text);
    snprintf(out->last_line, sizeof out->last_line, "%s", text.data ? text.data : "");
    snprintf(out->log, sizeof out->log, "%s/logs/rank-%05d.log", a->s->run_dir, t->rank);
    add_help(a, d, out);
    for (int i = 0; i < a->rank_table.size; i++)
        out->secondary_failures +=
            i != t->rank && a->rank_table.member[i].dead &&
            (!a->rank_table.member[i].orderly || a->rank_table.member[i].death.signal != 0);
    mu_buf_release(&text);
}

mu_status_t mu_supervise(mu_supervisor_t *s, mu_outcome_t *outcome)
{
    attempt_t a = {.s = s, .failure = {.kind = MU_FAILURE_NONE, .rank = -1}, .drains_before = s->drains};
    MU_TRY(mu_spawn(s->args->v, s->env->v, &a.mpirun));
    mu_rank_table_init(&a.rank_table, s->ranks, s->state->attempt, &s->limits, mu_now_ns());
    mu_progress_restart(s->progress);
    s->state->checkpoint_s = 0;
    a.turned_ns = mu_now_ns();
    for (;;) {
        poll_once(&a);
        int64_t now = mu_now_ns();
        notice_pause(&a, now);
        pass_stop_on(&a, now);
        judge(&a, now);
        judge_mpirun(&a, now);
        judge_help(&a, now);
        if (a.course == KILLING)
            kill_mpirun(&a, now);
        tell_state(&a, now);
        mu_dedup_flush(&a.dedup, s->progress, now);
        if (over(&a, now))
            break;
    }
    mu_dedup_flush(&a.dedup, s->progress, INT64_MAX);
    describe(&a, outcome);
    mu_rundir_writer_over(s->writer, mu_status_exit(outcome->status), s->state);
    mu_spawn_end(&a.mpirun, s->writer);
    mu_rank_table_free(&a.rank_table);
    return MU_OK;
}
