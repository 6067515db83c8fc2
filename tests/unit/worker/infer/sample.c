/* The sampler: greedy, filters, frequencies, refusals. */
#include "common/log.h"
#include "worker/infer/sample.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { V = 5 };
static const float logits[V + 1] = {0.0f, 2.0f, 2.0f, 1.0f, -1.0f, 50.0f}; /* the last one is padding */

static void silent(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)line;
    (*(int *)arg)++;
}

static void draw(mu_sampling_t how, int n, int counts[V])
{
    mu_sampler_t *s;
    assert_int_equal(mu_sampler_new(&how, V, &s), MU_OK);
    memset(counts, 0, V * sizeof *counts);
    for (int i = 0; i < n; i++) {
        int32_t id = mu_sampler_next(s, logits);
        assert_in_range(id, 0, V - 1);
        counts[id]++;
    }
    mu_sampler_free(s);
}

static void greedy_takes_the_first_largest(void **state)
{
    (void)state;
    int counts[V];
    draw((mu_sampling_t){0}, 10, counts);
    assert_int_equal(counts[1], 10);
}

static void frequencies_follow_the_softmax(void **state)
{
    (void)state;
    enum { N = 200000 };
    for (int t = 1; t <= 2; t++) {
        int counts[V];
        double total = 0;
        draw((mu_sampling_t){.temperature = t, .seed = 7}, N, counts);
        for (int i = 0; i < V; i++)
            total += exp((double)logits[i] / t);
        for (int i = 0; i < V; i++) {
            double p = exp((double)logits[i] / t) / total, sigma = sqrt(p * (1 - p) / (double)N);
            assert_true(fabs((double)counts[i] / (double)N - p) < 5 * sigma);
        }
    }
}

static void top_k_and_top_p_cut(void **state)
{
    (void)state;
    int counts[V];
    draw((mu_sampling_t){.top_k = 3}, 2000, counts);
    assert_true(counts[0] == 0 && counts[4] == 0 && counts[1] && counts[2] && counts[3]);
    /* softmax: 0.374 0.374 0.138 ...: 0.5 is reached by the second */
    draw((mu_sampling_t){.top_p = 0.5}, 2000, counts);
    assert_true(counts[1] && counts[2] && counts[1] + counts[2] == 2000);
    draw((mu_sampling_t){.top_p = 1e-9}, 100, counts);
    assert_int_equal(counts[1], 100);
}

static void a_seed_is_a_text(void **state)
{
    (void)state;
    int a[V], b[V], c[V];
    draw((mu_sampling_t){.temperature = 1, .seed = 1}, 1000, a);
    draw((mu_sampling_t){.temperature = 1, .seed = 1}, 1000, b);
    draw((mu_sampling_t){.temperature = 1, .seed = 2}, 1000, c);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a);
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    int lines = 0;
    mu_sampler_t *s;
    mu_log_sink_set(silent, &lines);
    assert_int_equal(mu_sampler_new(&(mu_sampling_t){.temperature = -1}, V, &s), MU_USAGE);
    assert_int_equal(mu_sampler_new(&(mu_sampling_t){.top_p = 1.5}, V, &s), MU_USAGE);
    assert_int_equal(mu_sampler_new(&(mu_sampling_t){.top_p = NAN}, V, &s), MU_USAGE);
    assert_int_equal(mu_sampler_new(&(mu_sampling_t){.top_k = -2}, V, &s), MU_USAGE);
    mu_log_sink_set(NULL, NULL);
    assert_int_equal(lines, 4);
    float nan[V] = {NAN, NAN, NAN, NAN, NAN};
    assert_int_equal(mu_sampler_new(&(mu_sampling_t){.temperature = 1}, V, &s), MU_OK);
    assert_int_equal(mu_sampler_next(s, nan), -1);
    mu_sampler_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_first_largest),
        cmocka_unit_test(frequencies_follow_the_softmax),
        cmocka_unit_test(top_k_and_top_p_cut),
        cmocka_unit_test(a_seed_is_a_text),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
