#include "launcher/cmd/cmd_render.h"
#include "common/log.h"
#include "launcher/plan/start_check.h"
#include "launcher/render/render.h"

#include <errno.h>
#include <limits.h>

static const char help[] =
    "usage: muster render slurm|mpijob CONFIG... [key=value...]\n"
    "\n"
    "Prints what runs a config there: a script for sbatch, or the ConfigMap, ServiceAccount, "
    "NetworkPolicy and MPIJob for kubectl apply.\n"
    "A key is a parameter below, else one of the config.\n"
    "\n"
    "slurm:\n";

typedef struct request {
    mu_params_t params;
    char **files, **overrides, **paths; /* paths: absolute, ours; the others point into argv */
    int nfiles, noverrides;
    bool help;
} request_t;

static mu_status_t read_arguments(int argc, char **argv, request_t *r)
{
    for (int i = 1; i < argc; i++)
        r->help |= strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;
    if (r->help)
        return MU_OK;
    if (argc < 2 || (strcmp(argv[1], "slurm") != 0 && strcmp(argv[1], "mpijob") != 0))
        return mu_fail(MU_USAGE, "render: say where it shall run, slurm or mpijob: see muster render --help");
    mu_params_init(&r->params, strcmp(argv[1], "slurm") == 0 ? MU_RENDER_SLURM : MU_RENDER_MPIJOB);
    for (int i = 2; i < argc; i++) {
        bool taken = false;
        if (argv[i][0] == '-')
            return mu_fail(MU_USAGE, "render: no option '%s': see muster render --help", argv[i]);
        if (mu_config_is_override(argv[i])) {
            MU_TRY(mu_params_take(&r->params, argv[i], &taken));
            if (!taken)
                r->overrides[r->noverrides++] = argv[i];
        } else {
            r->files[r->nfiles++] = argv[i];
        }
    }
    if (r->nfiles == 0)
        return mu_fail(MU_USAGE, "render: no CONFIG given: see muster render --help");
    return mu_params_finish(&r->params, r->files[0]);
}

/* The job runs elsewhere than here: paths of the config's files become absolute. */
static mu_status_t render_slurm(request_t *r, mu_config_t *config, mu_buf_t *out)
{
    char **words = mu_calloc((size_t)(r->nfiles + r->noverrides) + 1, sizeof *words);
    mu_world_t world = {.workers = (int)(mu_params_number(&r->params, "nodes") *
                                         mu_params_number(&r->params, "tasks_per_node")),
                        .slots_per_host = (int)mu_params_number(&r->params, "tasks_per_node"),
                        .device_has_fp16 = true};
    mu_status_t status = mu_config_resolve(config, &world);
    int n = 0;
    for (int i = 0; i < r->nfiles && status == MU_OK; i++) {
        char *with_suffix = mu_format("%s.yml", r->files[i]), *path = realpath(r->files[i], NULL);
        if (!path)
            path = realpath(with_suffix, NULL);
        free(with_suffix);
        if (!path)
            status = mu_fail(MU_NOINPUT, "%s: %s", r->files[i], strerror(errno));
        r->paths[i] = words[n++] = path;
    }
    for (int i = 0; i < r->noverrides; i++)
        words[n++] = r->overrides[i];
    if (status == MU_OK && (!config->save || !*config->save))
        status = mu_fail(MU_CONFIG, "render: the config has no save: give save=/a/shared/volume/run");
    if (status == MU_OK && config->save[0] != '/')
        mu_warn("save '%s' is relative to where sbatch is called", config->save);
    if (status == MU_OK && mu_params_text(&r->params, "chain"))
        status = mu_render_chain(&r->params, config, words, r->nfiles, n, out);
    else if (status == MU_OK)
        mu_render_slurm(&r->params, words, n, out);
    free(words);
    return status;
}

static mu_status_t render(request_t *r, mu_buf_t *out)
{
    mu_config_t *config;
    MU_TRY(mu_config_load(r->files, r->nfiles, r->overrides, r->noverrides, &config));
    mu_buf_t notes = MU_BUF_INIT; /* what is not on this machine is on the cluster */
    mu_status_t status =
        mu_config_missing(config) ? MU_OK : mu_start_check(&(mu_start_question_t){.config = config}, &notes);
    mu_buf_release(&notes);
    if (status != MU_OK) {
        mu_config_free(config);
        return status;
    }
    status = r->params.target == MU_RENDER_SLURM ? render_slurm(r, config, out)
                                                 : mu_render_mpijob(&r->params, config, out);
    mu_config_free(config);
    return status;
}

static void write_help(mu_buf_t *out)
{
    mu_buf_adds(out, help);
    mu_params_help(MU_RENDER_SLURM, out);
    mu_buf_adds(out, "\nmpijob:\n");
    mu_params_help(MU_RENDER_MPIJOB, out);
    mu_buf_adds(
        out, "\ndocs/slurm.md, docs/kubernetes.md\n"
             "exit codes: 0; 2 bad command line or parameter; 66 file missing; 78 config invalid, or it does "
             "not fit\n");
}

mu_status_t mu_cmd_render(int argc, char **argv)
{
    mu_buf_t out = MU_BUF_INIT;
    request_t r = {.files = mu_calloc((size_t)argc, sizeof(char *)),
                   .overrides = mu_calloc((size_t)argc, sizeof(char *)),
                   .paths = mu_calloc((size_t)argc, sizeof(char *))};
    mu_status_t status = read_arguments(argc, argv, &r);
    if (status == MU_OK && r.help)
        write_help(&out);
    else if (status == MU_OK)
        status = render(&r, &out);
    if (status == MU_OK && (fwrite(out.data, 1, out.len, stdout) != out.len || fflush(stdout) != 0))
        status = mu_fail(MU_IO, "standard output: cannot write: %s", strerror(errno));
    mu_buf_release(&out);
    mu_params_release(&r.params);
    for (int i = 0; i < r.nfiles; i++)
        free(r.paths[i]);
    free(r.files);
    free(r.overrides);
    free(r.paths);
    return status;
}
