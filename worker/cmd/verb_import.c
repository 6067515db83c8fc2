#include "common/commands/convert_commands.h"
#include "common/log.h"
#include "common/meter.h"
#include "worker/convert/hf_adapter.h"
#include "worker/convert/hf_import.h"
#include "worker/cmd/verbs.h"

static mu_status_t open_source(const mu_import_args_t *o, const char *dir, mu_import_t *import)
{
    if (mu_hf_adapter_is(dir)) {
        if (!o->base)
            return mu_fail(MU_USAGE, "%s: is an adapter: name the checkpoint of its base by --base", dir);
        return mu_hf_adapter_source_open(dir, o->base, import);
    }
    if (o->base)
        return mu_fail(MU_USAGE, "--base is for adapters: '%s' holds no " MU_PEFT_CONFIG, dir);
    if (mu_neox_source_is(dir))
        return mu_neox_source_open(dir, o->configs.item, o->configs.count, import);
    if (o->configs.count > 0)
        return mu_fail(MU_USAGE,
                       "--config is for gpt-neox's own checkpoints: '%s' holds neither "
                       "layer_XX-model_YY-model_states.pt nor mp_rank_YY_model_states.pt",
                       dir);
    return mu_hf_source_open(dir, import);
}

static mu_status_t import_model(const mu_import_args_t *o)
{
    const char *dir = o->dir.item[0];
    mu_import_t import;
    MU_TRY(open_source(o, dir, &import));
    import.dir = dir;
    import.specials = o->specials.item;
    import.special_count = o->specials.count;
    import.allow_nonfinite = o->allow_nonfinite;
    mu_meter_begin("import", MU_METER_BYTES,
                   (uint64_t)mu_model_trained_parameters(&import.config->model) * sizeof(float));
    mu_status_t status = mu_import_write(&import, o->output);
    mu_meter_end();
    if (status == MU_OK)
        mu_info("'%s': a %s of %lld parameters from '%s'", o->output, import.what,
                (long long)mu_model_trained_parameters(&import.config->model), dir);
    mu_import_release(&import);
    return status;
}

mu_status_t mu_verb_import(int argc, char **argv)
{
    mu_import_args_t o = {.output = NULL};
    bool help;
    mu_status_t status = mu_options_parse_worker(&mu_import_command, argc, argv, &o, &help);
    if (status == MU_OK && !help)
        status = import_model(&o);
    mu_options_release(&mu_import_command, &o);
    return status;
}
