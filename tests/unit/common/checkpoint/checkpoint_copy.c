/* One file, whatever way it is written: in blocks of any size, past the page cache or through it, or from a copy. */
#include "tests/unit/common/checkpoint/checkpoint_help.h"
#include "common/checkpoint/frame.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <time.h>

/* A shard of some 3 MiB, with rows that no block ends at. */
static mu_model_t wide_model(void)
{
    mu_model_t model = small_model();
    model.hidden = 60;
    model.ffn = 124;
    model.vocab = 2000;
    return model;
}

static void read_whole(const char *dir, mu_buf_t *out)
{
    char *path = mu_path_join(dir, "shard-tp00-dp01.h5");
    mu_buf_clear(out);
    assert_int_equal(mu_file_read(path, 1 << 26, out), MU_OK);
    free(path);
}

/* All values lie where they lay, and every byte is under the digest that the writer found. (What HDF5 wrote holds
 * times.) */
static void same_file(const char *dir, const mu_shard_t *want, const mu_buf_t *bytes, const mu_shard_t *found)
{
    char digest[MU_DIGEST_HEX], *path = mu_path_join(dir, "shard-tp00-dp01.h5");
    int *order = mu_frame_order(found), fd = open(path, O_RDONLY | O_CLOEXEC);
    mu_buf_t text = MU_BUF_INIT;
    read_whole(dir, &text);
    assert_true(text.len == bytes->len && found->size == want->size && found->size == text.len);
    assert_int_equal(found->count, want->count);
    for (int i = 0; i < want->count; i++) {
        const mu_stored_t *a = &want->slices[i], *b = &found->slices[i];
        assert_true(a->at == b->at);
        assert_string_equal(a->digest, b->digest);
        assert_memory_equal(bytes->data + a->at, text.data + b->at, mu_slice_bytes(&a->slice));
        mu_digest_bytes(text.data + b->at, mu_slice_bytes(&b->slice), digest);
        assert_string_equal(digest, b->digest);
    }
    assert_true(fd >= 0 && mu_frame_digest(fd, found, order, digest));
    assert_string_equal(digest, found->frame);
    close(fd);
    assert_int_equal(unlink(path), 0);
    mu_buf_release(&text);
    free(order);
    free(path);
}

static void every_way_gives_the_same_bytes(void **state)
{
    (void)state;
    static const size_t blocks[] = {4096, 12288, 65536, 1 << 20};
    char *dir = scratch_dir();
    save_t save = {.dir = dir, .model = wide_model(), .tp = 1, .dp = 2, .step = 3};
    mu_buf_t want = MU_BUF_INIT;
    mu_shard_t first, other;
    mu_shard_copy_t *copy;
    int64_t salt = 5;
    uint64_t bytes;
    mu_shard_plan_t plan = save_plan(&save, dir, 1, &salt);
    assert_int_equal(mu_shard_write(&plan, &first), MU_OK);
    read_whole(dir, &want);
    assert_true(want.len > 1 << 20);
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        plan.block = blocks[i];
        assert_int_equal(mu_shard_write(&plan, &other), MU_OK);
        same_file(dir, &first, &want, &other);
        mu_shard_release(&other);

        assert_int_equal(mu_shard_copy_bytes(&plan, &bytes), MU_OK);
        void *memory = aligned_alloc(4096, bytes);
        assert_int_equal(mu_shard_copy(&plan, memory, bytes, &copy), MU_OK);
        salt = 6; /* training goes on */
        assert_int_equal(mu_shard_write_copy(copy, &other), MU_OK);
        salt = 5;
        same_file(dir, &first, &want, &other);
        mu_shard_release(&other);
        mu_shard_copy_free(copy);
        free(memory);
    }
    mu_shard_release(&first);
    mu_buf_release(&want);
    mu_remove_tree(dir);
    free(dir);
}

/* The writer copies from the front. The one that comes to change the values takes the rest, sooner or later, and the
 * last time when the file is there. */
static void two_threads_make_one_copy(void **state)
{
    enum { LAST = 11, AFTER_ALL = 300000 };
    (void)state;
    char *dir = scratch_dir();
    save_t save = {.dir = dir, .model = wide_model(), .tp = 1, .dp = 2, .step = 3};
    mu_buf_t want = MU_BUF_INIT;
    mu_shard_t first;
    copied_t c;
    int64_t salt = 5;
    uint64_t bytes;
    mu_shard_plan_t plan = save_plan(&save, dir, 1, &salt);
    assert_int_equal(mu_shard_write(&plan, &first), MU_OK);
    read_whole(dir, &want);
    plan.block = 4096;
    assert_int_equal(mu_shard_copy_bytes(&plan, &bytes), MU_OK);
    c.memory = aligned_alloc(4096, bytes);
    for (int i = 0; i <= LAST; i++) {
        memset(c.memory, 0xff, bytes);
        assert_int_equal(mu_shard_copy_begin(&plan, c.memory, bytes, &c.copy), MU_OK);
        assert_int_equal(pthread_create(&c.thread, NULL, write_copied, &c), 0);
        usleep(i < LAST ? (useconds_t)(i * i * 50) : AFTER_ALL);
        assert_int_equal(mu_shard_copy_rest(c.copy), MU_OK);
        salt = 6; /* training goes on */
        pthread_join(c.thread, NULL);
        salt = 5;
        assert_int_equal(c.status, MU_OK);
        same_file(dir, &first, &want, &c.shard);
        mu_shard_release(&c.shard);
        mu_shard_copy_free(c.copy);
    }
    free(c.memory);
    mu_shard_release(&first);
    mu_buf_release(&want);
    mu_remove_tree(dir);
    free(dir);
}

static mu_status_t source_fails(void *arg, const mu_slice_t *slice, int64_t first, int64_t n, float *out)
{
    (void)arg;
    (void)first;
    (void)n;
    (void)out;
    return slice->tensor == 0 ? MU_OK : MU_GPU;
}

static void a_copy_that_is_not_whole_makes_no_file(void **state)
{
    (void)state;
    char *dir = scratch_dir(), *path = mu_path_join(dir, "shard-tp00-dp00.h5");
    save_t save = {.dir = dir, .model = wide_model(), .tp = 1, .dp = 1, .step = 3};
    mu_shard_copy_t *copy;
    mu_shard_t shard;
    int64_t salt = 5;
    uint64_t bytes;
    mu_shard_plan_t plan = save_plan(&save, dir, 0, &salt), broken = plan;
    assert_int_equal(mu_shard_copy_bytes(&plan, &bytes), MU_OK);
    void *memory = aligned_alloc(4096, bytes);

    assert_int_equal(mu_shard_copy_begin(&plan, memory, bytes, &copy), MU_OK);
    mu_shard_copy_give_up(copy);
    assert_int_equal(mu_shard_write_copy(copy, &shard), MU_STOPPED);
    mu_shard_copy_free(copy);

    broken.block = 4096;
    broken.read = source_fails;
    assert_int_equal(mu_shard_copy_begin(&broken, memory, bytes, &copy), MU_OK);
    assert_int_equal(mu_shard_copy_rest(copy), MU_GPU);
    assert_int_equal(mu_shard_write_copy(copy, &shard), MU_GPU);
    mu_shard_copy_free(copy);

    broken.read = plan.read;
    broken.read_beside = source_fails;
    assert_int_equal(mu_shard_copy_begin(&broken, memory, bytes, &copy), MU_OK);
    assert_int_equal(mu_shard_write_copy(copy, &shard), MU_GPU);
    assert_int_equal(mu_shard_copy_rest(copy), MU_GPU);
    mu_shard_copy_free(copy);

    assert_false(mu_is_file(path));
    free(memory);
    free(path);
    mu_remove_tree(dir);
    free(dir);
}

/* A second has begun a moment ago: HDF5's times are seconds. */
static time_t next_second(void)
{
    time_t now = time(NULL);
    while (time(NULL) == now)
        usleep(1000);
    return now + 1;
}

/* A layout that was made earlier, for another step and attempt, gives the file that libhdf5 would lay out now, to the
 * last byte. */
static void one_layout_does_for_every_step(void **state)
{
    (void)state;
    char *dir = scratch_dir();
    save_t save = {.dir = dir, .model = wide_model(), .tp = 1, .dp = 2, .step = 3, .attempt = 1};
    mu_buf_t want = MU_BUF_INIT, found = MU_BUF_INIT;
    mu_shard_t fresh, patched;
    mu_shard_layout_t *layout;
    int64_t salt = 5;
    mu_shard_plan_t plan = save_plan(&save, dir, 1, &salt);
    assert_int_equal(mu_shard_layout_make(&plan, &layout), MU_OK);
    plan.attempt = 12345;
    static const int64_t steps[] = {0, 4, INT64_MAX};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        time_t second;
        plan.step = steps[i];
        do {
            second = next_second();
            plan.layout = NULL;
            assert_int_equal(mu_shard_write(&plan, &fresh), MU_OK);
            read_whole(dir, &want);
            plan.layout = layout;
            assert_int_equal(mu_shard_write(&plan, &patched), MU_OK);
            read_whole(dir, &found);
            assert_string_equal(fresh.name, patched.name);
            assert_true(fresh.size == patched.size && found.len == want.len);
            if (time(NULL) == second)
                assert_string_equal(fresh.frame, patched.frame);
            mu_shard_release(&fresh);
            mu_shard_release(&patched);
        } while (time(NULL) != second); /* a busy machine */
        assert_memory_equal(want.data, found.data, want.len);
    }
    mu_log_level_set(MU_LOG_ERROR);
    plan.run_id = "run-2";
    assert_int_equal(mu_shard_write(&plan, &patched), MU_BUG);
    mu_shard_layout_free(layout);
    mu_buf_release(&want);
    mu_buf_release(&found);
    mu_remove_tree(dir);
    free(dir);
}

static void the_memory_of_a_copy_does_not_depend_on_the_step(void **state)
{
    (void)state;
    save_t save = {.model = small_model(), .tp = 2, .dp = 1};
    int64_t salt = 1;
    uint64_t first, last;
    mu_shard_plan_t plan = save_plan(&save, "/nowhere", 1, &salt);
    assert_int_equal(mu_shard_copy_bytes(&plan, &first), MU_OK);
    plan.step = INT64_MAX;
    plan.attempt = 1000000;
    assert_int_equal(mu_shard_copy_bytes(&plan, &last), MU_OK);
    assert_true(first == last);
    void *memory = aligned_alloc(4096, first);
    mu_shard_copy_t *copy;
    mu_log_level_set(MU_LOG_ERROR);
    assert_int_equal(mu_shard_copy(&plan, memory, 4096, &copy), MU_BUG);
    free(memory);
}

static void a_copy_whose_volume_fails_leaves_no_file(void **state)
{
    (void)state;
    char *dir = scratch_dir(), *file = mu_path_join(dir, "file"), *below = mu_path_join(file, "below");
    assert_int_equal(mu_file_replace(file, "x", 1, 0600), MU_OK);
    save_t save = {.model = small_model(), .tp = 1, .dp = 1};
    int64_t salt = 1;
    uint64_t bytes;
    mu_shard_copy_t *copy;
    mu_shard_t shard;
    mu_buf_t log = MU_BUF_INIT;
    mu_shard_plan_t plan = save_plan(&save, below, 0, &salt);
    assert_int_equal(mu_shard_copy_bytes(&plan, &bytes), MU_OK);
    void *memory = aligned_alloc(4096, bytes);
    assert_int_equal(mu_shard_copy(&plan, memory, bytes, &copy), MU_OK);
    mu_log_sink_set(keep_line, &log);
    assert_int_equal(mu_shard_write_copy(copy, &shard), MU_IO);
    mu_log_sink_set(NULL, NULL);
    assert_non_null(strstr(log.data, below));
    mu_shard_copy_free(copy);
    mu_buf_release(&log);
    free(memory);
    mu_remove_tree(dir);
    free(below);
    free(file);
    free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_gives_the_same_bytes),
        cmocka_unit_test(two_threads_make_one_copy),
        cmocka_unit_test(a_copy_that_is_not_whole_makes_no_file),
        cmocka_unit_test(one_layout_does_for_every_step),
        cmocka_unit_test(the_memory_of_a_copy_does_not_depend_on_the_step),
        cmocka_unit_test(a_copy_whose_volume_fails_leaves_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
