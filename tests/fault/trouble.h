/* What tests that trouble a save share: the save in a child, and what may be found after it. cmocka's headers come
 * before. */
#ifndef MU_TESTS_TROUBLE_H
#define MU_TESTS_TROUBLE_H

#include "tests/fault/attempt.h"
#include "tests/fault/faultfs.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/wait.h>

enum { OLD = 101, NEW = 202, NEXT = NEW + 1 /* the second of a background save */ };
static char *dir;
static bool background; /* two checkpoints, written from copies by two threads */

/* One attempt in a child, troubled in number `at` of its operations; the wait status. Its messages go nowhere. */
static inline int run_save(int64_t step, int attempt, int salt, const char *mode, long at, int trace,
                           int record)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        faultfs_arm(dir, mode, at, trace, record);
        _exit(mu_status_exit(run_attempt(dir, step, attempt, salt, background)));
    }
    int status = -1;
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    return status;
}

static inline void quiet(mu_log_level_t level, const char *line, void *arg)
{
    (void)level, (void)line, (void)arg;
}

static inline void start_over(void)
{
    save_t save = {.dir = dir,
                   .model = tiny_model(),
                   .tp = 1,
                   .dp = 2,
                   .step = 1,
                   .salt = OLD,
                   .attempt = 1,
                   .weights_only = true,
                   .layouts = attempt_layouts};
    assert_int_equal(mu_remove_tree(dir), MU_OK);
    assert_int_equal(mu_make_dirs(dir, 0), MU_OK);
    assert_int_equal(save_checkpoint(&save), MU_OK);
}

/* The salt of the newest valid checkpoint, every bit of it compared; 0 when there is none. */
static inline int newest_salt(int64_t *step)
{
    mu_checkpoint_t *checkpoint = NULL;
    mu_model_t model = tiny_model();
    int salt = 0;
    if (mu_checkpoint_newest(dir, INT64_MAX, &checkpoint) != MU_OK || !checkpoint)
        return 0;
    *step = mu_checkpoint_manifest(checkpoint)->info.step;
    if (mu_checkpoint_verify(checkpoint, 0, 1) == MU_OK) {
        static const int salts[] = {OLD, NEW, NEXT};
        for (size_t i = 0; salt == 0 && i < sizeof salts / sizeof *salts; i++)
            if (compare_rank(checkpoint, &model, salts[i], 1, 0, false) == MU_OK)
                salt = salts[i];
    }
    mu_checkpoint_close(checkpoint);
    return salt;
}

/* Checkpoints under a proper name that are not whole: a save or a removal must never show half of one. */
static inline int halves(void)
{
    mu_checkpoint_list_t list;
    int damaged = 0;
    assert_int_equal(mu_checkpoint_scan(dir, true, &list), MU_OK);
    for (int i = 0; i < list.count; i++)
        damaged += list.entries[i].status != MU_OK;
    mu_checkpoint_list_release(&list);
    return damaged;
}

static inline int leftovers(void)
{
    int found = 0;
    DIR *stream = opendir(dir);
    assert_non_null(stream);
    for (struct dirent *e; (e = readdir(stream));)
        found += strstr(e->d_name, ".tmp-") || strstr(e->d_name, ".old-");
    closedir(stream);
    return found;
}

/* Step 1 is there before; where it is saved again, either of the two may be found. */
static inline bool belongs(int64_t found, int64_t step, int salt)
{
    return found == step + 1 ? salt == NEXT
           : step == 1       ? salt == OLD || salt == NEW
                             : salt == (found == step ? NEW : OLD);
}

static inline int begin(void **state)
{
    (void)state;
    if (mu_is_dir("/dev/shm")) /* thousands of syncs; what a kill leaves is the same on any file system */
        setenv("TMPDIR", "/dev/shm", 0);
    dir = scratch_dir();
    mu_log_sink_set(quiet, NULL);
    return make_layouts() == MU_OK ? 0 : -1;
}

static inline int end(void **state)
{
    (void)state;
    mu_log_sink_set(NULL, NULL);
    free_layouts();
    mu_remove_tree(dir);
    free(dir);
    return 0;
}

#endif
