/*
 * A save is troubled at each of its file operations in turn: killed before it, killed in the middle of it,
 * refused with EIO, refused with ENOSPC from then on, written short. Whatever happens, a checkpoint that was
 * there is read back bit for bit, an exit of 0 means that the new one is, and the next attempt saves and
 * leaves nothing.
 */
#include "common/num.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <cmocka.h>
#include "tests/fault/trouble.h"

/* One save with one fault, and what must hold afterwards. */
static void one_fault(const char *mode, long at, int64_t step)
{
    int64_t found = -1, last = background ? step + 1 : step;
    int done = background ? NEXT : NEW;
    bool kills = mode[0] == 'k' || mode[0] == 't';
    start_over();
    int status = run_save(step, 2, NEW, mode, at, -1, -1);
    if (kills ? !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
              : !(WIFEXITED(status) &&
                  (WEXITSTATUS(status) == 0 || (WEXITSTATUS(status) == 74 && mode[0] == 'e') ||
                   (WEXITSTATUS(status) == 73 && mode[0] == 'e'))))
        fail_msg("%s at %ld: wait status %d", mode, at, status);
    int salt = newest_salt(&found);
    if (salt == 0)
        fail_msg("%s at %ld: no valid checkpoint any more", mode, at);
    if (!belongs(found, step, salt))
        fail_msg("%s at %ld: step %lld has the values of another", mode, at, (long long)found);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && salt != done)
        fail_msg("%s at %ld: the save said done, the checkpoint is not valid", mode, at);
    if (halves() != 0)
        fail_msg("%s at %ld: a checkpoint that is not whole can be seen", mode, at);
    if (run_attempt(dir, step, 3, NEW, background) != MU_OK)
        fail_msg("%s at %ld: the next attempt cannot save", mode, at);
    if (newest_salt(&found) != done || found != last)
        fail_msg("%s at %ld: the next attempt's checkpoint is not valid", mode, at);
    if (leftovers() != 0)
        fail_msg("%s at %ld: the next attempt leaves %d old names", mode, at, leftovers());
}

/* What an attempt that nothing troubles does, a line an operation; free() it. */
static char *trace_of(int64_t step)
{
    mu_buf_t text = MU_BUF_INIT;
    int fd = memfd_create("trace", MFD_CLOEXEC);
    assert_true(fd >= 0);
    start_over();
    assert_int_equal(run_save(step, 2, NEW, "", 0, fd, -1), 0);
    assert_true(lseek(fd, 0, SEEK_SET) == 0);
    mu_fd_drain(fd, 1 << 26, &text);
    close(fd);
    return mu_buf_detach(&text);
}

static long operations(int64_t step)
{
    char *text = trace_of(step);
    long n = 0;
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        n++;
    free(text);
    return n;
}

/* step 2: a new one beside step 1, which is pruned. step 1: the same step again, which is put aside; up to
 * the renames that is the same work, so only the last LAST operations are troubled. */
static void every_fault(const char *mode)
{
    enum { LAST = 45 };
    for (int64_t step = 2; step >= 1; step--) {
        long n = operations(step), first = step == 1 ? n - LAST : 1;
        assert_true(n > LAST);
        for (long at = first; at <= n; at++)
            one_fault(mode, at, step);
        print_message("%s: operations %ld to %ld of a save of step %lld\n", mode, first, n, (long long)step);
    }
}

/* Two checkpoints, one after the other, each in the background. */
static void every_fault_of_two(const char *mode)
{
    background = true;
    long n = operations(2);
    for (long at = 1; at <= n; at++)
        one_fault(mode, at, 2);
    background = false;
    print_message("%s: operations 1 to %ld of two saves in the background\n", mode, n);
}

static void killed_before_any_operation(void **state)
{
    (void)state;
    every_fault("kill");
    every_fault_of_two("kill");
}
static void killed_in_the_middle_of_any_operation(void **state)
{
    (void)state;
    every_fault("tear");
    every_fault_of_two("tear");
}
static void any_operation_fails(void **state)
{
    (void)state;
    every_fault("eio");
    every_fault_of_two("eio");
}
static void the_disk_is_full_from_any_operation_on(void **state)
{
    (void)state;
    every_fault("enospc");
    every_fault_of_two("enospc");
}
static void any_write_is_short(void **state)
{
    (void)state;
    every_fault("short");
    every_fault_of_two("short");
}

static long line_of(char **lines, long n, long from, const char *what, const char *part)
{
    for (long i = from; i < n; i++)
        if (strncmp(lines[i], what, strlen(what)) == 0 && strstr(lines[i], part))
            return i;
    return -1;
}

static long last_of(char **lines, long n, const char *what, const char *part)
{
    long found = -1;
    for (long i = 0; (i = line_of(lines, n, i, what, part)) >= 0; i++)
        found = i;
    return found;
}

/* The operations of an attempt that nothing troubles. free() the text. */
static long read_trace(char *lines[4096], char **text)
{
    long n = 0;
    *text = trace_of(2);
    for (char *p = *text; *p && n < 4096; n++) {
        lines[n] = p;
        p = strchr(p, '\n');
        *p++ = '\0';
    }
    return n;
}

/* A kill keeps what the kernel has; a power cut does not. So the order itself is looked at: whatever is
 * renamed was synced after its last write, and nothing is removed before the new name was. */
static void is_durable_before(char **lines, long n, int64_t step)
{
    char *publish_to = mu_format("%s/step-%08lld", dir, (long long)step),
         *tmp = mu_format("%s/step-%08lld.tmp-2", dir, (long long)step), *in_tmp = mu_format("%s -", tmp),
         *parent = mu_format("%s -", dir), *older = mu_format("%s/step-%08lld ", dir, (long long)step - 1);
    const char *const files[] = {"shard-tp00-dp00.h5", "shard-tp00-dp01.h5", "manifest.json.tmp"};
    long published = -1;
    for (long i = 0; i < n; i++)
        if (strncmp(lines[i], "rename ", 7) == 0 && strcmp(strrchr(lines[i], ' ') + 1, publish_to) == 0)
            published = i;
    assert_true(published > 0);
    for (size_t f = 0; f < 3; f++) {
        char *file = mu_format("%s/%s", tmp, files[f]);
        long written = last_of(lines, n, "write", file);
        long synced = line_of(lines, n, written, "fsync", file);
        assert_true(written > 0 && synced > written && synced < published);
        free(file);
    }
    long last_change = last_of(lines, published, "rename", "manifest.json");
    long names = line_of(lines, n, last_change, "fsync", in_tmp);
    assert_true(last_change > 0 && names > last_change && names < published);
    long visible = line_of(lines, n, published, "fsync", parent);
    long hint = line_of(lines, n, published, "create", "latest.tmp-");
    long removed = line_of(lines, n, 0, "rename", older); /* out of sight, then gone */
    assert_true(visible > published && hint > visible && removed > hint);
    free(publish_to);
    free(parent);
    free(in_tmp);
    free(older);
    free(tmp);
}

static void what_becomes_visible_is_durable_before(void **state)
{
    (void)state;
    char *lines[4096], *text;
    for (int two = 0; two < 2; two++) {
        background = two;
        long n = read_trace(lines, &text);
        for (int64_t step = 2; step <= 2 + two; step++)
            is_durable_before(lines, n, step);
        free(text);
    }
    background = false;
}

/* The real thing: a volume of a few hundred KiB. Every size from none to enough is tried. */
static void a_volume_that_fills_up(void **state)
{
    (void)state;
    char *mine = dir;
    int64_t step = -1;
    int failed = 0, done = 0;
    dir = mu_format("%s/small", mine);
    assert_int_equal(mu_make_dirs(dir, 0), MU_OK);
    for (int pages = 16; pages < 60; pages++) {
        char options[64];
        snprintf(options, sizeof options, "size=%dk,mode=0700", 4 * pages);
        if (mount("tmpfs", dir, "tmpfs", 0, options) != 0) {
            print_message("skipped: mounting a small tmpfs needs root\n");
            free(dir);
            dir = mine;
            skip();
        }
        save_t save = {.dir = dir,
                       .model = tiny_model(),
                       .tp = 1,
                       .dp = 2,
                       .step = 1,
                       .salt = OLD,
                       .weights_only = true};
        mu_status_t first = save_checkpoint(&save);
        int status = first == MU_OK ? run_save(2, 2, NEW, "", 0, -1, -1) : -1, salt = 0;
        if (first == MU_OK)
            salt = newest_salt(&step);
        assert_int_equal(umount(dir), 0);
        assert_true(first == MU_OK || first == MU_IO);
        if (first != MU_OK)
            continue;
        assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 74));
        assert_true(salt == NEW || (salt == OLD && WEXITSTATUS(status) == 74));
        failed += WEXITSTATUS(status) == 74;
        done += WEXITSTATUS(status) == 0;
    }
    free(dir);
    dir = mine;
    print_message("%d saves found the volume full, %d fitted\n", failed, done);
    assert_true(failed > 0 && done > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_becomes_visible_is_durable_before),
        cmocka_unit_test(killed_before_any_operation),
        cmocka_unit_test(killed_in_the_middle_of_any_operation),
        cmocka_unit_test(any_operation_fails),
        cmocka_unit_test(the_disk_is_full_from_any_operation_on),
        cmocka_unit_test(any_write_is_short),
        cmocka_unit_test(a_volume_that_fills_up),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
