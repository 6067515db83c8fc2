#include "common/log.h"
#include "common/meter.h"
#include "common/checkpoint/foreign.h"
#include "worker/convert/hf_export.h"
#include "worker/cmd/verbs.h"

#include <getopt.h>

static const char usage[] =
    "usage: muster export CKPT --output HF_DIR\n"
    "\n"
    "Makes a Hugging Face directory of a checkpoint (or of a run's: RUN, RUN@best, RUN@STEP): config.json,\n"
    "model.safetensors with the same weights in fp32, tokenizer.json. from_pretrained(HF_DIR) loads it as a\n"
    "GPTNeoXForCausalLM or GPT2LMHeadModel with the same logits.\n"
    "\n"
    "  --output HF_DIR  a directory that does not exist, or an empty one; the same export again is exit 0\n"
    "  --register NAME  a version of the model NAME in MLflow's registry is made of it, [--alias A] with "
    "that alias;\n"
    "                   the server is [--mlflow URI], else MLFLOW_TRACKING_URI\n";

static mu_status_t parse(int argc, char **argv, const char **output, bool *help)
{
    static const struct option longs[] = {
        {"output", required_argument, 0, 'o'}, {"help", no_argument, 0, 'h'}, {0, 0, 0, 0}};
    *output = NULL;
    *help = false;
    for (int opt; (opt = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (opt == 'o')
            *output = optarg;
        else if (opt == 'h')
            *help = true;
        else
            return mu_fail(MU_USAGE, "see `muster export --help`");
    }
    if (!*help && (optind + 1 != argc || !*output))
        return mu_fail(MU_USAGE, "export needs one checkpoint and --output: see `muster export --help`");
    return MU_OK;
}

mu_status_t mu_verb_export(int argc, char **argv)
{
    const char *output;
    bool help;
    mu_checkpoint_t *checkpoint;
    MU_TRY(parse(argc, argv, &output, &help));
    if (help) {
        fputs(usage, stdout);
        return MU_OK;
    }
    MU_TRY(mu_checkpoint_newest(argv[optind], INT64_MAX, &checkpoint));
    if (!checkpoint)
        return mu_foreign_refuse(NULL, argv[optind]);
    mu_meter_begin("export", MU_METER_BYTES, 0);
    mu_status_t status = mu_hf_export(checkpoint, output);
    mu_meter_end();
    if (status == MU_OK)
        mu_info("'%s': the weights of '%s'", output, mu_checkpoint_path(checkpoint));
    mu_checkpoint_close(checkpoint);
    return status;
}
