#include "launcher/cmd/cmd.h"
#include "common/args.h"
#include "common/checkpoint/reference.h"
#include "common/commands/convert_commands.h"
#include "common/file.h"
#include "common/log.h"
#include "launcher/run/cmd_worker.h"
#include "launcher/track/register.h"
#include "launcher/track/mlflow_address.h"

#include <stdlib.h>
#include <string.h>

static mu_status_t check(const mu_export_args_t *o)
{
    if (!o->name && (o->alias || o->mlflow))
        return mu_fail(MU_USAGE, "export: --alias and --mlflow go with --register NAME");
    if (o->name && !mu_register_name_ok(o->name))
        return mu_fail(MU_USAGE, "export: --register '%s': letters, digits, spaces and ._- are wanted",
                       o->name);
    if (o->alias && !mu_register_name_ok(o->alias))
        return mu_fail(MU_USAGE, "export: --alias '%s': letters, digits and ._- are wanted", o->alias);
    return MU_OK;
}

/* The run directory of a model reference: RUN itself, or that of RUN/checkpoints/step-N. NULL when there is none. */
static char *run_of(const char *model)
{
    char *path;
    if (mu_reference_path(model, &path) != MU_OK)
        return NULL;
    for (int up = 0; up < 3; up++) {
        char *state = mu_path_join(path, "run.json");
        bool there = mu_is_file(state);
        char *slash = strrchr(path, '/');
        free(state);
        if (there)
            return path;
        if (!slash || slash == path)
            break;
        *slash = '\0';
    }
    free(path);
    return NULL;
}

static mu_status_t export_and_register(const mu_export_args_t *o, const mu_args_t *worker)
{
    mu_secrets_t *secrets = NULL;
    mu_buf_t base = MU_BUF_INIT;
    char *run = NULL;
    const char *experiment;
    mu_status_t status;
    MU_TRY(mu_secrets_take(&secrets)); /* muster-worker does not get them */
    MU_TRY_GOTO(status, mu_secrets_read_token(secrets), end);
    MU_TRY_GOTO(status, mu_mlflow_address("export", o->mlflow, secrets, &base), end);
    if (base.len == 0) {
        status = mu_fail(MU_USAGE, "export: --register wants a server: --mlflow URI, or MLFLOW_TRACKING_URI");
        goto end;
    }
    MU_TRY_GOTO(status, mu_mlflow_experiment_name(&experiment), end);
    MU_TRY_GOTO(status, mu_cmd_worker_wait(worker->n, worker->v), end);
    run = run_of(o->model.item[0]);
    status = mu_register(&(mu_register_t){.dir = o->output,
                                          .run_dir = run,
                                          .mlflow = base.data,
                                          .name = o->name,
                                          .alias = o->alias,
                                          .experiment = experiment,
                                          .secrets = secrets});
end:
    free(run);
    mu_buf_release(&base);
    mu_secrets_free(secrets);
    return status;
}

mu_status_t mu_cmd_export(int argc, char **argv)
{
    mu_export_args_t o = {.output = NULL};
    mu_args_t worker = {0};
    bool help;
    mu_args_add(&worker, argv[0]);
    mu_status_t status = mu_options_parse(&mu_export_command, argc, argv, &o, &worker, &help);
    if (status != MU_OK || help)
        goto out;
    MU_TRY_GOTO(status, check(&o), out);
    mu_args_add(&worker, "--");
    mu_args_add(&worker, o.model.item[0]);
    status = o.name ? export_and_register(&o, &worker) : mu_cmd_worker(worker.n, worker.v);
out:
    mu_args_free(&worker);
    mu_options_release(&mu_export_command, &o);
    return status;
}
