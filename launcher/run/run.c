#include "launcher/run/run.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/stdio_setup.h"
#include "common/run/orphan_cleanup.h"
#include "launcher/plan/start_check.h"
#include "launcher/run/run_impl.h"
#include "launcher/run/run_notes.h"

#include <sodium.h>
#include <sys/prctl.h>
#include <unistd.h>

/* What can be known of the start is said before any host is waited for and anything is started. What eval and generate
 * ask is checked by themselves. */
static mu_status_t check_start(const mu_launch_t *r)
{
    mu_buf_t notes = MU_BUF_INIT; /* the controller says them, of what it sees */
    mu_start_question_t question = {.config = r->plan.config,
                                    .run_dir = r->plan.run_dir,
                                    .here = r->plan.hosts->source == MU_HOSTS_LOCAL};
    MU_TRY(mu_run_plan_foresee(&r->plan));
    mu_status_t status = r->plan.more ? MU_OK : mu_start_check(&question, &notes);
    mu_buf_release(&notes);
    return status;
}

/* Its trackers read what the run writes; ranks that do not train write no points. */
static mu_status_t start_tracker(mu_launch_t *r)
{
    mu_tracker_plan_t plan;
    if (r->plan.more)
        return MU_OK;
    mu_status_t status = mu_tracker_plan(r->plan.config, r->secrets, r->plan.run_dir, &plan);
    if (status == MU_OK)
        mu_tracker_start(&plan, r->secrets, r->plan.run_dir, &r->tracker);
    mu_tracker_plan_free(&plan);
    mu_secrets_free(r->secrets); /* who needs them has them */
    r->secrets = NULL;
    return status;
}

static mu_status_t start_and_watch(mu_launch_t *r, mu_outcome_t *outcome)
{
    bool here = r->plan.hosts->source == MU_HOSTS_LOCAL;
    MU_TRY(check_start(r));
    if (!here) /* trackers show how long hosts are waited for */
        MU_TRY(start_tracker(r));
    MU_TRY(mu_run_tmp_make(r->tmp_dir.data, &r->tmp_fd));
    MU_TRY(mu_launch_gather(r));
    MU_TRY(mu_launch_fit(r));
    if (here) /* a machine that is not fit has ended the run by now */
        MU_TRY(start_tracker(r));
    mu_launch_say_plan(r);
    prctl(PR_SET_DUMPABLE, 0); /* no core file at all; programs that are started are not affected */
    r->key = mu_control_key_room();
    mu_control_key_new(r->key);
    MU_TRY(mu_server_open(r->plan.places.route.address, r->key, r->plan.places.ranks, &r->supervisor.server));
    mu_note_data_version(r->plan.config->data_path, &r->state);
    return mu_launch_attempts(r, outcome);
}

/* Each launcher's copies have a folder of their own: what another one left is never taken. */
static void name_copies(mu_launch_t *r)
{
    unsigned char id[8];
    char hex[2 * sizeof id + 1];
    randombytes_buf(id, sizeof id);
    sodium_bin2hex(hex, sizeof hex, id, sizeof id);
    mu_run_copies_dir(r->state.token, &r->copies_dir);
    mu_buf_addf(&r->copies_dir, "/%lld-%s", (long long)r->first_attempt, hex);
}

static void name_files(mu_launch_t *r)
{
    r->config_path = mu_path_join(r->plan.run_dir, "config.yml");
    r->key_path = mu_path_join(r->plan.run_dir, "control.key");
    mu_run_tmp_dir(r->state.token, &r->tmp_dir);
    mu_run_shm_dir(r->state.token, &r->shm_base);
    r->hostfile = mu_path_join(r->tmp_dir.data, "hostfile");
    if (r->plan.config->muster.peer_checkpoint && !r->plan.more)
        name_copies(r);
}

/* Touches nothing: a directory that no run has used yet has no mark, so its command shows zeros. */
static void dry_token(mu_launch_t *r)
{
    char *path = mu_path_join(r->plan.run_dir, "run.id");
    if (!mu_is_file(path) || mu_rundir_token(r->plan.run_dir, r->state.token) != MU_OK)
        memset(r->state.token, '0', sizeof r->state.token - 1);
    free(path);
}

static mu_status_t dry_run(mu_launch_t *r)
{
    mu_args_t args = {0}, env = {0};
    mu_buf_t line = MU_BUF_INIT;
    MU_TRY(check_start(r));
    mu_settings_read(&r->plan.settings);
    MU_TRY(mu_run_plan_fit(&r->plan, NULL, NULL));
    mu_launch_read_past(r);
    r->first_attempt = ++r->state.attempt;
    dry_token(r);
    name_files(r);
    mu_launch_command(r, "0.0.0.0:0", &args, &env);
    mu_args_quote(&args, &line);
    mu_buf_addc(&line, '\n');
    mu_status_t status = mu_stdio_write(&line);
    mu_buf_release(&line);
    mu_args_free(&args);
    mu_args_free(&env);
    return status;
}

static mu_status_t whole_run(mu_launch_t *r)
{
    mu_outcome_t outcome = {.rank = -1};
    MU_TRY(mu_launch_claim(r));
    r->first_attempt = r->state.attempt + 1;
    name_files(r);
    r->signals = mu_launch_catch_signals();
    r->fit = mu_calloc((size_t)r->plan.hosts->count, sizeof *r->fit);
    r->gpus = mu_calloc((size_t)r->plan.hosts->count, sizeof *r->gpus);
    mu_async_stderr_t *screen = mu_async_stderr_open(STDERR_FILENO);
    mu_progress_begin(&r->progress, screen, r->plan.config->log_interval);
    mu_status_t status = start_and_watch(r, &outcome);
    mu_progress_end(&r->progress);
    mu_launch_finish(r, status, &outcome);
    mu_launch_clean_up(r);
    mu_rundir_release(
        &r->claim); /* whoever does not read our last words does not hold up the next launcher */
    mu_tracker_end(r->tracker, r->signals);
    mu_async_stderr_close(screen, r->signals);
    return status;
}

static void run_free(mu_launch_t *r)
{
    mu_rundir_release(&r->claim);
    mu_buf_release(&r->tmp_dir);
    mu_buf_release(&r->shm_base);
    mu_buf_release(&r->copies_dir);
    mu_buf_release(&r->ssh_args);
    free(r->config_path);
    free(r->hostfile);
    free(r->key_path);
    free(r->fit);
    free(r->gpus);
    mu_run_plan_free(&r->plan);
    mu_secrets_free(r->secrets);
}

mu_status_t mu_run(int argc, char **argv, const mu_args_t *more)
{
    mu_launch_t r = {.claim = {.fd = -1}, .tmp_fd = -1, .plan = {.more = more}};
    mu_status_t status;
    if (sodium_init() < 0)
        return mu_fail(MU_BUG, "libsodium does not start");
    MU_TRY(mu_secrets_take(&r.secrets)); /* ranks and ssh do not get them */
    MU_TRY_GOTO(status, mu_run_plan_parse(argc, argv, &r.plan), out);
    if (r.plan.help)
        goto out;
    MU_TRY_GOTO(status, mu_run_plan_find(&r.plan), out);
    status = r.plan.dry_run ? dry_run(&r) : whole_run(&r);
out:
    run_free(&r);
    return status;
}
