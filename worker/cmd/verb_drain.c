#include "common/clock.h"
#include "common/log.h"
#include "common/num.h"
#include "common/run/rundir.h"
#include "worker/cmd/verbs.h"

#include <unistd.h>

static const char usage[] =
    "usage: muster-worker --drain RUN_DIR [SECONDS]\n"
    "\n"
    "For a host that is about to go, as the preStop hook of its pod: asks the run to save a checkpoint and "
    "to\n"
    "end its ranks, and returns when it has. The run starts again by itself when all hosts are ready.\n"
    "\n"
    "  SECONDS   how long to wait for that, from 1 to 3600; default 60\n"
    "\n"
    "exit codes: 0 saved, or nothing runs there; 66 no run there; 74 not saved in time: the last checkpoint "
    "stands\n";

enum { LOOK_MS = 100, UNHEARD_MS = 15000 };

/* Whether ranks may be at work. */
static bool has_ranks(const mu_run_state_t *s)
{
    return strcmp(s->state, "starting") == 0 || strcmp(s->state, "running") == 0 ||
           strcmp(s->state, "saving") == 0;
}

static mu_status_t ask_and_wait(const char *dir, const mu_run_state_t *before, int64_t wait_ms)
{
    mu_run_state_t now = *before;
    char host[256] = "";
    bool heard = false;
    int64_t began = mu_now_ns(), passed = 0;
    gethostname(host, sizeof host - 1);
    MU_TRY(mu_drain_ask(dir, host));
    while (passed < wait_ms && (heard || passed < UNHEARD_MS)) {
        mu_sleep_ms(LOOK_MS);
        passed = (mu_now_ns() - began) / 1000000;
        heard = heard || !mu_drain_waits(dir);
        mu_status_t status = mu_run_state_read(dir, &now);
        if (heard && status == MU_OK && (!has_ranks(&now) || now.attempt != before->attempt)) {
            mu_info("%s: step %lld is saved (%s)", dir, (long long)now.last_checkpoint, now.state);
            return MU_OK;
        }
    }
    if (heard)
        return mu_fail(MU_IO, "%s: still %s after %lld s at step %lld: the checkpoint of step %lld stands",
                       dir, now.state, (long long)passed / 1000, (long long)now.step,
                       (long long)now.last_checkpoint);
    mu_drain_take(dir, host);
    return mu_fail(MU_IO, "%s: its launcher has not answered for %lld s: the checkpoint of step %lld stands",
                   dir, (long long)passed / 1000, (long long)now.last_checkpoint);
}

mu_status_t mu_verb_drain(int argc, char **argv)
{
    int64_t seconds = 60;
    mu_run_state_t state;
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(usage, stdout);
        return MU_OK;
    }
    if (argc < 2 || argc > 3 || argv[1][0] == '-' ||
        (argc == 3 && (!mu_parse_i64(argv[2], &seconds) || seconds < 1 || seconds > 3600)))
        return mu_fail(MU_USAGE, "--drain wants a run directory and, after it, seconds from 1 to 3600: see "
                                 "muster-worker --drain --help");
    MU_TRY(mu_run_state_read(argv[1], &state));
    if (has_ranks(&state))
        return ask_and_wait(argv[1], &state, seconds * 1000);
    mu_info("%s: no rank is at work there (%s): nothing to save", argv[1], state.state);
    return MU_OK;
}
