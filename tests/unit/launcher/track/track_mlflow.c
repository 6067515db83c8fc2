/* muster track to MLflow: every point once, whatever the server does; credentials in no message and no file. */
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "launcher/track/mlflow_address.h"
#include "launcher/track/register.h"
#include "launcher/track/track.h"
#include "tests/unit/launcher/track/fake_mlflow.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <cmocka.h>

static char dir[64], address[64], *metrics, *cursor;
static mu_buf_t said; /* everything that was logged */
static fake_mlflow_t fake;
static volatile sig_atomic_t stop;

static void hear(mu_log_level_t level, const char *line, void *arg)
{
    (void)level, (void)arg;
    mu_buf_addf(&said, "%s\n", line);
}

static void write_file(const char *name, const char *text)
{
    char *path = mu_path_join(dir, name);
    assert_int_equal(mu_file_replace(path, text, strlen(text), 0600), MU_OK);
    free(path);
}

static void add_step(int step, int time)
{
    char *line = mu_format("{\"step\": %d, \"samples\": %d, \"tokens\": %d, \"loss\": %.17g, \"lr\": 0.001, "
                           "\"grad_norm\": %s, \"step_ms\": 250, \"tokens_per_s\": 640, \"time\": %d.5}\n",
                           step, step * 4, step * 160, 1.0 / step, step == 3 ? "null" : "1.25", time);
    int fd = open(metrics, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_true(fd >= 0 && mu_write_all(fd, line, strlen(line)));
    close(fd);
    free(line);
}

static int set_up(void **state)
{
    (void)state;
    stop = 0;
    mu_buf_clear(&said);
    mu_log_sink_set(hear, NULL);
    snprintf(dir, sizeof dir, "/tmp/muster-mlflow-XXXXXX");
    assert_non_null(mkdtemp(dir));
    metrics = mu_path_join(dir, "metrics.jsonl");
    cursor = mu_path_join(dir, "track.json");
    write_file("run.json",
               "{\"state\": \"done\", \"step\": 3, \"started\": 1000.0, \"time\": 1003.0, "
               "\"token\": \"0123456789abcdef\", \"config_digest\": \"c1\", \"data_version\": \"d1\"}\n");
    write_file("config.yml", "num_layers: 2\noptimizer: {type: Adam, params: {betas: [0.9, 0.95]}}\n");
    fake_start(&fake);
    snprintf(address, sizeof address, "http://127.0.0.1:%d", fake.port);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_end(&fake);
    mu_log_sink_set(NULL, NULL);
    mu_buf_release(&said);
    free(metrics);
    free(cursor);
    return mu_remove_tree(dir) == MU_OK ? 0 : -1;
}

static mu_status_t track_with(const mu_secrets_t *secrets)
{
    return mu_track(&(mu_track_t){.run_dir = dir,
                                  .mlflow = address,
                                  .once = true,
                                  .call_ms = fake.fail_calls > 0 && (fake.failure == FAKE_HUNG) ? 600 : 20000,
                                  .stop = &stop,
                                  .secrets = secrets});
}

static mu_status_t track(void)
{
    return track_with(NULL);
}

static void expect_point(const char *point)
{
    if (!json_object_get(fake.points, point)) {
        char *all = json_dumps(fake.points, JSON_INDENT(1));
        fail_msg("no point '%s' in %s", point, all);
    }
}

/* Every value of steps 1 to n, once: loss, lr, grad_norm, times and two rates. */
static void expect_points(int n)
{
    assert_int_equal(json_object_size(fake.points), n * 7);
    for (int step = 1; step <= n; step++) {
        json_t *loss = json_real(1.0 / step);
        char *text = json_dumps(loss, JSON_ENCODE_ANY);
        char *point = mu_format("train/lm_loss %d %d %s", step, (1000 + step) * 1000 + 500, text);
        expect_point(point);
        free(point);
        free(text);
        json_decref(loss);
    }
    assert_int_equal(fake.runs, 1);
    assert_int_equal(fake.experiments, 1);
    assert_int_equal(fake.refused_points, 0);
    assert_string_equal(fake.status, "FINISHED");
}

static void add_steps(int n)
{
    for (int step = 1; step <= n; step++)
        add_step(step, 1000 + step);
}

static void a_finished_run_is_delivered(void **state)
{
    (void)state;
    add_steps(4);
    assert_int_equal(track(), MU_OK);
    expect_points(4);
    expect_point("train/grad_norm 3 1003500 \"NaN\"");
    expect_point("runtime/iteration_time 2 1002500 0.25");
    assert_string_equal(fake_text(fake.params, "optimizer.params.betas"), "[0.9, 0.95]");
    assert_string_equal(fake_text(fake.params, "num_layers"), "2");
    assert_string_equal(fake_text(fake.tags, "muster.data_version"), "d1");
    assert_string_equal(fake_text(fake.tags, "muster.config_digest"), "c1");
    assert_string_equal(fake_text(fake.tags, "muster.run"), "0123456789abcdef");

    int calls = fake.calls; /* the same again sends no point; without a cursor the same run takes them */
    assert_int_equal(track(), MU_OK);
    assert_true(fake.calls - calls <= 1);
    assert_int_equal(unlink(cursor), 0);
    assert_int_equal(track(), MU_OK);
    expect_points(4);
}

static void many_points_go_in_calls_of_a_thousand(void **state)
{
    (void)state;
    add_steps(500); /* 3,500 values */
    assert_int_equal(track(), MU_OK);
    expect_points(500);
}

/* Whatever goes wrong at whichever call: the status says so, and the next try brings every point, once. */
static void every_failure_at_every_call(void **state)
{
    static const mu_status_t wanted[FAKE_FAILURES] = {[FAKE_401] = MU_AUTH, [FAKE_REFUSED] = MU_DATA};
    for (fake_failure_t failure = 0; failure < FAKE_FAILURES; failure++) {
        for (int at = 0;; at++) {
            tear_down(state);
            set_up(state);
            add_steps(200); /* two calls of points */
            fake.failure = failure;
            fake.fail_at = at;
            fake.fail_calls = 1;
            mu_status_t status = track();
            bool reached = fake.calls > at;
            if (reached && status != (wanted[failure] ? wanted[failure] : MU_UNREADY))
                fail_msg("failure %d at call %d: status %d\n%s", failure, at, status, said.data);
            if (status == MU_OK)
                assert_false(reached);
            fake.fail_calls = 0;
            if ((status = track()) != MU_OK)
                fail_msg("after failure %d at call %d: status %d\n%s", failure, at, status, said.data);
            expect_points(200);
            assert_int_equal(fake.redirected, 0);
            if (!reached) {
                assert_true(at >= 8); /* experiment, run, parameters, tags, points, status */
                break;
            }
        }
    }
}

/* A server that lost its store gets the run anew. */
static void a_run_that_the_server_forgot(void **state)
{
    (void)state;
    add_steps(3);
    assert_int_equal(track(), MU_OK);
    fake.runs = fake.experiments = 0;
    json_object_clear(fake.points);
    add_step(4, 1004);
    assert_int_equal(track(), MU_UNREADY);
    assert_int_equal(track(), MU_OK);
    expect_points(4);
}

/* Steps that a restart repeated before they were sent are sent as they came out. */
static void repeated_steps_are_sent_once(void **state)
{
    (void)state;
    add_step(1, 900);
    add_step(2, 901);
    add_step(3, 902);
    add_step(1, 1001);
    add_step(2, 1002);
    add_step(3, 1003);
    add_step(4, 1004);
    assert_int_equal(track(), MU_OK);
    expect_points(4);
}

static void a_changed_parameter_becomes_a_tag(void **state)
{
    (void)state;
    add_steps(1);
    assert_int_equal(track(), MU_OK);
    write_file("config.yml", "num_layers: 3\nseed: 5\n");
    write_file("run.json", "{\"state\": \"done\", \"started\": 1000.0, \"time\": 1003.0, "
                           "\"token\": \"0123456789abcdef\", \"config_digest\": \"c2\"}\n");
    assert_int_equal(track(), MU_OK);
    assert_string_equal(fake_text(fake.params, "num_layers"), "2");
    assert_string_equal(fake_text(fake.params, "seed"), "5");
    assert_string_equal(fake_text(fake.tags, "config.num_layers"), "3");
    expect_points(1);
}

static void no_file_holds(const char *word)
{
    char *command = mu_format("grep -rqF '%s' %s", word, dir);
    assert_int_equal(WEXITSTATUS(system(command)), 1);
    free(command);
}

/* Even when a server answers with what it was sent. */
static void credentials_stay_out_of_messages_and_files(void **state)
{
    (void)state;
    static const char *const words[] = {"hunter2secret", "tok-93ab", "dXNlcjpodW50ZXIyc2VjcmV0"};
    for (int bearer = 0; bearer < 2; bearer++) {
        mu_secrets_t *secrets;
        setenv(bearer ? "MLFLOW_TRACKING_TOKEN" : "MLFLOW_TRACKING_PASSWORD",
               bearer ? "tok-93ab" : "hunter2secret", 1);
        if (!bearer)
            setenv("MLFLOW_TRACKING_USERNAME", "user", 1);
        assert_int_equal(mu_secrets_take(&secrets), MU_OK);
        assert_null(getenv("MLFLOW_TRACKING_TOKEN"));
        assert_null(getenv("MLFLOW_TRACKING_PASSWORD"));
        add_steps(2);
        fake.failure = FAKE_500;
        fake.fail_at = fake.calls;
        fake.fail_calls = 1;
        assert_int_equal(track_with(secrets), MU_UNREADY);
        assert_string_equal(fake.authorization,
                            bearer ? "Bearer tok-93ab" : "Basic dXNlcjpodW50ZXIyc2VjcmV0");
        assert_non_null(strstr(said.data, "you sent"));
        assert_non_null(strstr(said.data, "500"));
        assert_int_equal(track_with(secrets), MU_OK);
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
            assert_null(strstr(said.data, words[i]));
            no_file_holds(words[i]);
        }
        mu_secrets_free(secrets);
    }
}

static void secrets_of_the_environment(void **state)
{
    (void)state;
    mu_secrets_t *secrets;
    setenv("MLFLOW_TRACKING_TOKEN", "tok \r\n", 1);
    setenv("MLFLOW_TRACKING_PASSWORD", "blank \n", 1);
    setenv("WANDB_API_KEY", "key", 1);
    assert_int_equal(mu_secrets_take(&secrets), MU_OK);
    assert_string_equal(mu_secrets_get(secrets, "MLFLOW_TRACKING_TOKEN"), "tok");
    assert_string_equal(mu_secrets_get(secrets, "MLFLOW_TRACKING_PASSWORD"), "blank ");
    mu_secrets_give(secrets, "WANDB_"); /* no more than the sidecar needs */
    assert_string_equal(getenv("WANDB_API_KEY"), "key");
    assert_null(getenv("MLFLOW_TRACKING_TOKEN"));
    unsetenv("WANDB_API_KEY");
    mu_secrets_give(secrets, "MLFLOW_");
    assert_string_equal(getenv("MLFLOW_TRACKING_TOKEN"), "tok");
    assert_null(getenv("WANDB_API_KEY"));
    mu_secrets_free(secrets);

    setenv("MLFLOW_TRACKING_TOKEN", "tok\r\nX-Other: 1", 1); /* another header */
    setenv("WANDB_API_KEY", "key", 1);
    assert_int_equal(mu_secrets_take(&secrets), MU_USAGE);
    assert_non_null(strstr(said.data, "MLFLOW_TRACKING_TOKEN"));
    assert_null(strstr(said.data, "X-Other"));
    assert_null(getenv("MLFLOW_TRACKING_TOKEN"));
    assert_null(getenv("WANDB_API_KEY"));
}

/* A tracker and `export --register` say the same of a token in clear. */
static void a_token_in_clear_is_a_warning(void **state)
{
    (void)state;
    mu_secrets_t *secrets;
    setenv("MLFLOW_TRACKING_TOKEN", "tok-93ab", 1);
    assert_int_equal(mu_secrets_take(&secrets), MU_OK);
    mu_register_t ask = {.dir = "/nonexistent", .mlflow = address, .name = "m", .secrets = secrets};
    assert_int_equal(mu_register(&ask), MU_NOINPUT);
    assert_null(strstr(said.data, "unencrypted")); /* this machine */
    ask.mlflow = "http://localhost.invalid";
    assert_int_equal(mu_register(&ask), MU_NOINPUT);
    assert_non_null(strstr(said.data, "http://localhost.invalid: credentials go there unencrypted"));
    mu_secrets_free(secrets);
}

static void a_password_without_user_is_sent(void **state)
{
    (void)state;
    mu_secrets_t *secrets;
    mu_buf_t base = MU_BUF_INIT;
    char *uri = mu_format("http://:hunter2@127.0.0.1:%d", fake.port);
    setenv("MLFLOW_TRACKING_URI", uri, 1);
    setenv("MLFLOW_TRACKING_USERNAME", "other", 1);
    assert_int_equal(mu_secrets_take(&secrets), MU_OK);
    assert_int_equal(mu_mlflow_address("track", NULL, secrets, &base), MU_OK);
    assert_string_equal(base.data, address);
    add_steps(1);
    assert_int_equal(track_with(secrets), MU_OK);
    assert_string_equal(fake.authorization, "Basic Omh1bnRlcjI="); /* ":hunter2" */
    mu_buf_release(&base);
    mu_secrets_free(secrets);
    free(uri);
}

static void a_folder_that_is_not_utf8(void **state)
{
    (void)state;
    char *odd = mu_path_join(dir, "run-\xff");
    add_steps(2);
    assert_int_equal(mkdir(odd, 0700), 0);
    static const char *const names[] = {"run.json", "config.yml", "metrics.jsonl"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *from = mu_path_join(dir, names[i]), *to = mu_path_join(odd, names[i]);
        assert_int_equal(rename(from, to), 0);
        free(from);
        free(to);
    }
    assert_int_equal(mu_track(&(mu_track_t){.run_dir = odd, .mlflow = address, .once = true}), MU_OK);
    expect_points(2);
    assert_string_equal(fake.run_name, "0123456789abcdef");
    free(odd);
}

static void a_line_with_zeros_is_passed_over(void **state)
{
    (void)state;
    add_steps(1);
    int fd = open(metrics, O_WRONLY | O_APPEND);
    assert_true(fd >= 0 && mu_write_all(fd, "{\"st\0ep\"\n", 9));
    close(fd);
    add_step(2, 1002);
    assert_int_equal(track(), MU_OK);
    expect_points(2);
    assert_non_null(strstr(said.data, "1 lines are torn or damaged"));
}

static void *stop_soon(void *arg)
{
    (void)arg;
    mu_sleep_ms(200);
    stop = 1;
    return NULL;
}

static void a_signal_ends_a_call_that_hangs(void **state)
{
    (void)state;
    pthread_t thread;
    add_steps(1);
    fake.failure = FAKE_HUNG;
    fake.fail_calls = 1000;
    pthread_create(&thread, NULL, stop_soon, NULL);
    int64_t began = mu_now_ns();
    mu_track_t ask = {.run_dir = dir, .mlflow = address, .stop = &stop, .call_ms = 60000};
    assert_int_equal(mu_track(&ask), MU_STOPPED);
    assert_true(mu_now_ns() - began < (int64_t)30 * 1000000000);
    assert_non_null(strstr(said.data, "muster track /tmp/")); /* the command that delivers it */
    pthread_join(thread, NULL);
}

static void nobody_listens(void **state)
{
    (void)state;
    add_steps(5);
    snprintf(address, sizeof address, "http://127.0.0.1:1");
    assert_int_equal(track(), MU_UNREADY);
    assert_non_null(strstr(said.data, "5 steps (1 to 5)"));
    assert_null(strstr(said.data, "again")); /* it is not tried again */
}

/* MLflow's calls are JSON: a name that is not UTF-8 is refused, and nothing is sent. */
static void an_experiment_that_is_not_utf8(void **state)
{
    (void)state;
    add_steps(3);
    setenv("MLFLOW_EXPERIMENT_NAME", "caf\xe9", 1);
    assert_int_equal(track(), MU_USAGE);
    assert_non_null(strstr(said.data, "MLFLOW_EXPERIMENT_NAME"));
    assert_int_equal(fake.calls, 0);
    setenv("MLFLOW_EXPERIMENT_NAME", "caf\xc3\xa9", 1);
    assert_int_equal(track(), MU_OK);
    expect_points(3);
    unsetenv("MLFLOW_EXPERIMENT_NAME");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_finished_run_is_delivered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_points_go_in_calls_of_a_thousand, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_failure_at_every_call, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_run_that_the_server_forgot, set_up, tear_down),
        cmocka_unit_test_setup_teardown(repeated_steps_are_sent_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_changed_parameter_becomes_a_tag, set_up, tear_down),
        cmocka_unit_test_setup_teardown(credentials_stay_out_of_messages_and_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(secrets_of_the_environment, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_token_in_clear_is_a_warning, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_password_without_user_is_sent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_that_is_not_utf8, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_line_with_zeros_is_passed_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_signal_ends_a_call_that_hangs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_listens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_experiment_that_is_not_utf8, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
