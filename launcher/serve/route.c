/* Which path means what. */
#include "launcher/serve/serve_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RETRY_S = 1 };

typedef struct visit {
    mu_serve_t *serve;
    const mu_http_request_t *request;
    mu_http_response_t *response;
    const char *rest;   /* of the path, after what a row matched */
    mu_served_t *model; /* in use for this visit; NULL: none has been loaded yet */
} visit_t;

static void reply_json(visit_t *v, int status, json_t *value)
{
    v->response->status = status;
    v->response->type = "application/json";
    mu_answer_json(value, &v->response->body);
    mu_buf_addc(&v->response->body, '\n');
}

static void reply_error(visit_t *v, mu_protocol_t protocol, int status, const char *text)
{
    v->response->status = status;
    v->response->type = "application/json";
    v->response->retry_after = status == 429 || status == 503 ? RETRY_S : 0;
    mu_answer_error(protocol, status, text, &v->response->body);
}

static void count(mu_serve_t *s, int status)
{
    pthread_mutex_lock(&s->lock);
    s->counts.requests[status / 100]++;
    s->counts.refused += status == 429;
    pthread_mutex_unlock(&s->lock);
}

/* ---- health ---- */

static void alive(visit_t *v)
{
    reply_json(v, 200, json_pack("{s:b}", "live", 1));
}

static bool is_ready(visit_t *v)
{
    pthread_mutex_lock(&v->serve->lock);
    bool ready = mu_serve_ready(v->serve);
    pthread_mutex_unlock(&v->serve->lock);
    return ready;
}

static void ready(visit_t *v)
{
    bool yes = is_ready(v);
    reply_json(v, yes ? 200 : 503, json_pack("{s:b}", "ready", yes));
}

/* ---- texts ---- */

/* The JSON of a body: itself, or the form field `json` of curl -d and of old wrappers. The caller frees *form. */
static const char *body_json(const mu_http_request_t *request, size_t *n, char **form)
{
    const char *body = request->body, *field = strncmp(body, "json=", 5) == 0 ? body + 5 : NULL;
    *form = NULL;
    *n = request->body_len;
    if (!field || strncmp(request->type, "application/x-www-form-urlencoded", 33) != 0)
        return body;
    char *text = mu_strdup(field), *to = text;
    for (const char *at = text; *at && *at != '&'; at++) {
        char hex[3] = {0};
        if (*at == '%' && at[1] && at[2]) {
            memcpy(hex, at + 1, 2);
            *to++ = (char)strtol(hex, NULL, 16);
            at += 2;
        } else {
            *to++ = (char)(*at == '+' ? ' ' : *at);
        }
    }
    *to = '\0';
    *form = text;
    *n = (size_t)(to - text);
    return text;
}

/* The model that answers now, which may be another than a moment ago. */
static void use_model(visit_t *v)
{
    mu_serve_t *s = v->serve;
    pthread_mutex_lock(&s->lock);
    if (v->model && --v->model->users == 0)
        mu_served_free(v->model);
    v->model = s->model;
    if (v->model)
        v->model->users++;
    pthread_mutex_unlock(&s->lock);
}

static bool begin_call(visit_t *v, mu_protocol_t protocol, const char *body, size_t n, mu_why_t *why)
{
    mu_serve_t *s = v->serve;
    mu_asked_limits_t limits = {.max_new = s->args->max_new_tokens};
    mu_asked_t asked;
    *why = (mu_why_t){0};
    if (!mu_asked_read(protocol, body, n, &limits, &asked, why))
        return false;
    if (!v->model || (asked.model && strcmp(asked.model, v->model->name) != 0)) {
        mu_asked_release(&asked);
        *why = v->model
                   ? (mu_why_t){.status = 404,
                                .text = "there is no such model: GET /v1/models names the one that is served"}
                   : (mu_why_t){.status = 503, .text = "the model is being loaded"};
        return false;
    }
    pthread_mutex_lock(&s->lock);
    v->model->users++;
    pthread_mutex_unlock(&s->lock);
    return mu_call_begin(s, v->request, &asked, v->model, why);
}

static void ask(visit_t *v, mu_protocol_t protocol)
{
    mu_why_t why;
    char *form;
    size_t n;
    const char *body = body_json(v->request, &n, &form);
    bool good = begin_call(v, protocol, body, n, &why);
    while (!good && why.again) { /* a model that took over is not an error of the client's */
        use_model(v);
        good = begin_call(v, protocol, body, n, &why);
    }
    free(form);
    if (good)
        return;
    count(v->serve, why.status);
    reply_error(v, protocol, why.status, why.text);
}

static void completions(visit_t *v)
{
    ask(v, MU_PROTOCOL_OPENAI);
}

static void chat(visit_t *v)
{
    ask(v, MU_PROTOCOL_CHAT);
}

static void predict(visit_t *v)
{
    ask(v, MU_PROTOCOL_SELDON);
}

static void give_feedback(visit_t *v)
{
    mu_serve_t *s = v->serve;
    mu_buf_t line = MU_BUF_INIT;
    mu_why_t why = {0};
    double reward;
    char *form;
    size_t n;
    if (!s->feedback) {
        reply_error(v, MU_PROTOCOL_SELDON, 404,
                    "no feedback is kept: the server was started without --feedback");
        return;
    }
    const char *body = body_json(v->request, &n, &form);
    if (mu_feedback_read(body, n, v->model ? v->model->version : "", &line, &reward, &why)) {
        mu_http_exchange_t *exchange = mu_http_defer(v->request);
        pthread_mutex_lock(&s->lock);
        mu_feedback_add(s->feedback, &line, reward, exchange);
        mu_serve_wake(s);
        pthread_mutex_unlock(&s->lock);
    } else {
        reply_error(v, MU_PROTOCOL_SELDON, why.status, why.text);
    }
    free(form);
    mu_buf_release(&line);
}

/* ---- models ---- */

static json_t *openai_model(const mu_served_t *model)
{
    return json_pack("{s:s,s:s,s:i,s:s,s:s}", "id", model->name, "object", "model", "created", 0, "owned_by",
                     "muster", "version", model->version);
}

static void models(visit_t *v)
{
    json_t *list = json_array();
    if (v->model)
        json_array_append_new(list, openai_model(v->model));
    reply_json(v, 200, json_pack("{s:s,s:o}", "object", "list", "data", list));
}

static void model(visit_t *v)
{
    if (v->model && strcmp(v->rest, v->model->name) == 0)
        reply_json(v, 200, openai_model(v->model));
    else
        reply_error(v, MU_PROTOCOL_OPENAI, 404, "there is no such model");
}

static void v2_server(visit_t *v)
{
    reply_json(v, 200, json_pack("{s:s,s:s,s:[]}", "name", "muster", "version", MU_VERSION, "extensions"));
}

/* /v2/models/NAME[/versions/VERSION][/ready|/generate|/generate_stream|/infer] */
static void v2_model(visit_t *v)
{
    size_t n = v->model ? strlen(v->model->name) : 0;
    const char *rest = v->rest + n;
    bool get = strcmp(v->request->method, "GET") == 0, post = strcmp(v->request->method, "POST") == 0;
    if (!v->model || strncmp(v->rest, v->model->name, n) != 0 || (*rest && *rest != '/')) {
        reply_error(v, MU_PROTOCOL_V2, 404, "there is no such model");
        return;
    }
    size_t version = strlen(v->model->version);
    if (strncmp(rest, "/versions/", 10) == 0 && strncmp(rest + 10, v->model->version, version) == 0)
        rest += 10 + version;
    if (post && strcmp(rest, "/generate") == 0)
        ask(v, MU_PROTOCOL_V2);
    else if (post && strcmp(rest, "/generate_stream") == 0)
        ask(v, MU_PROTOCOL_V2_STREAM);
    else if (post && strcmp(rest, "/infer") == 0)
        ask(v, MU_PROTOCOL_V2_INFER);
    else if (get && strcmp(rest, "/ready") == 0)
        ready(v);
    else if (get && *rest == '\0')
        reply_json(v, 200,
                   json_pack("{s:s,s:[s],s:s,s:[{s:s,s:s,s:[i]}],s:[{s:s,s:s,s:[i]}]}", "name",
                             v->model->name, "versions", v->model->version, "platform", "muster", "inputs",
                             "name", "text_input", "datatype", "BYTES", "shape", 1, "outputs", "name",
                             "text_output", "datatype", "BYTES", "shape", 1));
    else
        reply_error(v, MU_PROTOCOL_V2, 404, "there is no such path");
}

static void metrics(visit_t *v)
{
    v->response->type = "text/plain; version=0.0.4; charset=utf-8";
    pthread_mutex_lock(&v->serve->lock);
    mu_serve_metrics(v->serve, &v->response->body);
    pthread_mutex_unlock(&v->serve->lock);
}

/* ---- the table ---- */

typedef struct route {
    const char *method; /* NULL: the function looks */
    const char *path;   /* whole, or up to its last slash */
    bool open;          /* no token is wanted */
    void (*go)(visit_t *v);
} route_t;

static const route_t routes[] = {
    {"GET", "/health/live", true, alive},
    {"GET", "/health/ping", true, alive},
    {"GET", "/live", true, alive},
    {"GET", "/v2/health/live", true, alive},
    {"GET", "/health", true, ready},
    {"GET", "/health/ready", true, ready},
    {"GET", "/health/status", true, ready},
    {"GET", "/ready", true, ready},
    {"GET", "/v2/health/ready", true, ready},
    {"POST", "/v1/completions", false, completions},
    {"POST", "/v1/chat/completions", false, chat},
    {"GET", "/v1/models", false, models},
    {"GET", "/v1/models/", false, model},
    {"POST", "/predict", false, predict},
    {"POST", "/api/v1.0/predictions", false, predict},
    {"POST", "/send-feedback", false, give_feedback},
    {"POST", "/api/v1.0/feedback", false, give_feedback},
    {"GET", "/v2", false, v2_server},
    {NULL, "/v2/models/", false, v2_model},
    {"GET", "/metrics", false, metrics},
};

static bool matches(const char *row, const char *path, const char **rest)
{
    size_t n = strlen(row);
    bool prefix = row[n - 1] == '/';
    *rest = path + n;
    if (strncmp(row, path, n) != 0)
        return false;
    return prefix ? path[n] != '\0' : path[n] == '\0' || strcmp(path + n, "/") == 0;
}

static void visit(visit_t *v)
{
    bool known = false;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        const route_t *row = &routes[i];
        if (!matches(row->path, v->request->path, &v->rest))
            continue;
        known = true;
        if (row->method && strcmp(row->method, v->request->method) != 0)
            continue;
        if (row->open || mu_serve_may(v->serve, v->request->authorization))
            row->go(v);
        else
            reply_error(v, MU_PROTOCOL_OPENAI, 401, "a token is wanted: Authorization: Bearer TOKEN");
        return;
    }
    if (known)
        reply_error(v, MU_PROTOCOL_OPENAI, 405, "not with this method");
    else
        reply_error(v, MU_PROTOCOL_OPENAI, 404, "there is no such path");
}

void mu_serve_handle(const mu_http_request_t *request, mu_http_response_t *response, void *serve)
{
    mu_serve_t *s = serve;
    visit_t v = {.serve = s, .request = request, .response = response};
    pthread_mutex_lock(&s->lock);
    v.model = s->model;
    if (v.model)
        v.model->users++;
    pthread_mutex_unlock(&s->lock);
    visit(&v);
    if (!v.model)
        return;
    pthread_mutex_lock(&s->lock);
    if (--v.model->users == 0)
        mu_served_free(v.model);
    pthread_mutex_unlock(&s->lock);
}
