/* metrics.jsonl: 17 digits, JSON's own null for what is not finite, torn lines ended. */
#include "common/file.h"
#include "worker/train/metrics.h"
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

static void lines_survive_a_kill(void **state)
{
    (void)state;
    char dir[] = "/tmp/muster-metrics-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *path = mu_path_join(dir, "metrics.jsonl");
    mu_metrics_t *m;
    mu_report_t report = {
        .step = 3, .loss = 0.1 + 0.2, .grad_norm = INFINITY, .lr = 1e-4, .step_ms = 500, .tokens_per_s = 320};
    double valid = 1.0 / 3;

    assert_int_equal(mu_file_replace(path, "{\"step\": 2, \"lo", 14, 0600), MU_OK);
    assert_int_equal(mu_metrics_open(dir, &m), MU_OK);
    assert_int_equal(mu_metrics_add(m, &report, 48, 480, &valid), MU_OK);
    report.step = 4;
    assert_int_equal(mu_metrics_add(m, &report, 64, 640, NULL), MU_OK);
    mu_metrics_close(m);

    mu_buf_t text = MU_BUF_INIT;
    assert_int_equal(mu_file_read(path, 1 << 20, &text), MU_OK);
    char *first = strchr(text.data, '\n') + 1, *second = strchr(first, '\n') + 1;
    json_t *row = json_loads(first, JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(row);
    assert_true(json_real_value(json_object_get(row, "loss")) == 0.1 + 0.2);
    assert_true(json_real_value(json_object_get(row, "valid_loss")) == valid);
    assert_true(json_number_value(json_object_get(row, "tokens_per_s")) == 320);
    assert_true(json_is_null(json_object_get(row, "grad_norm")));
    assert_int_equal(json_integer_value(json_object_get(row, "samples")), 48);
    json_decref(row);
    row = json_loads(second, JSON_DISABLE_EOF_CHECK, NULL);
    assert_int_equal(json_integer_value(json_object_get(row, "step")), 4);
    assert_null(json_object_get(row, "valid_loss"));
    json_decref(row);
    mu_buf_release(&text);
    free(path);
    assert_int_equal(mu_remove_tree(dir), MU_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines_survive_a_kill)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
