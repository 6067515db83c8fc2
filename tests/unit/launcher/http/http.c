/* The HTTP server against the HTTP client; addresses taken apart; a run as Prometheus reads it. */
#include "common/run/account.h"
#include "common/file.h"
#include "common/listen.h"
#include "common/log.h"
#include "launcher/http/http_client.h"
#include "launcher/http/http_server.h"
#include "launcher/track/prometheus.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void hush(mu_log_level_t level, const char *line, void *arg)
{
    (void)level, (void)line, (void)arg;
}

static void echo(const mu_http_request_t *request, mu_http_response_t *response, void *arg)
{
    int *calls = arg;
    (*calls)++;
    response->status = strcmp(request->path, "/teapot") == 0 ? 418 : 200;
    response->type = "application/x-test";
    mu_buf_addf(&response->body, "%s %s %zu %s", request->method, request->path, request->body_len,
                request->body);
}

static void requests_reach_the_handler(void **state)
{
    (void)state;
    int calls = 0;
    mu_http_server_t *server;
    mu_http_client_t *client;
    mu_http_reply_t reply = {0};
    mu_buf_t body = MU_BUF_INIT;
    mu_http_server_options_t options = {
        .listen = "0", .body_limit = 1000, .connections = 4, .idle_s = 5, .handle = echo, .arg = &calls};
    assert_int_equal(mu_http_server_open(&options, &server), MU_OK);
    assert_memory_equal(mu_http_server_address(server), "127.0.0.1:", 10);
    char *base = mu_format("http://%s", mu_http_server_address(server));
    assert_int_equal(
        mu_http_client_open(&(mu_http_client_options_t){.base = base, .timeout_ms = 5000}, &client), MU_OK);
    mu_http_call(client, "GET", "/a?b=c", NULL, NULL, &reply);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body.data, "GET /a 0 ");
    mu_buf_adds(&body, "hello");
    mu_http_call(client, "POST", "/teapot", "text/plain", &body, &reply);
    assert_int_equal(reply.status, 418);
    assert_string_equal(reply.body.data, "POST /teapot 5 hello");
    assert_non_null(strstr(reply.why.data, "418"));
    for (int i = 0; i < 1000; i++)
        mu_buf_addc(&body, 'x');
    mu_http_call(client, "POST", "/a", "text/plain", &body, &reply);
    assert_int_equal(reply.status, 413);
    assert_int_equal(calls, 2);

    /* the address is taken */
    char *taken = mu_format("127.0.0.1:%d", mu_http_server_port(server));
    mu_http_server_t *other;
    options.listen = taken;
    assert_int_equal(mu_http_server_open(&options, &other), MU_UNREADY);
    options.listen = "nonsense";
    assert_int_equal(mu_http_server_open(&options, &other), MU_USAGE);
    mu_http_server_close(server);
    mu_http_call(client, "GET", "/a", NULL, NULL, &reply);
    assert_int_equal(reply.status, 0);
    assert_true(reply.why.len > 0);
    mu_http_reply_release(&reply);
    mu_http_client_close(client);
    mu_buf_release(&body);
    free(taken);
    free(base);
}

/* The server answers with the secret, twice; one of asterisks must not be looked for in what replaced it. */
static void secrets_are_blanked(void **state)
{
    (void)state;
    static const char *const secrets[] = {"***", "hunter2"};
    int calls = 0;
    mu_http_server_t *server;
    mu_http_server_options_t options = {
        .listen = "0", .body_limit = 1000, .connections = 4, .idle_s = 5, .handle = echo, .arg = &calls};
    assert_int_equal(mu_http_server_open(&options, &server), MU_OK);
    char *base = mu_format("http://%s", mu_http_server_address(server));
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++) {
        mu_http_client_t *client;
        mu_http_reply_t reply = {0};
        mu_buf_t body = MU_BUF_INIT;
        mu_http_client_options_t ask = {
            .base = base, .timeout_ms = 5000, .credentials = {.token = secrets[i]}};
        assert_int_equal(mu_http_client_open(&ask, &client), MU_OK);
        mu_buf_addf(&body, "(%s) (%s)", secrets[i], secrets[i]);
        mu_http_call(client, "POST", "/teapot", "text/plain", &body, &reply);
        assert_int_equal(reply.status, 418);
        assert_non_null(strstr(reply.why.data, i == 0 ? "(***) (***)" : "(*******) (*******)"));
        mu_http_reply_release(&reply);
        mu_http_client_close(client);
        mu_buf_release(&body);
    }
    mu_http_server_close(server);
    free(base);
}

static void addresses_are_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *url, *base, *user, *password; /* base NULL: refused */
    } urls[] = {
        {"http://h:5000", "http://h:5000", "", ""},
        {"https://u:p%40ss@h/ml/", "https://h/ml", "u", "p@ss"},
        {"http://u@h", "http://h", "u", ""},
        {"http://:p@h", "http://h", "", "p"},
        {"http://[::1]:80/", "http://[::1]:80", "", ""},
        {"h:5000", NULL, NULL, NULL},
        {"file:///tmp/runs", NULL, NULL, NULL},
        {"sqlite:///x.db", NULL, NULL, NULL},
        {"databricks", NULL, NULL, NULL},
        {"http://h/?x=1", NULL, NULL, NULL},
        {"http://h/#x", NULL, NULL, NULL},
        {"http://", NULL, NULL, NULL},
        {"", NULL, NULL, NULL},
        {"http://h:99999", NULL, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        mu_buf_t base = MU_BUF_INIT, user = MU_BUF_INIT, password = MU_BUF_INIT;
        const char *why;
        bool good = mu_http_split_url(urls[i].url, &base, &user, &password, &why);
        if (good != (urls[i].base != NULL))
            fail_msg("'%s': %d", urls[i].url, good);
        if (good) {
            assert_string_equal(base.data, urls[i].base);
            assert_string_equal(user.data, urls[i].user);
            assert_string_equal(password.data, urls[i].password);
        } else
            assert_non_null(why);
        mu_buf_release(&base);
        mu_buf_release(&user);
        mu_buf_release(&password);
    }
    assert_true(mu_http_is_open("http://example.org:5000"));
    assert_false(mu_http_is_open("https://example.org"));
    assert_false(mu_http_is_open("http://127.0.0.1:5000"));
    assert_false(mu_http_is_open("http://[::1]:5000"));
    assert_false(mu_http_is_open("http://127.1"));
    assert_false(mu_http_is_open("http://LocalHost/mlflow"));
    assert_true(mu_http_is_open("http://localhost.example"));
    assert_true(mu_http_is_open("http://127.evil.example:80"));
    assert_true(mu_http_is_open("http://127.0.0.1.example/"));
    assert_true(mu_http_is_open("http://[::1]x"));
}

static void places_to_listen_at(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        int port; /* -1: refused */
    } cases[] = {{"9400", "127.0.0.1", 9400},
                 {":9400", "127.0.0.1", 9400},
                 {"0.0.0.0:0", "0.0.0.0", 0},
                 {"[::1]:80", "::1", 80},
                 {"host:65535", "host", 65535},
                 {"::1:80", "", -1},
                 {"host", "", -1},
                 {"host:", "", -1},
                 {"h:65536", "", -1},
                 {"h:-1", "", -1},
                 {"", "", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mu_buf_t host = MU_BUF_INIT;
        int port = -1;
        bool good = mu_listen_split(cases[i].text, &host, &port);
        if (good != (cases[i].port >= 0) ||
            (good && (port != cases[i].port || strcmp(host.data, cases[i].host) != 0)))
            fail_msg("'%s': %d", cases[i].text, port);
        mu_buf_release(&host);
    }
}

/* ---- Prometheus ---- */

static char dir[64];

static void write_file(const char *name, const char *text)
{
    char *path = mu_path_join(dir, name);
    assert_int_equal(mu_file_replace(path, text, strlen(text), 0600), MU_OK);
    free(path);
}

static double value_of(const mu_buf_t *text, const char *name)
{
    char *line = mu_format("\n%s ", name);
    const char *at = strstr(text->data, line);
    if (!at)
        fail_msg("no %s in %s", name, text->data);
    double value = strtod(at + strlen(line), NULL);
    free(line);
    return value;
}

/* The parts add up to the wall time, from the launcher's start at 1000 to its end at 1004. */
static void where_the_time_went(void **state)
{
    (void)state;
    mu_prometheus_t *prometheus;
    mu_buf_t text = MU_BUF_INIT;
    snprintf(dir, sizeof dir, "/tmp/muster-prometheus-XXXXXX");
    assert_non_null(mkdtemp(dir));
    write_file("run.json",
               "{\"state\": \"done\", \"started\": 1000.0, \"time\": 1004.0, \"last_checkpoint\": 3, "
               "\"ranks\": {\"compute_ms\": {\"min\": 10, \"median\": 20, \"max\": 250, \"rank\": 2}}}");
    write_file("events.jsonl", "{\"time\": 1000.0, \"kind\": \"launcher\", \"text\": \"\"}\n"
                               "{\"time\": 1000.5, \"kind\": \"attempt\", \"text\": \"\"}\n"
                               "{\"time\": 1002.5, \"kind\": \"stall\", \"text\": \"\"}\n"
                               "{\"time\": 1004.0, \"kind\": \"end\", \"text\": \"\"}\n");
    write_file("metrics.jsonl", "{\"step\": 1, \"step_ms\": 250, \"time\": 1001}\n"
                                "{\"step\": 2, \"step_ms\": 250, \"data_wait_ms\": 50, \"time\": 1002}\n"
                                "{\"step\": 3, \"step_ms\": 500, \"time\": 1003}\n");
    mu_prometheus_open(dir, &prometheus);
    assert_true(mu_prometheus_text(prometheus, &text));
    double sum = 0;
    for (int i = 0; i < MU_PARTS; i++) {
        char *name = mu_format("muster_time_seconds{part=\"%s\"}", mu_part_name(i));
        sum += value_of(&text, name);
        free(name);
    }
    assert_true(value_of(&text, "muster_wall_seconds") == 4 && fabs(sum - 4) < 1e-9);
    assert_true(fabs(value_of(&text, "muster_time_seconds{part=\"compute\"}") - 0.95) < 1e-9);
    assert_true(fabs(value_of(&text, "muster_time_seconds{part=\"data_wait\"}") - 0.05) < 1e-9);
    assert_true(fabs(value_of(&text, "muster_goodput_ratio") - 0.95 / 4) < 1e-9);
    assert_true(value_of(&text, "muster_lost_steps") == 0);
    assert_true(value_of(&text, "muster_stalls_total") == 1);
    assert_true(value_of(&text, "muster_step_time_seconds{stat=\"median\"}") == 0.25);
    assert_true(value_of(&text, "muster_rank_seconds{what=\"compute\",stat=\"max\"}") == 0.25);
    mu_buf_release(&text);
    mu_prometheus_close(prometheus);
    assert_int_equal(mu_remove_tree(dir), MU_OK);
}

static void a_run_as_prometheus_reads_it(void **state)
{
    (void)state;
    static const char before[] =
        "{\"step\": 1, \"samples\": 4, \"tokens\": 160, \"loss\": 3, \"step_ms\": 250, \"time\": 1001}\n"
        "{\"step\": 2, \"samples\": 8, \"tokens\": 320, \"loss\": 2.5, \"step_ms\": 250, \"valid_loss\": "
        "2.75, "
        "\"time\": 1002}\n"
        "{\"step\": 3, \"samples\": 12, \"tokens\": 480, \"loss\": 2.25, \"step_ms\": 250, \"time\": 1003}\n";
    static const char after[] =
        "{\"step\": 2, \"samples\": 8, \"tokens\": 320, \"loss\": 2.5, \"step_ms\": 500, \"time\": 1010}\n";
    mu_prometheus_t *prometheus;
    mu_buf_t text = MU_BUF_INIT;
    mu_http_response_t response = {.status = 200};
    mu_log_sink_set(hush, NULL);
    snprintf(dir, sizeof dir, "/tmp/muster-prometheus-XXXXXX");
    assert_non_null(mkdtemp(dir));
    mu_prometheus_open(dir, &prometheus);
    assert_false(mu_prometheus_text(prometheus, &text)); /* no run.json yet */
    mu_http_request_t request = {.method = "GET", .path = "/metrics", .body = ""};
    mu_prometheus_handle(&request, &response, prometheus);
    assert_int_equal(response.status, 503);
    mu_buf_release(&response.body);
    write_file("run.json",
               "{\"state\": \"running\", \"started\": 1000.0, \"time\": 1003.0, \"token\": \"abc\", "
               "\"attempt\": 2, \"last_checkpoint\": -1, \"train_iters\": 10, \"data_version\": "
               "\"a\\\"b\\\\c\"}");
    write_file("metrics.jsonl", before);
    assert_true(mu_prometheus_text(prometheus, &text));
    assert_true(value_of(&text, "muster_step") == 3);
    assert_true(value_of(&text, "muster_tokens_total") == 480);
    assert_true(value_of(&text, "muster_train_loss") == 2.25);
    assert_true(value_of(&text, "muster_validation_loss") == 2.75);
    assert_true(value_of(&text, "muster_restarts_total") == 1);
    assert_true(value_of(&text, "muster_progress_timestamp_seconds") == 1003);
    assert_true(value_of(&text, "muster_scalar{name=\"train/lm_loss\"}") == 2.25);
    assert_true(value_of(&text, "muster_run_state{state=\"running\"}") == 1);
    assert_true(value_of(&text, "muster_run_active") == 0); /* no launcher */
    assert_non_null(strstr(text.data, "data_version=\"a\\\"b\\\\c\""));
    assert_null(strstr(text.data, "muster_checkpoint"));

    char *path = mu_path_join(dir, "checkpoints/step-00000002");
    assert_int_equal(mu_make_dirs(path, 0700), MU_OK);
    free(path);
    write_file("run.json",
               "{\"state\": \"running\", \"started\": 1000.0, \"time\": 1003.0, \"last_checkpoint\": 2}");
    char *all = mu_format("%s%s", before, after); /* a restart: the counters go on */
    write_file("metrics.jsonl", all);
    free(all);
    mu_buf_clear(&text);
    assert_true(mu_prometheus_text(prometheus, &text));
    assert_true(value_of(&text, "muster_step") == 2);
    assert_true(value_of(&text, "muster_tokens_total") == 640);
    assert_true(value_of(&text, "muster_samples_total") == 16);
    assert_true(value_of(&text, "muster_step_duration_seconds") == 0.5);
    assert_true(value_of(&text, "muster_lost_steps") == 2); /* 2 and 3 were done before */
    assert_true(value_of(&text, "muster_checkpoint_step") == 2);
    assert_true(value_of(&text, "muster_checkpoint_timestamp_seconds") > 1e9);
    mu_buf_release(&text);
    mu_prometheus_close(prometheus);
    assert_int_equal(mu_remove_tree(dir), MU_OK);
    mu_log_sink_set(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_reach_the_handler),   cmocka_unit_test(secrets_are_blanked),
        cmocka_unit_test(addresses_are_taken_apart),    cmocka_unit_test(places_to_listen_at),
        cmocka_unit_test(a_run_as_prometheus_reads_it), cmocka_unit_test(where_the_time_went),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
