#include "launcher/run/run_impl.h"
#include "common/clock.h"
#include "common/launch_env.h"
#include "common/log.h"
#include "common/run/completion.h"
#include "common/run/orphan_cleanup.h"
#include "launcher/run/run_notes.h"

#include <unistd.h>

void mu_launch_command(mu_launch_t *r, const char *control, mu_args_t *args, mu_args_t *env)
{
    mu_args_t vars = {0};
    char *shm = mu_format("%s/%lld", r->shm_base.data, (long long)r->state.attempt);
    mu_args_addf(&vars, MU_ENV_RUN_DIR "=%s", r->plan.run_dir);
    mu_args_addf(&vars, MU_ENV_ATTEMPT "=%lld", (long long)r->state.attempt);
    mu_args_addf(&vars, MU_ENV_RUN_TOKEN "=%s", r->state.token);
    mu_args_addf(&vars, MU_ENV_CONTROL "=%s", control);
    mu_args_addf(&vars, MU_ENV_CONTROL_KEY_FILE "=%s", r->key_path);
    mu_args_addf(&vars, MU_ENV_LEASE "=%g", r->plan.config->muster.lease_timeout);
    mu_args_addf(&vars, MU_ENV_SHM_DIR "=%s", shm);
    if (r->copies_dir.len > 0)
        mu_args_addf(&vars, MU_ENV_COPIES_DIR "=%s", r->copies_dir.data);
    mu_run_names_t names = {.tmp_dir = r->tmp_dir.data,
                            .shm_dir = shm,
                            .hostfile = r->hostfile,
                            .config = r->config_path,
                            .ssh_args = r->ssh_args.data,
                            .vars = &vars};
    mu_run_plan_command(&r->plan, &names, args, env);
    mu_args_free(&vars);
    free(shm);
}

void mu_launch_note_account(mu_launch_t *r)
{
    if (!r->plan.more && mu_rundir_stands(r->plan.run_dir, r->claim.fd))
        mu_note_account(r->plan.run_dir, r->supervisor.writer, &r->state);
}

mu_status_t mu_launch_attempt(mu_launch_t *r, mu_outcome_t *outcome)
{
    mu_supervisor_t *s = &r->supervisor;
    mu_args_t args = {0}, env = {0};
    mu_status_t status;
    if (!mu_rundir_stands(r->plan.run_dir, r->claim.fd))
        return mu_fail(
            MU_RUNDIR,
            "%s is no longer the directory that this run began in: it was moved, removed or replaced",
            r->plan.run_dir);
    MU_TRY(mu_run_tmp_room(r->tmp_dir.data));
    r->state.attempt++;
    MU_TRY(mu_completion_forget(r->plan.run_dir));
    MU_TRY(mu_launch_write_key(r));
    MU_TRY(mu_launch_write_hostfile(r));
    mu_launch_command(r, mu_server_address(s->server), &args, &env);
    s->args = &args;
    s->env = &env;
    mu_launch_note_account(r);
    mu_launch_set_state(r, "starting");
    mu_rundir_writer_event(s->writer, "attempt", NULL, -1, "attempt %lld with %d workers",
                           (long long)r->state.attempt, r->plan.places.ranks - 1);
    status = mu_supervise(s, outcome);
    mu_orphan_cleanup_processes(r->state.token, INT64_MAX);
    if (mu_rundir_stands(r->plan.run_dir, r->claim.fd))
        unlink(r->key_path);
    mu_args_free(&args);
    mu_args_free(&env);
    return status;
}

/* A pause before the next attempt, in which a stop is heard. */
void mu_launch_pause(mu_launch_t *r, double seconds)
{
    int64_t until = mu_now_ns() + (int64_t)(seconds * 1e9);
    while (mu_now_ns() < until && r->supervisor.stops == 0) {
        mu_sleep_ms(100);
        mu_supervisor_poll_requests(&r->supervisor);
    }
}
