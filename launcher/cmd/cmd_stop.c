#include "launcher/cmd/cmd.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/run/rundir.h"

#include <stdlib.h>

typedef struct stop_args {
    mu_words_t run;
    bool now;
} stop_args_t;

static const mu_option_t options[] = {
    MU_OPT("RUN_DIR", NULL, MU_OPTION_OPERANDS, offsetof(stop_args_t, run), "the run's directory",
           .required = true, .most = 1),
    MU_OPT("--now", NULL, MU_OPTION_FLAG, offsetof(stop_args_t, now),
           "end it without saving: what came after the last checkpoint is lost", ),
    MU_OPT_END};

const mu_command_t mu_stop_command = {
    .name = "stop",
    .summary = "save a checkpoint, then end a run",
    .about = "Asks the run to save a checkpoint and end, and waits until it has (two minutes at most).",
    .options = options,
    .exits = "0 it has ended, or none was running; 66 no run there; 74 still saving"};

/* The Job of an MPIJob makes a launcher that ended with 75 again, and that one goes on where this one stopped. */
static void warn_of_operator(void)
{
    if (getenv("K_MPI_JOB_ROLE"))
        mu_warn("stop: the MPIJob starts its launcher again, which resumes this run. To keep it stopped: "
                "kubectl patch "
                "mpijob NAME --type merge -p '{\"spec\":{\"runPolicy\":{\"suspend\":true}}}'; false lets it "
                "go on. That saves a checkpoint too");
}

/* A launcher writes run.json once a second. One that has no lock there (the volume may know none) and is silent for
 * this long is gone. */
enum { WAIT_MS = 120000, SILENT_S = 30 };

static bool goes_on(const mu_run_state_t *s)
{
    return strcmp(s->state, "done") != 0 && strcmp(s->state, "failed") != 0 &&
           strcmp(s->state, "stopped") != 0;
}

static bool is_gone(const char *dir, const mu_run_state_t *s)
{
    return !mu_rundir_is_claimed(dir) && mu_wall_seconds() - s->time > SILENT_S;
}

static mu_status_t stop_run(const char *dir, mu_stop_t how)
{
    mu_run_state_t state;
    MU_TRY(mu_run_state_read(dir, &state));
    if (!goes_on(&state) || is_gone(dir, &state)) {
        mu_info("%s: nothing runs there (state %s)", dir, state.state);
        return MU_OK;
    }
    warn_of_operator();
    MU_TRY(mu_stop_ask(dir, how));
    mu_info("%s: asked pid %lld on %s to %s", dir, (long long)state.pid, state.host,
            how == MU_STOP_NOW ? "stop now" : "save and stop");
    for (int waited = 0; waited < WAIT_MS; waited += 200) {
        mu_sleep_ms(200);
        if (mu_run_state_read(dir, &state) != MU_OK)
            continue;
        if (!goes_on(&state)) {
            mu_info("%s: %s at step %lld", dir, state.state, (long long)state.step);
            return MU_OK;
        }
        if (is_gone(dir, &state)) {
            mu_stop_forget(dir);
            mu_info("%s: its launcher is gone (state %s at step %lld): nothing runs there", dir, state.state,
                    (long long)state.step);
            return MU_OK;
        }
    }
    return mu_fail(MU_IO, "%s: still %s after %d s: see muster status %s", dir, state.state, WAIT_MS / 1000,
                   dir);
}

mu_status_t mu_cmd_stop(int argc, char **argv)
{
    stop_args_t a = {0};
    bool help;
    mu_status_t status = mu_options_parse(&mu_stop_command, argc, argv, &a, NULL, &help);
    if (status == MU_OK && !help)
        status = stop_run(a.run.item[0], a.now ? MU_STOP_NOW : MU_STOP_SAVE);
    mu_options_release(&mu_stop_command, &a);
    return status;
}
