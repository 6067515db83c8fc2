/* The commit protocol seen from outside: names, hints, what is kept, what is cleaned, a step saved twice. */
#include "tests/unit/common/checkpoint/checkpoint_help.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <cmocka.h>

static char *dir;

static int begin(void **state)
{
    (void)state;
    dir = scratch_dir();
    return 0;
}

static int end(void **state)
{
    (void)state;
    mu_log_sink_set(NULL, NULL);
    mu_remove_tree(dir);
    free(dir);
    return 0;
}

static void save_judged(int64_t step, int attempt, bool best, double valid_loss)
{
    save_t save = {.dir = dir,
                   .model = small_model(),
                   .tp = 1,
                   .dp = 2,
                   .step = step,
                   .salt = step,
                   .attempt = attempt,
                   .best = best,
                   .valid_loss = valid_loss};
    save.model.layers = 1;
    assert_int_equal(save_checkpoint(&save), MU_OK);
}

static void save_step(int64_t step, int attempt, bool best)
{
    save_judged(step, attempt, best, 0);
}

static void file_is(const char *name, const char *want)
{
    char *path = mu_path_join(dir, name);
    mu_buf_t text = MU_BUF_INIT;
    assert_int_equal(mu_file_read(path, 100, &text), MU_OK);
    assert_string_equal(text.data, want);
    mu_buf_release(&text);
    free(path);
}

static bool there(const char *name)
{
    struct stat st;
    char *path = mu_path_join(dir, name);
    bool found = lstat(path, &st) == 0;
    free(path);
    return found;
}

static void damage(int64_t step)
{
    char *path = mu_format("%s/step-%08lld/shard-tp00-dp00.h5", dir, (long long)step);
    assert_int_equal(truncate(path, 5000), 0);
    free(path);
}

static int64_t newest(int64_t below)
{
    mu_checkpoint_t *checkpoint;
    mu_status_t status = mu_checkpoint_newest(dir, below, &checkpoint);
    if (status != MU_OK)
        return -(int64_t)status;
    int64_t step = checkpoint ? mu_checkpoint_manifest(checkpoint)->info.step : -1;
    mu_checkpoint_close(checkpoint);
    return step;
}

static void nothing_there_is_no_error(void **state)
{
    (void)state;
    mu_checkpoint_list_t list;
    mu_checkpoint_t *checkpoint;
    char *absent = mu_path_join(dir, "absent");
    assert_int_equal(newest(INT64_MAX), -1);
    assert_int_equal(mu_checkpoint_newest(absent, INT64_MAX, &checkpoint), MU_OK);
    assert_null(checkpoint);
    assert_int_equal(mu_checkpoint_scan(absent, true, &list), MU_OK);
    assert_int_equal(list.count, 0);
    free(absent);
}

static void hints_follow_the_commit(void **state)
{
    (void)state;
    save_step(100, 1, true);
    save_step(200, 1, false);
    file_is("latest", "step-00000200\n");
    file_is("best", "step-00000100\n");
    assert_false(there("step-00000200.tmp-1"));
    assert_int_equal(newest(INT64_MAX), 200);
    assert_int_equal(newest(200), 100);
    /* a hint that lies changes nothing */
    char *path = mu_path_join(dir, "latest");
    assert_int_equal(mu_file_replace(path, "../../etc\n", 10, 0600), MU_OK);
    assert_int_equal(newest(INT64_MAX), 200);
    free(path);
}

/* A kill between the rename to step-N and the hints. */
static void hints_that_a_kill_lost_are_written_again(void **state)
{
    (void)state;
    double lowest = 0;
    mu_log_level_set(MU_LOG_ERROR);
    assert_int_equal(mu_checkpoint_mend_hints(dir, 0, &lowest), MU_OK);
    assert_true(isinf(lowest) && !there("latest") && !there("best"));
    save_step(100, 1, false);
    assert_int_equal(mu_checkpoint_mend_hints(dir, 100, &lowest), MU_OK);
    assert_true(isinf(lowest) && !there("best"));
    save_judged(200, 1, true, 3);
    save_judged(300, 1, false, 2); /* `best` was not written any more */
    save_judged(400, 1, false, 2);
    save_judged(500, 1, false, 4);
    char *latest = mu_path_join(dir, "latest"), *best = mu_path_join(dir, "best");
    assert_int_equal(unlink(latest), 0);
    assert_int_equal(mu_checkpoint_mend_hints(dir, 500, &lowest), MU_OK);
    file_is("latest", "step-00000500\n");
    file_is("best", "step-00000300\n"); /* the first of equals, as the run would have it */
    assert_true(lowest == 2);
    assert_int_equal(mu_file_replace(best, "step-00000400\n", 14, 0600), MU_OK);
    assert_int_equal(mu_checkpoint_mend_hints(dir, 500, &lowest), MU_OK);
    file_is("best", "step-00000400\n"); /* as good: it stays */
    damage(300);
    damage(400);
    assert_int_equal(mu_checkpoint_mend_hints(dir, 400, &lowest), MU_OK);
    file_is("latest", "step-00000200\n"); /* 500 is newer than what the run goes on from */
    file_is("best", "step-00000200\n");
    assert_true(lowest == 3);
    mu_log_level_set(MU_LOG_INFO);
    free(latest);
    free(best);
}

static void a_run_directory_and_a_checkpoint_are_understood(void **state)
{
    (void)state;
    mu_checkpoint_t *checkpoint;
    mu_checkpoint_list_t list;
    char *run = dir, *inner = mu_path_join(run, "checkpoints");
    assert_int_equal(mu_checkpoint_clean(inner), MU_OK);
    dir = inner;
    save_step(7, 1, false);
    dir = run;
    assert_int_equal(newest(INT64_MAX), 7);
    char *one = mu_path_join(inner, "step-00000007/");
    assert_int_equal(mu_checkpoint_newest(one, INT64_MAX, &checkpoint), MU_OK);
    assert_int_equal(mu_checkpoint_manifest(checkpoint)->info.step, 7);
    mu_checkpoint_close(checkpoint);
    assert_int_equal(mu_checkpoint_scan(one, true, &list), MU_OK);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.entries[0].name, "step-00000007");
    assert_true(list.entries[0].status == MU_OK && list.entries[0].dp == 2 && list.entries[0].bytes > 0);
    mu_checkpoint_list_release(&list);
    free(one);
    free(inner);
}

static void all_damaged_is_novalid_and_each_is_named(void **state)
{
    (void)state;
    mu_buf_t log = MU_BUF_INIT;
    save_step(1, 1, false);
    save_step(2, 1, false);
    damage(1);
    damage(2);
    mu_log_sink_set(keep_line, &log);
    assert_int_equal(newest(INT64_MAX), -(int64_t)MU_NOVALID);
    mu_log_sink_set(NULL, NULL);
    assert_non_null(
        strstr(log.data, "step-00000001' is not valid: 'shard-tp00-dp00.h5' has 5000 bytes instead of"));
    assert_non_null(strstr(log.data, "step-00000002' is not valid"));
    assert_non_null(strstr(log.data, "2 checkpoints, none of them valid"));
    mu_buf_release(&log);
}

static void pruning_keeps_the_newest_valid_ones_and_the_best(void **state)
{
    (void)state;
    mu_log_level_set(MU_LOG_ERROR);
    for (int64_t step = 1; step <= 6; step++)
        save_step(step, 1, step == 1);
    damage(6);
    damage(4);
    assert_int_equal(mu_checkpoint_prune(dir, 0, 1), MU_OK);
    assert_true(there("step-00000002"));
    assert_int_equal(mu_checkpoint_prune(dir, 2, 1), MU_OK);
    assert_true(there("step-00000001")); /* best */
    assert_false(there("step-00000002"));
    assert_true(there("step-00000003")); /* the second newest valid one */
    assert_true(there("step-00000005"));
    assert_true(there("step-00000006")); /* newer than the newest valid one: not for pruning to judge */
    assert_int_equal(mu_checkpoint_prune(dir, 1, 1), MU_OK);
    assert_false(there("step-00000003"));
    assert_false(there("step-00000004"));
    assert_true(there("step-00000005"));
    assert_int_equal(newest(INT64_MAX), 5);
    mu_log_level_set(MU_LOG_INFO);
}

static void a_step_saved_again_replaces_the_damaged_one(void **state)
{
    (void)state;
    save_step(1, 1, false);
    save_step(2, 1, false);
    damage(2);
    mu_log_level_set(MU_LOG_ERROR);
    assert_int_equal(newest(INT64_MAX), 1);
    save_step(2, 2, false);
    assert_int_equal(newest(INT64_MAX), 2);
    assert_false(there("step-00000002.old-2"));
    save_step(2, 3, false); /* and a valid one too */
    assert_int_equal(newest(INT64_MAX), 2);
    mu_log_level_set(MU_LOG_INFO);
}

static void what_was_put_aside_is_read_until_its_successor_stands(void **state)
{
    (void)state;
    save_step(2, 1, false);
    char *name = mu_path_join(dir, "step-00000002"), *aside = mu_path_join(dir, "step-00000002.old-2");
    assert_int_equal(rename(name, aside), 0);
    mu_log_level_set(MU_LOG_ERROR);
    assert_int_equal(mu_checkpoint_clean(dir), MU_OK);
    assert_int_equal(newest(INT64_MAX), 2);
    save_step(2, 3, false);
    assert_true(there("step-00000002.old-2"));
    assert_int_equal(mu_checkpoint_clean(dir), MU_OK);
    assert_false(there("step-00000002.old-2"));
    assert_int_equal(newest(INT64_MAX), 2);
    mu_log_level_set(MU_LOG_INFO);
    free(name);
    free(aside);
}

static void leftovers_go_and_nothing_else(void **state)
{
    (void)state;
    static const char *const dirs[] = {"step-00000009.tmp-1", "step-00000001.tmp-7"},
                             *const gone[] = {"latest.tmp-77", "best.tmp-1"},
                             *const stay[] = {"latest", "best", "notes.txt", "step-3.txt"};
    for (size_t i = 0; i < 2; i++) {
        char *path = mu_path_join(dir, dirs[i]), *file = mu_path_join(path, "shard-tp00-dp00.h5");
        assert_int_equal(mu_make_dirs(path, 0), MU_OK);
        assert_int_equal(mu_file_replace(file, "x", 1, 0600), MU_OK);
        free(file);
        free(path);
    }
    for (size_t i = 0; i < 6; i++) {
        char *path = mu_path_join(dir, i < 2 ? gone[i] : stay[i - 2]);
        assert_int_equal(mu_file_replace(path, "x", 1, 0600), MU_OK);
        free(path);
    }
    mu_log_level_set(MU_LOG_ERROR);
    assert_int_equal(mu_checkpoint_clean(dir), MU_OK);
    mu_log_level_set(MU_LOG_INFO);
    for (size_t i = 0; i < 2; i++)
        assert_false(there(dirs[i]) || there(gone[i]));
    for (size_t i = 0; i < 4; i++)
        assert_true(there(stay[i]));
}

static void a_shard_that_the_controller_cannot_see_is_not_committed(void **state)
{
    (void)state;
    save_t save = {.dir = dir, .model = small_model(), .tp = 1, .dp = 2, .step = 5};
    mu_checkpoint_info_t info = save_info(&save);
    mu_shard_t shards[2] = {{.slices = NULL}};
    char *tmp;
    mu_buf_t log = MU_BUF_INIT;
    mu_log_sink_set(keep_line, &log);
    assert_int_equal(mu_checkpoint_begin(dir, 5, 0, &tmp), MU_OK);
    assert_int_equal(save_shards(&save, tmp, shards), MU_OK);
    mu_commit_t commit = {
        .info = &info, .model = &save.model, .optimizer = true, .shards = shards, .shard_count = 2};
    char *path = mu_path_join(tmp, "shard-tp00-dp01.h5");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mu_checkpoint_commit(dir, tmp, &commit), MU_IO);
    assert_non_null(strstr(log.data, "every host must see the run directory as one volume"));
    commit.shard_count = 1;
    assert_int_equal(mu_checkpoint_commit(dir, tmp, &commit), MU_BUG);
    mu_checkpoint_abandon(tmp);
    assert_false(there("step-00000005.tmp-0") || there("step-00000005") || there("latest"));
    mu_buf_release(&log);
    for (int i = 0; i < 2; i++)
        mu_shard_release(&shards[i]);
    mu_checkpoint_info_release(&info);
    free(path);
    free(tmp);
}

static mu_status_t refuse(void *arg, const mu_slice_t *slice, int64_t first, int64_t n, float *out)
{
    (void)arg, (void)first, (void)n, (void)out;
    return slice->tensor == 3 ? MU_GPU : MU_OK;
}

static void an_error_of_the_source_ends_the_write(void **state)
{
    (void)state;
    mu_model_t model = small_model();
    mu_shard_plan_t plan = {.dir = dir, .model = &model, .tp = 1, .dp = 1, .run_id = "r", .read = refuse};
    mu_shard_t shard;
    assert_int_equal(mu_shard_write(&plan, &shard), MU_GPU);
    assert_false(there("shard-tp00-dp00.h5"));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(nothing_there_is_no_error),
        CASE(hints_follow_the_commit),
        CASE(hints_that_a_kill_lost_are_written_again),
        CASE(a_run_directory_and_a_checkpoint_are_understood),
        CASE(all_damaged_is_novalid_and_each_is_named),
        CASE(pruning_keeps_the_newest_valid_ones_and_the_best),
        CASE(a_step_saved_again_replaces_the_damaged_one),
        CASE(what_was_put_aside_is_read_until_its_successor_stands),
        CASE(leftovers_go_and_nothing_else),
        CASE(a_shard_that_the_controller_cannot_see_is_not_committed),
        CASE(an_error_of_the_source_ends_the_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
