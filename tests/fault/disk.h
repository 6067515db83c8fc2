/*
 * A disk as it may be found after a loss of power. The operations of a program (faultfs.c's record) are played on a
 * tree of files and directories, each of which knows what it had when it was last synced and what was done since. A
 * state of the disk has, of each file, what was synced and any part of the later writes, and of each directory the
 * names that were synced and any number of the later changes, in their order.
 *
 *     disk_t *disk = disk_read(dir);            what is there now, as if all were synced
 *     while (disk_play(disk, &record)) ...      one operation
 *     disk_make(disk, dir, &how)                a state, on a real file system
 */
#ifndef MU_TESTS_DISK_H
#define MU_TESTS_DISK_H

#include "common/buf.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct disk disk_t;

/* Which of the changes that were not synced are on the disk. */
typedef enum disk_keep { DISK_NONE, DISK_ALL, DISK_NAMES, DISK_DATA, DISK_ANY } disk_keep_t;
typedef struct disk_how {
    disk_keep_t keep; /* NAMES: names and sizes; DATA: data alone; ANY: by `seed` */
    uint64_t seed;
} disk_how_t;

disk_t *disk_read(const char *dir);
void disk_free(disk_t *disk);
/* Plays the operation at *at of a record and moves on; false at its end. *kind, *path, *second: what it was (path
 * below the directory; strings are the disk's until the next call). */
bool disk_play(disk_t *disk, const mu_buf_t *record, size_t *at, char *kind, const char **path,
               const char **second);
/* A digest of the state, so that equal ones are looked at once. */
uint64_t disk_state(disk_t *disk, const disk_how_t *how);
/* Replaces what lies in `dir` by the state. */
void disk_make(disk_t *disk, const char *dir, const disk_how_t *how);

#endif
