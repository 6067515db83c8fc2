#include "launcher/cmd/cmd_plan.h"
#include "common/log.h"
#include "common/num.h"
#include "launcher/plan/plan.h"

#include <errno.h>

static const char help[] =
    "usage: muster plan CONFIG... [key=value...] [--workers N] [--gpu NAME | --device-memory SIZE] [--mfu "
    "FRACTION]\n"
    "                   [--json]\n"
    "\n"
    "Says from the config alone what a run needs: layout, batch, parameters, memory of a worker by kind, "
    "checkpoints\n"
    "and the room for them, FLOPs, and on a named card how long it takes; with warnings. Starts nothing.\n"
    "\n"
    "  CONFIG           GPT-NeoX YAML files; key=value wins over them\n"
    "  --workers N      default: what the three batch sizes say together, else one replica\n"
    "  --gpu NAME       plan for this card: its memory, and time from its bf16 peak. The "
    "figures\n"
    "                   are what the formulas say, not measurements. Cards:";

static const char help_rest[] =
    "\n"
    "  --device-memory  memory of a worker's device (24GiB); with --gpu in place of the card's\n"
    "  --mfu FRACTION   part of the peak that training reaches, default 0.4 (model FLOPs, gpt-neox's "
    "formula)\n"
    "  --json           one JSON object\n"
    "\n"
    "Formulas: docs/plan.md\n"
    "exit codes: 0; 2 bad command line; 66 file missing; 78 config invalid, or it does not fit the device's "
    "memory\n";

typedef struct request {
    mu_plan_query_t query;
    bool json, help;
} request_t;

static mu_status_t take(request_t *r, const char *name, const char *value)
{
    mu_plan_query_t *q = &r->query;
    if (!value)
        return mu_fail(MU_USAGE, "plan: %s lacks its value", name);
    if (strcmp(name, "--workers") == 0) {
        if (!mu_parse_i64(value, &q->workers) || q->workers < 1 || q->workers > 1 << 20)
            return mu_fail(MU_USAGE, "plan: --workers wants a number from 1 to %d, not '%s'", 1 << 20, value);
    } else if (strcmp(name, "--gpu") == 0) {
        q->card = mu_card_find(value);
        if (!q->card)
            return mu_fail(MU_USAGE, "plan: no card '%s': see muster plan --help, or give --device-memory",
                           value);
    } else if (strcmp(name, "--device-memory") == 0) {
        if (!mu_parse_size(value, &q->device_memory) || q->device_memory < 1 << 20 ||
            q->device_memory > (uint64_t)1 << 50)
            return mu_fail(MU_USAGE, "plan: --device-memory wants a size (80GiB), not '%s'", value);
    } else if (!mu_parse_f64(value, &q->mfu) || q->mfu <= 0 || q->mfu > 1) {
        return mu_fail(MU_USAGE, "plan: --mfu wants a fraction above 0, at most 1, not '%s'", value);
    }
    return MU_OK;
}

static mu_status_t read_arguments(int argc, char **argv, request_t *r)
{
    static const char *const valued[] = {"--workers", "--gpu", "--device-memory", "--mfu"};
    mu_plan_query_t *q = &r->query;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *name = NULL;
        size_t n = strcspn(a, "=");
        for (size_t k = 0; k < sizeof valued / sizeof *valued; k++)
            if (strlen(valued[k]) == n && memcmp(a, valued[k], n) == 0)
                name = valued[k];
        if (name && a[n] == '=')
            MU_TRY(take(r, name, a + n + 1));
        else if (name)
            MU_TRY(take(r, name, i + 1 < argc ? argv[++i] : NULL));
        else if (strcmp(a, "--json") == 0)
            r->json = true;
        else if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0)
            r->help = true;
        else if (a[0] == '-' && a[1])
            return mu_fail(MU_USAGE, "plan: no option '%s': see muster plan --help", a);
        else if (mu_config_is_override(a))
            q->overrides[q->noverrides++] = argv[i];
        else
            q->files[q->nfiles++] = argv[i];
    }
    if (!r->help && q->nfiles == 0)
        return mu_fail(MU_USAGE, "plan: no CONFIG given: see muster plan --help");
    return MU_OK;
}

static void write_help(mu_buf_t *out)
{
    mu_buf_adds(out, help);
    for (int i = 0; mu_card_at(i); i++)
        mu_buf_addf(out, "%s%s", i % 8 ? " " : "\n                   ", mu_card_at(i)->name);
    mu_buf_adds(out, help_rest);
}

static void say_lines(mu_log_level_t level, const char *line)
{
    while (line && *line) {
        size_t n = strcspn(line, "\n");
        mu_log(level, "%.*s", (int)n, line);
        line += n + (line[n] != '\0');
    }
}

/* misfit: what does not fit, as an error after the plan is printed. */
static mu_status_t show(const request_t *r, mu_buf_t *out, mu_buf_t *misfit)
{
    mu_plan_t plan;
    mu_status_t status = MU_OK;
    MU_TRY(mu_plan_make(&r->query, &plan));
    say_lines(MU_LOG_INFO, mu_config_notes(plan.config));
    say_lines(MU_LOG_INFO, plan.notes.data);
    say_lines(MU_LOG_WARN, plan.warnings.data);
    if (!plan.fits)
        mu_buf_adds(misfit, "the model does not fit the device's memory");
    else if (plan.volume_bytes > 0 && plan.checkpoints > 0 && plan.volume_free < plan.checkpoint_bytes)
        mu_buf_addf(misfit,
                    "%s: its volume has no room for one checkpoint: %lld bytes are wanted, %lld are free",
                    plan.config->save, (long long)plan.checkpoint_bytes, (long long)plan.volume_free);
    if (r->json)
        status = mu_plan_write_json(&plan, out);
    else
        mu_plan_write_text(&plan, out);
    mu_plan_free(&plan);
    return status;
}

mu_status_t mu_cmd_plan(int argc, char **argv)
{
    mu_buf_t out = MU_BUF_INIT;
    mu_buf_t misfit = MU_BUF_INIT;
    request_t r = {.query = {.files = mu_calloc((size_t)argc, sizeof(char *)),
                             .overrides = mu_calloc((size_t)argc, sizeof(char *)),
                             .mfu = 0.4}};
    mu_status_t status = read_arguments(argc, argv, &r);
    if (status == MU_OK && r.help)
        write_help(&out);
    else if (status == MU_OK)
        status = show(&r, &out, &misfit);
    if (status == MU_OK && (fwrite(out.data, 1, out.len, stdout) != out.len || fflush(stdout) != 0))
        status = mu_fail(MU_IO, "standard output: cannot write: %s", strerror(errno));
    if (status == MU_OK && misfit.len > 0)
        status = mu_fail(MU_CONFIG, "plan: %s", misfit.data);
    mu_buf_release(&misfit);
    mu_buf_release(&out);
    free(r.query.files);
    free(r.query.overrides);
    return status;
}
