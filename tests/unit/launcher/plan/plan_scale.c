/* muster plan --scale: the simulation against what is known in closed form, and against published figures. */
#include "launcher/cmd/cmd.h"
#include "launcher/plan/plan_scale.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

static const mu_scale_figures_t usual = {
    .step = 1, .spread = 0.02, .failures = 8.0 / 1024, .checkpoint = 40, .restart = 180, .tp = 8};

static void assert_near(double got, double want, double relative)
{
    if (!(fabs(got - want) <= relative * fabs(want)))
        fail_msg("%.6g, wanted %.6g", got, want);
}

/* With exponential failures the mean time of a segment is known: M e^(R/M) (e^((interval + checkpoint)/M) - 1)
 * (Daly, 2006). */
static void goodput_is_that_of_the_closed_form(void **state)
{
    (void)state;
    static const double intervals[] = {600, 1800, 6000};
    for (int64_t gpus = 16; gpus <= 1024; gpus *= 4)
        for (int i = 0; i < 3; i++) {
            double m = mu_scale_mtbf(&usual, gpus), t = intervals[i];
            double want = t / (m * exp(usual.restart / m) * expm1((t + usual.checkpoint) / m));
            assert_near(mu_scale_goodput(&usual, gpus, t), want, 0.005);
        }
    mu_scale_figures_t often = usual; /* no restart comes through: it takes 40 times as long as a failure */
    often.failures = 86400.0 / 1024 * 40 / usual.restart;
    assert_true(mu_scale_goodput(&often, 1024, 600) < 1e-9);
    mu_scale_figures_t never = usual;
    never.failures = 0;
    assert_near(mu_scale_goodput(&never, 1024, 600), 600.0 / 640, 1e-12);
}

/* 1,024 GPUs and a failure in three hours. */
static void the_best_interval_is_near_young_s_and_daly_s(void **state)
{
    (void)state;
    double m = mu_scale_mtbf(&usual, 1024), best = mu_scale_best(&usual, 1024);
    assert_near(m, 10800, 1e-12);
    assert_near(mu_scale_young(1, m), 147, 0.001); /* published: 147 s, and 15.5 min */
    assert_near(mu_scale_young(40, m), 15.5 * 60, 0.002);
    assert_near(best, mu_scale_daly(40, m), 0.25); /* the optimum is flat */
    assert_true(mu_scale_goodput(&usual, 1024, best) >= mu_scale_goodput(&usual, 1024, mu_scale_daly(40, m)));
    assert_true(mu_scale_daly(40, m) < mu_scale_young(40, m));
}

/* Llama 3 405B: 16,384 GPUs, 419 unexpected interruptions in 54 days, more than 90 % of the time effective. Its seconds
 * of a checkpoint and a restart are not published: with any of these the simulation says so too, and without frequent
 * checkpoints it does not. */
static void what_llama_3_reports_is_what_it_simulates(void **state)
{
    (void)state;
    mu_scale_figures_t f = usual;
    f.failures = 419.0 / (54 * 16384);
    assert_near(mu_scale_mtbf(&f, 16384), 3.09 * 3600, 0.01); /* published: about one in 3 h */
    for (f.checkpoint = 1; f.checkpoint <= 16; f.checkpoint *= 4)
        for (f.restart = 120; f.restart <= 480; f.restart *= 2)
            assert_true(mu_scale_goodput(&f, 16384, mu_scale_best(&f, 16384)) > 0.9);
    assert_true(mu_scale_goodput(&f, 16384, 3600) < 0.9);
}

/* GEMINI and the report on Gemini: from checkpoints in storage to copies in memory 85 % became 97 %. */
static void copies_in_memory_gain_what_is_reported(void **state)
{
    (void)state;
    mu_scale_figures_t storage = usual, memory = usual;
    storage.checkpoint = 60;
    storage.restart = 600; /* 10 min, which the published retries take */
    memory.checkpoint = 0.5;
    memory.restart = 120;
    double before = mu_scale_goodput(&storage, 1024, 1800), after = mu_scale_goodput(&memory, 1024, 60);
    assert_true(before > 0.8 && before < 0.88);
    assert_true(after > 0.96 && after < 0.99);
}

/* The largest of n normal deviations is known: 1.766 of 16, 3.246 of 1,024. */
static void the_slowest_worker_counts(void **state)
{
    (void)state;
    assert_near(mu_scale_step(&usual, 16), 1 + 0.02 * 1.766, 1e-3);
    assert_near(mu_scale_step(&usual, 1024), 1 + 0.02 * 3.246, 1e-3);
    mu_scale_figures_t slow = usual;
    slow.spread = 0;
    assert_near(mu_scale_step(&slow, 1024), 1, 1e-12);
    slow.bytes = 8e9;
    slow.bandwidth = 10e9; /* 2 x 127/128 x 0.8 s, of which backward hides 2/3 */
    assert_near(mu_scale_step(&slow, 1024), 1 + 1.6 * 127 / 128 - 2.0 / 3, 1e-9);
    assert_near(mu_scale_step(&slow, 8), 1, 1e-12); /* one replica */
}

static int plan(const char *figure)
{
    char *argv[] = {"plan", MU_SOURCE_DIR "/configs/smollm2-135m.yml", (char *)(uintptr_t)figure, NULL};
    return mu_status_exit(mu_cmd_plan(3, argv));
}

static void figures_without_what_needs_them_are_refused(void **state)
{
    (void)state;
    assert_int_equal(plan("--scale"), 2);        /* no seconds of a step */
    assert_int_equal(plan("--failures=0.1"), 2); /* no --scale */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goodput_is_that_of_the_closed_form),
        cmocka_unit_test(the_best_interval_is_near_young_s_and_daly_s),
        cmocka_unit_test(what_llama_3_reports_is_what_it_simulates),
        cmocka_unit_test(copies_in_memory_gain_what_is_reported),
        cmocka_unit_test(the_slowest_worker_counts),
        cmocka_unit_test(figures_without_what_needs_them_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
