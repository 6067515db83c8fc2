#include "launcher/track/register.h"
#include "common/clock.h"
#include "common/digest.h"
#include "common/file.h"
#include "common/log.h"
#include "launcher/track/cursor.h"
#include "launcher/track/mlflow.h"
#include "launcher/track/mlflow_address.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { CALL_MS = 30000, NAME_MOST = 200 };
static const char digest_tag[] = "muster.export"; /* digest of all files */

bool mu_register_name_ok(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n <= NAME_MOST &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._- ") == n;
}

/* ---- files ---- */

static int is_shown(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Names of the regular files, sorted: {"name": digest}. */
static mu_status_t list_files(const char *dir, json_t *out)
{
    struct dirent **list = NULL;
    int n = scandir(dir, &list, is_shown, alphasort);
    mu_status_t status = MU_OK;
    if (n < 0)
        return mu_fail(mu_open_status(errno), "%s: cannot read: %s", dir, strerror(errno));
    for (int i = 0; i < n; i++) {
        char *path = mu_path_join(dir, list[i]->d_name), digest[MU_DIGEST_HEX];
        if (status == MU_OK && mu_is_file(path)) {
            status = mu_digest_file(path, digest);
            if (status == MU_OK)
                json_object_set_new(out, list[i]->d_name, json_string(digest));
        }
        free(path);
        free(list[i]);
    }
    free(list);
    if (status == MU_OK && json_object_size(out) == 0)
        status = mu_fail(MU_NOINPUT, "%s: no files there", dir);
    return status;
}

static void digest_all(json_t *files, char out[MU_DIGEST_HEX])
{
    char *text = json_dumps(files, JSON_COMPACT | JSON_SORT_KEYS);
    mu_digest_bytes(text ? text : "", text ? strlen(text) : 0, out);
    free(text);
}

/* ---- the run of MLflow ---- */

static mu_status_t because(mu_mlflow_t *mlflow, mu_status_t status)
{
    return status == MU_OK ? MU_OK : mu_fail(status, "register: %s", mu_mlflow_why(mlflow));
}

/* That of the run directory, if a tracker has made one; ids are empty otherwise. */
static void find_tracked(const mu_register_t *ask, char experiment[MU_MLFLOW_ID], char run[MU_MLFLOW_ID])
{
    json_t *kept;
    *experiment = *run = '\0';
    if (!ask->run_dir)
        return;
    char *path = mu_path_join(ask->run_dir, "track.json");
    if (mu_cursor_get(path, "mlflow", ask->mlflow, &kept) == MU_OK) {
        const char *e = json_string_value(json_object_get(kept, "experiment"));
        const char *r = json_string_value(json_object_get(kept, "run"));
        if (e && r && strlen(e) < MU_MLFLOW_ID && strlen(r) < MU_MLFLOW_ID) {
            snprintf(experiment, MU_MLFLOW_ID, "%s", e);
            snprintf(run, MU_MLFLOW_ID, "%s", r);
        }
        json_decref(kept);
    }
    free(path);
}

static mu_status_t own_run(const mu_register_t *ask, mu_mlflow_t *m, const char *digest,
                           char experiment[MU_MLFLOW_ID], char run[MU_MLFLOW_ID])
{
    int64_t now = (int64_t)(mu_wall_seconds() * 1000);
    MU_TRY(mu_mlflow_experiment(m, ask->experiment, experiment));
    MU_TRY(mu_mlflow_find_run(m, experiment, digest_tag, digest, run));
    if (!*run)
        MU_TRY(mu_mlflow_create_run(m, experiment, ask->name, now, digest_tag, digest, run));
    return mu_mlflow_set_status(m, run, "FINISHED", now);
}

static mu_status_t find_run(const mu_register_t *ask, mu_mlflow_t *m, const char *digest,
                            char experiment[MU_MLFLOW_ID], char run[MU_MLFLOW_ID])
{
    json_t *params = NULL;
    find_tracked(ask, experiment, run);
    mu_status_t status =
        *run ? mu_mlflow_params(m, run, &params) : MU_NOINPUT; /* whether it is still there */
    json_decref(params);
    return status == MU_NOINPUT ? own_run(ask, m, digest, experiment, run) : status;
}

/* ---- upload ---- */

static mu_status_t upload(const mu_register_t *ask, mu_mlflow_t *m, json_t *files, const char *experiment,
                          const char *run, const char *artifact)
{
    const char *name;
    json_t *digest;
    mu_status_t status = MU_OK;
    json_object_foreach(files, name, digest)
    {
        char *path = mu_path_join(ask->dir, name), *as = mu_format("%s/%s", artifact, name);
        if (status == MU_OK)
            status = mu_mlflow_upload(m, experiment, run, as, path);
        free(path);
        free(as);
    }
    return status;
}

static mu_status_t make_version(const mu_register_t *ask, mu_mlflow_t *m, json_t *files, const char *digest,
                                char version[MU_MLFLOW_ID])
{
    char experiment[MU_MLFLOW_ID], run[MU_MLFLOW_ID], artifact[32];
    MU_TRY(find_run(ask, m, digest, experiment, run));
    snprintf(artifact, sizeof artifact, "model-%.12s",
             digest); /* a run may export several of its checkpoints */
    MU_TRY(upload(ask, m, files, experiment, run, artifact));
    return mu_mlflow_register(m, ask->name, experiment, run, artifact, digest_tag, digest, version);
}

static mu_status_t register_files(const mu_register_t *ask, mu_mlflow_t *m, json_t *files)
{
    char digest[MU_DIGEST_HEX], version[MU_MLFLOW_ID];
    digest_all(files, digest);
    MU_TRY(because(m, mu_mlflow_find_version(m, ask->name, digest_tag, digest, version)));
    bool there = *version != '\0';
    if (!there)
        MU_TRY(because(m, make_version(ask, m, files, digest, version)));
    if (ask->alias)
        MU_TRY(because(m, mu_mlflow_alias(m, ask->name, ask->alias, version)));
    mu_info("%s: %s version %s of model '%s'%s%s", ask->mlflow,
            there ? "is there already as" : "registered as", version, ask->name, ask->alias ? ", alias " : "",
            ask->alias ? ask->alias : "");
    return MU_OK;
}

mu_status_t mu_register(const mu_register_t *ask)
{
    json_t *files = json_object();
    mu_mlflow_t *mlflow = NULL;
    mu_http_client_options_t options = {.base = ask->mlflow, .timeout_ms = CALL_MS};
    mu_mlflow_tls(&options);
    mu_mlflow_credentials(ask->secrets, &options);
    mu_status_t status = list_files(ask->dir, files);
    if (status == MU_OK)
        status = mu_mlflow_open(&options, &mlflow);
    if (status == MU_OK)
        status = register_files(ask, mlflow, files);
    mu_mlflow_close(mlflow);
    json_decref(files);
    return status;
}
