/* Damage of every kind is found: before a value is handed out, and in any byte of any file by a full check.
 */
#include "tests/unit/common/checkpoint/checkpoint_help.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <cmocka.h>

static char *dir;
static mu_buf_t log_text = MU_BUF_INIT;

static save_t save_of(int64_t step, int64_t salt)
{
    return (save_t){.dir = dir, .model = tiny_model(), .tp = 2, .dp = 2, .step = step, .salt = salt};
}

static int begin(void **state)
{
    (void)state;
    dir = scratch_dir();
    mu_log_sink_set(keep_line, &log_text);
    save_t save = save_of(10, 1);
    return save_checkpoint(&save) == MU_OK ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    mu_log_sink_set(NULL, NULL);
    mu_buf_release(&log_text);
    mu_remove_tree(dir);
    free(dir);
    return 0;
}

static char *file_of(int64_t step, const char *name)
{
    return mu_format("%s/step-%08lld/%s", dir, (long long)step, name);
}

static mu_buf_t content(const char *path)
{
    mu_buf_t bytes = MU_BUF_INIT;
    assert_int_equal(mu_file_read(path, 1 << 28, &bytes), MU_OK);
    return bytes;
}

static void put_byte(const char *path, size_t at, char byte)
{
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0 && pwrite(fd, &byte, 1, (off_t)at) == 1 && close(fd) == 0);
}

/* Opens and checks all; the first error. */
static mu_status_t whole_check(void)
{
    mu_checkpoint_list_t list;
    mu_buf_clear(&log_text);
    if (mu_checkpoint_scan(dir, true, &list) != MU_OK || list.count < 1)
        return MU_BUG;
    mu_status_t status = list.entries[0].status;
    assert_true((status == MU_OK) == (list.entries[0].why == NULL));
    mu_checkpoint_list_release(&list);
    return status;
}

static void a_flipped_bit_in_a_shard_is_found_anywhere(void **state)
{
    (void)state;
    char *path = file_of(10, "shard-tp01-dp00.h5");
    mu_buf_t bytes = content(path);
    assert_int_equal(whole_check(), MU_OK);
    /* every byte that holds something, and of the long stretches of zeros each 13th */
    for (size_t at = 0, k = 0; at < bytes.len; at += bytes.data[at] ? 1 : 13, k++) {
        put_byte(path, at, (char)(bytes.data[at] ^ (1 << k % 8)));
        if (whole_check() != MU_DATA)
            fail_msg("flip of bit %zu of byte %zu was not found", k % 8, at);
        put_byte(path, at, bytes.data[at]);
    }
    assert_int_equal(whole_check(), MU_OK);
    mu_buf_release(&bytes);
    free(path);
}

static void a_flipped_bit_in_the_manifest_is_found_at_open(void **state)
{
    (void)state;
    char *path = file_of(10, "manifest.json");
    mu_buf_t bytes = content(path), why = MU_BUF_INIT;
    mu_manifest_t m;
    assert_true(mu_manifest_parse(bytes.data, bytes.len, &m, &why));
    mu_manifest_release(&m);
    for (size_t at = 0; at < bytes.len; at++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes.data[at] ^= (char)(1 << bit);
            mu_buf_clear(&why);
            if (mu_manifest_parse(bytes.data, bytes.len, &m, &why))
                fail_msg("flip of bit %d of byte %zu was not found", bit, at);
            assert_true(why.len > 0);
            bytes.data[at] ^= (char)(1 << bit);
        }
    }
    for (size_t n = 0; n < bytes.len; n++)
        assert_false(mu_manifest_parse(bytes.data, n, &m, &why));
    mu_buf_release(&why);
    mu_buf_release(&bytes);
    free(path);
}

static void a_read_refuses_a_damaged_value_and_names_it(void **state)
{
    (void)state;
    mu_checkpoint_t *checkpoint;
    char *path = file_of(10, "");
    assert_int_equal(mu_checkpoint_open(path, &checkpoint), MU_OK);
    const mu_shard_t *shard = &mu_checkpoint_manifest(checkpoint)->shards[0];
    char *file = file_of(10, shard->name);
    mu_buf_t bytes = content(file);
    for (int i = 0; i < shard->count; i += 3) {
        const mu_stored_t *s = &shard->slices[i];
        const char *name = mu_checkpoint_manifest(checkpoint)->tensors[s->slice.tensor].name;
        size_t at = s->at + mu_slice_bytes(&s->slice) - 1;
        float out[4096];
        put_byte(file, at, (char)(bytes.data[at] ^ 64));
        mu_buf_clear(&log_text);
        assert_int_equal(
            mu_checkpoint_read(checkpoint, name, s->slice.state, s->slice.offset, s->slice.count, out),
            MU_DATA);
        assert_non_null(strstr(log_text.data, name));
        assert_non_null(strstr(log_text.data, shard->name));
        put_byte(file, at, bytes.data[at]);
        assert_int_equal(
            mu_checkpoint_read(checkpoint, name, s->slice.state, s->slice.offset, s->slice.count, out),
            MU_OK);
    }
    /* cut off while open */
    assert_int_equal(truncate(file, MU_SHARD_HEADER), 0);
    const mu_stored_t *s = &shard->slices[0];
    float out[4096];
    assert_int_equal(mu_checkpoint_read(checkpoint,
                                        mu_checkpoint_manifest(checkpoint)->tensors[s->slice.tensor].name,
                                        s->slice.state, s->slice.offset, s->slice.count, out),
                     MU_DATA);
    assert_non_null(strstr(log_text.data, "cut off"));
    assert_int_equal(mu_file_replace(file, bytes.data, bytes.len, 0600), MU_OK);
    mu_checkpoint_close(checkpoint);
    mu_buf_release(&bytes);
    free(file);
    free(path);
}

/* Whether opening finds it, with this in the reason. */
static void open_says(const char *text)
{
    mu_checkpoint_t *checkpoint = NULL;
    mu_buf_clear(&log_text);
    assert_int_equal(mu_checkpoint_newest(dir, INT64_MAX, &checkpoint), MU_NOVALID);
    if (!strstr(log_text.data, text))
        fail_msg("wanted '%s', found '%s'", text, log_text.data);
}

static void files_that_are_not_the_right_ones_are_found_at_open(void **state)
{
    (void)state;
    char *path = file_of(10, "shard-tp00-dp01.h5"), *other = mu_format("%s/other", dir), *victim;
    mu_buf_t bytes = content(path);

    assert_int_equal(unlink(path), 0);
    open_says("'shard-tp00-dp01.h5' is missing");
    assert_int_equal(mu_file_replace(other, bytes.data, bytes.len, 0600), MU_OK);
    assert_int_equal(symlink(other, path), 0);
    open_says("'shard-tp00-dp01.h5' cannot be opened");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    open_says("is not a regular file");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    open_says("is not a regular file");
    assert_int_equal(rmdir(path), 0);

    assert_int_equal(mu_file_replace(path, bytes.data, bytes.len - 1, 0600), MU_OK);
    open_says("bytes instead of");
    victim = file_of(10, "shard-tp01-dp01.h5");
    mu_buf_t neighbour = content(victim);
    assert_int_equal(mu_file_replace(path, neighbour.data, bytes.len, 0600), MU_OK);
    open_says("belongs to another checkpoint");
    assert_int_equal(mu_file_replace(path, bytes.data, bytes.len, 0600), MU_OK);
    assert_int_equal(whole_check(), MU_OK);
    mu_buf_release(&neighbour);
    mu_buf_release(&bytes);
    unlink(other);
    free(victim);
    free(other);
    free(path);
}

static void a_shard_of_another_step_is_found_and_the_older_checkpoint_is_used(void **state)
{
    (void)state;
    save_t newer = save_of(20, 2);
    mu_checkpoint_t *checkpoint;
    assert_int_equal(save_checkpoint(&newer), MU_OK);
    char *from = file_of(10, "shard-tp00-dp00.h5"), *to = file_of(20, "shard-tp00-dp00.h5");
    mu_buf_t right = content(to), wrong = content(from);
    assert_int_equal(right.len, wrong.len);
    assert_int_equal(mu_file_replace(to, wrong.data, wrong.len, 0600), MU_OK);
    mu_buf_clear(&log_text);
    assert_int_equal(mu_checkpoint_newest(dir, INT64_MAX, &checkpoint), MU_OK);
    assert_int_equal(mu_checkpoint_manifest(checkpoint)->info.step, 10);
    assert_non_null(
        strstr(log_text.data, "step-00000020' is not valid: 'shard-tp00-dp00.h5' does not begin"));
    assert_non_null(strstr(log_text.data, "going back to checkpoint"));
    assert_int_equal(compare_rank(checkpoint, &newer.model, 1, 1, 0, true), MU_OK);
    mu_checkpoint_close(checkpoint);

    /* a whole checkpoint under another step's name */
    assert_int_equal(mu_file_replace(to, right.data, right.len, 0600), MU_OK);
    char *a = file_of(20, ""), *b = file_of(30, "");
    a[strlen(a) - 1] = b[strlen(b) - 1] = '\0';
    assert_int_equal(rename(a, b), 0);
    assert_int_equal(mu_checkpoint_newest(dir, INT64_MAX, &checkpoint), MU_OK);
    assert_int_equal(mu_checkpoint_manifest(checkpoint)->info.step, 10);
    mu_checkpoint_close(checkpoint);
    assert_int_equal(mu_remove_tree(b), MU_OK);
    mu_buf_release(&right);
    mu_buf_release(&wrong);
    free(a);
    free(b);
    free(from);
    free(to);
}

static void the_values_lost_to_a_crash_are_found(void **state)
{
    (void)state;
    char *path = file_of(10, "shard-tp01-dp01.h5");
    mu_buf_t bytes = content(path);
    /* the name and the size are there, a block of the data is not */
    for (size_t at = 0; at < bytes.len; at += 4096) {
        size_t n = bytes.len - at < 4096 ? bytes.len - at : 4096;
        bool zero = true;
        for (size_t i = 0; i < n; i++)
            zero = zero && bytes.data[at + i] == 0;
        char *lost = mu_alloc(bytes.len);
        memcpy(lost, bytes.data, bytes.len);
        memset(lost + at, 0, n);
        assert_int_equal(mu_file_replace(path, lost, bytes.len, 0600), MU_OK);
        assert_int_equal(whole_check(), zero ? MU_OK : MU_DATA);
        free(lost);
    }
    assert_int_equal(mu_file_replace(path, bytes.data, bytes.len, 0600), MU_OK);
    assert_int_equal(whole_check(), MU_OK);
    mu_buf_release(&bytes);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flipped_bit_in_a_shard_is_found_anywhere),
        cmocka_unit_test(a_flipped_bit_in_the_manifest_is_found_at_open),
        cmocka_unit_test(a_read_refuses_a_damaged_value_and_names_it),
        cmocka_unit_test(files_that_are_not_the_right_ones_are_found_at_open),
        cmocka_unit_test(a_shard_of_another_step_is_found_and_the_older_checkpoint_is_used),
        cmocka_unit_test(the_values_lost_to_a_crash_are_found),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
