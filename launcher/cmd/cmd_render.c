#include "launcher/cmd/cmd.h"
#include "common/file.h"
#include "common/log.h"
#include "common/pages.h"
#include "common/stdio_setup.h"
#include "launcher/plan/start_check.h"
#include "launcher/render/render.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>

static const char *const targets[MU_RENDER_TARGETS] = {
    [MU_RENDER_SLURM] = "slurm", [MU_RENDER_MPIJOB] = "mpijob",     [MU_RENDER_STORAGE] = "storage",
    [MU_RENDER_ARGO] = "argo",   [MU_RENDER_TRAINJOB] = "trainjob", [MU_RENDER_SERVE] = "serve"};

static int target_of(const char *word)
{
    int i = 0;
    while (i < MU_RENDER_TARGETS && strcmp(targets[i], word) != 0)
        i++;
    return i;
}

typedef struct request {
    mu_words_t words,
        keys;           /* as given: the target and the config's files; parameters and the config's keys */
    const char *output; /* NULL: stdout */
    mu_params_t params;
    char **files;         /* the words after the target */
    mu_words_t overrides; /* the keys that are no parameters */
    char **paths;         /* of the files, absolute; ours */
    int nfiles;
} request_t;

static const mu_option_t options[] = {
    MU_OPT("slurm|mpijob|trainjob|storage|argo|serve CONFIG", NULL, MU_OPTION_OPERANDS,
           offsetof(request_t, words), "where it shall run, then GPT-NeoX YAML files", .required = true),
    MU_OPT(
        "--output", "DIR", MU_OPTION_TEXT, offsetof(request_t, output),
        "storage, argo and serve: numbered files there, 01-claims.yaml to 08-serve.yaml, for kubectl apply",
        .choices = "DIR"),
    MU_OPT("key=value", NULL, MU_OPTION_OVERRIDES, offsetof(request_t, keys),
           "a parameter below, else a key of the config", ),
    MU_OPT_END};

static void list_parameters(mu_buf_t *out)
{
    for (int i = 0; i < MU_RENDER_TARGETS; i++) {
        mu_buf_addf(out, "\n%s:\n", targets[i]);
        mu_params_help((mu_render_target_t)i, out);
    }
}

const mu_command_t mu_render_command = {
    .name = "render",
    .summary = "the files that run a config under Slurm or Kubernetes",
    .about =
        "Prints what runs a config there: a script for sbatch (or, with chain=, one that submits a job a "
        "step); the ConfigMap, ServiceAccount, NetworkPolicy and MPIJob for kubectl apply; the claims, "
        "account and Secret of a workflow; Argo's WorkflowTemplate; what serves the model. " MU_PAGE(
            "slurm") ", " MU_PAGE("kubernetes") ", " MU_PAGE("serve"),
    .options = options,
    .more = list_parameters,
    .exits =
        "0; 2 bad command line or parameter; 66 file missing; 73 DIR cannot be made; 74 a file cannot be "
        "written; 78 config invalid, or it does not fit",
    .is_override = mu_config_is_override};

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

static mu_status_t read_arguments(request_t *r)
{
    int target = target_of(r->words.item[0]);
    if (target == MU_RENDER_TARGETS)
        return mu_fail(MU_USAGE,
                       "render: '%s': say what for, slurm, mpijob, trainjob, storage, argo or serve: "
                       "see muster render --help",
                       r->words.item[0]);
    if (r->output && target != MU_RENDER_STORAGE && target != MU_RENDER_ARGO && target != MU_RENDER_SERVE)
        return mu_fail(MU_USAGE, "render: --output is for storage, argo and serve: %s is one file, on stdout",
                       targets[target]);
    mu_params_init(&r->params, (mu_render_target_t)target);
    for (int i = 0; i < r->keys.count; i++) {
        char *key = r->keys.item[i];
        bool taken = false;
        MU_TRY(mu_params_take(&r->params, key, &taken));
        if (!taken && is_key(key))
            return mu_fail(
                MU_USAGE,
                "render: %.*s: a key would stay in the file and in its history: put it into a Secret and "
                "name that",
                (int)strcspn(key, "="), key);
        if (!taken)
            mu_words_add(&r->overrides, key);
    }
    r->files = r->words.item + 1;
    r->nfiles = r->words.count - 1;
    if (r->nfiles == 0)
        return mu_fail(MU_USAGE, "render: no CONFIG given: see muster render --help");
    r->paths = mu_calloc((size_t)r->nfiles, sizeof *r->paths);
    return mu_params_finish(&r->params, r->files[0]);
}

/* The job runs elsewhere than here: paths of the config's files become absolute. */
static mu_status_t render_slurm(request_t *r, mu_config_t *config, mu_buf_t *out)
{
    char **words = mu_calloc((size_t)(r->nfiles + r->overrides.count) + 1, sizeof *words);
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
    for (int i = 0; i < r->overrides.count; i++)
        words[n++] = r->overrides.item[i];
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
    for (int i = 0; i < r->overrides.count; i++)
        mu_args_add(keys, r->overrides.item[i]);
    return mu_config_load(r->files, r->nfiles, keys->v, keys->n, config);
}

static mu_status_t render_loaded(request_t *r, const mu_args_t *keys, mu_config_t *config,
                                 mu_render_files_t *out)
{
    mu_plan_query_t query = {.files = r->files,
                             .nfiles = r->nfiles,
                             .overrides = keys->v,
                             .noverrides = keys->n,
                             .mfu = 0.4,
                             .untrained = true, /* whether a run could start was asked, or is no matter */
                             .workers = mu_params_number(&r->params, "workers")};
    switch (r->params.target) {
    case MU_RENDER_SLURM:
        return render_slurm(r, config, mu_render_file(out, "job.sbatch"));
    case MU_RENDER_STORAGE:
        return mu_render_storage(&r->params, &query, out);
    case MU_RENDER_ARGO:
        return mu_render_argo(&r->params, config, &query, out);
    case MU_RENDER_SERVE:
        return mu_render_serve(&r->params, &query, out);
    case MU_RENDER_TRAINJOB:
        return mu_render_trainjob(&r->params, config, mu_render_file(out, "trainjob.yaml"));
    default:
        return mu_render_mpijob(&r->params, config, mu_render_file(out, "mpijob.yaml"));
    }
}

static mu_status_t render(request_t *r, mu_render_files_t *out)
{
    mu_config_t *config = NULL;
    mu_args_t keys = {0};
    mu_buf_t notes = MU_BUF_INIT; /* what is not on this machine is on the cluster */
    mu_status_t status = load_config(r, &keys, &config);
    if (status == MU_OK && !mu_config_missing(config) && r->params.target != MU_RENDER_SERVE)
        status = mu_start_check(&(mu_start_question_t){.config = config}, &notes);
    if (status == MU_OK)
        status = render_loaded(r, &keys, config, out);
    mu_buf_release(&notes);
    if (config)
        mu_config_free(config);
    mu_args_free(&keys);
    return status;
}

static mu_status_t write_files(const char *dir, const mu_render_files_t *files)
{
    MU_TRY(mu_make_dirs(dir, 0777));
    for (int i = 0; i < files->count; i++) {
        char *path = mu_path_join(dir, files->name[i]);
        mu_status_t status = mu_file_replace(path, files->text[i].data, files->text[i].len, 0666);
        if (status == MU_OK)
            mu_info("%s", path);
        free(path);
        MU_TRY(status);
    }
    return MU_OK;
}

mu_status_t mu_cmd_render(int argc, char **argv)
{
    mu_render_files_t files = {.count = 0};
    request_t r = {.nfiles = 0};
    bool help;
    mu_status_t status = mu_options_parse(&mu_render_command, argc, argv, &r, NULL, &help);
    if (status != MU_OK || help)
        goto out;
    MU_TRY_GOTO(status, read_arguments(&r), out);
    files.apart = r.output != NULL;
    MU_TRY_GOTO(status, render(&r, &files), out);
    status = r.output ? write_files(r.output, &files) : mu_stdio_write(&files.text[0]);
out:
    mu_render_files_release(&files);
    mu_params_release(&r.params);
    for (int i = 0; r.paths && i < r.nfiles; i++)
        free(r.paths[i]);
    free(r.paths);
    mu_words_free(&r.overrides);
    mu_options_release(&mu_render_command, &r);
    return status;
}
