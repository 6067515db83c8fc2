/* faultfs.c linked into a program: it is armed by a call where the library, loaded with LD_PRELOAD, is by its
 * environment. */
#ifndef MU_TESTS_FAULTFS_H
#define MU_TESTS_FAULTFS_H

/* From now on operations below `dir` are counted from 1, and number `at` is troubled as `mode` says (0: none). trace,
 * record: descriptors that get a line, or an entry, for each operation; -1: none. */
void faultfs_arm(const char *dir, const char *mode, long at, int trace, int record);

#endif
