#include "launcher/cmd/cmd_status.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/rundir.h"
#include "launcher/monitor/progress.h"

#include <errno.h>
#include <unistd.h>

static const char usage[] =
    "usage: muster status RUN_DIR [--watch] [--json]\n"
    "\n"
    "How a run is going. --watch repeats it every second until the run has ended; --json prints\n"
    "run.json with \"alive\" (a launcher holds the directory) added, one line each time.\n"
    "\n"
    "exit codes: 0; 66 no run there; 65 its run.json is damaged\n";

static bool ended(const mu_run_state_t *s)
{
    return strcmp(s->state, "done") == 0 || strcmp(s->state, "failed") == 0 ||
           strcmp(s->state, "stopped") == 0;
}

/* {"state": ..., "alive": true}: run.json on one line. */
static void as_json(const mu_run_state_t *s, bool alive, mu_buf_t *out)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_run_state_json(s, &text);
    size_t end = text.len;
    while (end > 0 && text.data[end - 1] != '}')
        end--;
    bool indent = false;
    for (size_t i = 0; i + 1 < end; i++) { /* strings hold no raw newlines, so these are the layout's */
        if (text.data[i] == '\n')
            indent = true;
        else if (!indent || text.data[i] != ' ') {
            if (indent && out->len > 0 && out->data[out->len - 1] == ',')
                mu_buf_addc(out, ' ');
            indent = false;
            mu_buf_addc(out, text.data[i]);
        }
    }
    mu_buf_addf(out, ", \"alive\": %s}\n", alive ? "true" : "false");
    mu_buf_release(&text);
}

static void as_text(const mu_run_state_t *s, bool alive, mu_buf_t *out)
{
    mu_buf_addf(out, "%s", s->state);
    if (!alive && !ended(s))
        mu_buf_adds(out, " (but its launcher is gone: run again to go on)");
    mu_buf_addf(out, "  step %lld", (long long)s->step);
    if (s->train_iters > 0)
        mu_buf_addf(out, "/%lld", (long long)s->train_iters);
    if (s->loss > 0)
        mu_buf_addf(out, "  loss %.4f", s->loss);
    if (s->valid_loss > 0)
        mu_buf_addf(out, "  valid %.4f", s->valid_loss);
    if (s->tokens_per_s > 0)
        mu_buf_addf(out, "  %.0f tokens/s", s->tokens_per_s);
    if (s->last_checkpoint >= 0)
        mu_buf_addf(out, "  checkpoint %lld", (long long)s->last_checkpoint);
    mu_buf_addf(
        out, "\n  attempt %lld, %lld restart%s; tp %lld x dp %lld, %lld workers\n  launcher pid %lld on %s, ",
        (long long)s->attempt, (long long)s->restarts, s->restarts == 1 ? "" : "s", (long long)s->tp,
        (long long)s->dp, (long long)s->workers, (long long)s->pid, s->host);
    mu_duration_text((ended(s) ? s->time : mu_wall_seconds()) - s->started, out);
    mu_buf_adds(out, ended(s) ? " in all\n" : " so far\n");
    if (*s->reason)
        mu_buf_addf(out, "  %s\n", s->reason);
    if (s->exit_code >= 0)
        mu_buf_addf(out, "  exit code %lld\n", (long long)s->exit_code);
}

static mu_status_t show(const char *dir, bool watch, bool json)
{
    bool rewrite = watch && !json && isatty(STDOUT_FILENO);
    for (;;) {
        mu_run_state_t state;
        mu_buf_t text = MU_BUF_INIT;
        MU_TRY(mu_run_state_read(dir, &state));
        bool alive = mu_rundir_is_claimed(dir);
        if (json)
            as_json(&state, alive, &text);
        else
            as_text(&state, alive, &text);
        int failed = printf("%s%s", rewrite ? "\033[H\033[J" : "", text.data) < 0 || fflush(stdout) != 0;
        mu_buf_release(&text);
        if (failed)
            return mu_fail(MU_IO, "standard output: cannot write: %s", strerror(errno));
        if (!watch || ended(&state) || !alive)
            return MU_OK;
        mu_sleep_ms(1000);
    }
}

mu_status_t mu_cmd_status(int argc, char **argv)
{
    const char *dir = NULL;
    bool watch = false, json = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            return MU_OK;
        }
        if (strcmp(argv[i], "--watch") == 0)
            watch = true;
        else if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (argv[i][0] == '-' || dir)
            return mu_fail(MU_USAGE, "status: '%s' is too much: see muster status --help", argv[i]);
        else
            dir = argv[i];
    }
    if (!dir)
        return mu_fail(MU_USAGE, "status: no RUN_DIR given: see muster status --help");
    return show(dir, watch, json);
}
