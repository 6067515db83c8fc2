/* The loss scale: DeepSpeed's DynamicLossScaler, step by step. */
#include "common/config/loss_scale.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const mu_loss_scale_rule_t deepspeed = {
    .least = 1, .initial_power = 16, .window = 1000, .hysteresis = 2};

/* One letter a step: o overflow, c clean. `powers` are the scales of the next step, in powers of two. */
static void follow(const mu_loss_scale_rule_t *rule, const char *steps, const int *powers)
{
    mu_loss_scale_t s = {0};
    mu_loss_scale_begin(&s, true, rule);
    for (int i = 0; steps[i]; i++) {
        assert_true(mu_loss_scale_step(&s, rule, steps[i] == 'o'));
        double want = (double)(1U << powers[i]);
        if (s.scale != want)
            fail_msg("after step %d of %s: scale %g, want %g", i, steps, s.scale, want);
    }
}

static void the_scale_follows_overflows(void **state)
{
    (void)state;
    mu_loss_scale_rule_t r = {.least = 1, .initial_power = 4, .window = 2, .hysteresis = 2};
    follow(&r, "cccoooccccc", (int[]){4, 4, 5, 5, 4, 3, 3, 3, 4, 4, 5});
    follow(&r, "ocococ", (int[]){4, 4, 3, 3, 2, 2}); /* a clean step does not make hysteresis whole */
    follow(&r, "occcoo", (int[]){4, 4, 4, 5, 5, 4}); /* a doubling does */
    follow(&r, "ooooo", (int[]){4, 3, 2, 1, 0});     /* halved down to the least */
    r.consecutive = true;
    follow(&r, "ocococoo", (int[]){4, 4, 4, 4, 4, 4, 4, 3});
    r = (mu_loss_scale_rule_t){.least = 1, .initial_power = 4, .window = 3, .hysteresis = 1};
    follow(&r, "oocccccccco", (int[]){3, 2, 2, 2, 2, 3, 3, 3, 4, 4, 3});
    r.least = 3;
    mu_loss_scale_t s = {0};
    mu_loss_scale_begin(&s, true, &r);
    for (int i = 0; i < 3; i++)
        assert_true(mu_loss_scale_step(&s, &r, true));
    assert_true(s.scale == 3); /* not a power of two, but what was asked */
}

static void the_defaults_are_deepspeeds(void **state)
{
    (void)state;
    mu_loss_scale_t s = {0};
    mu_loss_scale_begin(&s, true, &deepspeed);
    assert_true(s.scale == 65536 && mu_loss_scale_factor(&s) == 65536);
    for (int i = 0; i < 1000; i++)
        assert_true(mu_loss_scale_step(&s, &deepspeed, false));
    assert_true(s.scale == 65536); /* step 1001 is the first after a thousand */
    assert_true(mu_loss_scale_step(&s, &deepspeed, false));
    assert_true(s.scale == 131072);
    for (int i = 0; i < 1000; i++)
        mu_loss_scale_step(&s, &deepspeed, false);
    assert_true(s.scale == 262144);
}

static void an_overflow_at_the_least_scale_ends_the_run(void **state)
{
    (void)state;
    mu_loss_scale_rule_t r = {.least = 1, .initial_power = 1, .window = 2, .hysteresis = 2};
    mu_loss_scale_t s = {0};
    mu_loss_scale_begin(&s, true, &r);
    assert_true(mu_loss_scale_step(&s, &r, true));
    assert_true(mu_loss_scale_step(&s, &r, true));
    assert_true(s.scale == 1);
    assert_false(mu_loss_scale_step(&s, &r, true));
    assert_int_equal(s.skipped, 3);
}

static void fifty_skipped_in_a_row_end_the_run(void **state)
{
    (void)state;
    mu_loss_scale_rule_t r = {.fixed = 1024, .least = 1, .window = 10, .hysteresis = 2};
    mu_loss_scale_t s = {0};
    mu_loss_scale_begin(&s, true, &r);
    for (int i = 0; i < 49; i++)
        assert_true(mu_loss_scale_step(&s, &r, true));
    assert_true(mu_loss_scale_step(&s, &r, false));
    assert_int_equal(s.in_a_row, 0);
    for (int i = 0; i < 49; i++)
        assert_true(mu_loss_scale_step(&s, &r, true));
    assert_false(mu_loss_scale_step(&s, &r, true));
    assert_true(s.scale == 1024); /* a fixed scale stays */
    assert_int_equal(s.skipped, 99);
}

static void without_scaling_an_overflow_is_the_end(void **state)
{
    (void)state;
    mu_loss_scale_t s = {0};
    mu_loss_scale_begin(&s, false, &deepspeed);
    assert_true(mu_loss_scale_factor(&s) == 1);
    assert_true(mu_loss_scale_step(&s, &deepspeed, false));
    assert_false(mu_loss_scale_step(&s, &deepspeed, true));
    assert_int_equal(s.skipped, 0);
}

static void a_saved_state_goes_on(void **state)
{
    (void)state;
    mu_loss_scale_rule_t r = {.least = 1, .initial_power = 4, .window = 3, .hysteresis = 2};
    mu_loss_scale_t whole = {0}, saved = {0};
    mu_loss_scale_begin(&whole, true, &r);
    mu_loss_scale_begin(&saved, true, &r);
    const char *steps = "ccoccccoocccc";
    for (int i = 0; steps[i]; i++) {
        mu_loss_scale_t copy = saved;
        mu_loss_scale_begin(&copy, true, &r);
        saved = copy;
        mu_loss_scale_step(&whole, &r, steps[i] == 'o');
        mu_loss_scale_step(&saved, &r, steps[i] == 'o');
        assert_memory_equal(&whole, &saved, sizeof whole);
    }
    /* in bf16 the scale is dropped; what the schedule left out is not */
    mu_loss_scale_begin(&saved, false, &r);
    assert_true(saved.scale == 0 && saved.skipped == 3);
    mu_loss_scale_begin(&saved, true, &r);
    assert_true(saved.scale == 16 && saved.skipped == 3 && saved.hysteresis == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_scale_follows_overflows),
        cmocka_unit_test(the_defaults_are_deepspeeds),
        cmocka_unit_test(an_overflow_at_the_least_scale_ends_the_run),
        cmocka_unit_test(fifty_skipped_in_a_row_end_the_run),
        cmocka_unit_test(without_scaling_an_overflow_is_the_end),
        cmocka_unit_test(a_saved_state_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
