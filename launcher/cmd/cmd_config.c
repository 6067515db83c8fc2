#include "launcher/cmd/cmd_config.h"
#include "common/config/config.h"
#include "common/log.h"
#include "common/num.h"

#include "launcher/plan/start_check.h"

#include <errno.h>

static const char help[] =
    "usage: muster config CONFIG... [key=value...] [--workers N] [--json]\n"
    "       muster config --keys\n"
    "\n"
    "Reads GPT-NeoX YAML files, merges them, and prints the effective value of every key with its origin.\n"
    "\n"
    "  CONFIG        a file; .yml is added when it is left out. A key may stand in one of the files only.\n"
    "  key=value     wins over the files: train_iters=100, optimizer.params.lr=1.0e-4, muster.device=cpu\n"
    "  --workers N   also fit batch and layout to N workers; without it only what fits no number of workers\n"
    "                is refused\n"
    "  --json        print {\"key\": {\"value\": ..., \"origin\": \"...\"}, ...}\n"
    "  --keys        print every key: name, type, class, default, what it does. Classes: honoured; no "
    "effect\n"
    "                (accepted, said once); default only (any other value is an error)\n"
    "\n"
    "exit codes: 0 valid; 2 bad command line; 65 not UTF-8 text; 66 file missing; 78 invalid (each mistake "
    "with\n"
    "file:line:column)\n";

typedef struct request {
    char **files, **overrides; /* point into argv */
    int nfiles, noverrides;
    int64_t workers;
    bool json, keys, help;
} request_t;

static mu_status_t take_workers(const char *text, int64_t *out)
{
    if (!text || !mu_parse_i64(text, out) || *out < 1 || *out > 1 << 20)
        return mu_fail(MU_USAGE, "--workers wants a number from 1 to %d, not '%s'", 1 << 20,
                       text ? text : "");
    return MU_OK;
}

static mu_status_t read_arguments(int argc, char **argv, request_t *r)
{
    bool options = true;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (options && strcmp(a, "--") == 0)
            options = false;
        else if (options && strcmp(a, "--json") == 0)
            r->json = true;
        else if (options && strcmp(a, "--keys") == 0)
            r->keys = true;
        else if (options && (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0))
            r->help = true;
        else if (options && strcmp(a, "--workers") == 0)
            MU_TRY(take_workers(i + 1 < argc ? argv[++i] : NULL, &r->workers));
        else if (options && strncmp(a, "--workers=", 10) == 0)
            MU_TRY(take_workers(a + 10, &r->workers));
        else if (options && a[0] == '-' && a[1])
            return mu_fail(MU_USAGE, "config: unknown option '%s': see muster config --help", a);
        else if (mu_config_is_override(a))
            r->overrides[r->noverrides++] = argv[i];
        else
            r->files[r->nfiles++] = argv[i];
    }
    if (!r->help && !r->keys && r->nfiles == 0)
        return mu_fail(MU_USAGE, "config: no CONFIG given: see muster config --help");
    return MU_OK;
}

static void say_notes(const char *notes)
{
    for (const char *line = notes; line && *line;) {
        size_t n = strcspn(line, "\n");
        mu_info("%.*s", (int)n, line);
        line += n + (line[n] != '\0');
    }
}

static void describe(const mu_config_t *config, mu_buf_t *out)
{
    if (config->dp > 0)
        mu_buf_addf(out, "# %d workers: tp %d x dp %d; a step is %lld samples = %lld x %lld x %d\n",
                    config->workers, config->tp, config->dp, (long long)config->train_batch_size,
                    (long long)config->micro_batch, (long long)config->accumulation, config->dp);
}

static mu_status_t print(const mu_buf_t *text)
{
    if (fwrite(text->data, 1, text->len, stdout) != text->len || fflush(stdout) != 0)
        return mu_fail(MU_IO, "standard output: cannot write: %s", strerror(errno));
    return MU_OK;
}

static mu_status_t show_config(const request_t *r, mu_buf_t *out)
{
    mu_config_t *config;
    mu_world_t world = {.workers = (int)r->workers, .device_has_fp16 = true};
    MU_TRY(mu_config_load(r->files, r->nfiles, r->overrides, r->noverrides, &config));
    const char *missing = mu_config_missing(config);
    mu_status_t status = MU_OK;
    if (missing && !r->workers)
        mu_info("a part of a configuration: a run also needs %s", missing);
    else
        status = mu_config_resolve(config, &world);
    mu_buf_t notes = MU_BUF_INIT;
    if (status == MU_OK && !missing)
        status = mu_start_check(&(mu_start_question_t){.config = config}, &notes);
    if (status == MU_OK) {
        say_notes(mu_config_notes(config));
        say_notes(notes.data);
        if (r->json) {
            mu_config_write_json(config, out);
        } else {
            describe(config, out);
            mu_config_write_yaml(config, true, out);
        }
    }
    mu_buf_release(&notes);
    mu_config_free(config);
    return status;
}

mu_status_t mu_cmd_config(int argc, char **argv)
{
    mu_buf_t out = MU_BUF_INIT;
    request_t r = {.files = mu_calloc((size_t)argc, sizeof *r.files),
                   .overrides = mu_calloc((size_t)argc, sizeof *r.overrides)};
    mu_status_t status = read_arguments(argc, argv, &r);
    if (status == MU_OK && r.help)
        mu_buf_adds(&out, help);
    else if (status == MU_OK && r.keys)
        mu_config_write_keys(&out);
    else if (status == MU_OK)
        status = show_config(&r, &out);
    if (status == MU_OK)
        status = print(&out);
    mu_buf_release(&out);
    free(r.files);
    free(r.overrides);
    return status;
}
