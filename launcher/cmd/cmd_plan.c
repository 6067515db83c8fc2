#include "launcher/cmd/cmd.h"
#include "common/log.h"
#include "common/pages.h"
#include "common/stdio_setup.h"
#include "launcher/plan/plan.h"

#include <errno.h>

typedef struct plan_args {
    mu_words_t files, overrides;
    int64_t workers;
    const char *card;
    uint64_t device_memory;
    double mfu;
    bool json, scale;
    double step, spread, failures, checkpoint, restart; /* below 0: not given */
    uint64_t bandwidth;
} plan_args_t;

static const mu_option_t options[] = {
    MU_OPT("CONFIG", NULL, MU_OPTION_OPERANDS, offsetof(plan_args_t, files), "GPT-NeoX YAML files",
           .required = true),
    MU_OPT("key=value", NULL, MU_OPTION_OVERRIDES, offsetof(plan_args_t, overrides), "wins over the files", ),
    MU_OPT("--workers", "N", MU_OPTION_INT, offsetof(plan_args_t, workers),
           "default: what the three batch sizes say together, else one replica", .min = 1, .max = 1 << 20),
    MU_OPT(
        "--gpu", "NAME", MU_OPTION_TEXT, offsetof(plan_args_t, card),
        "plan for this card: its memory, and time from its bf16 peak. The figures are what the formulas say, "
        "not "
        "measurements", ),
    MU_OPT("--device-memory", "SIZE", MU_OPTION_SIZE, offsetof(plan_args_t, device_memory),
           "memory of a worker's device (24GiB); with --gpu in place of the card's", .min = 1 << 20,
           .max = 0x1p50),
    MU_OPT("--mfu", "FRACTION", MU_OPTION_F64, offsetof(plan_args_t, mfu),
           "part of the peak that training reaches, default 0.4 (model FLOPs, gpt-neox's formula)",
           .min = 1e-6, .max = 1),
    MU_OPT("--scale", NULL, MU_OPTION_FLAG, offsetof(plan_args_t, scale),
           "also step time and goodput at 16, 64, 256 and 1,024 GPUs, simulated from the figures below", ),
    MU_OPT("--step-seconds", "S", MU_OPTION_F64, offsetof(plan_args_t, step),
           "of --scale: a step of one replica, as measured; default: as --gpu and --mfu say", .min = 1e-6,
           .max = 1e6),
    MU_OPT("--spread", "FRACTION", MU_OPTION_F64, offsetof(plan_args_t, spread),
           "of --scale: standard deviation of a worker's step, as a part of it; default 0.02", .min = 0,
           .max = 1),
    MU_OPT("--bandwidth", "SIZE", MU_OPTION_SIZE, offsetof(plan_args_t, bandwidth),
           "of --scale: bytes a second that a worker exchanges with other hosts; default: exchange costs "
           "nothing",
           .min = 1, .max = 0x1p50),
    MU_OPT("--failures", "F", MU_OPTION_F64, offsetof(plan_args_t, failures),
           "of --scale: failures a GPU and day; default 0.003, one in 7.9 h on 1,024 GPUs", .min = 0,
           .max = 1e3),
    MU_OPT("--checkpoint-seconds", "S", MU_OPTION_F64, offsetof(plan_args_t, checkpoint),
           "of --scale: that training stands still for a checkpoint; default 10", .min = 0, .max = 1e6),
    MU_OPT("--restart-seconds", "S", MU_OPTION_F64, offsetof(plan_args_t, restart),
           "of --scale: from a failure to the next step; default 180", .min = 0, .max = 1e6),
    MU_OPT("--json", NULL, MU_OPTION_FLAG, offsetof(plan_args_t, json), "one JSON object", ),
    MU_OPT_END};

static void list_cards(mu_buf_t *out)
{
    mu_buf_adds(out, "\ncards:");
    for (int i = 0; mu_card_at(i); i++)
        mu_buf_addf(out, "%s%s", i > 0 && i % 8 == 0 ? "\n       " : " ", mu_card_at(i)->name);
    mu_buf_addc(out, '\n');
}

const mu_command_t mu_plan_command = {
    .name = "plan",
    .summary = "what a run needs and how long it takes, from the config alone",
    .about =
        "Says from the config alone what a run needs: layout, batch, parameters, memory of a worker by kind, "
        "checkpoints and the room for them, FLOPs, and on a named card how long it takes; with warnings. "
        "Starts "
        "nothing. Formulas: " MU_PAGE("plan"),
    .options = options,
    .more = list_cards,
    .exits = "0; 2 bad command line; 66 file missing; 78 config invalid, or it does not fit the device's "
             "memory or the "
             "volume",
    .is_override = mu_config_is_override};

static double given(double value, double otherwise)
{
    return value < 0 ? otherwise : value;
}

/* The figures of --scale; false when some are given without it. */
static bool scale_figures(const plan_args_t *a, mu_scale_figures_t *out)
{
    bool any = a->step >= 0 || a->spread >= 0 || a->failures >= 0 || a->checkpoint >= 0 || a->restart >= 0 ||
               a->bandwidth > 0;
    *out = (mu_scale_figures_t){.step = given(a->step, 0),
                                .spread = given(a->spread, 0.02),
                                .bandwidth = (double)a->bandwidth,
                                .failures = given(a->failures, 0.003),
                                .checkpoint = given(a->checkpoint, 10),
                                .restart = given(a->restart, 180)};
    return a->scale || !any;
}

/* misfit: what does not fit, as an error after the plan is printed. */
static mu_status_t show(const mu_plan_query_t *query, bool json, mu_buf_t *out, mu_buf_t *misfit)
{
    mu_plan_t plan;
    mu_status_t status = MU_OK;
    MU_TRY(mu_plan_make(query, &plan));
    mu_log_lines(MU_LOG_INFO, mu_config_notes(plan.config));
    mu_log_lines(MU_LOG_INFO, plan.notes.data);
    mu_log_lines(MU_LOG_WARN, plan.warnings.data);
    if (!plan.fits)
        mu_buf_adds(misfit, "the model does not fit the device's memory");
    else if (plan.volume_bytes > 0 && plan.checkpoints > 0 && plan.volume_free < plan.checkpoint_bytes)
        mu_buf_addf(misfit,
                    "%s: its volume has no room for one checkpoint: %lld bytes are wanted, %lld are free",
                    plan.config->save, (long long)plan.checkpoint_bytes, (long long)plan.volume_free);
    if (json)
        status = mu_plan_write_json(&plan, out);
    else
        mu_plan_write_text(&plan, out);
    mu_plan_free(&plan);
    return status;
}

static mu_status_t find_card(const char *name, const mu_card_t **out)
{
    *out = name ? mu_card_find(name) : NULL;
    return *out || !name
               ? MU_OK
               : mu_fail(MU_USAGE, "plan: no card '%s': see muster plan --help, or give --device-memory",
                         name);
}

mu_status_t mu_cmd_plan(int argc, char **argv)
{
    mu_buf_t out = MU_BUF_INIT, misfit = MU_BUF_INIT;
    plan_args_t a = {.mfu = 0.4, .step = -1, .spread = -1, .failures = -1, .checkpoint = -1, .restart = -1};
    const mu_card_t *card;
    mu_scale_figures_t scale;
    bool help;
    mu_status_t status = mu_options_parse(&mu_plan_command, argc, argv, &a, NULL, &help);
    if (status != MU_OK || help)
        goto out;
    MU_TRY_GOTO(status, find_card(a.card, &card), out);
    if (!scale_figures(&a, &scale)) {
        status = mu_fail(MU_USAGE,
                         "plan: --step-seconds, --spread, --bandwidth, --failures, --checkpoint-seconds and "
                         "--restart-seconds are figures of --scale: add it");
        goto out;
    }
    status = show(&(mu_plan_query_t){.scale = a.scale ? &scale : NULL,
                                     .files = a.files.item,
                                     .nfiles = a.files.count,
                                     .overrides = a.overrides.item,
                                     .noverrides = a.overrides.count,
                                     .card = card,
                                     .device_memory = a.device_memory,
                                     .mfu = a.mfu,
                                     .workers = a.workers},
                  a.json, &out, &misfit);
    if (status == MU_OK)
        status = mu_stdio_write(&out);
    if (status == MU_OK && misfit.len > 0)
        status = mu_fail(MU_CONFIG, "plan: %s", misfit.data);
out:
    mu_buf_release(&misfit);
    mu_buf_release(&out);
    mu_options_release(&mu_plan_command, &a);
    return status;
}
