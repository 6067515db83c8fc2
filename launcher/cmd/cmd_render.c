#include "launcher/cmd/cmd_render.h"
#include "common/log.h"
#include "launcher/plan/start_check.h"
#include "launcher/render/render.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>

static const char help[] =
    "usage: muster render slurm|mpijob|trainjob|storage|argo CONFIG... [key=value...]\n"
    "\n"
    "Prints what runs a config there: a script for sbatch (or, with chain=, one that "
    "submits a job a step); the "
    "ConfigMap,\n"
    "ServiceAccount, NetworkPolicy and MPIJob for kubectl apply; the claims, account "
    "and Secret of a workflow; "
    "Argo's\n"
    "WorkflowTemplate.\n"
    "A key is a parameter below, else one of the config.\n"
    "";

static const char *const targets[MU_RENDER_TARGETS] = {[MU_RENDER_SLURM] = "slurm",
                                                       [MU_RENDER_MPIJOB] = "mpijob",
                                                       [MU_RENDER_STORAGE] = "storage",
                                                       [MU_RENDER_ARGO] = "argo",
                                                       [MU_RENDER_TRAINJOB] = "trainjob"};

static int target_of(const char *word)
{
    int i = 0;
    while (i < MU_RENDER_TARGETS && strcmp(targets[i], word) != 0)
        i++;
    return i;
}

typedef struct request {
    mu_params_t params;
    char **files, **overrides, **paths; /* paths: absolute, ours; the others point into argv */
    int nfiles, noverrides;
    bool help;
} request_t;

/* Words that name a secret and are no key of a config. */
static bool is_key(const char *argument)
{
    static const char *const words[] = {"api_key", "apikey", "password", "secret", "_token", "access_key"};
    char *name = mu_format("%.*s", (int)strcspn(argument, "="), argument);
    bool found = false;
    for (char *p = name; *p; p++)
        *p = *p == '-' ? '_' : (char)tolower((unsigned char)*p);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        found |= strstr(name, words[i]) != NULL;
    free(name);
    return found;
}

static mu_status_t read_arguments(int argc, char **argv, request_t *r)
{
    for (int i = 1; i < argc; i++)
        r->help |= strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;
    if (r->help)
        return MU_OK;
    int target = argc < 2 ? MU_RENDER_TARGETS : target_of(argv[1]);
    if (target == MU_RENDER_TARGETS)
        return mu_fail(MU_USAGE, "render: say where it shall run, slurm, mpijob, trainjob, storage or argo: "
                                 "see muster render --help");
    mu_params_init(&r->params, (mu_render_target_t)target);
    for (int i = 2; i < argc; i++) {
        bool taken = false;
        if (argv[i][0] == '-')
            return mu_fail(MU_USAGE, "render: no option '%s': see muster render --help", argv[i]);
        if (mu_config_is_override(argv[i])) {
            MU_TRY(mu_params_take(&r->params, argv[i], &taken));
            if (!taken && is_key(argv[i]))
                return mu_fail(
                    MU_USAGE,
                    "render: %.*s: a key would stay in the file and in its history: put it into a Secret and "
                    "name that",
                    (int)strcspn(argv[i], "="), argv[i]);
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

/* The parameters say where model, data and run lie; the config's own words come after them. */
static mu_status_t load_config(const request_t *r, mu_args_t *keys, mu_config_t **config)
{
    if (r->params.target == MU_RENDER_ARGO || r->params.target == MU_RENDER_STORAGE)
        mu_argo_overrides(&r->params, keys);
    for (int i = 0; i < r->noverrides; i++)
        mu_args_add(keys, r->overrides[i]);
    return mu_config_load(r->files, r->nfiles, keys->v, keys->n, config);
}

static mu_status_t render_loaded(request_t *r, const mu_args_t *keys, mu_config_t *config, mu_buf_t *out)
{
    mu_plan_query_t query = {.files = r->files,
                             .nfiles = r->nfiles,
                             .overrides = keys->v,
                             .noverrides = keys->n,
                             .mfu = 0.4,
                             .workers = mu_params_number(&r->params, "workers")};
    switch (r->params.target) {
    case MU_RENDER_SLURM:
        return render_slurm(r, config, out);
    case MU_RENDER_STORAGE:
        return mu_render_storage(&r->params, &query, out);
    case MU_RENDER_ARGO:
        return mu_render_argo(&r->params, config, out);
    case MU_RENDER_TRAINJOB:
        return mu_render_trainjob(&r->params, config, out);
    default:
        return mu_render_mpijob(&r->params, config, out);
    }
}

static mu_status_t render(request_t *r, mu_buf_t *out)
{
    mu_config_t *config = NULL;
    mu_args_t keys = {0};
    mu_buf_t notes = MU_BUF_INIT; /* what is not on this machine is on the cluster */
    mu_status_t status = load_config(r, &keys, &config);
    if (status == MU_OK && !mu_config_missing(config))
        status = mu_start_check(&(mu_start_question_t){.config = config}, &notes);
    if (status == MU_OK)
        status = render_loaded(r, &keys, config, out);
    mu_buf_release(&notes);
    if (config)
        mu_config_free(config);
    mu_args_free(&keys);
    return status;
}

static void write_help(mu_buf_t *out)
{
    mu_buf_adds(out, help);
    for (int i = 0; i < MU_RENDER_TARGETS; i++) {
        mu_buf_addf(out, "\n%s:\n", targets[i]);
        mu_params_help((mu_render_target_t)i, out);
    }
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
