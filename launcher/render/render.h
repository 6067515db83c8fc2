/*
 * The files that run a config elsewhere: a batch script for Slurm, the objects of an MPIJob or of a
 * workflow for Kubernetes, and of what serves the model.
 *
 *     mu_params_t params;
 *     mu_params_init(&params, MU_RENDER_MPIJOB);
 *     mu_params_take(&params, "workers=4", &taken);       each key=value; not taken: it is the config's
 *     mu_params_finish(&params, "pythia-70m.yml");        defaults, and what must be there
 *     mu_render_mpijob(&params, config, &out);
 *     mu_params_release(&params);
 *
 * Every parameter has a type and is checked before anything is written, also for what the other side would
 * accept and silently read otherwise: the MPI operator takes any unknown launcherCreationPolicy as "wait",
 * does nothing about a name that is too long, and rejects restart policies that Kubernetes itself knows.
 */
#ifndef MU_LAUNCHER_RENDER_H
#define MU_LAUNCHER_RENDER_H

#include "common/buf.h"
#include "common/args.h"
#include "common/config/config.h"
#include "launcher/plan/plan.h"

typedef enum mu_render_target {
    MU_RENDER_SLURM,
    MU_RENDER_MPIJOB,
    MU_RENDER_STORAGE,
    MU_RENDER_ARGO,
    MU_RENDER_TRAINJOB,
    MU_RENDER_SERVE,
    MU_RENDER_TARGETS
} mu_render_target_t;

enum { MU_PARAMS_MAX = 64 };

typedef struct mu_params {
    mu_render_target_t target;
    char *value[MU_PARAMS_MAX]; /* as written, or the default; NULL where there is neither */
} mu_params_t;

void mu_params_init(mu_params_t *params, mu_render_target_t target);
/* *taken: whether `argument` (key=value) names a parameter of the target. Errors: MU_USAGE, the value is not
 * of the parameter's type. */
mu_status_t mu_params_take(mu_params_t *params, const char *argument, bool *taken);
/* config: the first file's path, from which `name` is made when it was not given. Errors: MU_USAGE. */
mu_status_t mu_params_finish(mu_params_t *params, const char *config);
/* The defaults alone. */
void mu_params_defaults(mu_params_t *params);
/* A value as it is, without a check; NULL: none. `name` must be one of the target's. */
void mu_params_put(mu_params_t *params, const char *name, const char *value);
void mu_params_copy(const mu_params_t *params, mu_params_t *out);
void mu_params_release(mu_params_t *params);
/* NULL where the parameter was not given and has no default. `name` must be one of the target's. */
const char *mu_params_text(const mu_params_t *params, const char *name);
int64_t mu_params_number(const mu_params_t *params, const char *name);
/* One line a parameter: name, default, what it is. */
void mu_params_help(mu_render_target_t target, mu_buf_t *out);

/* arguments: what `muster run` gets, the config's paths (absolute) and key=value. */
void mu_render_slurm(const mu_params_t *params, char *const *arguments, int count, mu_buf_t *out);
/* A script for bash that submits a job for each step of `chain`. The first `nfiles` arguments are the config's files.
 * Errors: MU_USAGE (a step lacks a parameter), MU_CONFIG (it lacks a path of the config, or that is relative). */
mu_status_t mu_render_chain(const mu_params_t *params, const mu_config_t *config, char *const *arguments,
                            int nfiles, int count, mu_buf_t *out);
/* The config is fitted to the workers (mu_config_resolve). Errors: MU_CONFIG (it does not fit, or `save` or
 * another path lies outside every volume). */
mu_status_t mu_render_mpijob(const mu_params_t *params, mu_config_t *config, mu_buf_t *out);
/* The same run for Kubeflow Trainer v2. Errors: as of an MPIJob. */
mu_status_t mu_render_trainjob(const mu_params_t *params, mu_config_t *config, mu_buf_t *out);
/* What a target makes: one text, or, where the parts are to be files of their own, a text each, in their order. */
enum { MU_RENDER_FILES = 6 };
typedef struct mu_render_files {
    bool apart; /* set before: a text a file */
    int count;
    const char *name[MU_RENDER_FILES]; /* "01-claims.yaml": static */
    mu_buf_t text[MU_RENDER_FILES];
} mu_render_files_t;

/* Where the part that is called `name` goes: a new text, or, without `apart`, the end of the only one. */
mu_buf_t *mu_render_file(mu_render_files_t *files, const char *name);
void mu_render_files_release(mu_render_files_t *files);

/* 01-claims.yaml, 02-account.yaml, 03-secret.yaml, or the one that `part` names. Errors: those of mu_plan_make();
 * MU_CONFIG (a claim's size does not hold what the plan asks for, a path lies outside every volume). */
mu_status_t mu_render_storage(const mu_params_t *params, const mu_plan_query_t *query,
                              mu_render_files_t *out);
/* What the parameters say of the config, as key=value: to be loaded with it. */
void mu_argo_overrides(const mu_params_t *params, mu_args_t *out);
/* 04-workflow.yaml, or what submits it again: 05-retrain.yaml and 06-alert.rules, which also follow the workflow with
 * `apart` and retrain_below=. query: of the same config, for serve=. Errors: MU_USAGE; MU_CONFIG, as of an MPIJob;
 * those of mu_plan_make(). */
mu_status_t mu_render_argo(const mu_params_t *params, mu_config_t *config, const mu_plan_query_t *query,
                           mu_render_files_t *out);
/* 07-smoke.yaml, the Job that tries the model, and 08-serve.yaml, what serves it; or the one that `part` names.
 * Errors: those of mu_plan_make(); MU_USAGE (parameters that contradict each other); MU_CONFIG (the model lies outside
 * every volume, memory= does not hold it). */
mu_status_t mu_render_serve(const mu_params_t *params, const mu_plan_query_t *query, mu_render_files_t *out);

#endif
