/* Which of several models wins, and by how much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/choice.h"
#include "common/log.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

enum { MODELS = 3 };

/* assert_float_equal() is of floats. */
static void assert_near(double found, double wanted, double most)
{
    assert_true(fabs(found - wanted) <= most);
}

static void drop(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)line;
    (void)arg;
}

/* Losses on 100 tokens each; no accuracy. */
static void make(mu_candidate_t out[MODELS], double a, double b, double c)
{
    static const char *const names[MODELS] = {"a", "b", "c"};
    double loss[MODELS] = {a, b, c};
    for (int i = 0; i < MODELS; i++) {
        out[i] = (mu_candidate_t){.model = names[i]};
        for (int m = 0; m < MU_GATE_METRICS; m++)
            out[i].value[m] = (double)NAN;
        out[i].value[MU_GATE_LOSS] = loss[i];
        out[i].value[MU_GATE_TOKENS] = 100;
    }
}

static void by_loss(void **state)
{
    mu_candidate_t c[MODELS];
    mu_choice_t choice;
    (void)state;
    make(c, 2.5, 2.25, 3);
    assert_int_equal(mu_choose(c, MODELS, &choice), MU_OK);
    assert_int_equal(choice.best, 1);
    assert_int_equal(choice.second, 0);
    assert_int_equal(choice.metric, MU_GATE_LOSS);
    assert_near(choice.margin, 0.25, 0);
    make(c, 2, 3, 2); /* of equal ones the first */
    assert_int_equal(mu_choose(c, MODELS, &choice), MU_OK);
    assert_int_equal(choice.best, 0);
    assert_int_equal(choice.second, 2);
    assert_near(choice.margin, 0, 0);
}

static void what_is_no_number_never_wins(void **state)
{
    mu_candidate_t c[MODELS];
    mu_choice_t choice;
    (void)state;
    make(c, (double)NAN, 9, (double)INFINITY);
    assert_int_equal(mu_choose(c, MODELS, &choice), MU_OK);
    assert_int_equal(choice.best, 1);
    assert_int_equal(choice.second, -1);
    assert_true(isnan(choice.margin));
    make(c, (double)NAN, (double)NAN, (double)NAN);
    assert_int_equal(mu_choose(c, MODELS, &choice), MU_DATA);
}

static void by_accuracy_without_data(void **state)
{
    mu_candidate_t c[MODELS];
    mu_choice_t choice;
    (void)state;
    make(c, (double)NAN, (double)NAN, (double)NAN);
    for (int i = 0; i < MODELS; i++) {
        c[i].value[MU_GATE_TOKENS] = (double)NAN;
        c[i].value[MU_GATE_ACC] = 0.5 + 0.25 * i;
    }
    assert_int_equal(mu_choose(c, MODELS, &choice), MU_OK);
    assert_int_equal(choice.metric, MU_GATE_ACC);
    assert_int_equal(choice.best, 2);
    assert_near(choice.margin, 0.25, 0);
}

static void other_tokens_cannot_be_compared(void **state)
{
    mu_candidate_t c[MODELS];
    mu_choice_t choice;
    (void)state;
    make(c, 1, 2, 3);
    c[2].value[MU_GATE_TOKENS] = 64;
    assert_int_equal(mu_choose(c, MODELS, &choice), MU_CONFIG);
}

static void as_json(void **state)
{
    mu_candidate_t c[MODELS];
    mu_choice_t choice;
    mu_buf_t text = MU_BUF_INIT;
    (void)state;
    make(c, 2.5, 2.25, 3);
    for (int i = 0; i < MODELS; i++)
        c[i].json = "{\"loss\": 1}";
    c[1].model = "\xff"; /* a path that is not UTF-8 */
    assert_int_equal(mu_choose(c, MODELS, &choice), MU_OK);
    mu_choice_json(c, MODELS, &choice, &text);
    json_t *root = json_loads(text.data, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(root, "models")), MODELS);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(json_object_get(root, "models"), 0), "model")), "a");
    json_decref(root);
    c[1].model = "b";
    mu_buf_clear(&text);
    mu_choice_json(c, MODELS, &choice, &text);
    root = json_loads(text.data, 0, NULL);
    const json_t *best = json_object_get(root, "best");
    assert_string_equal(json_string_value(json_object_get(best, "model")), "b");
    assert_string_equal(json_string_value(json_object_get(best, "second")), "a");
    assert_near(json_number_value(json_object_get(best, "margin")), 0.25, 0);
    json_decref(root);
    mu_buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_loss),
        cmocka_unit_test(what_is_no_number_never_wins),
        cmocka_unit_test(by_accuracy_without_data),
        cmocka_unit_test(other_tokens_cannot_be_compared),
        cmocka_unit_test(as_json),
    };
    mu_log_sink_set(drop, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
