/*
 * MLflow's REST interface (version 2.0 of it, as servers 2.x and 3.x speak): experiments, runs, batches, the artifact
 * proxy and the model registry.
 *
 *     mu_mlflow_open(&options, &mlflow)
 *     mu_mlflow_experiment(), mu_mlflow_find_run(), mu_mlflow_create_run()
 *     mu_mlflow_log()                          at most MU_MLFLOW_METRICS metrics, 100 parameters, 100 tags a call
 *     mu_mlflow_set_status()
 *     mu_mlflow_upload(), mu_mlflow_register(), mu_mlflow_alias()
 *     mu_mlflow_close(mlflow)
 *
 * A call that fails logs nothing, since most are tried again; mu_mlflow_why() has the reason, which names the server
 * and holds no credentials. Errors of all calls: MU_UNREADY (no answer, 5xx, 408, 429, or an answer that is not
 * MLflow's: another try may help), MU_AUTH (401, 403), MU_NOINPUT (what was named is not there), MU_DATA (refused),
 * MU_STOPPED (by options.stop).
 */
#ifndef MU_LAUNCHER_TRACK_MLFLOW_H
#define MU_LAUNCHER_TRACK_MLFLOW_H

#include "launcher/http/http_client.h"

#include <jansson.h>
#include <stdint.h>

enum {
    MU_MLFLOW_ID = 65,        /* bytes of an id with its NUL */
    MU_MLFLOW_METRICS = 1000, /* of one call: 1,001 are refused */
    MU_MLFLOW_PARAMS = 100,
    MU_MLFLOW_TEXT = 500 /* characters of a parameter's or tag's value that servers since 1.0 take */
};

/* The tag by which a run of MLflow is found again: `token` of run.json. */
#define MU_MLFLOW_RUN_TAG "muster.run"

typedef struct mu_mlflow mu_mlflow_t;

/* What the environment says of certificates: MLFLOW_TRACKING_SERVER_CERT_PATH, MLFLOW_TRACKING_INSECURE_TLS. */
void mu_mlflow_tls(mu_http_client_options_t *options);
/* Errors: MU_BUG. */
mu_status_t mu_mlflow_open(const mu_http_client_options_t *options, mu_mlflow_t **out);
void mu_mlflow_close(mu_mlflow_t *mlflow); /* NULL is fine */
/* Of the last call that failed. */
const char *mu_mlflow_why(const mu_mlflow_t *mlflow);

/* The experiment of that name, made if it is missing. */
mu_status_t mu_mlflow_experiment(mu_mlflow_t *m, const char *name, char id[MU_MLFLOW_ID]);
/* The newest run of the experiment with tag `key` = `value`; id "" when there is none. */
mu_status_t mu_mlflow_find_run(mu_mlflow_t *m, const char *experiment, const char *key, const char *value,
                               char id[MU_MLFLOW_ID]);
/* start: milliseconds since 1970. One tag is set with the creation, so that mu_mlflow_find_run() finds it. A name
 * that is not UTF-8, as a folder's can be, is replaced by `value`. */
mu_status_t mu_mlflow_create_run(mu_mlflow_t *m, const char *experiment, const char *name, int64_t start,
                                 const char *key, const char *value, char id[MU_MLFLOW_ID]);
/* {"key": "value"} of the parameters that a run has; decref it. */
mu_status_t mu_mlflow_params(mu_mlflow_t *m, const char *run, json_t **out);
/* Lists of {"key", "value", "timestamp", "step"} and {"key", "value"}; NULL: none. They stay the caller's. */
mu_status_t mu_mlflow_log(mu_mlflow_t *m, const char *run, json_t *metrics, json_t *params, json_t *tags);
/* RUNNING, FINISHED, FAILED or KILLED; end: milliseconds since 1970, 0 for RUNNING. */
mu_status_t mu_mlflow_set_status(mu_mlflow_t *m, const char *run, const char *word, int64_t end);

/* A file into the artifacts of a run, through the server's artifact proxy, as `name` ("model/config.json"). */
mu_status_t mu_mlflow_upload(mu_mlflow_t *m, const char *experiment, const char *run, const char *name,
                             const char *file);
/* The version of a registered model that has the tag `key` = `value`; "" when there is none. */
mu_status_t mu_mlflow_find_version(mu_mlflow_t *m, const char *name, const char *key, const char *value,
                                   char version[MU_MLFLOW_ID]);
/* A new version of the registered model `name`, which is made if it is missing, from folder `artifact` of a run's
 * artifacts, with that tag. */
mu_status_t mu_mlflow_register(mu_mlflow_t *m, const char *name, const char *experiment, const char *run,
                               const char *artifact, const char *key, const char *value,
                               char version[MU_MLFLOW_ID]);
mu_status_t mu_mlflow_alias(mu_mlflow_t *m, const char *name, const char *alias, const char *version);

/* Adds {"key", "value"} with the value cut to MU_MLFLOW_TEXT and made UTF-8. */
void mu_mlflow_add_pair(json_t *list, const char *key, const char *value);

#endif
