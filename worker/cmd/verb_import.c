#include "common/file.h"
#include "common/log.h"
#include "common/meter.h"
#include "worker/convert/hf_import.h"
#include "worker/cmd/verbs.h"

#include <getopt.h>

static const char usage[] =
    "usage: muster import DIR --output CKPT [--config FILE]... [--special NAME]... [--allow-nonfinite]\n"
    "\n"
    "Makes a checkpoint of a pretrained model, without optimizer state. `muster eval`, `generate` and "
    "`export`\n"
    "take it, and a run begins from it with load=CKPT finetune=true. Weights in fp16 and bf16 become fp32.\n"
    "\n"
    "DIR is a Hugging Face directory of a GPTNeoXForCausalLM or GPT2LMHeadModel: config.json,\n"
    "model.safetensors (or model.safetensors.index.json and its files), tokenizer.json (or vocab.json and\n"
    "merges.txt). Or DIR is a checkpoint of gpt-neox, or the directory that it saves them in:\n"
    "layer_XX-model_YY-model_states.pt, or mp_rank_YY_model_states.pt of a run without pipeline stages, of "
    "any\n"
    "tensor-parallel width, and the run's configs/*.yml. ZeRO's files are not needed.\n"
    "\n"
    "  --config FILE    gpt-neox: the model's YAML, where there is no configs/ or to use others\n"
    "  --special NAME   adds a special token, as '<|quest|>', after the tokenizer's ids\n"
    "  --allow-nonfinite\n"
    "                   weights that are NaN or infinite are warned of; otherwise they are an error\n"
    "  --output CKPT    a directory that holds no checkpoint; it is made. The same import again is exit 0\n";

enum { CONFIGS = 16, SPECIALS = 1024 };

typedef struct options {
    const char *dir, *output;
    char *configs[CONFIGS], *specials[SPECIALS];
    int nconfigs, nspecials;
    bool allow_nonfinite, help;
} options_t;

static mu_status_t parse(int argc, char **argv, options_t *o)
{
    static const struct option longs[] = {
        {"output", required_argument, 0, 'o'},  {"config", required_argument, 0, 'c'},
        {"special", required_argument, 0, 's'}, {"allow-nonfinite", no_argument, 0, 'n'},
        {"help", no_argument, 0, 'h'},          {0, 0, 0, 0}};
    *o = (options_t){0};
    for (int opt; (opt = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (opt == 'o')
            o->output = optarg;
        else if (opt == 'h')
            o->help = true;
        else if (opt == 'n')
            o->allow_nonfinite = true;
        else if (opt == 'c' && o->nconfigs < CONFIGS)
            o->configs[o->nconfigs++] = optarg;
        else if (opt == 's' && o->nspecials < SPECIALS)
            o->specials[o->nspecials++] = optarg;
        else
            return mu_fail(MU_USAGE, "see `muster import --help`");
    }
    if (o->help)
        return MU_OK;
    if (optind + 1 != argc || !o->output)
        return mu_fail(MU_USAGE, "import needs one directory and --output: see `muster import --help`");
    o->dir = argv[optind];
    return MU_OK;
}

static mu_status_t open_source(const options_t *o, mu_import_t *import)
{
    if (mu_neox_source_is(o->dir))
        return mu_neox_source_open(o->dir, o->configs, o->nconfigs, import);
    if (o->nconfigs > 0)
        return mu_fail(MU_USAGE,
                       "--config is for gpt-neox's own checkpoints: '%s' holds neither "
                       "layer_XX-model_YY-model_states.pt nor mp_rank_YY_model_states.pt",
                       o->dir);
    return mu_hf_source_open(o->dir, import);
}

mu_status_t mu_verb_import(int argc, char **argv)
{
    options_t o;
    mu_import_t import;
    MU_TRY(parse(argc, argv, &o));
    if (o.help) {
        fputs(usage, stdout);
        return MU_OK;
    }
    MU_TRY(open_source(&o, &import));
    import.dir = o.dir;
    import.specials = o.specials;
    import.special_count = o.nspecials;
    import.allow_nonfinite = o.allow_nonfinite;
    mu_meter_begin("import", MU_METER_BYTES,
                   (uint64_t)mu_model_parameters(&import.config->model) * sizeof(float));
    mu_status_t status = mu_import_write(&import, o.output);
    mu_meter_end();
    if (status == MU_OK)
        mu_info("'%s': a %s of %lld parameters from '%s'", o.output, import.what,
                (long long)mu_model_parameters(&import.config->model), o.dir);
    mu_import_release(&import);
    return status;
}
