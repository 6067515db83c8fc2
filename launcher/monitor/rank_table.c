#include "launcher/monitor/rank_table.h"
#include "common/control/phase.h"
#include "launcher/mpi/mpirun.h"
#include "common/ready_text.h"

#include <math.h>
#include <signal.h>

static double seconds(int64_t from, int64_t to)
{
    return (double)(to - from) * 1e-9;
}

void mu_rank_table_init(mu_rank_table_t *r, int ranks, int64_t attempt, const mu_limits_t *limits,
                        int64_t now)
{
    *r = (mu_rank_table_t){.size = ranks, .attempt = attempt, .begin_ns = now, .limits = *limits};
    r->member = mu_calloc((size_t)ranks, sizeof *r->member);
    r->last_step = -1;
}

void mu_rank_table_free(mu_rank_table_t *r)
{
    free(r->member);
    *r = (mu_rank_table_t){0};
}

bool mu_rank_table_hello(mu_rank_table_t *r, const mu_hello_t *hello, int64_t now)
{
    if (hello->attempt != r->attempt || hello->rank < 0 || hello->rank >= r->size ||
        (hello->world_size != 0 && hello->world_size != r->size))
        return false;
    mu_rank_entry_t *m = &r->member[hello->rank];
    if (m->present && (m->hello.guard_pid != hello->guard_pid || strcmp(m->hello.host, hello->host) != 0))
        return false;
    m->hello = *hello;
    m->heard_ns = now;
    if (!m->present) {
        m->progress_ns = now;
        m->present = true;
        r->present++;
    }
    return true;
}

static bool anyone_in(const mu_rank_table_t *r, int64_t phase)
{
    for (int i = 0; i < r->size; i++)
        if (r->member[i].heartbeat.phase == phase && !r->member[i].dead)
            return true;
    return false;
}

/* Steps are counted on the controller; heartbeats show them a second apart, so a sample is an average. What
 * an evaluation or a checkpoint takes is no part of a step. */
static void take_step(mu_rank_table_t *r, int64_t step, int64_t now)
{
    if (anyone_in(r, MU_PHASE_EVAL) || anyone_in(r, MU_PHASE_SAVE))
        r->last_step_ns = 0;
    if (step <= r->last_step)
        return;
    if (r->last_step >= 0 && r->last_step_ns != 0) {
        double each = seconds(r->last_step_ns, now) / (double)(step - r->last_step);
        r->step_seconds[r->steps++ % MU_STEP_SAMPLES] = each;
    }
    r->last_step = step;
    r->last_step_ns = now;
}

void mu_rank_table_heartbeat(mu_rank_table_t *r, int rank, const mu_heartbeat_t *heartbeat, int64_t now)
{
    mu_rank_entry_t *m = &r->member[rank];
    if (heartbeat->sequence <= m->sequence)
        return; /* it came a second time, over another connection */
    int64_t still_since = now - heartbeat->still_ms * 1000000;
    if (heartbeat->progress != m->heartbeat.progress || heartbeat->phase != m->heartbeat.phase ||
        still_since > m->progress_ns)
        m->progress_ns = still_since;
    m->stopped = heartbeat->state == 'T' || heartbeat->state == 't' ? m->stopped + 1 : 0;
    /* heartbeats are a second apart, so each finds the last answer a second old */
    if ((double)heartbeat->unanswered_ms < fmax(1500, r->limits.heartbeat * 250))
        m->no_acks_ns = 0;
    else if (m->no_acks_ns == 0)
        m->no_acks_ns = now;
    if (heartbeat->resending > 0)
        m->retransmitting_ns = now;
    m->heartbeat = *heartbeat;
    m->sequence = heartbeat->sequence;
    m->heard_ns = now;
    if (rank == 0)
        take_step(r, heartbeat->step, now);
}

void mu_rank_table_death(mu_rank_table_t *r, int rank, const mu_death_t *death, int64_t now)
{
    mu_rank_entry_t *m = &r->member[rank];
    if (death->sequence > m->sequence)
        m->sequence = death->sequence;
    m->heard_ns = now;
    if (m->dead)
        return;
    m->dead = true;
    r->dead++;
    m->death = *death;
    m->death_ns = now;
    bool ours = death->reason == MU_DEATH_BY_ORDER || death->reason == MU_DEATH_BY_TEARDOWN;
    bool ended = death->signal == 0 && ((death->exit_code == 0 && death->phase == MU_PHASE_FINISH) ||
                                        death->exit_code == mu_status_exit(MU_STOPPED));
    m->orderly = ours || ended;
}

static void put_off(int64_t *time, int64_t pause, int64_t now)
{
    if (*time != 0)
        *time = *time + pause < now ? *time + pause : now;
}

void mu_rank_table_pause(mu_rank_table_t *r, int64_t pause, int64_t now)
{
    put_off(&r->begin_ns, pause, now);
    r->last_step_ns = 0; /* no sample of a step that the pause was a part of */
    for (int i = 0; i < r->size; i++) {
        put_off(&r->member[i].heard_ns, pause, now);
        put_off(&r->member[i].progress_ns, pause, now);
        put_off(&r->member[i].no_acks_ns, pause, now);
        put_off(&r->member[i].retransmitting_ns, pause, now);
    }
}

/* The 99th percentile of fifty samples is their maximum; 0 while there are too few to say. */
static double slowest_step(const mu_rank_table_t *r)
{
    double most = 0;
    int n = r->steps < MU_STEP_SAMPLES ? r->steps : MU_STEP_SAMPLES;
    for (int i = 0; i < n; i++)
        if (r->step_seconds[i] > most)
            most = r->step_seconds[i];
    return n < 3 ? 0 : most;
}

double mu_rank_table_limit(const mu_rank_table_t *r, int64_t phase)
{
    double slow = slowest_step(r);
    double step = r->limits.hang > 0 ? r->limits.hang : slow == 0 ? 60 : 4 * slow < 10 ? 10 : 4 * slow;
    switch (phase) {
    case MU_PHASE_STEP:
        return step;
    case MU_PHASE_EVAL: /* its batches show progress as steps do */
        return step;
    case MU_PHASE_START:
    case MU_PHASE_FINISH:
        return 60;
    case MU_PHASE_MPI_INIT:
        return 60 + 0.02 * r->size;
    case MU_PHASE_LOAD:
    case MU_PHASE_SAVE: /* a volume may pause; the ranks show progress with every piece */
        return step > 120 ? step : 120;
    default:
        return step > 300 ? step : 300; /* setup, first step */
    }
}

/* ---- judgement ---- */

mu_status_t mu_death_status(const mu_death_t *d)
{
    if (d->reason == MU_DEATH_BY_LEASE)
        return MU_NETWORK;
    if (d->signal != 0)
        return MU_DIED;
    if (mu_mpirun_lost_peer(d->exit_code))
        return MU_NETWORK;
    mu_status_t status = mu_status_from_exit((int)d->exit_code);
    if (status == MU_OK && d->phase != MU_PHASE_FINISH)
        return MU_DIED; /* it left the others waiting */
    return mu_status_exit(status) == d->exit_code ? status : MU_DIED;
}

/* Ends that a peer's end may have brought: the network's, a signal of those who take the job down, writing to
 * a connection that the other side has closed, and Open MPI 4's abort(-1) when a connection breaks. */
static bool is_secondary(const mu_death_t *d)
{
    bool by_itself = d->reason == MU_DEATH_BY_ITSELF;
    return mu_death_status(d) == MU_NETWORK ||
           (by_itself && (d->signal == SIGTERM || d->signal == SIGPIPE)) ||
           (d->signal == 0 && d->exit_code == 255);
}

static bool judge_deaths(const mu_rank_table_t *r, mu_failure_t *out)
{
    int best = -1;
    for (int i = 0; i < r->size; i++) {
        const mu_rank_entry_t *m = &r->member[i];
        if (!m->dead || m->orderly)
            continue;
        const mu_rank_entry_t *b = best < 0 ? NULL : &r->member[best];
        bool follows = is_secondary(&m->death);
        if (!b || follows < is_secondary(&b->death) ||
            (follows == is_secondary(&b->death) && m->death_ns < b->death_ns))
            best = i;
    }
    if (best < 0)
        return false;
    const mu_death_t *d = &r->member[best].death;
    *out = (mu_failure_t){is_secondary(d) ? MU_FAILURE_SECONDARY : MU_FAILURE_DEATH, best, mu_death_status(d),
                          0};
    return true;
}

/* For how long no answer has reached the guard, as its heartbeats say: a host that is cut off one way only
 * still sends for a while. Only what we have answered for some time counts, since it may be us who stood
 * still. */
static double no_acks_seconds(const mu_rank_table_t *r, const mu_rank_entry_t *m, int64_t now)
{
    if (m->no_acks_ns == 0 || seconds(m->no_acks_ns, now) < r->limits.heartbeat / 2)
        return 0;
    return (double)m->heartbeat.unanswered_ms * 1e-3 + seconds(m->heard_ns, now);
}

#define HEARD_S 2.5 /* a rank is heard that has sent a heartbeat in so many seconds */

static bool judge_silence(const mu_rank_table_t *r, int64_t now, mu_failure_t *out)
{
    for (int i = 0; i < r->size; i++) {
        const mu_rank_entry_t *m = &r->member[i];
        double silent = seconds(m->present ? m->heard_ns : r->begin_ns, now);
        double unanswered = no_acks_seconds(r, m, now);
        if (!m->dead && unanswered > r->limits.heartbeat) {
            /* who has fallen silent too is cut off in both directions, or worse */
            bool heard = silent < HEARD_S;
            *out = (mu_failure_t){heard ? MU_FAILURE_NO_ACKS : MU_FAILURE_LOST, i, MU_NETWORK,
                                  heard ? unanswered : silent};
            return true;
        }
        if (m->dead || silent <= (m->present ? r->limits.heartbeat : r->limits.start))
            continue;
        *out = (mu_failure_t){m->present ? MU_FAILURE_LOST : MU_FAILURE_ABSENT, i, MU_NETWORK, silent};
        return true;
    }
    return false;
}

/* How much the evidence speaks against a rank when nothing moves; more is worse. */
static int64_t suspicion(const mu_rank_table_t *r, int rank)
{
    const mu_rank_entry_t *m = &r->member[rank];
    const mu_heartbeat_t *b = &m->heartbeat;
    int64_t s = 0;
    if (b->state == 'T' || b->state == 't')
        s += 1000;
    if (b->state == 'Z' || b->state == 'X')
        s += 800;
    if (m->no_acks_ns != 0)
        s += 500;
    for (int i = 0; i < r->size; i++) {
        const mu_heartbeat_t *other = &r->member[i].heartbeat;
        if (i == rank || r->member[i].dead || !r->member[i].present)
            continue;
        if (rank != 0 && i != 0 && b->phase < other->phase)
            s += 20; /* it has not come as far */
        if (rank != 0 && i != 0 && !b->in_collective && other->in_collective)
            s += 20; /* others wait inside an operation for someone who is outside */
        if (b->in_collective && other->in_collective && strcmp(b->comm, other->comm) == 0 &&
            b->collective < other->collective)
            s += 20;
        if (m->progress_ns < r->member[i].progress_ns)
            s += 1;
    }
    if (b->state == 'D')
        s += 10;
    return s;
}

/* The first of those, present and alive, against whom most speaks; -1 when there is none. */
static int most_suspect(const mu_rank_table_t *r)
{
    int worst = -1;
    int64_t most = -1;
    for (int i = 0; i < r->size; i++) {
        int64_t s = r->member[i].present && !r->member[i].dead ? suspicion(r, i) : -1;
        if (s > most) {
            most = s;
            worst = i;
        }
    }
    return worst;
}

int mu_rank_table_retransmitting(const mu_rank_table_t *r, int64_t now)
{
    /* What has got through leaves no trace, the next loss follows soon, and TCP that has doubled its waits stays
     * silent for some time after the last. */
    const double recent = 30;
    int most = -1;
    for (int i = 0; i < r->size; i++) {
        const mu_rank_entry_t *m = &r->member[i];
        if (m->dead || m->retransmitting_ns == 0 || seconds(m->retransmitting_ns, now) > recent)
            continue;
        if (most < 0 || m->heartbeat.resending > r->member[most].heartbeat.resending)
            most = i;
    }
    return most;
}

double mu_rank_table_stalled(const mu_rank_table_t *r, int64_t now, double *out)
{
    double newest = 1e18, limit = 0;
    int live = 0, live_workers = 0;
    for (int i = 0; i < r->size; i++) {
        const mu_rank_entry_t *m = &r->member[i];
        if (!m->present)
            continue;
        /* an end is a move too: the ranks that are left have not reported yet what they did since their last heartbeat
         */
        double still = seconds(m->dead ? m->death_ns : m->progress_ns, now);
        if (still < newest)
            newest = still;
        if (m->dead)
            continue;
        live++;
        /* the controller waits in one phase while workers are in another: it only counts when it is alone */
        if (i > 0 || live_workers == 0) {
            double own = mu_rank_table_limit(r, m->heartbeat.phase);
            if (i > 0 && live_workers++ == 0)
                limit = 0;
            if (own > limit)
                limit = own;
        }
    }
    *out = limit;
    return live > 0 ? newest : 0;
}

static bool judge_stopped(const mu_rank_table_t *r, int64_t now, mu_failure_t *out)
{
    for (int i = 0; i < r->size; i++) {
        const mu_rank_entry_t *m = &r->member[i];
        double still = seconds(m->progress_ns, now);
        if (m->present && !m->dead && m->stopped >= 2 && still > mu_rank_table_limit(r, m->heartbeat.phase)) {
            *out = (mu_failure_t){MU_FAILURE_HUNG, i, MU_HUNG, still};
            return true;
        }
    }
    return false;
}

static bool judge_hang(const mu_rank_table_t *r, int64_t now, mu_failure_t *out)
{
    double limit, still = mu_rank_table_stalled(r, now, &limit);
    /* a stopped process needs no other proof: nothing but its own limit is waited for */
    if (judge_stopped(r, now, out))
        return true;
    /* Training goes in lockstep: as long as anyone moves, nobody hangs for long. */
    if (still <= limit)
        return false;
    int retransmitting = r->limits.hang > 0 ? -1 : mu_rank_table_retransmitting(r, now);
    if (retransmitting >= 0) {
        *out = (mu_failure_t){MU_FAILURE_STUCK, retransmitting, MU_NETWORK, still};
        return still > MU_RETRANSMIT_LIMIT && still > limit;
    }
    int worst = most_suspect(r);
    if (no_acks_seconds(r, &r->member[worst], now) > 0) /* all others wait for it */
        *out =
            (mu_failure_t){MU_FAILURE_NO_ACKS, worst, MU_NETWORK, no_acks_seconds(r, &r->member[worst], now)};
    else
        *out = (mu_failure_t){MU_FAILURE_HUNG, worst, MU_HUNG, seconds(r->member[worst].progress_ns, now)};
    return true;
}

void mu_rank_table_failure(const mu_rank_table_t *r, int64_t now, mu_failure_t *out)
{
    *out = (mu_failure_t){MU_FAILURE_NONE, -1, MU_OK, 0};
    if (!judge_deaths(r, out) && !judge_silence(r, now, out) && !judge_hang(r, now, out))
        *out = (mu_failure_t){MU_FAILURE_NONE, -1, MU_OK, 0};
}

bool mu_rank_table_vanished(const mu_rank_table_t *r, int64_t now, mu_failure_t *out)
{
    int first = -1;
    for (int i = 0; i < r->size; i++) {
        const mu_rank_entry_t *m = &r->member[i];
        if (m->present && !m->dead && (first < 0 || m->heard_ns < r->member[first].heard_ns))
            first = i;
    }
    if (first >= 0)
        *out = (mu_failure_t){MU_FAILURE_VANISHED, first, MU_DIED, seconds(r->member[first].heard_ns, now)};
    return first >= 0;
}

/* ---- words ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void mu_rank_table_spread(const mu_rank_table_t *r, size_t offset, mu_spread_t *out)
{
    double *value = mu_alloc((size_t)r->size * sizeof *value);
    int count = 0;
    *out = (mu_spread_t){.rank = 0};
    for (int i = 1; i < r->size; i++) {
        double v;
        memcpy(&v, (const char *)&r->member[i].heartbeat + offset, sizeof v);
        if (!(v > 0))
            continue;
        if (count == 0 || v > out->max) {
            out->max = v;
            out->rank = i;
        }
        value[count++] = v;
    }
    if (count > 0) {
        qsort(value, (size_t)count, sizeof *value, by_value);
        out->min = value[0];
        out->median = (value[count / 2] + value[(count - 1) / 2]) / 2;
    }
    free(value);
}

void mu_rank_table_name(const mu_rank_table_t *r, int rank, mu_buf_t *out)
{
    mu_buf_addf(out, "rank %d", rank);
    const char *host = r->member[rank].hello.host;
    if (*host) {
        mu_buf_adds(out, " (");
        mu_text_escape(host, strlen(host), 64, out);
        mu_buf_adds(out, rank == 0 ? ", the controller)" : ")");
    }
}

static void death_text(const mu_death_t *d, mu_buf_t *out)
{
    if (d->oom_kills > 0) {
        mu_buf_adds(out, "was killed by the kernel for memory");
        if (d->oom_limit_bytes > 0)
            mu_buf_addf(out, " (limit %.1f GiB)", (double)d->oom_limit_bytes / (1 << 30));
    } else if (d->reason == MU_DEATH_BY_LEASE) {
        mu_buf_adds(out, "was ended by its guard, which had lost the launcher");
    } else if (d->reason == MU_DEATH_BY_TEARDOWN) {
        mu_buf_adds(out, "was ended by mpirun's daemon");
    } else if (d->reason == MU_DEATH_BY_ORDER) {
        mu_buf_adds(out, "was ended by the launcher");
    } else if (d->signal != 0) {
        mu_buf_addf(out, "was killed by signal %d (%s)", (int)d->signal, strsignal((int)d->signal));
    } else {
        mu_buf_addf(out, "ended with exit code %d", (int)d->exit_code);
        mu_status_t status = mu_status_from_exit((int)d->exit_code);
        if (d->exit_code == 0 && d->phase != MU_PHASE_FINISH)
            mu_buf_adds(out, " before the run was over");
        else if (mu_mpirun_lost_peer(d->exit_code))
            mu_buf_adds(out, " (Open MPI's, when a connection between ranks breaks)");
        else if (d->exit_code != 0 && mu_status_exit(status) == d->exit_code)
            mu_buf_addf(out, " (%s)", mu_status_text(status));
    }
    mu_buf_addf(out, " in phase %s at step %lld", mu_phase_name((int)d->phase), (long long)d->step);
}

static void hang_text(const mu_rank_entry_t *m, double limit, double still, mu_buf_t *out)
{
    mu_buf_addf(out, "stands still for %.0f s in phase %s (limit %.0f s)", still,
                mu_phase_name((int)m->heartbeat.phase), limit);
    if (m->heartbeat.state == 'T' || m->heartbeat.state == 't')
        mu_buf_adds(out, "; the process is stopped (state T)");
    else if (m->heartbeat.state == 'D')
        mu_buf_adds(out, "; the process waits for storage or a device (state D)");
    if (*m->heartbeat.operation) {
        mu_buf_addf(out, "; %s ", m->heartbeat.in_collective ? "inside" : "last");
        mu_text_escape(m->heartbeat.operation, strlen(m->heartbeat.operation), 16, out);
        mu_buf_addf(out, " #%lld of ", (long long)m->heartbeat.collective);
        mu_text_escape(m->heartbeat.comm, strlen(m->heartbeat.comm), 16, out);
        mu_buf_addf(out, " (%lld bytes)", (long long)m->heartbeat.bytes);
    }
}

void mu_failure_text(const mu_rank_table_t *r, const mu_failure_t *t, mu_buf_t *out)
{
    const mu_rank_entry_t *m = &r->member[t->rank];
    switch (t->kind) {
    case MU_FAILURE_DEATH:
    case MU_FAILURE_SECONDARY:
        death_text(&m->death, out);
        break;
    case MU_FAILURE_HUNG:
        hang_text(m, mu_rank_table_limit(r, m->heartbeat.phase), t->seconds, out);
        break;
    case MU_FAILURE_STUCK:
        mu_buf_addf(out,
                    "stands still for %.0f s in phase %s: the network does not pass on what it sends to ",
                    t->seconds, mu_phase_name((int)m->heartbeat.phase));
        mu_text_escape(m->heartbeat.resending_to, strlen(m->heartbeat.resending_to), 48, out);
        mu_buf_addf(out, " (%lld times so far)", (long long)m->heartbeat.resending);
        break;
    case MU_FAILURE_LOST:
        mu_buf_addf(out, "sent no heartbeat for %.0f s: its host is cut off, frozen or down", t->seconds);
        break;
    case MU_FAILURE_NO_ACKS:
        mu_buf_addf(out,
                    "is heard, but has had no answer for %.0f s: its host is cut off in the direction to it",
                    t->seconds);
        break;
    case MU_FAILURE_ABSENT:
        mu_buf_addf(out, "did not report within %.0f s of the start", t->seconds);
        break;
    case MU_FAILURE_VANISHED:
        mu_buf_addf(out, "vanished together with its guard, %.1f s after its last sign of life", t->seconds);
        break;
    case MU_FAILURE_NONE:
        mu_buf_adds(out, "is well");
        break;
    }
}
