#include "launcher/cmd/cmd_export.h"
#include "common/args.h"
#include "common/checkpoint/reference.h"
#include "common/file.h"
#include "common/log.h"
#include "launcher/run/cmd_worker.h"
#include "launcher/track/register.h"
#include "launcher/track/mlflow_address.h"

#include <stdlib.h>
#include <string.h>

typedef struct options {
    const char *name, *alias, *mlflow; /* ours */
    const char *output, *model;        /* seen on the way to muster-worker */
    mu_args_t worker;
    bool help;
} options_t;

/* "--option VALUE" or "--option=VALUE": the value, and *i at its last word; NULL when argv[*i] is another word. */
static const char *value_of(const char *option, int argc, char **argv, int *i, bool *missing)
{
    size_t n = strlen(option);
    if (strncmp(argv[*i], option, n) != 0 || (argv[*i][n] != '\0' && argv[*i][n] != '='))
        return NULL;
    if (argv[*i][n] == '=')
        return argv[*i] + n + 1;
    *missing = *i + 1 == argc;
    return *missing ? "" : argv[++*i];
}

static mu_status_t parse(int argc, char **argv, options_t *out)
{
    struct {
        const char *option;
        const char **value;
        bool ours;
    } rows[] = {{"--register", &out->name, true},
                {"--alias", &out->alias, true},
                {"--mlflow", &out->mlflow, true},
                {"--output", &out->output, false}};
    mu_args_add(&out->worker, argv[0]);
    for (int i = 1; i < argc; i++) {
        bool taken = false, missing = false, ours = false;
        int first = i;
        for (size_t k = 0; k < sizeof rows / sizeof *rows && !taken; k++) {
            const char *value = value_of(rows[k].option, argc, argv, &i, &missing);
            taken = value != NULL;
            ours = taken && rows[k].ours;
            if (taken)
                *rows[k].value = value;
        }
        if (missing && ours)
            return mu_fail(MU_USAGE, "export: %s needs a value", argv[i]);
        if (!taken && argv[i][0] != '-')
            out->model = argv[i];
        out->help |= strcmp(argv[i], "--help") == 0;
        for (int k = first; k <= i && !ours; k++)
            mu_args_add(&out->worker, argv[k]);
    }
    if (!out->name && (out->alias || out->mlflow) && !out->help)
        return mu_fail(MU_USAGE, "export: --alias and --mlflow go with --register NAME");
    if (out->name && !mu_register_name_ok(out->name))
        return mu_fail(MU_USAGE, "export: --register '%s': letters, digits, spaces and ._- are wanted",
                       out->name);
    if (out->alias && !mu_register_name_ok(out->alias))
        return mu_fail(MU_USAGE, "export: --alias '%s': letters, digits and ._- are wanted", out->alias);
    return MU_OK;
}

/* The run directory of a model reference: RUN itself, or that of RUN/checkpoints/step-N. NULL when there is none. */
static char *run_of(const char *model)
{
    char *path;
    if (!model || mu_reference_path(model, &path) != MU_OK)
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

static mu_status_t export_and_register(const options_t *o)
{
    mu_secrets_t *secrets = NULL;
    mu_buf_t base = MU_BUF_INIT;
    char *run = NULL;
    mu_status_t status;
    MU_TRY(mu_secrets_take(&secrets)); /* muster-worker does not get them */
    MU_TRY_GOTO(status, mu_secrets_read_token(secrets), end);
    MU_TRY_GOTO(status, mu_mlflow_address("export", o->mlflow, secrets, &base), end);
    if (base.len == 0) {
        status = mu_fail(MU_USAGE, "export: --register wants a server: --mlflow URI, or MLFLOW_TRACKING_URI");
        goto end;
    }
    MU_TRY_GOTO(status, mu_cmd_worker_wait(o->worker.n, o->worker.v), end);
    run = run_of(o->model);
    status = mu_register(&(mu_register_t){.dir = o->output,
                                          .run_dir = run,
                                          .mlflow = base.data,
                                          .name = o->name,
                                          .alias = o->alias,
                                          .secrets = secrets});
end:
    free(run);
    mu_buf_release(&base);
    mu_secrets_free(secrets);
    return status;
}

mu_status_t mu_cmd_export(int argc, char **argv)
{
    options_t o = {0};
    mu_status_t status = parse(argc, argv, &o);
    if (status == MU_OK && (!o.name || o.help || !o.output))
        status = mu_cmd_worker(o.worker.n, o.worker.v);
    else if (status == MU_OK)
        status = export_and_register(&o);
    mu_args_free(&o.worker);
    return status;
}
