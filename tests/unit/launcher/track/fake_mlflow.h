/* An MLflow server of the tests: as much of its REST interface as trackers use, over plain sockets in a thread, keeping
 * points as the real one does (the same point twice is one). From call `fail_at` on, `fail_calls` calls fail in a way
 * of choice. */
#ifndef MU_TESTS_FAKE_MLFLOW_H
#define MU_TESTS_FAKE_MLFLOW_H

#include "common/buf.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

typedef enum fake_failure {
    FAKE_500, /* with the Authorization header in the body */
    FAKE_401,
    FAKE_NONSENSE, /* 200 with JSON that is cut */
    FAKE_HTML,     /* 200 of another program */
    FAKE_404,      /* of another program */
    FAKE_REDIRECT, /* to another path of this server */
    FAKE_HUGE,     /* an answer without end */
    FAKE_HUNG,     /* no answer */
    FAKE_CLOSED,   /* the connection ends before the call is obeyed */
    FAKE_CUT,      /* ... and after it is obeyed */
    FAKE_TORN,     /* obeyed, then half an answer */
    FAKE_REFUSED,  /* 400 with MLflow's code */
    FAKE_FAILURES
} fake_failure_t;

typedef struct fake_mlflow {
    int fd, port, wake[2];
    pthread_t thread;
    pthread_mutex_t lock;
    int calls, redirected; /* calls seen; those to where a redirect points */
    int fail_at, fail_calls;
    fake_failure_t failure;
    json_t *points, *params, *tags; /* "key step time value" -> 1; name -> text */
    char status[16], authorization[256], run_name[64];
    int experiments, runs, refused_points; /* made; points of calls with more than 1,000 */
} fake_mlflow_t;

static void fake_send(int fd, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, text, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        text += sent;
        n -= (size_t)sent;
    }
}

static void fake_answer(int fd, int status, const char *body)
{
    char *text = mu_format("HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                           "Connection: close\r\n\r\n%s",
                           status, strlen(body), body);
    fake_send(fd, text, strlen(text));
    free(text);
}

static const char *fake_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static void fake_take_pairs(const json_t *list, json_t *into)
{
    size_t i;
    json_t *pair;
    json_array_foreach(list, i, pair)
        json_object_set(into, fake_text(pair, "key"), json_object_get(pair, "value"));
}

static void fake_log(fake_mlflow_t *f, const json_t *body)
{
    size_t i;
    json_t *metric;
    const json_t *metrics = json_object_get(body, "metrics");
    if (json_array_size(metrics) > 1000) {
        f->refused_points += (int)json_array_size(metrics);
        return;
    }
    json_array_foreach(metrics, i, metric)
    {
        char *value = json_dumps(json_object_get(metric, "value"), JSON_ENCODE_ANY);
        char *point = mu_format("%s %lld %lld %s", fake_text(metric, "key"),
                                (long long)json_integer_value(json_object_get(metric, "step")),
                                (long long)json_integer_value(json_object_get(metric, "timestamp")), value);
        json_object_set_new(f->points, point, json_integer(1));
        free(point);
        free(value);
    }
    fake_take_pairs(json_object_get(body, "params"), f->params);
    fake_take_pairs(json_object_get(body, "tags"), f->tags);
}

static void fake_params(const fake_mlflow_t *f, mu_buf_t *out)
{
    const char *key;
    json_t *value, *list = json_array();
    json_object_foreach(f->params, key, value)
        json_array_append_new(list, json_pack("{s:s, s:O}", "key", key, "value", value));
    char *text = json_dumps(list, 0);
    mu_buf_addf(out, "{\"run\": {\"data\": {\"params\": %s}}}", text);
    free(text);
    json_decref(list);
}

/* What a call makes of the server; its status and answer. */
static int fake_obey(fake_mlflow_t *f, const char *path, const json_t *body, mu_buf_t *out)
{
    const char *call = strstr(path, "/mlflow/");
    call = call ? call + strlen("/mlflow/") : "";
    if (strncmp(call, "experiments/get-by-name?experiment_name=", 40) == 0 && f->experiments > 0)
        mu_buf_adds(out, "{\"experiment\": {\"experiment_id\": \"7\", \"lifecycle_stage\": \"active\"}}");
    else if (strncmp(call, "experiments/get-by-name?", 24) == 0) {
        mu_buf_adds(out, "{\"error_code\": \"RESOURCE_DOES_NOT_EXIST\", \"message\": \"none\"}");
        return 404;
    } else if (strcmp(call, "experiments/create") == 0) {
        f->experiments++;
        mu_buf_adds(out, "{\"experiment_id\": \"7\"}");
    } else if (strcmp(call, "runs/search") == 0)
        mu_buf_adds(out, f->runs > 0 ? "{\"runs\": [{\"info\": {\"run_id\": \"r1\"}}]}" : "{}");
    else if (strcmp(call, "runs/create") == 0) {
        f->runs++;
        snprintf(f->run_name, sizeof f->run_name, "%s", fake_text(body, "run_name"));
        fake_take_pairs(json_object_get(body, "tags"), f->tags);
        mu_buf_adds(out, "{\"run\": {\"info\": {\"run_id\": \"r1\"}}}");
    } else if (f->runs == 0 && strncmp(call, "runs/", 5) == 0) {
        mu_buf_adds(out, "{\"error_code\": \"RESOURCE_DOES_NOT_EXIST\", \"message\": \"no such run\"}");
        return 404;
    } else if (strcmp(call, "runs/log-batch") == 0) {
        fake_log(f, body);
        mu_buf_adds(out, "{}");
    } else if (strncmp(call, "runs/get?", 9) == 0)
        fake_params(f, out);
    else if (strcmp(call, "runs/update") == 0) {
        snprintf(f->status, sizeof f->status, "%s", fake_text(body, "status"));
        mu_buf_adds(out, "{}");
    } else {
        mu_buf_adds(out, "{\"error_code\": \"ENDPOINT_NOT_FOUND\"}");
        return 404;
    }
    return 200;
}

static void fake_wait(const fake_mlflow_t *f, int fd)
{
    struct pollfd p[] = {{f->wake[0], POLLIN, 0}, {fd, POLLIN | POLLRDHUP, 0}};
    poll(p, 2, 30000); /* the other side gives up, or the test ends */
}

static void fake_fail(fake_mlflow_t *f, int fd, const char *path, const json_t *body)
{
    static char much[65536];
    mu_buf_t out = MU_BUF_INIT;
    switch (f->failure) {
    case FAKE_500:
        mu_buf_addf(&out, "{\"error_code\": \"INTERNAL_ERROR\", \"message\": \"you sent %s\"}",
                    f->authorization);
        fake_answer(fd, 500, out.data);
        break;
    case FAKE_401:
        fake_answer(fd, 401, "who are you?");
        break;
    case FAKE_NONSENSE:
        fake_answer(fd, 200, "{\"run\": [");
        break;
    case FAKE_HTML:
        fake_answer(fd, 200, "<html>welcome</html>");
        break;
    case FAKE_404:
        fake_answer(fd, 404, "no such page");
        break;
    case FAKE_REDIRECT: {
        char *text = mu_format(
            "HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:%d/redirected\r\nContent-Length: 0\r\n\r\n",
            f->port);
        fake_send(fd, text, strlen(text));
        free(text);
        break;
    }
    case FAKE_HUGE:
        memset(much, 'x', sizeof much);
        fake_send(fd, "HTTP/1.1 200 X\r\nConnection: close\r\n\r\n", 37);
        for (int i = 0; i < 128; i++)
            fake_send(fd, much, sizeof much);
        break;
    case FAKE_HUNG:
        pthread_mutex_unlock(&f->lock);
        fake_wait(f, fd);
        pthread_mutex_lock(&f->lock);
        break;
    case FAKE_CUT:
    case FAKE_TORN:
        fake_obey(f, path, body, &out);
        if (f->failure == FAKE_TORN)
            fake_send(fd, "HTTP/1.1 200 X\r\nContent-Length: 50\r\n\r\n{\"ru", 41);
        break;
    case FAKE_REFUSED:
        fake_answer(fd, 400, "{\"error_code\": \"INVALID_PARAMETER_VALUE\", \"message\": \"not so\"}");
        break;
    default:
        break;
    }
    mu_buf_release(&out);
}

/* The whole of a request; false when the other side went. */
static bool fake_read(int fd, mu_buf_t *out, char **body)
{
    char part[65536];
    for (size_t wanted = SIZE_MAX; out->len < wanted;) {
        ssize_t n = recv(fd, part, sizeof part, 0);
        if (n <= 0)
            return false;
        mu_buf_add(out, part, (size_t)n);
        char *end = strstr(out->data, "\r\n\r\n"), *length = strcasestr(out->data, "\r\nContent-Length:");
        if (end)
            wanted = (size_t)(end - out->data) + 4 +
                     (length && length < end ? (size_t)strtoul(length + 17, NULL, 10) : 0);
        *body = end ? end + 4 : NULL;
    }
    return true;
}

static void fake_serve(fake_mlflow_t *f, int fd)
{
    mu_buf_t request = MU_BUF_INIT, out = MU_BUF_INIT;
    char *text, *path, *end, *authorization;
    if (fake_read(fd, &request, &text)) {
        json_t *body = json_loads(text, 0, NULL);
        authorization = strcasestr(request.data, "\r\nAuthorization: ");
        pthread_mutex_lock(&f->lock);
        snprintf(f->authorization, sizeof f->authorization, "%.*s",
                 authorization ? (int)strcspn(authorization + 17, "\r") : 0,
                 authorization ? authorization + 17 : "");
        path = strchr(request.data, ' ') + 1;
        end = strchr(path, ' ');
        *end = '\0';
        f->redirected += strcmp(path, "/redirected") == 0;
        int call = f->calls++;
        if (call >= f->fail_at && call < f->fail_at + f->fail_calls) {
            fake_fail(f, fd, path, body);
        } else {
            int status = fake_obey(f, path, body, &out);
            fake_answer(fd, status, out.data);
        }
        pthread_mutex_unlock(&f->lock);
        json_decref(body);
    }
    mu_buf_release(&request);
    mu_buf_release(&out);
}

static void *fake_main(void *arg)
{
    fake_mlflow_t *f = arg;
    for (;;) {
        struct pollfd p[] = {{f->fd, POLLIN, 0}, {f->wake[0], POLLIN, 0}};
        poll(p, 2, -1);
        if (p[1].revents)
            return NULL;
        int fd = accept(f->fd, NULL, NULL);
        if (fd >= 0) {
            fake_serve(f, fd);
            close(fd);
        }
    }
}

static void fake_start(fake_mlflow_t *f)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    *f = (fake_mlflow_t){.points = json_object(), .params = json_object(), .tags = json_object()};
    pthread_mutex_init(&f->lock, NULL);
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (f->fd < 0 || bind(f->fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(f->fd, 16) != 0 ||
        getsockname(f->fd, (struct sockaddr *)&at, &n) != 0 || pipe(f->wake) != 0)
        abort();
    f->port = ntohs(at.sin_port);
    if (pthread_create(&f->thread, NULL, fake_main, f) != 0)
        abort();
}

static void fake_end(fake_mlflow_t *f)
{
    close(f->wake[1]);
    pthread_join(f->thread, NULL);
    close(f->wake[0]);
    close(f->fd);
    json_decref(f->points);
    json_decref(f->params);
    json_decref(f->tags);
    pthread_mutex_destroy(&f->lock);
}

#endif
