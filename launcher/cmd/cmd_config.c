#include "launcher/cmd/cmd.h"
#include "common/config/config.h"
#include "common/log.h"
#include "common/stdio_setup.h"

#include "launcher/plan/start_check.h"

#include <errno.h>

typedef struct request {
    mu_words_t files, overrides;
    int64_t workers;
    bool json, keys;
} request_t;

static const mu_option_t options[] = {
    MU_OPT("CONFIG", NULL, MU_OPTION_OPERANDS, offsetof(request_t, files),
           "a GPT-NeoX YAML file; .yml is added when it is left out. A key may stand in one of the files "
           "only", ),
    MU_OPT("key=value", NULL, MU_OPTION_OVERRIDES, offsetof(request_t, overrides),
           "wins over the files: train_iters=100, optimizer.params.lr=1.0e-4, muster.device=cpu", ),
    MU_OPT(
        "--workers", "N", MU_OPTION_INT, offsetof(request_t, workers),
        "also fit batch and layout to N workers; without it only what fits no number of workers is refused",
        .min = 1, .max = 1 << 20),
    MU_OPT("--json", NULL, MU_OPTION_FLAG, offsetof(request_t, json),
           "print {\"key\": {\"value\": ..., \"origin\": \"...\"}, ...}", ),
    MU_OPT(
        "--keys", NULL, MU_OPTION_FLAG, offsetof(request_t, keys),
        "print every key: name, type, class, default, what it does. Classes: honoured; no effect (accepted, "
        "logged once); "
        "default only (any other value is an error)", ),
    MU_OPT_END};

const mu_command_t mu_config_command = {
    .name = "config",
    .summary = "effective values with their origin; all keys",
    .about = "Reads GPT-NeoX YAML files, merges them, and prints the effective value of every key with its "
             "origin.",
    .options = options,
    .exits = "0 valid; 2 bad command line; 65 not UTF-8 text; 66 file missing; 78 invalid (each mistake with "
             "file:line:column)",
    .is_override = mu_config_is_override};

static void describe(const mu_config_t *config, mu_buf_t *out)
{
    if (config->dp > 0)
        mu_buf_addf(out, "# %d workers: tp %d x dp %d; a step is %lld samples = %lld x %lld x %d\n",
                    config->workers, config->tp, config->dp, (long long)config->train_batch_size,
                    (long long)config->micro_batch, (long long)config->accumulation, config->dp);
}

static mu_status_t show_config(const request_t *r, mu_buf_t *out)
{
    mu_config_t *config;
    mu_world_t world = {.workers = (int)r->workers, .device_has_fp16 = true};
    MU_TRY(mu_config_load(r->files.item, r->files.count, r->overrides.item, r->overrides.count, &config));
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
        mu_log_lines(MU_LOG_INFO, mu_config_notes_in_full(config));
        mu_log_lines(MU_LOG_INFO, notes.data);
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
    request_t r = {0};
    bool help;
    mu_status_t status = mu_options_parse(&mu_config_command, argc, argv, &r, NULL, &help);
    if (status == MU_OK && !help && r.keys)
        mu_config_write_keys(&out);
    else if (status == MU_OK && !help)
        status = r.files.count > 0 ? show_config(&r, &out)
                                   : mu_fail(MU_USAGE, "config: no CONFIG given: see muster config --help");
    if (status == MU_OK)
        status = mu_stdio_write(&out);
    mu_buf_release(&out);
    mu_options_release(&mu_config_command, &r);
    return status;
}
