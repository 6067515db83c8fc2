#include "launcher/run/run_impl.h"
#include "common/log.h"
#include "common/run/orphan_cleanup.h"
#include "launcher/ready/clean_hosts.h"
#include "launcher/run/run_notes.h"

#include <unistd.h>

/* Whether the cause of such an end may belong to a host or what it has mounted: it says nothing of other hosts. */
static bool belongs_to_hosts(mu_status_t status)
{
    return status == MU_AUTH || status == MU_NOINPUT || status == MU_RUNDIR || status == MU_NOPROGRESS;
}

/* Who knocked without being let in: a scan, an old guard, or someone who should not. */
static void tell_refused(mu_launch_t *r)
{
    if (!r->supervisor.server)
        return;
    const int64_t *faults = mu_server_faults(r->supervisor.server);
    for (int i = 1; i < MU_CONTROL_FAULT_COUNT; i++)
        if (faults[i] > 0) {
            const char *cause = mu_control_fault_text((mu_control_fault_t)i);
            mu_warn("control port: %lld connections refused: %s", (long long)faults[i], cause);
            mu_rundir_writer_event(r->supervisor.writer, "refused", NULL, -1, "%lld connections: %s",
                                   (long long)faults[i], cause);
        }
}

/* What is true of a run that was asked to stop: the step that is saved, and whether later ones are lost. */
static void stop_reason(mu_launch_t *r)
{
    if (r->state.last_checkpoint < 0)
        snprintf(r->state.reason, sizeof r->state.reason, "stopped on request before the first checkpoint");
    else if (r->state.last_checkpoint >= r->state.step)
        snprintf(r->state.reason, sizeof r->state.reason, "stopped on request: step %lld is saved",
                 (long long)r->state.last_checkpoint);
    else
        snprintf(r->state.reason, sizeof r->state.reason,
                 "stopped on request at step %lld: the newest checkpoint is of step %lld",
                 (long long)r->state.step, (long long)r->state.last_checkpoint);
}

/* Why it ended, for the last line, run.json and the verdict. What another start would only repeat, and what storage
 * said, is reported with its own words. */
static void set_reason(mu_launch_t *r, mu_status_t status, const mu_outcome_t *o, const char *newest)
{
    if (status == MU_STOPPED) {
        stop_reason(r);
        return;
    }
    bool last =
        mu_status_is_final(status) || status == MU_IO || status == MU_BUG; /* the rank's own words count */
    const char *words = !*o->who ? newest : o->last_line;
    if (*o->who)
        snprintf(r->state.reason, sizeof r->state.reason, "%s %s%s%s", o->who, o->what,
                 last && *words ? ": " : "", last ? words : "");
    else
        snprintf(r->state.reason, sizeof r->state.reason, "%s",
                 last && *words ? words : mu_status_text(status));
}

/* `muster run` of a run that has all its steps: how it would train longer. */
static void say_idle(const mu_launch_t *r)
{
    const mu_config_t *c = r->plan.config;
    const char *key = c->train_iters > 0 ? "train_iters" : "train_epochs";
    mu_info(
        "done: step %lld was reached before, so there was nothing to do (%s %lld, %s): a larger %s trains "
        "longer, with lr_decay_iters=N override_lr_scheduler=true on a schedule of N steps",
        (long long)r->state.step, key, (long long)(c->train_iters > 0 ? c->train_iters : c->train_epochs),
        mu_config_origin(c, key), key);
}

/* The last lines, run.json, and the verdict. */
void mu_launch_finish(mu_launch_t *r, mu_status_t status, const mu_outcome_t *o)
{
    const char *word = status == MU_OK ? "done" : status == MU_STOPPED ? "stopped" : "failed";
    char newest[512];
    mu_log_newest_error(newest, sizeof newest);
    tell_refused(r);
    r->state.exit_code = mu_status_exit(status);
    if (r->state.attempt < r->first_attempt && r->state.last_checkpoint > 0)
        r->state.step = r->state.last_checkpoint; /* no rank was started: the run is where it was */
    set_reason(r, status, o, newest);
    mu_rundir_writer_event(r->supervisor.writer, "end", NULL, -1, "exit %d: %s", mu_status_exit(status),
                           r->state.reason);
    mu_launch_note_account(r);
    mu_launch_set_state(r, word);
    if (mu_status_is_final(status) && mu_rundir_stands(r->plan.run_dir, r->claim.fd)) {
        mu_verdict_t verdict = {.status = status};
        snprintf(verdict.config_digest, sizeof verdict.config_digest, "%s",
                 belongs_to_hosts(status) ? r->hosts_digest : r->verdict_digest);
        snprintf(verdict.reason, sizeof verdict.reason, "%s", r->state.reason);
        mu_verdict_write(r->plan.run_dir, &verdict);
    }
    bool account =
        !r->plan.more && r->state.attempt >= r->first_attempt; /* of a refused start it is the past's */
    if (account)
        mu_print_account(&r->state.account);
    if (status == MU_OK && r->plan.more)
        mu_debug("done");
    else if (status == MU_OK && o->idle && r->state.attempt == r->first_attempt)
        say_idle(r);
    else if (status == MU_OK)
        mu_info("done: step %lld", (long long)r->state.step);
    else if (status == MU_STOPPED && r->state.last_checkpoint >= r->state.step &&
             r->state.last_checkpoint >= 0)
        mu_info("stopped: step %lld is saved; run again to go on (exit 75)",
                (long long)r->state.last_checkpoint);
    else if (status == MU_STOPPED && r->state.last_checkpoint >= 0)
        mu_info("stopped at step %lld: the newest checkpoint is of step %lld; run again to go on (exit 75)",
                (long long)r->state.step, (long long)r->state.last_checkpoint);
    else if (status == MU_STOPPED)
        mu_info("stopped before a first checkpoint; run again to begin anew (exit 75)");
    else if (*o->who)
        mu_error("%s: exit %d (%s)", r->state.reason, mu_status_exit(status), mu_status_text(status));
    else if (account && *newest) /* it was said, and scrolled away by the account */
        mu_error("%s: exit %d (%s)", newest, mu_status_exit(status), mu_status_text(status));
}

void mu_launch_clean_up(mu_launch_t *r)
{
    mu_server_close(r->supervisor.server);
    if (r->ready)
        mu_clean_hosts(r->ready, r->state.token);
    mu_ready_free(r->ready);
    mu_ssh_free(r->ssh);
    if (mu_rundir_stands(r->plan.run_dir, r->claim.fd)) {
        mu_launch_forget_requests(r);
        unlink(r->key_path);
    }
    if (r->tmp_fd >= 0)
        close(r->tmp_fd);
    mu_orphan_cleanup_folders(r->state.token);
    mu_orphan_cleanup_copies(r->state.token, NULL);
    mu_rundir_writer_end(r->supervisor.writer);
    mu_control_key_free(r->key);
    r->key = NULL;
}
