#include "launcher/cmd/cmd_stop.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/rundir.h"

#include <stdlib.h>

static const char usage[] =
    "usage: muster stop RUN_DIR [--now]\n"
    "\n"
    "Asks the run to save a checkpoint and end, and waits until it has (two minutes at most).\n"
    "--now ends it without saving: what came after the last checkpoint is lost.\n"
    "\n"
    "exit codes: 0 it has ended, or none was running; 66 no run there; 74 still saving\n";

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
    const char *dir = NULL;
    mu_stop_t how = MU_STOP_SAVE;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            return MU_OK;
        }
        if (strcmp(argv[i], "--now") == 0)
            how = MU_STOP_NOW;
        else if (argv[i][0] == '-' || dir)
            return mu_fail(MU_USAGE, "stop: '%s' is too much: see muster stop --help", argv[i]);
        else
            dir = argv[i];
    }
    if (!dir)
        return mu_fail(MU_USAGE, "stop: no RUN_DIR given: see muster stop --help");
    return stop_run(dir, how);
}
