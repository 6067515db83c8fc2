/* The sampler: greedy, filters, frequencies, refusals. */
#include "common/log.h"
#include "worker/infer/sample.h"
#include "tests/unit/sanitized.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
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

/* ---- the same ids as by sorting the whole vocabulary ---- */

enum { MANY = 3000, DRAWS = MU_SANITIZED ? 8 : 40 };

static const float *compared;

static int by_logit(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    if (compared[x] != compared[y])
        return compared[x] > compared[y] ? -1 : 1;
    return x < y ? -1 : x > y;
}

static double uniform(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

static int32_t by_sorting(const mu_sampling_t *how, uint64_t *state, const float *of)
{
    static int32_t order[MANY];
    static double weight[MANY];
    int64_t n = 0, m = 0;
    double t = how->temperature > 0 ? how->temperature : 1, total = 0, kept = 0;
    for (int32_t i = 0; i < MANY; i++)
        if (isfinite(of[i]))
            order[n++] = i;
    compared = of;
    qsort(order, (size_t)n, sizeof *order, by_logit);
    n = how->top_k > 0 && how->top_k < n ? how->top_k : n;
    for (int64_t i = 0; i < n; i++)
        total += weight[i] = exp(((double)of[order[i]] - (double)of[order[0]]) / t);
    if (how->top_p > 0 && how->top_p < 1) {
        while (m < n && kept < how->top_p * total)
            kept += weight[m++];
        n = m;
        total = kept;
    }
    double at = uniform(state) * total;
    for (int64_t i = 0; i + 1 < n; i++)
        if ((at -= weight[i]) < 0)
            return order[i];
    return order[n - 1];
}

/* kind 0: all different; 1: ties, and zeros of both signs; 2: some that are no numbers; 3: all equal */
static void fill(float *of, int kind)
{
    uint64_t state = 5;
    for (int i = 0; i < MANY; i++) {
        float x = (float)(20 * uniform(&state) - 12);
        of[i] = kind == 0 ? x : kind == 1 ? floorf(x) * (i % 2 ? -0.0f : 1.0f) : kind == 2 ? x : 1.5f;
        if (kind == 2 && i % 3)
            of[i] = i % 3 == 1 ? NAN : i % 2 ? INFINITY : -INFINITY;
    }
}

static void the_ids_are_those_of_a_whole_sort(void **state)
{
    static const double temperatures[] = {0, 0.3, 1}, top_ps[] = {0, 0.4, 0.95, 1};
    static const int64_t top_ks[] = {0, 1, 7, 500, MANY - 1, MANY, 2 * MANY};
    static float of[MANY];
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        fill(of, kind);
        for (size_t i = 0; i < 3 * 4 * 7; i++) {
            mu_sampling_t how = {.temperature = temperatures[i % 3],
                                 .top_p = top_ps[i / 3 % 4],
                                 .top_k = top_ks[i / 12],
                                 .seed = i};
            uint64_t seed = i;
            mu_sampler_t *s;
            assert_int_equal(mu_sampler_new(&how, MANY, &s), MU_OK);
            bool greedy = how.temperature == 0 && how.top_p == 0 && how.top_k == 0;
            for (int d = 0; d < DRAWS && !greedy; d++)
                assert_int_equal(mu_sampler_next(s, of), by_sorting(&how, &seed, of));
            mu_sampler_free(s);
        }
    }
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
        cmocka_unit_test(the_ids_are_those_of_a_whole_sort),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
