/* Blended data sets: gpt-neox's indices, weights and samples, from numpy and by the book. */
#include "tests/unit/dataset/data_support.h"
#include "dataset/order/mixture.h"
#include "dataset/tokenizer/tokenizer.h"

#include <math.h>

/* A .bin/.idx of int32 whose token values count up from `first`. */
static const char *count_up(const char *name, int32_t first, const int32_t *sizes, int64_t n)
{
    mu_buf_t idx = MU_BUF_INIT, bin = MU_BUF_INIT;
    uint64_t version = 1, sequences = (uint64_t)n, entries = (uint64_t)n + 1;
    int64_t at = 0;
    char file[64];
    mu_buf_add(&idx, "MMIDIDX\0\0", 9);
    mu_buf_add(&idx, &version, 8);
    mu_buf_addc(&idx, 4);
    mu_buf_add(&idx, &sequences, 8);
    mu_buf_add(&idx, &entries, 8);
    mu_buf_add(&idx, sizes, (size_t)n * 4);
    for (int64_t i = 0; i < n; at += sizes[i++] * 4)
        mu_buf_add(&idx, &at, 8);
    for (int64_t i = 0; i <= n; i++)
        mu_buf_add(&idx, &i, 8);
    for (int32_t i = 0; i < at / 4; i++) {
        int32_t token = first + i;
        mu_buf_add(&bin, &token, 4);
    }
    snprintf(file, sizeof file, "%s.idx", name);
    write_file(file, idx.data, idx.len);
    snprintf(file, sizeof file, "%s.bin", name);
    write_file(file, bin.data, bin.len);
    mu_buf_release(&idx);
    mu_buf_release(&bin);
    return in_folder(name);
}

/* ---- the parts ---- */

/* numpy.random.RandomState(9).rand(n).sum() */
static void sums_are_numpy_s(void **state)
{
    (void)state;
    static const struct {
        int n;
        double sum;
    } row[] = {{3, 1.0080220391685848}, {7, 1.590666930179655},   {8, 4.871821137636973},
               {9, 6.349343422124781},  {19, 10.972622801636891}, {130, 64.46256329234795},
               {254, 126.1321377679535}};
    mu_mt19937_t rng;
    mu_mt19937_seed(&rng, 9);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        double values[254];
        for (int k = 0; k < row[i].n; k++) {
            uint32_t a = mu_mt19937_next(&rng) >> 5, b = mu_mt19937_next(&rng) >> 6;
            values[k] = ((double)a * 67108864.0 + (double)b) / 9007199254740992.0;
        }
        assert_true(mu_blend_sum(values, row[i].n) == row[i].sum);
    }
    assert_true(mu_blend_sum(NULL, 0) == 0);
}

static void weights_by_documents(void **state)
{
    (void)state;
    static const struct {
        int n;
        int64_t documents[3];
        double alpha, weights[3];
    } row[] = {{3, {5, 3, 9}, 1.0, {0.3448275862068966, 0.24137931034482762, 0.4137931034482759}},
               {3, {100, 7, 1}, 0.3, {0.09955156857890023, 0.565990192979533, 0.3344582384415668}},
               {1, {4}, 0.3, {1.0}},
               {2, {10, 10}, 1.0, {0.5, 0.5}}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        double weights[3];
        mu_blend_by_documents(row[i].documents, row[i].n, row[i].alpha, weights);
        for (int k = 0; k < row[i].n; k++)
            assert_true(fabs(weights[k] - row[i].weights[k]) <= 2e-16);
    }
}

static void indices_are_gpt_neox_s(void **state)
{
    (void)state;
    static const struct {
        int n, samples;
        double weights[4];
        uint8_t set[24];
        uint32_t sample[24];
    } row[] = {
        {3,
         24,
         {3 / 4.5, 1 / 4.5, 0.5 / 4.5},
         {0, 1, 0, 2, 0, 0, 1, 0, 0, 0, 1, 0, 2, 0, 0, 1, 0, 0, 0, 1, 0, 2, 0, 0},
         {0, 0, 1, 0, 2, 3, 1, 4, 5, 6, 2, 7, 1, 8, 9, 3, 10, 11, 12, 4, 13, 2, 14, 15}},
        {3, 9, {1. / 3, 1. / 3, 1. / 3}, {0, 1, 2, 0, 1, 2, 0, 1, 2}, {0, 0, 0, 1, 1, 1, 2, 2, 2}},
        {4,
         20,
         {0.3, 0.3, 0.4, 0},
         {2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 2, 1, 2, 0, 1, 2, 0, 1, 2},
         {0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 3, 5, 4, 4, 6, 5, 5, 7}},
        {1, 3, {1}, {0, 0, 0}, {0, 1, 2}},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        uint8_t set[24];
        uint32_t sample[24];
        mu_blend_fill(row[i].weights, row[i].n, row[i].samples, set, sample);
        assert_memory_equal(set, row[i].set, (size_t)row[i].samples);
        assert_memory_equal(sample, row[i].sample, (size_t)row[i].samples * 4);
    }
}

/* ---- samples ---- */

static const int32_t sizes_a[] = {5, 3, 9, 4, 7}, sizes_b[] = {6, 2, 11};

/* Two sets, weights 2 and 1, s = 4, seed 1234, 30 samples, by numpy: the first token of each. */
static const int32_t example[30] = {21, 109, 12, 8, 118, 16, 13, 116, 5,  12, 101, 21, 1, 103, 17,
                                    25, 117, 16, 8, 113, 9,  4,  108, 25, 17, 106, 17, 1, 100, 12};
static const int32_t whole[4][5] = {
    {16, 5, 6, 7, 21}, {118, 100, 101, 102, 103}, {17, 18, 19, 20, 17}, {117, 118, 106, 107, 100}};
static const int whole_at[4] = {5, 4, 24, 16};

static void check_example(mu_blend_t *blend)
{
    int32_t tokens[5];
    for (int j = 0; j < 75; j++) { /* past the end it begins again */
        assert_int_equal(mu_blend_sample(blend, j, tokens), MU_OK);
        assert_int_equal(tokens[0], example[j % 30]);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(mu_blend_sample(blend, whole_at[i], tokens), MU_OK);
        assert_memory_equal(tokens, whole[i], sizeof tokens);
    }
}

static void samples_of_two_sets(void **state)
{
    (void)state;
    mu_mixture_t *m;
    mu_blend_t *blend;
    char *paths[] = {mu_strdup(count_up("a", 0, sizes_a, 5)), mu_strdup(count_up("b", 100, sizes_b, 3)),
                     NULL};
    static const double weights[] = {0.5, 0.25};
    mu_mixture_options_t o = {.train = {.paths = paths, .weights = weights},
                              .valid = {.paths = paths + 1, .weights = NULL}};
    assert_int_equal(mu_mixture_open(&o, &m), MU_OK);
    assert_null(mu_mixture_single(m));
    assert_null(mu_mixture_tokenizer(m));
    assert_string_equal(mu_mixture_path(m), paths[0]);
    assert_int_equal(mu_mixture_documents(m, MU_TRAIN), 8);
    assert_int_equal(mu_mixture_tokens(m, MU_TRAIN), 28 + 19);
    assert_int_equal(mu_mixture_tokens(m, MU_VALID), 19);
    assert_int_equal(mu_mixture_order(m, MU_TRAIN, 4, 1234, 30, NULL, &blend), MU_OK);
    check_example(blend);
    mu_blend_close(blend);
    char *cache = in_folder("order");
    assert_int_equal(mu_make_dirs(cache, 0700), MU_OK);
    for (int again = 0; again < 2; again++) { /* built, then found */
        assert_int_equal(mu_mixture_order(m, MU_TRAIN, 4, 1234, 30, cache, &blend), MU_OK);
        check_example(blend);
        mu_blend_close(blend);
    }
    mu_mixture_limit(m, 110);
    assert_int_equal(mu_mixture_order(m, MU_TRAIN, 4, 1234, 30, NULL, &blend), MU_OK);
    int32_t tokens[5];
    assert_int_equal(mu_blend_sample(blend, 4, tokens), MU_DATA); /* 118 */
    mu_blend_close(blend);
    mu_mixture_close(m);
    free(paths[0]);
    free(paths[1]);
}

/* Each place of a list has an order of its own. */
static void a_set_may_be_there_twice(void **state)
{
    (void)state;
    mu_dataset_t *ds;
    mu_dataset_options_t how = {.split = "1"};
    static const int32_t eleven[] = {11};
    assert_int_equal(mu_dataset_open(count_up("c", 0, eleven, 1), &how, &ds), MU_OK);
    mu_blend_part_t parts[2] = {{ds, MU_TRAIN, 1}, {ds, MU_TRAIN, 1}};
    mu_blend_t *blend;
    mu_order_t *order;
    /* 4 samples: each place gives 2, of ceil(4 * 0.5 * 1.005) = 3 asked for, 5 there */
    assert_int_equal(mu_blend_open(parts, 2, 2, 7, 4, NULL, &blend), MU_OK);
    assert_int_equal(mu_order_open(ds, MU_TRAIN, 2, 7, 3, NULL, &order), MU_OK);
    assert_int_equal(mu_order_samples(order), 5);
    for (int j = 0; j < 4; j++) {
        int32_t got[3], want[3];
        assert_int_equal(mu_blend_sample(blend, j, got), MU_OK);
        assert_int_equal(mu_order_sample(order, j / 2, want), MU_OK);
        assert_memory_equal(got, want, sizeof got);
    }
    mu_order_close(order);
    mu_blend_close(blend);
    mu_dataset_close(ds);
}

static void one_path_is_not_blended(void **state)
{
    (void)state;
    mu_mixture_t *m;
    mu_blend_t *blend;
    mu_order_t *order;
    mu_mixture_options_t o = {.path = count_up("a", 0, sizes_a, 5), .split = "80,20,0"};
    assert_int_equal(mu_mixture_open(&o, &m), MU_OK);
    assert_string_equal(mu_mixture_version(m), mu_dataset_version(mu_mixture_single(m)));
    assert_int_equal(mu_mixture_documents(m, MU_TRAIN), 4);
    assert_int_equal(mu_mixture_documents(m, MU_VALID), 1);
    for (int s = 0; s < 2; s++) {
        mu_data_split_t split = (mu_data_split_t)s;
        assert_int_equal(mu_mixture_order(m, split, 2, 5, 9, NULL, &blend), MU_OK);
        assert_int_equal(mu_order_open(mu_mixture_single(m), split, 2, 5, 9, NULL, &order), MU_OK);
        for (int j = 0; j < 30; j++) {
            int32_t got[3], want[3];
            assert_int_equal(mu_blend_sample(blend, j, got), MU_OK);
            assert_int_equal(mu_order_sample(order, j, want), MU_OK);
            assert_memory_equal(got, want, sizeof got);
        }
        mu_order_close(order);
        mu_blend_close(blend);
    }
    mu_mixture_close(m);
}

/* ---- what is refused ---- */

static void the_version_names_what_is_mixed(void **state)
{
    (void)state;
    char *a = mu_strdup(count_up("a", 0, sizes_a, 5)), *b = mu_strdup(count_up("b", 100, sizes_b, 3)),
         seen[5][40];
    char *ab[] = {a, b, NULL}, *ba[] = {b, a, NULL};
    static const double weights[] = {2, 1};
    const mu_mixture_options_t each[] = {
        {.train = {.paths = ab, .weights = NULL}, .valid = {.paths = ab, .weights = NULL}},
        {.train = {.paths = ba, .weights = NULL}, .valid = {.paths = ab, .weights = NULL}},
        {.train = {.paths = ab, .weights = weights}, .valid = {.paths = ab, .weights = NULL}},
        {.train = {.paths = ab, .weights = NULL}, .valid = {.paths = ba + 1, .weights = NULL}},
        {.train = {.paths = ab, .weights = NULL}, .by_documents = true, .alpha = 1}};
    for (int i = 0; i < 5; i++) {
        mu_mixture_t *m;
        assert_int_equal(mu_mixture_open(&each[i], &m), MU_OK);
        snprintf(seen[i], sizeof seen[i], "%s", mu_mixture_version(m));
        for (int k = 0; k < i; k++)
            assert_string_not_equal(seen[i], seen[k]);
        mu_mixture_close(m);
    }
    free(a);
    free(b);
}

static void bad_blends_are_refused(void **state)
{
    (void)state;
    mu_dataset_t *ds;
    mu_dataset_options_t how = {.split = "1"};
    mu_blend_t *blend;
    assert_int_equal(mu_dataset_open(count_up("a", 0, sizes_a, 5), &how, &ds), MU_OK);
    static const double bad[][2] = {{0, 0}, {-1, 2}, {(double)NAN, 1}, {(double)INFINITY, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        mu_blend_part_t parts[2] = {{ds, MU_TRAIN, bad[i][0]}, {ds, MU_TRAIN, bad[i][1]}};
        assert_int_equal(mu_blend_open(parts, 2, 4, 1, 8, NULL, &blend), MU_CONFIG);
    }
    assert_int_equal(mu_blend_open(NULL, 0, 4, 1, 8, NULL, &blend), MU_CONFIG);
    mu_blend_part_t many[MU_BLEND_MAX + 1];
    for (int i = 0; i <= MU_BLEND_MAX; i++)
        many[i] = (mu_blend_part_t){ds, MU_TRAIN, 1};
    assert_int_equal(mu_blend_open(many, MU_BLEND_MAX + 1, 4, 1, 8, NULL, &blend), MU_CONFIG);
    assert_int_equal(mu_blend_open(many, 1, 4, 1, (int64_t)1 << 33, NULL, &blend), MU_CONFIG);
    assert_int_equal(mu_blend_open(many, MU_BLEND_MAX, 4, 1, 500, NULL, &blend), MU_OK);
    mu_blend_close(blend);
    mu_dataset_close(ds);
    mu_mixture_t *m;
    char *gone[] = {in_folder("nothing"), NULL};
    mu_mixture_options_t o = {.train.paths = gone};
    assert_int_equal(mu_mixture_open(&o, &m), MU_NOINPUT);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, support_up, support_down)
    const struct CMUnitTest tests[] = {
        TEST(sums_are_numpy_s),
        TEST(weights_by_documents),
        TEST(indices_are_gpt_neox_s),
        TEST(samples_of_two_sets),
        TEST(a_set_may_be_there_twice),
        TEST(one_path_is_not_blended),
        TEST(the_version_names_what_is_mixed),
        TEST(bad_blends_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
