/* GPT-NeoX's and Megatron's .bin/.idx, and the split by documents. */
#include "tests/unit/dataset/data_support.h"
#include "dataset/store/dataset.h"

static const mu_dataset_options_t all_train = {.split = "1"};

/* Two documents of 3 and 2 tokens, uint16: the reference file of 82 bytes. */
static const unsigned char reference_idx[82] =
    "\x4d\x4d\x49\x44\x49\x44\x58\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x08\x02\x00\x00\x00\x00\x00\x00\x00"
    "\x03\x00"
    "\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00\x00"
    "\x00\x00"
    "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00";
static const uint16_t reference_bin[5] = {10, 20, 30, 40, 50000};

static void write_reference(void)
{
    write_file("d.idx", reference_idx, sizeof reference_idx);
    write_file("d.bin", reference_bin, sizeof reference_bin);
}

static mu_status_t try_open(const mu_dataset_options_t *options)
{
    mu_dataset_t *ds;
    mu_buf_clear(&said);
    MU_TRY(mu_dataset_open(in_folder("d"), options, &ds));
    int32_t ids[64];
    mu_status_t status = MU_OK;
    for (int64_t d = 0; d < mu_dataset_documents(ds, MU_TRAIN) && status == MU_OK; d++)
        if (mu_dataset_length(ds, MU_TRAIN, d) <= 64)
            status = mu_dataset_read(ds, MU_TRAIN, d, 0, mu_dataset_length(ds, MU_TRAIN, d), ids);
    mu_dataset_close(ds);
    return status;
}

static void the_reference_file_is_read(void **state)
{
    (void)state;
    mu_dataset_t *ds;
    int32_t ids[5];
    write_reference();
    assert_true(mu_dataset_exists(in_folder("d")));
    assert_int_equal(mu_dataset_open(in_folder("d"), &all_train, &ds), MU_OK);
    assert_int_equal(mu_dataset_documents(ds, MU_TRAIN), 2);
    assert_int_equal(mu_dataset_tokens(ds, MU_TRAIN), 5);
    assert_int_equal(mu_dataset_documents(ds, MU_VALID), 0);
    assert_int_equal(mu_dataset_length(ds, MU_TRAIN, 0), 3);
    assert_int_equal(mu_dataset_read_at(ds, MU_TRAIN, 0, 5, ids), MU_OK);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ids[i], reference_bin[i]);
    assert_int_equal(mu_dataset_read(ds, MU_TRAIN, 1, 1, 1, ids), MU_OK);
    assert_int_equal(ids[0], 50000);
    assert_int_equal(mu_dataset_vocab(ds), 0);
    assert_int_equal(mu_dataset_text_bytes(ds, MU_TRAIN), 0);
    assert_null(mu_dataset_tokenizer_digest(ds));
    assert_int_equal(strlen(mu_dataset_version(ds)), 32);
    assert_int_equal(mu_dataset_sequences(ds, MU_TRAIN, 2), 2);
    assert_int_equal(mu_dataset_sequences(ds, MU_TRAIN, 4), 1);
    assert_int_equal(mu_dataset_sequences(ds, MU_TRAIN, 5), 0);
    assert_int_equal(mu_dataset_sequence(ds, MU_TRAIN, 2, 1, ids), MU_OK);
    assert_int_equal(ids[0], 30);
    assert_int_equal(ids[2], 50000);
    assert_int_equal(mu_dataset_sequence(ds, MU_TRAIN, 2, 2, ids), MU_BUG);
    mu_dataset_close(ds);
}

/* An .idx of n sequences with lengths 1, 2, 3, ... */
static void build_idx(mu_buf_t *out, unsigned char code, int width, int64_t n, bool backwards)
{
    uint64_t version = 1, entries = (uint64_t)n + 1, sequences = (uint64_t)n;
    mu_buf_clear(out);
    mu_buf_add(out, "MMIDIDX\0\0", 9);
    mu_buf_add(out, &version, 8);
    mu_buf_add(out, &code, 1);
    mu_buf_add(out, &sequences, 8);
    mu_buf_add(out, &entries, 8);
    for (int32_t i = 1; i <= n; i++)
        mu_buf_add(out, &i, 4);
    int64_t all = n * (n + 1) / 2;
    for (int64_t i = 0; i < n; i++) {
        int64_t before = i * (i + 1) / 2, at = (backwards ? all - before - (i + 1) : before) * width;
        mu_buf_add(out, &at, 8);
    }
    for (int64_t i = 0; i <= n; i++)
        mu_buf_add(out, &i, 8);
}

static void every_integer_type_and_order_is_read(void **state)
{
    (void)state;
    static const int width[] = {0, 1, 1, 2, 4, 8, 4, 8, 2};
    mu_buf_t idx = MU_BUF_INIT;
    for (unsigned char code = 1; code <= 8; code++) {
        for (int backwards = 0; backwards < 2; backwards++) {
            int w = width[code];
            char bin[55 * 8];
            for (int64_t i = 0; i < 55; i++)
                memcpy(bin + i * w, &(int64_t){i + 3}, (size_t)w);
            build_idx(&idx, code, w, 10, backwards);
            write_file("d.idx", idx.data, idx.len);
            write_file("d.bin", bin, (size_t)(55 * w));
            if (code == 6 || code == 7) {
                assert_int_equal(try_open(&all_train), MU_DATA);
                assert_said("type code");
                continue;
            }
            mu_dataset_t *ds;
            int32_t ids[10];
            assert_int_equal(mu_dataset_open(in_folder("d"), &all_train, &ds), MU_OK);
            for (int64_t d = 0; d < 10; d++) {
                int64_t before = d * (d + 1) / 2, first = backwards ? 55 - before - (d + 1) : before;
                assert_int_equal(mu_dataset_read(ds, MU_TRAIN, d, 0, d + 1, ids), MU_OK);
                assert_int_equal(ids[0], first + 3);
                assert_int_equal(ids[d], first + d + 3);
            }
            assert_int_equal(mu_dataset_verify(ds), MU_OK);
            mu_dataset_close(ds);
        }
    }
    mu_buf_release(&idx);
}

static void ids_outside_the_vocabulary_are_refused(void **state)
{
    (void)state;
    mu_dataset_options_t o = {.split = "1", .vocab = 50000};
    write_reference();
    assert_int_equal(try_open(&o), MU_DATA);
    assert_said("d.bin: the token at byte 8 is id 50000, and the vocabulary has 50000");
    o.vocab = 50001;
    assert_int_equal(try_open(&o), MU_OK);
    mu_buf_t idx = MU_BUF_INIT; /* signed types hold labels, as -100, which are no tokens */
    build_idx(&idx, 4, 4, 1, false);
    write_file("d.idx", idx.data, idx.len);
    write_file("d.bin", "\x9c\xff\xff\xff", 4);
    assert_int_equal(try_open(&all_train), MU_DATA);
    assert_said("is id -100");
    mu_buf_release(&idx);
}

static void damage_is_said_with_its_place(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        unsigned char value;
        const char *said;
    } row[] = {
        {0, 'X', "does not begin with MMIDIDX"},
        {9, 2, "version 2"},
        {17, 9, "type code 9"},
        {17, 0, "type code 0"},
        {18, 3, "does not fit the 3 sequences"},
        {26, 4, "does not fit"},
        {33, 0xFF, "does not fit"},
        {37, 0x80, "sequence 0 has length"},
        {34, 9, "sequence 0 lies at bytes 0 to 18"},
        {50, 7, "sequence 1 lies at bytes 7 to 11"},
        {57, 0x80, "sequence 1 lies at bytes -"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        unsigned char idx[sizeof reference_idx];
        memcpy(idx, reference_idx, sizeof idx);
        idx[row[i].at] = row[i].value;
        write_reference();
        write_file("d.idx", idx, sizeof idx);
        assert_int_equal(try_open(&all_train), MU_DATA);
        assert_said(row[i].said);
        assert_said("/d.");
    }
    for (size_t n = 0; n < sizeof reference_idx; n++) {
        write_file("d.idx", reference_idx, n);
        assert_int_equal(try_open(&all_train), MU_DATA);
    }
    write_reference();
    write_file("d.bin", reference_bin, 8);
    assert_int_equal(try_open(&all_train), MU_DATA);
    assert_int_equal(unlink(in_folder("d.bin")), 0);
    assert_int_equal(try_open(&all_train), MU_NOINPUT);
    assert_said("d.bin: cannot open");
}

/* gpt-neox counts sequences: what says which of them make a document may be in any state, and more may follow it. */
static void what_other_tools_leave_is_read(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        unsigned char value;
    } row[] = {{58, 1}, {66, 3}, {74, 0}, {74, 1}, {26, 2}, {26, 0}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        unsigned char idx[sizeof reference_idx];
        memcpy(idx, reference_idx, sizeof idx);
        idx[row[i].at] = row[i].value;
        write_reference();
        write_file("d.idx", idx, sizeof idx);
        assert_int_equal(try_open(&all_train), MU_OK);
    }
    unsigned char modes[sizeof reference_idx + 2] = {0}; /* Megatron's byte a sequence */
    memcpy(modes, reference_idx, sizeof reference_idx);
    write_reference();
    write_file("d.idx", modes, sizeof modes);
    assert_int_equal(try_open(&all_train), MU_OK);
    write_reference();
    modes[38] = 1; /* a .bin that is longer than its index says */
    write_file("d.idx", modes, sizeof reference_idx);
    assert_int_equal(try_open(&all_train), MU_OK);
    assert_said("has 10 bytes where its index");
}

static void tokens_without_an_index_are_named(void **state)
{
    (void)state;
    char *paths[] = {in_folder("train"), in_folder("train.bin")};
    mu_dataset_t *ds;
    write_file("train.bin", reference_bin, sizeof reference_bin);
    for (int i = 0; i < 2; i++) {
        mu_buf_clear(&said);
        assert_int_equal(mu_dataset_open(paths[i], &all_train, &ds), MU_DATA);
        assert_said("nanoGPT");
    }
}

static void the_old_index_is_refused_by_name(void **state)
{
    (void)state;
    write_reference();
    char old[80] = "TNTIDX\0\0\1";
    write_file("d.idx", old, sizeof old);
    assert_int_equal(try_open(&all_train), MU_DATA);
    assert_said("--dataset-impl mmap");
}

static void mutated_indexes_do_no_harm(void **state)
{
    (void)state;
    uint64_t random = 362436069;
    unsigned char idx[sizeof reference_idx + 16];
    int good = 0;
    write_reference();
    for (int i = 0; i < 4000; i++) {
        size_t n = mutate(&random, (const char *)reference_idx, sizeof reference_idx, (char *)idx);
        write_file("d.idx", idx, n);
        mu_status_t status = try_open(&all_train);
        assert_true(status == MU_OK || status == MU_DATA);
        good += status == MU_OK;
    }
    assert_true(good < 2000);
}

static void the_version_follows_content_and_split(void **state)
{
    (void)state;
    char version[4][33];
    for (int i = 0; i < 4; i++) {
        mu_dataset_t *ds;
        uint16_t bin[5];
        mu_dataset_options_t o = {.split = i == 2 ? "1, 1, 0" : "1"};
        write_reference();
        memcpy(bin, reference_bin, sizeof bin);
        bin[2] = i == 1 ? 31 : 30;
        write_file("d.bin", bin, sizeof bin);
        assert_int_equal(mu_dataset_open(in_folder("d"), &o, &ds), MU_OK);
        snprintf(version[i], 33, "%s", mu_dataset_version(ds));
        mu_dataset_close(ds);
    }
    assert_string_not_equal(version[0], version[1]);
    assert_string_not_equal(version[0], version[2]);
    assert_string_equal(version[0], version[3]);
}

static void splits_are_gpt_neox_s(void **state)
{
    (void)state;
    static const struct {
        const char *split;
        int64_t n, bounds[4];
    } row[] = {
        {"969, 30, 1", 10, {0, 10, 10, 10}},
        {"969, 30, 1", 50, {0, 48, 50, 50}},
        {"969, 30, 1", 100, {0, 97, 100, 100}},
        {"969, 30, 1", 1000, {0, 969, 999, 1000}},
        {"969, 30, 1", 1001, {0, 970, 1000, 1001}},
        {"969, 30, 1", 12345, {0, 11963, 12333, 12345}},
        {"995,4,1", 1000, {0, 995, 999, 1000}},
        {"995/4/1", 12345, {0, 12284, 12333, 12345}},
        {"1", 7, {0, 7, 7, 7}},
        {"1,1", 5, {0, 3, 5, 5}}, /* 2.5 and 2.5 round to 2 and 2; the missing one moves all ends */
        {"1,1", 3, {0, 1, 3, 3}}, /* 1.5 and 1.5 round to 2 and 2; the surplus does too */
        {"0.5, 0.25, 0.25", 8, {0, 4, 6, 8}},
        {"1", 0, {0, 0, 0, 0}},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        int64_t bounds[4];
        assert_int_equal(mu_split_bounds(row[i].split, row[i].n, bounds), MU_OK);
        for (int k = 0; k < 4; k++)
            assert_int_equal(bounds[k], row[i].bounds[k]);
    }
    static const char *const wrong[] = {"",    "0,0,0", "a",     "1,,1",    "1;2",    "-1,2",
                                        "nan", "inf",   "1e999", "8,1,1,5", "8,1,1,", "0x10,1,1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int64_t bounds[4];
        assert_int_equal(mu_split_bounds(wrong[i], 10, bounds), MU_CONFIG);
        assert_said("split '");
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, support_up, support_down)
    const struct CMUnitTest tests[] = {
        TEST(the_reference_file_is_read),
        TEST(every_integer_type_and_order_is_read),
        TEST(ids_outside_the_vocabulary_are_refused),
        TEST(damage_is_said_with_its_place),
        TEST(tokens_without_an_index_are_named),
        TEST(what_other_tools_leave_is_read),
        TEST(the_old_index_is_refused_by_name),
        TEST(mutated_indexes_do_no_harm),
        TEST(the_version_follows_content_and_split),
        TEST(splits_are_gpt_neox_s),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
