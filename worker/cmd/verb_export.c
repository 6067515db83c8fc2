#include "common/commands/convert_commands.h"
#include "common/log.h"
#include "common/meter.h"
#include "common/checkpoint/foreign.h"
#include "worker/convert/hf_export.h"
#include "worker/cmd/verbs.h"

static mu_status_t export_model(const mu_export_args_t *o)
{
    mu_checkpoint_t *checkpoint;
    const char *model = o->model.item[0], *output = o->output;
    MU_TRY(mu_checkpoint_newest(model, INT64_MAX, &checkpoint));
    if (!checkpoint)
        return mu_foreign_refuse(NULL, model);
    mu_meter_begin("export", MU_METER_BYTES, 0);
    mu_status_t status = mu_hf_export(checkpoint, o->base, o->merge, output);
    mu_meter_end();
    if (status == MU_OK)
        mu_info("'%s': the weights of '%s'", output, mu_checkpoint_path(checkpoint));
    mu_checkpoint_close(checkpoint);
    return status;
}

mu_status_t mu_verb_export(int argc, char **argv)
{
    mu_export_args_t o = {.output = NULL};
    bool help;
    mu_status_t status = mu_options_parse_worker(&mu_export_command, argc, argv, &o, &help);
    if (status == MU_OK && !help)
        status = export_model(&o);
    mu_options_release(&mu_export_command, &o);
    return status;
}
