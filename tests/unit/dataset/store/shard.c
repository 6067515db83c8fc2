/* Prepared data sets: what is written is read back, the same documents give the same bytes, and no damage is
 * silent. */
#include <hdf5.h>

#include "tests/unit/dataset/data_support.h"
#include "common/clock.h"
#include "dataset/store/dataset.h"
#include "dataset/store/shard_file.h"
#include "dataset/prepare/shards.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static const mu_dataset_options_t any = {0};

/* Document d has d % 37 + 1 tokens; token i of it is a function of both. */
static int64_t length_of(int64_t d)
{
    return d % 37 + 1;
}

static int32_t token_of(int64_t d, int64_t i, int64_t vocab)
{
    return (int32_t)((d * 7919 + i * 104729) % vocab);
}

static mu_status_t write_set(const char *dir, int64_t documents, int64_t vocab, int64_t tokens_a_shard,
                             const char *split, bool replace, mu_shards_summary_t *sum)
{
    mu_shards_t *shards;
    mu_shards_options_t o = {
        .vocab = vocab, .split = split, .tokens_a_shard = tokens_a_shard, .replace = replace};
    MU_TRY(mu_shards_create(dir, &o, &shards));
    mu_status_t status = MU_OK;
    for (int64_t d = 0; d < documents && status == MU_OK; d++) {
        int32_t ids[37];
        for (int64_t i = 0; i < length_of(d); i++)
            ids[i] = token_of(d, i, vocab);
        status = mu_shards_add(shards, ids, NULL, (size_t)length_of(d), (uint64_t)(3 * length_of(d)), 0);
    }
    if (status == MU_OK)
        status = mu_shards_finish(shards, sum);
    mu_shards_free(shards);
    return status;
}

static mu_dataset_t *open_set(const char *dir)
{
    mu_dataset_t *ds;
    assert_int_equal(mu_dataset_open(dir, &any, &ds), MU_OK);
    return ds;
}

/* All documents of the set, in the order of splits, are those that were written. */
static void check_contents(mu_dataset_t *ds, int64_t documents, int64_t vocab)
{
    int64_t d = 0;
    for (int s = 0; s < MU_DATA_SPLITS; s++) {
        mu_data_split_t split = (mu_data_split_t)s;
        int64_t position = 0;
        for (int64_t k = 0; k < mu_dataset_documents(ds, split); k++, d++) {
            int32_t ids[37], again[37];
            int64_t n = mu_dataset_length(ds, split, k);
            assert_int_equal(n, length_of(d));
            assert_int_equal(mu_dataset_read(ds, split, k, 0, n, ids), MU_OK);
            for (int64_t i = 0; i < n; i++)
                assert_int_equal(ids[i], token_of(d, i, vocab));
            assert_int_equal(mu_dataset_read(ds, split, k, n / 2, n - n / 2, again), MU_OK);
            assert_memory_equal(again, ids + n / 2, (size_t)(n - n / 2) * sizeof *ids);
            assert_int_equal(mu_dataset_read_at(ds, split, position, n, again), MU_OK);
            assert_memory_equal(again, ids, (size_t)n * sizeof *ids);
            position += n;
        }
        assert_int_equal(mu_dataset_tokens(ds, split), position);
        assert_int_equal(mu_dataset_text_bytes(ds, split), 3 * position);
    }
    assert_int_equal(d, documents);
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    static const struct {
        int64_t documents, vocab, tokens_a_shard;
    } row[] = {{1000, 50277, 0}, {1000, 70000, 0}, {1000, 50277, 700}, {12000, 65536, 0}, {100, 65537, 1}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *dir = mu_format("%s/set%zu", folder, i);
        mu_shards_summary_t sum;
        assert_int_equal(
            write_set(dir, row[i].documents, row[i].vocab, row[i].tokens_a_shard, "8, 1, 1", false, &sum),
            MU_OK);
        mu_dataset_t *ds = open_set(dir);
        check_contents(ds, row[i].documents, row[i].vocab);
        assert_int_equal(mu_dataset_vocab(ds), row[i].vocab);
        assert_string_equal(mu_dataset_version(ds), sum.version);
        assert_null(mu_dataset_tokenizer_path(ds));
        assert_int_equal(sum.documents[0], row[i].documents * 8 / 10);
        assert_int_equal(mu_dataset_verify(ds), MU_OK);
        assert_true(mu_dataset_exists(dir));
        mu_dataset_close(ds);
        free(dir);
    }
}

static void many_shards_need_few_open_files(void **state)
{
    (void)state;
    mu_shards_summary_t sum;
    assert_int_equal(write_set(in_folder("set"), 200, 1000, 1, "1", false, &sum), MU_OK);
    assert_int_equal(sum.shards, 200);
    mu_dataset_t *ds = open_set(in_folder("set"));
    check_contents(ds, 200, 1000);
    int open_files = 0;
    for (int fd = 0; fd < 1024; fd++)
        open_files += fcntl(fd, F_GETFD) >= 0;
    assert_true(open_files < 200);
    mu_dataset_close(ds);
}

static void libhdf5_reads_the_same_bytes(void **state)
{
    (void)state;
    mu_shards_summary_t sum;
    assert_int_equal(write_set(in_folder("set"), 100, 50277, 0, "1", false, &sum), MU_OK);
    hid_t file = H5Fopen(in_folder("set/train-00000.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(file >= 0);
    int32_t *tokens = mu_calloc((size_t)sum.tokens[0], sizeof *tokens);
    int64_t starts[101];
    hid_t set = H5Dopen2(file, "tokens", H5P_DEFAULT), type = H5Dget_type(set);
    assert_int_equal(H5Tget_size(type), 2);
    assert_true(H5Dread(set, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, tokens) >= 0);
    H5Tclose(type);
    H5Dclose(set);
    set = H5Dopen2(file, "documents", H5P_DEFAULT);
    assert_true(H5Dread(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, starts) >= 0);
    H5Dclose(set);
    H5Fclose(file);
    for (int64_t d = 0; d < 100; d++) {
        assert_int_equal(starts[d + 1] - starts[d], length_of(d));
        for (int64_t i = 0; i < length_of(d); i++)
            assert_int_equal(tokens[starts[d] + i], token_of(d, i, 50277));
    }
    free(tokens);
}

static void the_same_documents_give_the_same_files(void **state)
{
    (void)state;
    mu_shards_summary_t a, b, c;
    char first[MU_DIGEST_HEX], second[MU_DIGEST_HEX];
    assert_int_equal(write_set(in_folder("a"), 500, 50277, 700, "8,1,1", false, &a), MU_OK);
    mu_sleep_ms(1100); /* no time of day may be in the files */
    assert_int_equal(write_set(in_folder("b"), 500, 50277, 700, "8,1,1", false, &b), MU_OK);
    assert_string_equal(a.version, b.version);
    assert_int_equal(mu_digest_file(in_folder("a/train-00003.h5"), first), MU_OK);
    assert_int_equal(mu_digest_file(in_folder("b/train-00003.h5"), second), MU_OK);
    assert_string_equal(first, second);
    assert_int_equal(mu_digest_file(in_folder("a/manifest.json"), first), MU_OK);
    assert_int_equal(mu_digest_file(in_folder("b/manifest.json"), second), MU_OK);
    assert_string_equal(first, second);
    assert_int_equal(write_set(in_folder("c"), 501, 50277, 700, "8,1,1", false, &c), MU_OK);
    assert_string_not_equal(a.version, c.version);
}

static int entries_of(const char *dir)
{
    char *command = mu_format("test $(ls -A %s | wc -l) = 0", dir);
    int rc = system(command);
    free(command);
    return rc;
}

static void the_directory_is_whole_or_absent(void **state)
{
    (void)state;
    mu_shards_summary_t sum;
    char *out = in_folder("x/y/set");
    /* a split that comes out empty: nothing is left */
    assert_int_equal(write_set(out, 5, 100, 0, "969, 30, 1", false, &sum), MU_DATA);
    assert_said("valid would be empty: split '969, 30, 1' gives it 3 % of 5 documents");
    assert_int_equal(write_set(out, 0, 100, 0, "1", false, &sum), MU_DATA);
    assert_said("holds no document");
    assert_int_equal(entries_of(in_folder("x/y")), 0);
    assert_int_equal(write_set(out, 5, 100, 0, "1, x", false, &sum), MU_CONFIG);
    /* an empty directory is taken, a data set is replaced on demand only, anything else never */
    assert_int_equal(mu_make_dirs(out, 0700), MU_OK);
    assert_int_equal(write_set(out, 5, 100, 0, "1", false, &sum), MU_OK);
    assert_int_equal(write_set(out, 6, 100, 0, "1", false, &sum), MU_RUNDIR);
    assert_said("--force");
    assert_int_equal(write_set(out, 6, 100, 0, "1", true, &sum), MU_OK);
    mu_dataset_t *ds = open_set(out);
    check_contents(ds, 6, 100);
    mu_dataset_close(ds);
    assert_int_equal(access(in_folder("x/y/set.partial"), F_OK), -1);
    write_file("notes.txt", "mine", 4);
    assert_int_equal(write_set(folder, 6, 100, 0, "1", true, &sum), MU_RUNDIR);
    assert_said("holds no data set");
    assert_int_equal(write_set(in_folder("notes.txt"), 6, 100, 0, "1", true, &sum), MU_RUNDIR);
}

static void one_writer_at_a_time_and_leftovers_go(void **state)
{
    (void)state;
    mu_shards_t *first, *second;
    mu_shards_summary_t sum;
    mu_shards_options_t o = {.vocab = 10, .split = "1"};
    char *out = in_folder("set");
    assert_int_equal(mu_shards_create(out, &o, &first), MU_OK);
    assert_int_equal(mu_shards_create(out, &o, &second), MU_RUNDIR);
    assert_said("another muster prepare");
    int32_t id = 10;
    assert_int_equal(mu_shards_add(first, &id, NULL, 1, 1, 0), MU_BUG);
    mu_shards_free(first);
    assert_int_equal(mu_make_dirs(in_folder("set.partial"), 0700), MU_OK);
    write_file("set.partial/train-00000.h5", "torn", 4);
    assert_int_equal(write_set(out, 5, 100, 0, "1", false, &sum), MU_OK);
    assert_said("interrupted run");
}

/* ---- damage ---- */

static char *slurp(const char *path, size_t *n)
{
    mu_buf_t b = MU_BUF_INIT;
    assert_int_equal(mu_file_read(path, 1 << 30, &b), MU_OK);
    *n = b.len;
    return mu_buf_detach(&b);
}

/* Opens and reads all; the first error. */
static mu_status_t use(const char *dir)
{
    mu_dataset_t *ds;
    mu_buf_clear(&said);
    MU_TRY(mu_dataset_open(dir, &any, &ds));
    mu_status_t status = MU_OK;
    for (int s = 0; s < MU_DATA_SPLITS && status == MU_OK; s++) {
        int64_t n = mu_dataset_tokens(ds, (mu_data_split_t)s);
        int32_t *ids = mu_calloc((size_t)n, sizeof *ids);
        status = mu_dataset_read_at(ds, (mu_data_split_t)s, 0, n, ids);
        free(ids);
    }
    mu_dataset_close(ds);
    return status;
}

static void flipped_bits_are_found_with_the_file(void **state)
{
    (void)state;
    mu_shards_summary_t sum;
    size_t n;
    char *dir = mu_strdup(in_folder("set")), *shard = mu_path_join(dir, "valid-00000.h5");
    assert_int_equal(write_set(dir, 300, 50277, 0, "8,1,1", false, &sum), MU_OK);
    char *bytes = slurp(shard, &n);
    int silent = 0;
    for (size_t at = 0; at < n; at += at < 256 ? 17 : 7) {
        bytes[at] = (char)(bytes[at] ^ 1 << at % 8);
        overwrite(shard, bytes, n);
        bytes[at] = (char)(bytes[at] ^ 1 << at % 8);
        mu_status_t status = use(dir);
        if (status == MU_OK) { /* HDF5's own bytes: training never looks at them, verify does */
            silent++;
            mu_dataset_t *ds = open_set(dir);
            status = mu_dataset_verify(ds);
            mu_dataset_close(ds);
        }
        assert_int_equal(status, MU_DATA);
        assert_said("valid-00000.h5: damaged");
    }
    assert_true(silent < (int)(n / 7) * 9 / 10);
    free(bytes);
    free(shard);
    free(dir);
}

static void cut_and_missing_shards_are_found_at_opening(void **state)
{
    (void)state;
    mu_shards_summary_t sum;
    char *dir = mu_strdup(in_folder("set")), *shard = mu_path_join(dir, "train-00001.h5");
    struct stat st;
    assert_int_equal(write_set(dir, 300, 50277, 2000, "8,1,1", false, &sum), MU_OK);
    assert_int_equal(stat(shard, &st), 0);
    assert_int_equal(truncate(shard, st.st_size - 1), 0);
    assert_int_equal(use(dir), MU_DATA);
    assert_said("train-00001.h5: has");
    assert_int_equal(truncate(shard, st.st_size + 1), 0);
    assert_int_equal(use(dir), MU_DATA);
    assert_int_equal(unlink(shard), 0);
    assert_int_equal(use(dir), MU_NOINPUT);
    assert_said("train-00001.h5: cannot open");
    free(shard);
    free(dir);
}

static void a_shard_cut_in_use_is_an_error_and_not_a_signal(void **state)
{
    (void)state;
    mu_shards_summary_t sum;
    int32_t id;
    assert_int_equal(write_set(in_folder("set"), 300, 50277, 0, "1", false, &sum), MU_OK);
    mu_dataset_t *ds = open_set(in_folder("set"));
    assert_int_equal(truncate(in_folder("set/train-00000.h5"), 4096), 0);
    assert_int_equal(mu_dataset_read(ds, MU_TRAIN, 0, 0, 1, &id), MU_DATA);
    assert_said("cut short while in use");
    mu_dataset_close(ds);
}

static void ids_outside_the_model_are_refused(void **state)
{
    (void)state;
    mu_shards_summary_t sum;
    mu_dataset_t *ds;
    int32_t ids[37];
    mu_status_t status = MU_OK;
    assert_int_equal(write_set(in_folder("set"), 300, 50277, 0, "1", false, &sum), MU_OK);
    mu_dataset_options_t o = {.vocab = 40000, .split = "1, 0, 0"};
    assert_int_equal(mu_dataset_open(in_folder("set"), &o, &ds), MU_OK);
    for (int64_t d = 0; d < 300 && status == MU_OK; d++)
        status = mu_dataset_read(ds, MU_TRAIN, d, 0, length_of(d), ids);
    assert_int_equal(status, MU_DATA);
    assert_said("the vocabulary has 40000");
    assert_int_equal(mu_dataset_read(ds, MU_TRAIN, 300, 0, 1, ids), MU_BUG);
    assert_int_equal(mu_dataset_read(ds, MU_TRAIN, 0, 0, 2, ids), MU_BUG);
    assert_int_equal(mu_dataset_read(ds, MU_VALID, 0, 0, 1, ids), MU_BUG);
    assert_int_equal(mu_dataset_read_at(ds, MU_TRAIN, sum.tokens[0], 1, ids), MU_BUG);
    mu_dataset_close(ds);
    o.split = "2, 1, 1";
    assert_int_equal(mu_dataset_open(in_folder("set"), &o, &ds), MU_OK);
    assert_said("was prepared with split '1'");
    mu_dataset_close(ds);
}

/* Any change of the manifest that says something else is found by its digest; the rest by its grammar. */
static void a_mutated_manifest_is_refused_or_means_the_same(void **state)
{
    (void)state;
    mu_shards_summary_t sum;
    size_t n;
    uint64_t random = 2463534242u;
    char *path = mu_strdup(in_folder("set/manifest.json"));
    assert_int_equal(write_set(in_folder("set"), 300, 50277, 700, "8,1,1", false, &sum), MU_OK);
    char *text = slurp(path, &n), *changed = mu_alloc(n + 16);
    int same = 0;
    for (int i = 0; i < 5000; i++) {
        mu_data_manifest_t m;
        size_t k = mutate(&random, text, n, changed);
        mu_buf_clear(&said);
        mu_status_t status = mu_data_manifest_parse("manifest.json", changed, k, &m);
        if (status == MU_OK) {
            assert_string_equal(m.version, sum.version);
            same++;
            mu_data_manifest_free(&m);
        } else {
            assert_int_equal(status, MU_DATA);
            assert_said("manifest.json");
        }
    }
    assert_true(same < 2500); /* white space only */
    free(path);
    free(text);
    free(changed);
}

/* A manifest with a right digest and wrong numbers: made by hand, or by a bug. */
static void numbers_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    mu_data_shard_t good = {.split = MU_TRAIN,
                            .documents = 3,
                            .tokens = 10,
                            .text_bytes = 9,
                            .bytes = 8000,
                            .tokens_at = 4096,
                            .documents_at = 2048,
                            .blocks_at = 2200};
    memset(good.tables, 'a', 32);
    memset(good.digest, 'b', 32);
    for (int i = 0; i < 10; i++) {
        mu_data_shard_t shard[2] = {good, good};
        char split[] = "1";
        mu_data_manifest_t m = {.vocab = 100, .token_bytes = 2, .split = split, .shards = shard, .count = 1},
                           found;
        switch (i) {
        case 0:
            shard[0].tokens = (8000 - 4096) / 2 + 1;
            break;
        case 1:
            shard[0].tokens = INT64_MAX;
            break;
        case 2:
            shard[0].documents_at = 8000 - 31;
            break;
        case 3:
            shard[0].documents = INT64_MAX / 8 - 1;
            break;
        case 4:
            shard[0].blocks_at = -8;
            break;
        case 5:
            shard[0].number = 1;
            break;
        case 6:
            m.token_bytes = 4;
            break;
        case 7:
            m.count = 2; /* twice train-00000 */
            break;
        case 8:
            shard[0].split = MU_VALID; /* valid before train */
            m.count = 2;
            break;
        default:
            break;
        }
        mu_buf_t text = MU_BUF_INIT;
        mu_data_manifest_version(&m);
        mu_data_manifest_write(&m, &text);
        mu_status_t status = mu_data_manifest_parse("m", text.data, text.len, &found);
        assert_int_equal(status, i < 9 ? MU_DATA : MU_OK);
        if (status == MU_OK)
            mu_data_manifest_free(&found);
        mu_buf_release(&text);
    }
}

static void what_is_no_data_set_is_said(void **state)
{
    (void)state;
    mu_dataset_t *ds;
    assert_int_equal(mu_dataset_open(in_folder("gone"), &any, &ds), MU_NOINPUT);
    assert_said("gone: no data set");
    assert_int_equal(mu_dataset_open(folder, &any, &ds), MU_NOINPUT);
    assert_said("muster prepare");
    write_file("a.bin", "", 0);
    write_file("a.idx", "", 0);
    assert_int_equal(mu_dataset_open(in_folder("a.bin"), &any, &ds), MU_NOINPUT);
    assert_said("without its ending");
    write_file("manifest.json", "{}", 2);
    assert_int_equal(mu_dataset_open(folder, &any, &ds), MU_DATA);
    assert_said("not the manifest of a data set");
    write_file("manifest.json", "{", 1);
    assert_int_equal(mu_dataset_open(folder, &any, &ds), MU_DATA);
    assert_said("manifest.json:1:1: not JSON");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, support_up, support_down)
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_read_back),
        TEST(many_shards_need_few_open_files),
        TEST(libhdf5_reads_the_same_bytes),
        TEST(the_same_documents_give_the_same_files),
        TEST(the_directory_is_whole_or_absent),
        TEST(one_writer_at_a_time_and_leftovers_go),
        TEST(flipped_bits_are_found_with_the_file),
        TEST(cut_and_missing_shards_are_found_at_opening),
        TEST(a_shard_cut_in_use_is_an_error_and_not_a_signal),
        TEST(ids_outside_the_model_are_refused),
        TEST(a_mutated_manifest_is_refused_or_means_the_same),
        TEST(numbers_that_do_not_fit_are_refused),
        TEST(what_is_no_data_set_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
