/* The order of samples: gpt-neox's vectors, the kept index, every token of an epoch once. */
#include "tests/unit/dataset/data_support.h"
#include "dataset/store/dataset.h"
#include "dataset/order/order.h"

#include <sys/stat.h>

static void the_generator_is_numpy_s(void **state)
{
    (void)state;
    static const uint32_t first[] = {822569775, 2137449171, 2671936806, 3512589365u, 1880026316};
    static const struct {
        uint32_t seed, ten[10], sixteen[16];
    } row[] = {{1234, {7, 2, 9, 1, 0, 8, 4, 5, 6, 3}, {7, 13, 2, 3, 1, 15, 5, 4, 0, 8, 6, 14, 12, 11, 10, 9}},
               {42, {8, 1, 5, 0, 7, 2, 9, 4, 3, 6}, {0, 14, 9, 1, 12, 5, 15, 8, 11, 3, 4, 7, 13, 10, 6, 2}}};
    mu_mt19937_t rng;
    mu_mt19937_seed(&rng, 1234);
    for (int i = 0; i < 5; i++)
        assert_int_equal(mu_mt19937_next(&rng), first[i]);
    for (int i = 0; i < 2; i++) {
        uint32_t ten[10], sixteen[16];
        for (uint32_t k = 0; k < 16; k++) {
            sixteen[k] = k;
            if (k < 10)
                ten[k] = k;
        }
        mu_mt19937_seed(&rng, row[i].seed);
        mu_mt19937_shuffle(&rng, ten, 10);
        mu_mt19937_shuffle(&rng, sixteen, 16);
        assert_memory_equal(ten, row[i].ten, sizeof ten);
        assert_memory_equal(sixteen, row[i].sixteen, sizeof sixteen);
    }
    uint32_t one = 5, before = mu_mt19937_next(&rng);
    (void)before;
    mu_mt19937_shuffle(&rng, &one, 1);
    mu_mt19937_shuffle(&rng, &one, 0);
    assert_int_equal(one, 5);
}

/* A .bin/.idx whose token values count from 0. */
static mu_dataset_t *count_up(const int32_t *sizes, int64_t n, const char *split)
{
    mu_buf_t idx = MU_BUF_INIT, bin = MU_BUF_INIT;
    uint64_t version = 1, sequences = (uint64_t)n, entries = (uint64_t)n + 1;
    int64_t at = 0;
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
    for (int32_t i = 0; i < at / 4; i++)
        mu_buf_add(&bin, &i, 4);
    write_file("d.idx", idx.data, idx.len);
    write_file("d.bin", bin.data, bin.len);
    mu_buf_release(&idx);
    mu_buf_release(&bin);
    mu_dataset_t *ds;
    mu_dataset_options_t o = {.split = split};
    assert_int_equal(mu_dataset_open(in_folder("d"), &o, &ds), MU_OK);
    return ds;
}

static const int32_t example_sizes[] = {5, 3, 9, 4, 7};
static const uint32_t example_docs[] = {3, 1, 0, 2, 4, 2, 0, 2, 1, 4, 3, 4, 0, 1, 3};
static const uint32_t example_samples[21][2] = {{0, 0}, {1, 0}, {2, 1},  {3, 0},  {3, 4},  {3, 8},  {4, 3},
                                                {5, 0}, {5, 4}, {5, 8},  {6, 3},  {7, 2},  {7, 6},  {8, 1},
                                                {9, 2}, {9, 6}, {10, 3}, {11, 3}, {12, 0}, {12, 4}, {14, 0}};
static const uint32_t example_shuffle[] = {7,  10, 4, 1, 12, 8,  3, 17, 14, 13,
                                           18, 11, 0, 2, 6,  15, 9, 19, 5,  16};

static void the_worked_example_comes_out(void **state)
{
    (void)state;
    mu_dataset_t *ds = count_up(example_sizes, 5, "1");
    uint32_t docs[15], position[21], offset[21], shuffle[20];
    mu_mt19937_t rng;
    for (uint32_t i = 0; i < 15; i++)
        docs[i] = i % 5;
    for (uint32_t i = 0; i < 20; i++)
        shuffle[i] = i;
    mu_mt19937_seed(&rng, 1234);
    mu_mt19937_shuffle(&rng, docs, 15);
    mu_mt19937_shuffle(&rng, shuffle, 20);
    assert_memory_equal(docs, example_docs, sizeof docs);
    assert_memory_equal(shuffle, example_shuffle, sizeof shuffle);
    mu_order_cut(ds, MU_TRAIN, docs, 4, 20, position, offset);
    for (int i = 0; i <= 20; i++) {
        assert_int_equal(position[i], example_samples[i][0]);
        assert_int_equal(offset[i], example_samples[i][1]);
    }
    mu_dataset_close(ds);
}

/* The same through the face that training uses: tokens of sample j, from the example's arrays by the book. */
static void samples_are_the_worked_example_s(void **state)
{
    (void)state;
    mu_dataset_t *ds = count_up(example_sizes, 5, "1");
    mu_order_t *order;
    int32_t row[84], tokens[5], n = 0;
    for (int i = 0; i < 15; i++) {
        int32_t first = 0;
        for (uint32_t k = 0; k < example_docs[i]; k++)
            first += example_sizes[k];
        for (int32_t k = 0; k < example_sizes[example_docs[i]]; k++)
            row[n++] = first + k;
    }
    assert_int_equal(n, 84);
    assert_int_equal(mu_order_open(ds, MU_TRAIN, 4, 1234, 20, NULL, &order), MU_OK);
    assert_int_equal(mu_order_samples(order), 20);
    assert_int_equal(mu_order_epochs(order), 3);
    for (int j = 0; j < 45; j++) { /* past the end it begins again */
        assert_int_equal(mu_order_sample(order, j, tokens), MU_OK);
        for (int i = 0; i < 5; i++)
            assert_int_equal(tokens[i], row[4 * example_shuffle[j % 20] + (uint32_t)i]);
    }
    mu_order_close(order);
    mu_dataset_close(ds);
}

static void epochs_are_as_few_as_the_samples_need(void **state)
{
    (void)state;
    mu_dataset_t *ds = count_up(example_sizes, 5, "1"); /* 28 tokens */
    static const struct {
        int64_t samples, epochs, count;
    } row[] = {{0, 1, 6},   {1, 1, 6},   {6, 1, 6},   {7, 2, 13},
               {13, 2, 13}, {14, 3, 20}, {20, 3, 20}, {21, 4, 27}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_order_t *order;
        assert_int_equal(mu_order_open(ds, MU_TRAIN, 4, 1, row[i].samples, NULL, &order), MU_OK);
        assert_int_equal(mu_order_epochs(order), row[i].epochs);
        assert_int_equal(mu_order_samples(order), row[i].count);
        assert_int_equal(mu_order_epoch_samples(ds, MU_TRAIN, 4, row[i].epochs), row[i].count);
        mu_order_close(order);
    }
    mu_dataset_close(ds);
}

/* Every token of the row of documents is a target once, whatever the shuffle. Documents without tokens are
 * there too, and some longer than many samples. */
static void an_epoch_holds_every_token_once(void **state)
{
    (void)state;
    int32_t sizes[400], total = 0;
    uint64_t random = 521288629;
    for (int i = 0; i < 400; i++) {
        sizes[i] = (int32_t)(draw(&random) % (i % 50 == 0 ? 900 : 20));
        total += sizes[i];
    }
    mu_dataset_t *ds = count_up(sizes, 400, "1");
    for (int64_t length = 1; length < 200; length += 33) {
        mu_order_t *order;
        assert_int_equal(mu_order_open(ds, MU_TRAIN, length, 7, 1, NULL, &order), MU_OK);
        int64_t n = mu_order_samples(order);
        assert_int_equal(n, (total - 1) / length);
        char *seen = mu_calloc((size_t)total, 1);
        int32_t *tokens = mu_calloc((size_t)length + 1, sizeof *tokens);
        for (int64_t j = 0; j < n; j++) {
            assert_int_equal(mu_order_sample(order, j, tokens), MU_OK);
            for (int64_t i = 1; i <= length; i++) {
                assert_int_equal(seen[tokens[i]], 0);
                seen[tokens[i]] = 1;
            }
        }
        free(seen);
        free(tokens);
        mu_order_close(order);
    }
    mu_dataset_close(ds);
}

static void splits_have_orders_of_their_own(void **state)
{
    (void)state;
    int32_t sizes[100], tokens[9];
    for (int i = 0; i < 100; i++)
        sizes[i] = 10;
    mu_dataset_t *ds = count_up(sizes, 100, "8, 1, 1");
    for (int s = 0; s < MU_DATA_SPLITS; s++) {
        mu_order_t *order;
        int32_t first = s == 0 ? 0 : s == 1 ? 800 : 900, end = s == 0 ? 800 : s == 1 ? 900 : 1000;
        assert_int_equal(mu_order_open(ds, (mu_data_split_t)s, 8, 3, 200, NULL, &order), MU_OK);
        for (int64_t j = 0; j < mu_order_samples(order); j++) {
            assert_int_equal(mu_order_sample(order, j, tokens), MU_OK);
            for (int i = 0; i < 9; i++)
                assert_true(tokens[i] >= first && tokens[i] < end);
        }
        mu_order_close(order);
    }
    mu_dataset_close(ds);
    ds = count_up(sizes, 100, "1");
    mu_order_t *order;
    assert_int_equal(mu_order_open(ds, MU_TEST, 8, 3, 200, NULL, &order), MU_DATA);
    assert_said("test split holds no tokens");
    assert_int_equal(mu_order_open(ds, MU_TRAIN, 8, 3, (int64_t)1 << 40, NULL, &order), MU_CONFIG);
    assert_int_equal(mu_order_open(ds, MU_TRAIN, 8, 3, INT64_MAX, NULL, &order), MU_CONFIG);
    mu_dataset_close(ds);
}

static void counts_are_gpt_neox_s(void **state)
{
    (void)state;
    int64_t n[3];
    mu_order_counts(320000, 1000, 10, 32, n);
    assert_int_equal(n[0], 320000 * 32);
    assert_int_equal(n[1], 321 * 10 * 32);
    assert_int_equal(n[2], 10 * 32);
    mu_order_counts(100, 1000, 10, 4, n);
    assert_int_equal(n[1], 40);
}

/* ---- the kept index ---- */

static char *only_index(void)
{
    static char path[300];
    FILE *p;
    char *command = mu_format("ls %s/cache/", folder);
    char name[200] = "", more[200];
    assert_non_null(p = popen(command, "r"));
    assert_int_equal(fscanf(p, "%199s", name), 1);
    assert_int_not_equal(fscanf(p, "%199s", more), 1); /* and no temporary file */
    pclose(p);
    free(command);
    snprintf(path, sizeof path, "%s/cache/%s", folder, name);
    return path;
}

static void read_some(mu_order_t *order, int32_t *out)
{
    for (int j = 0; j < 20; j++)
        assert_int_equal(mu_order_sample(order, j, out + 5 * j), MU_OK);
}

static void the_index_is_kept_and_used_again(void **state)
{
    (void)state;
    mu_dataset_t *ds = count_up(example_sizes, 5, "1");
    mu_order_t *order;
    int32_t wanted[100], found[100];
    struct stat before, after;
    assert_int_equal(mu_make_dirs(in_folder("cache"), 0700), MU_OK);
    assert_int_equal(mu_order_open(ds, MU_TRAIN, 4, 1234, 20, in_folder("cache"), &order), MU_OK);
    read_some(order, wanted);
    mu_order_close(order);
    assert_int_equal(stat(only_index(), &before), 0);
    assert_int_equal(before.st_size, 104 + 4 * (15 + 21 + 21 + 20));
    assert_int_equal(mu_order_open(ds, MU_TRAIN, 4, 1234, 18, in_folder("cache"), &order),
                     MU_OK); /* same epochs */
    read_some(order, found);
    mu_order_close(order);
    assert_int_equal(stat(only_index(), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_memory_equal(wanted, found, sizeof wanted);
    mu_dataset_close(ds);
}

static void a_damaged_index_is_made_again(void **state)
{
    (void)state;
    mu_dataset_t *ds = count_up(example_sizes, 5, "1");
    mu_order_t *order;
    int32_t wanted[100], found[100];
    assert_int_equal(mu_make_dirs(in_folder("cache"), 0700), MU_OK);
    assert_int_equal(mu_order_open(ds, MU_TRAIN, 4, 1234, 20, in_folder("cache"), &order), MU_OK);
    read_some(order, wanted);
    mu_order_close(order);
    char *path = only_index();
    mu_buf_t bytes = MU_BUF_INIT;
    assert_int_equal(mu_file_read(path, 4096, &bytes), MU_OK);
    for (size_t at = 0; at <= bytes.len; at += 3) {
        FILE *f = fopen(path, "r+");
        assert_non_null(f);
        if (at < bytes.len) { /* flip, else cut */
            fseek(f, (long)at, SEEK_SET);
            fputc(bytes.data[at] ^ 4, f);
        } else {
            assert_int_equal(ftruncate(fileno(f), (off_t)bytes.len - 1), 0);
        }
        fclose(f);
        mu_buf_clear(&said);
        assert_int_equal(mu_order_open(ds, MU_TRAIN, 4, 1234, 20, in_folder("cache"), &order), MU_OK);
        if (at < 96 || at >= 104) /* of the reserved word nothing depends */
            assert_said("made again");
        read_some(order, found);
        mu_order_close(order);
        assert_memory_equal(wanted, found, sizeof wanted);
    }
    mu_buf_release(&bytes);
    assert_int_equal(mu_order_open(ds, MU_TRAIN, 4, 1234, 20, in_folder("gone"), &order), MU_RUNDIR);
    mu_dataset_close(ds);
}

/* Other data, seed, length, split: another file, never the wrong index. */
static void what_an_index_depends_on_names_it(void **state)
{
    (void)state;
    char *cache = mu_strdup(in_folder("cache"));
    assert_int_equal(mu_make_dirs(cache, 0700), MU_OK);
    for (int i = 0; i < 5; i++) {
        int32_t sizes[5];
        memcpy(sizes, example_sizes, sizeof sizes);
        if (i == 1)
            sizes[0]++;
        mu_dataset_t *ds = count_up(sizes, 5, "3, 2");
        mu_order_t *order;
        assert_int_equal(
            mu_order_open(ds, i == 2 ? MU_VALID : MU_TRAIN, i == 3 ? 5 : 4, i == 4 ? 2 : 1, 1, cache, &order),
            MU_OK);
        mu_order_close(order);
        mu_dataset_close(ds);
    }
    char *command = mu_format("test $(ls %s | wc -l) = 5", cache);
    assert_int_equal(system(command), 0);
    free(command);
    free(cache);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, support_up, support_down)
    const struct CMUnitTest tests[] = {
        TEST(the_generator_is_numpy_s),
        TEST(the_worked_example_comes_out),
        TEST(samples_are_the_worked_example_s),
        TEST(epochs_are_as_few_as_the_samples_need),
        TEST(an_epoch_holds_every_token_once),
        TEST(splits_have_orders_of_their_own),
        TEST(counts_are_gpt_neox_s),
        TEST(the_index_is_kept_and_used_again),
        TEST(a_damaged_index_is_made_again),
        TEST(what_an_index_depends_on_names_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
