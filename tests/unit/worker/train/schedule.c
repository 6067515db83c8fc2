/* When the run saves, evaluates and ends. */
#include "worker/train/schedule.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static int count(bool (*due)(const mu_config_t *, int64_t), const mu_config_t *c)
{
    int n = 0;
    for (int64_t s = 0; s <= c->train_iters; s++)
        n += due(c, s);
    return n;
}

static void linear_saves(void **state)
{
    (void)state;
    int64_t extra[] = {0, 7};
    mu_config_t c = {
        .train_iters = 25, .checkpoint_factor = 10, .extra_save_iters = extra, .extra_save_count = 2};
    assert_true(mu_schedule_save(&c, 0) && mu_schedule_save(&c, 7) && mu_schedule_save(&c, 10));
    assert_true(mu_schedule_save(&c, 20) && mu_schedule_save(&c, 25));
    assert_int_equal(count(mu_schedule_save, &c), 5);
}

static void log_saves_at_powers(void **state)
{
    (void)state;
    mu_config_t c = {.train_iters = 100, .checkpoint_factor = 3, .checkpoint_scale_log = true};
    static const int64_t want[] = {1, 3, 9, 27, 81, 100};
    for (size_t i = 0; i < 6; i++)
        assert_true(mu_schedule_save(&c, want[i]));
    assert_int_equal(count(mu_schedule_save, &c), 6);
    c.checkpoint_factor = 1; /* powers of one never move: no save but the last, and no endless loop */
    assert_int_equal(count(mu_schedule_save, &c), 1);
}

static void nothing_asked_saves_the_end(void **state)
{
    (void)state;
    mu_config_t c = {.train_iters = 4};
    assert_int_equal(count(mu_schedule_save, &c), 1);
    assert_int_equal(count(mu_schedule_eval, &c), 0);
}

static void evaluations_walk_the_validation_order(void **state)
{
    (void)state;
    mu_config_t c = {.train_iters = 25, .eval_interval = 10, .eval_iters = 3};
    assert_int_equal(count(mu_schedule_eval, &c), 3);
    assert_int_equal(mu_schedule_eval_batch(&c, 10), 0);
    assert_int_equal(mu_schedule_eval_batch(&c, 20), 3);
    assert_int_equal(mu_schedule_eval_batch(&c, 25), 6);
    assert_int_equal(mu_schedule_eval_batches(&c), 9);
    c.train_iters = 20;
    assert_int_equal(count(mu_schedule_eval, &c), 2);
}

/* eval_interval 0 means none, also at the end; an interval beyond the run leaves the end's. */
static void no_evaluation_is_wanted(void **state)
{
    (void)state;
    mu_config_t c = {.train_iters = 25, .eval_interval = 0, .eval_iters = 3};
    assert_false(mu_schedule_evaluates(&c));
    assert_int_equal(count(mu_schedule_eval, &c), 0);
    assert_int_equal(mu_schedule_eval_batches(&c), 0);
    c.eval_interval = 1000;
    assert_true(mu_schedule_evaluates(&c));
    assert_int_equal(count(mu_schedule_eval, &c), 1);
    c.eval_iters = 0;
    assert_false(mu_schedule_evaluates(&c));
}

static void exit_interval_ends_early(void **state)
{
    (void)state;
    mu_config_t c = {.train_iters = 25, .exit_interval = 8};
    assert_true(mu_schedule_end(&c, 8) && mu_schedule_save(&c, 8) && mu_schedule_end(&c, 25));
    assert_false(mu_schedule_end(&c, 9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_saves),
        cmocka_unit_test(log_saves_at_powers),
        cmocka_unit_test(nothing_asked_saves_the_end),
        cmocka_unit_test(evaluations_walk_the_validation_order),
        cmocka_unit_test(no_evaluation_is_wanted),
        cmocka_unit_test(exit_interval_ends_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
