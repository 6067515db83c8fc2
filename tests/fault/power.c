/*
 * Power is lost after each operation of a save: in the foreground, of a step that is there already, and of two
 * checkpoints that threads write from copies and a thread commits. Of each moment several states of the disk are made
 * (disk.h). In every one the checkpoint that was there, or the new one, is read back bit for bit; one that had been
 * reported as saved is; and the next attempt saves and leaves nothing behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <cmocka.h>
#include "common/checkpoint/scan.h"
#include "tests/fault/disk.h"
#include "tests/fault/trouble.h"

enum { SEEDS = 40, STATES = 65536 };

static uint64_t seen[STATES];
static int seen_count;

static bool is_new(uint64_t state)
{
    for (int i = 0; i < seen_count; i++)
        if (seen[i] == state)
            return false;
    if (seen_count < STATES)
        seen[seen_count++] = state;
    return true;
}

/* What the save does, from the state in `dir` on. */
static void record_save(int64_t step, mu_buf_t *record)
{
    int fd = memfd_create("record", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(run_save(step, 2, NEW, "", 0, -1, fd), 0);
    assert_true(lseek(fd, 0, SEEK_SET) == 0);
    mu_fd_drain(fd, 1 << 28, record);
    close(fd);
}

/* The newest step that a reader had been told is saved: its directory was renamed and the parent synced after that. */
static int64_t promised(char kind, const char *path, const char *second, int64_t *renamed, int64_t before)
{
    int64_t step;
    bool aside;
    if (kind == 'r' && strstr(path, ".tmp-2") && mu_checkpoint_name(second, &step, &aside) && !aside)
        *renamed = step;
    return kind == 's' && !*path && *renamed > 0 ? *renamed : before;
}

static void look(int64_t step, int64_t saved, long operation, const disk_how_t *how)
{
    int64_t found = -1, last = background ? step + 1 : step;
    int salt = newest_salt(&found);
    const char *const words[] = {"nothing", "all", "names", "data", "some"};
    if (salt == 0)
        fail_msg("operation %ld, %s kept (seed %d): no valid checkpoint any more", operation,
                 words[how->keep], (int)how->seed);
    if (!belongs(found, step, salt))
        fail_msg("operation %ld, %s kept (seed %d): step %d has the values of another", operation,
                 words[how->keep], (int)how->seed, (int)found);
    if (found < saved || (saved == step && step == 1 && salt != NEW))
        fail_msg("operation %ld, %s kept (seed %d): step %d was saved, step %d is found", operation,
                 words[how->keep], (int)how->seed, (int)saved, (int)found);
    if (run_attempt(dir, step, 3, NEW, background) != MU_OK)
        fail_msg("operation %ld, %s kept: the next attempt cannot save", operation, words[how->keep]);
    if (newest_salt(&found) != (background ? NEXT : NEW) || found != last || leftovers() != 0)
        fail_msg("operation %ld, %s kept: the next attempt's checkpoint is not valid, or leaves %d old names",
                 operation, words[how->keep], leftovers());
}

static void every_moment(int64_t step)
{
    mu_buf_t record = MU_BUF_INIT;
    start_over();
    disk_t *disk = disk_read(dir);
    record_save(step, &record);
    const char *path, *second;
    int64_t renamed = 0, saved = 0;
    long operation = 0;
    char kind;
    seen_count = 0;
    for (size_t at = 0; disk_play(disk, &record, &at, &kind, &path, &second);) {
        operation++;
        saved = promised(kind, path, second, &renamed, saved);
        for (int i = 0; i < DISK_ANY + SEEDS; i++) {
            disk_how_t how = {i < DISK_ANY ? (disk_keep_t)i : DISK_ANY, (uint64_t)(operation * SEEDS + i)};
            if (!is_new(disk_state(disk, &how)))
                continue;
            disk_make(disk, dir, &how);
            look(step, saved, operation, &how);
        }
    }
    assert_true(saved == (background ? step + 1 : step));
    print_message("%ld operations of a save of step %d%s: %d states of the disk\n", operation, (int)step,
                  background ? " and the next, in the background" : "", seen_count);
    disk_free(disk);
    mu_buf_release(&record);
}

static void in_the_foreground(void **state)
{
    (void)state;
    every_moment(2);
}

static void of_a_step_that_is_there(void **state)
{
    (void)state;
    every_moment(1);
}

static void beside_the_steps(void **state)
{
    (void)state;
    background = true;
    every_moment(2);
    background = false;
}

/* The simulation sees what it is for: without any sync a checkpoint that was reported is not there. */
static void a_save_without_syncs_is_lost(void **state)
{
    (void)state;
    mu_buf_t record = MU_BUF_INIT;
    int64_t found = -1;
    start_over();
    disk_t *disk = disk_read(dir);
    record_save(2, &record);
    const char *path, *second;
    char kind;
    for (size_t at = 0; at < record.len;) {
        size_t next = at;
        mu_buf_t one;
        if (record.data[at] == 's') { /* left out */
            size_t a, b, n;
            long long number;
            assert_int_equal(sscanf(record.data + at, "s %zu %zu %lld %zu", &a, &b, &number, &n), 4);
            at = (size_t)(strchr(record.data + at, '\n') + 1 - record.data) + a + b + n;
            continue;
        }
        one = record;
        assert_true(disk_play(disk, &one, &next, &kind, &path, &second));
        at = next;
    }
    disk_make(disk, dir, &(disk_how_t){DISK_NONE, 0});
    assert_int_equal(newest_salt(&found), OLD);
    disk_make(disk, dir,
              &(disk_how_t){DISK_NAMES, 0}); /* the old one was removed, the new one has no bytes */
    assert_int_equal(newest_salt(&found), 0);
    disk_make(disk, dir, &(disk_how_t){DISK_ALL, 0});
    assert_int_equal(newest_salt(&found), NEW);
    disk_free(disk);
    mu_buf_release(&record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_save_without_syncs_is_lost),
        cmocka_unit_test(in_the_foreground),
        cmocka_unit_test(of_a_step_that_is_there),
        cmocka_unit_test(beside_the_steps),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
