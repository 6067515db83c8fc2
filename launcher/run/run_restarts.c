#include "launcher/run/run_impl.h"
#include "common/clock.h"
#include "common/control/phase.h"
#include "common/duration.h"
#include "common/log.h"
#include "common/run/orphan_cleanup.h"
#include "launcher/run/policy.h"
#include "launcher/run/run_notes.h"

static void report_failure(mu_launch_t *r, const mu_outcome_t *o, const mu_policy_t *policy)
{
    char when[32];
    time_t seconds = (time_t)o->time;
    struct tm tm;
    mu_buf_t ran = MU_BUF_INIT;
    localtime_r(&seconds, &tm);
    strftime(when, sizeof when, "%H:%M:%S", &tm);
    mu_duration_text(mu_wall_seconds() - r->state.started, &ran);
    mu_info("FAILED at step %lld after %s, restart %lld of %lld", (long long)r->state.step, ran.data,
            (long long)r->state.restarts, (long long)r->plan.config->muster.max_restarts);
    mu_info("  first cause  %s %s, at %s", o->who, o->what, when);
    if (*o->last_line)
        mu_info("  last output  %s", o->last_line);
    if (*o->log)
        mu_info("  log          %s", o->log);
    if (o->secondary_failures > 0)
        mu_info("  secondary    %d other rank%s ended afterwards (not the cause)", o->secondary_failures,
                o->secondary_failures == 1 ? "" : "s");
    if (r->state.last_checkpoint >= 0)
        mu_info("  saved        step %lld", (long long)r->state.last_checkpoint);
    else
        mu_info("  saved        no checkpoint so far");
    if (policy->again)
        mu_info("  next         attempt %lld in %.0f s, from the newest valid checkpoint%s",
                (long long)r->state.attempt + 1, policy->pause,
                r->state.copy_step > r->state.last_checkpoint ? ", or from copies in memory" : "");
    mu_buf_release(&ran);
}

static void set_up_supervisor(mu_launch_t *r)
{
    const mu_config_t *config = r->plan.config;
    mu_supervisor_t *s = &r->supervisor;
    double lease = config->muster.lease_timeout;
    s->run_dir = r->plan.run_dir;
    s->config_digest = r->file_digest;
    s->ranks = r->plan.places.ranks;
    s->many_hosts = !r->plan.places.local;
    s->completion_wait = r->plan.places.local ? 0 : 5;
    s->progress = &r->progress;
    s->signals = r->signals;
    s->state = &r->state;
    /* A cut host is named within 10 s: when it is cut off in the direction to it, its last heartbeat comes up
     * to a second after the cut. And before the guard on the other side ends its rank. */
    const double silence = 8.75;
    s->limits = (mu_limits_t){.hang = config->muster.hang_timeout,
                              .heartbeat = lease * 2 / 3 < silence ? lease * 2 / 3 : silence,
                              .start = 60 + 0.02 * s->ranks};
    r->state.tp = config->tp;
    r->state.dp = config->dp;
    r->state.workers = config->workers;
    r->state.train_iters = config->train_iters;
    mu_note_hosts(&r->plan.places, &r->state);
}

void mu_launch_say_plan(const mu_launch_t *r)
{
    const mu_config_t *c = r->plan.config;
    for (const char *line = mu_config_notes(c); *line;) {
        size_t n = strcspn(line, "\n");
        mu_info("%.*s", (int)n, line);
        line += n + (line[n] != '\0');
    }
    int hosts = 0;
    for (int i = 0; i < r->plan.hosts->count; i++)
        hosts += r->fit[i];
    mu_info("%d worker%s on %d host%s (%s): tp %d x dp %d; run directory %s", c->workers,
            c->workers == 1 ? "" : "s", hosts, hosts == 1 ? "" : "s", r->plan.hosts->from, c->tp, c->dp,
            r->plan.run_dir);
}

/* Workers, layout and places for the hosts that are fit, and what follows from these. */
mu_status_t mu_launch_fit(mu_launch_t *r)
{
    MU_TRY(mu_run_plan_fit(&r->plan, r->fit, r->gpus));
    MU_TRY(mu_launch_write_config(r));
    set_up_supervisor(r);
    return MU_OK;
}

/* For another attempt: a host may have gone since the last one, or have come back. */
static mu_status_t fit_again(mu_launch_t *r)
{
    int workers = r->plan.config->workers, hosts = r->plan.places.count;
    int64_t batch = r->plan.config->train_batch_size;
    mu_status_t status = mu_launch_fit(r);
    if (status == MU_CONFIG) /* it did fit all hosts: with those it will again */
        return MU_UNREADY;
    if (r->plan.config->workers != workers || r->plan.places.count != hosts)
        mu_launch_say_plan(r);
    bool anew = r->state.last_checkpoint < 0 && r->state.copy_step < 0; /* else the controller compares */
    if (status == MU_OK && anew && r->plan.config->train_batch_size != batch)
        mu_warn("the global batch is %lld sequences from here on, %lld before: train_batch_size=%lld keeps "
                "that, whatever the number of workers",
                (long long)r->plan.config->train_batch_size, (long long)batch, (long long)batch);
    return status;
}

/* How long a host that has said that it goes may still answer: whoever asked ends it as soon as he sees that
 * the ranks have ended. One that answers later is back, or stays. */
enum { DRAIN_PAUSE = 10 };

/* The ranks have ended in good order because a host goes; that is no failure and counts as none. */
static mu_status_t start_after_drain(mu_launch_t *r)
{
    char saved[64] = "there is no checkpoint yet";
    if (r->state.last_checkpoint >= 0)
        snprintf(saved, sizeof saved, "step %lld is saved", (long long)r->state.last_checkpoint);
    snprintf(r->state.reason, sizeof r->state.reason, "a host goes: %s", saved);
    mu_launch_set_state(r, "restarting");
    mu_info("%s; starting again in %d s at the earliest, when all hosts are ready", saved, DRAIN_PAUSE);
    mu_launch_pause(r, DRAIN_PAUSE);
    if (r->supervisor.stops > 0)
        return MU_STOPPED;
    MU_TRY(mu_launch_gather(r));
    return fit_again(r);
}

mu_status_t mu_launch_attempts(mu_launch_t *r, mu_outcome_t *outcome)
{
    mu_policy_t policy = {.max_restarts = r->plan.config->muster.max_restarts,
                          .best_checkpoint = r->state.last_checkpoint + 1};
    for (;;) {
        MU_TRY(mu_launch_attempt(r, outcome));
        if (outcome->drained) {
            MU_TRY(start_after_drain(r));
            continue;
        }
        if (outcome->status == MU_OK || outcome->status == MU_STOPPED)
            return outcome->status;
        char place[256];
        /* what happens before the first step is one place: which of its phases a death falls into is chance */
        snprintf(place, sizeof place, "%s %s phase %d", mu_status_name(outcome->status), outcome->who,
                 outcome->phase < MU_PHASE_FIRST_STEP ? MU_PHASE_START : outcome->phase);
        mu_failed_attempt_t failed = {outcome->status, r->state.step, r->state.last_checkpoint, place};
        mu_policy_decide(&policy, &failed, r->supervisor.stops > 0);
        if (policy.status == MU_NOPROGRESS && mu_run_tmp_room(r->tmp_dir.data) != MU_OK)
            policy.status = MU_IO; /* what /tmp lacks says nothing about the run */
        report_failure(r, outcome, &policy);
        if (!policy.again)
            return policy.status;
        snprintf(r->state.reason, sizeof r->state.reason, "%s %s", outcome->who, outcome->what);
        r->state.restarts++;
        mu_launch_set_state(r, "restarting");
        mu_launch_pause(r, policy.pause);
        if (r->supervisor.stops > 0)
            return r->state.last_checkpoint >= 0 ? MU_STOPPED : policy.status;
        mu_outcome_t filled = *outcome;
        *outcome = (mu_outcome_t){.rank = -1}; /* what now goes wrong has another cause */
        mu_status_t status = mu_launch_gather(r);
        if (status == MU_PREFLIGHT && filled.status == MU_IO) { /* but for a volume that is full still */
            *outcome = filled;
            return MU_IO;
        }
        MU_TRY(status);
        MU_TRY(fit_again(r));
    }
}
