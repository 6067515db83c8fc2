#include "launcher/track/mlflow.h"
#include "common/json.h"

#include <stdlib.h>
#include <string.h>

enum { ANSWER_VALUES = 1 << 16 };

struct mu_mlflow {
    mu_http_client_t *client;
    char *base;
    mu_http_reply_t reply;
    mu_buf_t why;
};

void mu_mlflow_tls(mu_http_client_options_t *options)
{
    const char *insecure = getenv("MLFLOW_TRACKING_INSECURE_TLS"),
               *path = getenv("MLFLOW_TRACKING_SERVER_CERT_PATH");
    options->insecure = insecure && (strcasecmp(insecure, "true") == 0 || strcmp(insecure, "1") == 0);
    options->ca_file = path && *path ? path : NULL;
}

mu_status_t mu_mlflow_open(const mu_http_client_options_t *options, mu_mlflow_t **out)
{
    mu_http_client_t *client;
    MU_TRY(mu_http_client_open(options, &client));
    mu_mlflow_t *m = mu_calloc(1, sizeof *m);
    m->client = client;
    m->base = mu_strdup(options->base);
    *out = m;
    return MU_OK;
}

void mu_mlflow_close(mu_mlflow_t *m)
{
    if (!m)
        return;
    mu_http_client_close(m->client);
    mu_http_reply_release(&m->reply);
    mu_buf_release(&m->why);
    free(m->base);
    free(m);
}

const char *mu_mlflow_why(const mu_mlflow_t *m)
{
    return m->why.data ? m->why.data : "";
}

/* ---- one call ---- */

static mu_status_t fail(mu_mlflow_t *m, mu_status_t status, const char *path, const char *what)
{
    mu_buf_clear(&m->why);
    mu_buf_addf(&m->why, "%s%.*s: %s", m->base, (int)strcspn(path, "?"), path, what);
    return status;
}

static mu_status_t status_of(const mu_http_reply_t *reply, const char *code)
{
    if (reply->stopped)
        return MU_STOPPED;
    if (reply->status == 401 || reply->status == 403)
        return MU_AUTH;
    if (strcmp(code, "RESOURCE_DOES_NOT_EXIST") == 0)
        return MU_NOINPUT;
    /* a 404 without MLflow's code is another program's, or a proxy's while the server is away */
    if (*code && reply->status >= 400 && reply->status < 500 && reply->status != 408 && reply->status != 429)
        return MU_DATA;
    return MU_UNREADY;
}

/* Judges m->reply; *out gets the answer, an object, on success. */
static mu_status_t judge(mu_mlflow_t *m, const char *path, json_t **out)
{
    json_error_t error;
    json_t *json = NULL;
    if (m->reply.body.len > 0)
        json = mu_json_parse(m->reply.body.data, m->reply.body.len, ANSWER_VALUES, &error);
    const char *code = json_string_value(json_object_get(json, "error_code"));
    mu_status_t status = MU_OK;
    if (m->reply.status < 200 || m->reply.status > 299)
        status =
            fail(m, status_of(&m->reply, code ? code : ""), path, m->reply.why.data ? m->reply.why.data : "");
    else if (!json_is_object(json) || code)
        status = fail(m, MU_UNREADY, path, "the answer is not MLflow's: is another server there?");
    if (status == MU_OK)
        *out = json;
    else
        json_decref(json);
    return status;
}

static mu_status_t get(mu_mlflow_t *m, const char *path, json_t **out)
{
    mu_http_call(m->client, "GET", path, NULL, NULL, &m->reply);
    return judge(m, path, out);
}

/* body is released. NULL is one that could not be made: a text in it is not UTF-8. */
static mu_status_t post(mu_mlflow_t *m, const char *path, json_t *body, json_t **out)
{
    mu_buf_t text = MU_BUF_INIT;
    char *dumped = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (!dumped)
        return fail(m, MU_DATA, path, "not sent: a text of the call is not UTF-8");
    mu_buf_adds(&text, dumped);
    free(dumped);
    mu_http_call(m->client, "POST", path, "application/json", &text, &m->reply);
    mu_buf_release(&text);
    return judge(m, path, out);
}

/* A call whose answer says nothing further. */
static mu_status_t tell(mu_mlflow_t *m, const char *path, json_t *body)
{
    json_t *answer;
    MU_TRY(post(m, path, body, &answer));
    json_decref(answer);
    return MU_OK;
}

/* An id becomes part of addresses, so it is checked. */
static mu_status_t take_id(mu_mlflow_t *m, const char *path, const json_t *value, char id[MU_MLFLOW_ID])
{
    const char *text = json_string_value(value);
    size_t n = text ? strlen(text) : 0;
    if (n == 0 || n >= MU_MLFLOW_ID ||
        strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-") != n)
        return fail(m, MU_UNREADY, path, "the answer holds no id");
    memcpy(id, text, n + 1);
    return MU_OK;
}

static bool was_refused_as(const mu_mlflow_t *m, const char *code)
{
    return m->reply.body.data && strstr(m->reply.body.data, code);
}

/* ---- experiments and runs ---- */

#define API "/api/2.0/mlflow/"

static mu_status_t get_experiment(mu_mlflow_t *m, const char *name, char id[MU_MLFLOW_ID])
{
    mu_buf_t path = MU_BUF_INIT;
    json_t *answer;
    mu_buf_adds(&path, API "experiments/get-by-name?experiment_name=");
    mu_http_escape(name, &path);
    mu_status_t status = get(m, path.data, &answer);
    if (status == MU_OK) {
        const json_t *experiment = json_object_get(answer, "experiment");
        const char *stage = json_string_value(json_object_get(experiment, "lifecycle_stage"));
        status = take_id(m, path.data, json_object_get(experiment, "experiment_id"), id);
        if (status == MU_OK && stage && strcmp(stage, "deleted") == 0)
            status = fail(m, MU_DATA, path.data,
                          "the experiment is deleted: restore it, or name another in MLFLOW_EXPERIMENT_NAME");
        json_decref(answer);
    }
    mu_buf_release(&path);
    return status;
}

mu_status_t mu_mlflow_experiment(mu_mlflow_t *m, const char *name, char id[MU_MLFLOW_ID])
{
    static const char path[] = API "experiments/create";
    json_t *answer;
    mu_status_t status = get_experiment(m, name, id);
    if (status != MU_NOINPUT)
        return status;
    status = post(m, path, json_pack("{s:s}", "name", name), &answer);
    if (status == MU_DATA && was_refused_as(m, "RESOURCE_ALREADY_EXISTS")) /* another one made it meanwhile */
        return get_experiment(m, name, id);
    if (status == MU_OK) {
        status = take_id(m, path, json_object_get(answer, "experiment_id"), id);
        json_decref(answer);
    }
    return status;
}

mu_status_t mu_mlflow_find_run(mu_mlflow_t *m, const char *experiment, const char *key, const char *value,
                               char id[MU_MLFLOW_ID])
{
    static const char path[] = API "runs/search";
    char *filter = mu_format("tags.`%s` = '%s'", key, value);
    json_t *answer, *first;
    mu_status_t status = post(m, path,
                              json_pack("{s:[s], s:s, s:i, s:[s]}", "experiment_ids", experiment, "filter",
                                        filter, "max_results", 1, "order_by", "attributes.start_time DESC"),
                              &answer);
    free(filter);
    if (status != MU_OK)
        return status;
    first = json_array_get(json_object_get(answer, "runs"), 0);
    *id = '\0';
    if (first)
        status = take_id(m, path, json_object_get(json_object_get(first, "info"), "run_id"), id);
    json_decref(answer);
    return status;
}

mu_status_t mu_mlflow_create_run(mu_mlflow_t *m, const char *experiment, const char *name, int64_t start,
                                 const char *key, const char *value, char id[MU_MLFLOW_ID])
{
    static const char path[] = API "runs/create";
    json_t *answer;
    json_t *tags = json_array(), *run_name = json_string(name);
    mu_mlflow_add_pair(tags, key, value);
    MU_TRY(post(m, path,
                json_pack("{s:s, s:o, s:I, s:o}", "experiment_id", experiment, "run_name",
                          run_name ? run_name : json_string(value), "start_time", (json_int_t)start, "tags",
                          tags),
                &answer));
    mu_status_t status = take_id(
        m, path, json_object_get(json_object_get(json_object_get(answer, "run"), "info"), "run_id"), id);
    json_decref(answer);
    return status;
}

mu_status_t mu_mlflow_params(mu_mlflow_t *m, const char *run, json_t **out)
{
    char *path = mu_format(API "runs/get?run_id=%s", run);
    json_t *answer, *param;
    size_t i;
    mu_status_t status = get(m, path, &answer);
    free(path);
    if (status != MU_OK)
        return status;
    const json_t *run_json = json_object_get(answer, "run");
    *out = json_object();
    json_array_foreach(json_object_get(json_object_get(run_json, "data"), "params"), i, param)
    {
        const char *key = json_string_value(json_object_get(param, "key"));
        if (key)
            json_object_set(*out, key, json_object_get(param, "value"));
    }
    json_decref(answer);
    return MU_OK;
}

mu_status_t mu_mlflow_log(mu_mlflow_t *m, const char *run, json_t *metrics, json_t *params, json_t *tags)
{
    json_t *body = json_pack("{s:s}", "run_id", run);
    if (metrics)
        json_object_set(body, "metrics", metrics);
    if (params)
        json_object_set(body, "params", params);
    if (tags)
        json_object_set(body, "tags", tags);
    return tell(m, API "runs/log-batch", body);
}

mu_status_t mu_mlflow_set_status(mu_mlflow_t *m, const char *run, const char *word, int64_t end)
{
    json_t *body = json_pack("{s:s, s:s}", "run_id", run, "status", word);
    if (end > 0)
        json_object_set_new(body, "end_time", json_integer((json_int_t)end));
    return tell(m, API "runs/update", body);
}

/* ---- artifacts and models ---- */

mu_status_t mu_mlflow_upload(mu_mlflow_t *m, const char *experiment, const char *run, const char *name,
                             const char *file)
{
    mu_buf_t path = MU_BUF_INIT;
    json_t *answer = NULL;
    mu_buf_addf(&path, "/api/2.0/mlflow-artifacts/artifacts/%s/%s/artifacts/", experiment, run);
    for (const char *p = name; *p;) { /* the slashes stay */
        size_t n = strcspn(p, "/");
        char *part = mu_format("%.*s", (int)n, p);
        mu_http_escape(part, &path);
        free(part);
        p += n;
        if (*p == '/')
            mu_buf_addc(&path, *p++);
    }
    mu_http_put_file(m->client, path.data, file, &m->reply);
    bool taken =
        m->reply.status >= 200 && m->reply.status <= 299 && m->reply.body.len == 0; /* it says nothing */
    mu_status_t status = taken ? MU_OK : judge(m, path.data, &answer);
    json_decref(answer);
    mu_buf_release(&path);
    return status;
}

mu_status_t mu_mlflow_find_version(mu_mlflow_t *m, const char *name, const char *key, const char *value,
                                   char version[MU_MLFLOW_ID])
{
    mu_buf_t path = MU_BUF_INIT, filter = MU_BUF_INIT;
    json_t *answer;
    mu_buf_addf(&filter, "name='%s' and tags.`%s`='%s'", name, key, value);
    mu_buf_adds(&path, API "model-versions/search?max_results=1&filter=");
    mu_http_escape(filter.data, &path);
    *version = '\0';
    mu_status_t status = get(m, path.data, &answer);
    if (status == MU_OK) {
        const json_t *first = json_array_get(json_object_get(answer, "model_versions"), 0);
        if (first)
            status = take_id(m, path.data, json_object_get(first, "version"), version);
        json_decref(answer);
    }
    mu_buf_release(&filter);
    mu_buf_release(&path);
    return status;
}

mu_status_t mu_mlflow_register(mu_mlflow_t *m, const char *name, const char *experiment, const char *run,
                               const char *artifact, const char *key, const char *value,
                               char version[MU_MLFLOW_ID])
{
    static const char path[] = API "model-versions/create";
    json_t *answer, *tags = json_array();
    mu_status_t status = tell(m, API "registered-models/create", json_pack("{s:s}", "name", name));
    mu_mlflow_add_pair(tags, key, value);
    if (status != MU_OK && !(status == MU_DATA && was_refused_as(m, "RESOURCE_ALREADY_EXISTS"))) {
        json_decref(tags);
        return status;
    }
    char *source = mu_format("mlflow-artifacts:/%s/%s/artifacts/%s", experiment, run, artifact);
    status =
        post(m, path,
             json_pack("{s:s, s:s, s:s, s:o}", "name", name, "source", source, "run_id", run, "tags", tags),
             &answer);
    free(source);
    if (status != MU_OK)
        return status;
    status = take_id(m, path, json_object_get(json_object_get(answer, "model_version"), "version"), version);
    json_decref(answer);
    return status;
}

mu_status_t mu_mlflow_alias(mu_mlflow_t *m, const char *name, const char *alias, const char *version)
{
    return tell(m, API "registered-models/alias",
                json_pack("{s:s, s:s, s:s}", "name", name, "alias", alias, "version", version));
}

void mu_mlflow_add_pair(json_t *list, const char *key, const char *value)
{
    size_t n = strlen(value);
    if (n > MU_MLFLOW_TEXT)
        for (n = MU_MLFLOW_TEXT; n > 0 && ((unsigned char)value[n] & 0xc0) == 0x80;) /* no half a character */
            n--;
    json_t *text = json_stringn(value, n);
    json_array_append_new(
        list, json_pack("{s:s, s:o}", "key", key, "value", text ? text : json_string("(not UTF-8)")));
}
