/*
 * Files that survive a kill. A file is written under a temporary name in the same directory, synced, renamed,
 * and its directory synced; a reader sees the old content or the new, never a part. Every function here logs
 * its error with the path.
 */
#ifndef MU_COMMON_FILE_H
#define MU_COMMON_FILE_H

#include "common/buf.h"
#include "common/status.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Replaces `path` by `n` bytes, durably. mode: as open(2)'s. Errors: MU_IO. */
mu_status_t mu_file_replace(const char *path, const void *bytes, size_t n, mode_t mode);
/* Adds the file's content to `out`; refuses files over `limit` bytes with MU_DATA. MU_NOINPUT: absent, or not for
 * us to read; MU_IO: the storage failed. */
mu_status_t mu_file_read(const char *path, size_t limit, mu_buf_t *out);
/* The same for text that a person or another tool wrote: a UTF-8 byte order mark at its start, which Windows
 * editors put there, is left out. Positions in messages then count without it, as editors do. */
mu_status_t mu_file_read_text(const char *path, size_t limit, mu_buf_t *out);
/* The status of an input that open(2) or opendir(3) refused with `error`: MU_NOINPUT when it is not there or may not be
 * read, which another try does not change, else MU_IO. */
mu_status_t mu_open_status(int error);
/* The status of a file or folder of a run directory that could not be made or written for `error`: MU_IO when the
 * volume is full or fails, which passes, else MU_RUNDIR. */
mu_status_t mu_make_status(int error);
/* write(2) and pwrite(2) until all is written; false with errno set otherwise. */
bool mu_write_all(int fd, const void *bytes, size_t n);
bool mu_pwrite_all(int fd, const void *bytes, size_t n, off_t offset);
/* Appends what a file of the kernel's gives, whose size nobody knows beforehand, until its end, an error, or `most`
 * bytes are there. fd -1: nothing. */
void mu_fd_drain(int fd, size_t most, mu_buf_t *out);
/* pread(2) until all is read; a short file is EPROTO. */
bool mu_pread_all(int fd, void *bytes, size_t n, off_t offset);
/* Makes a directory and its parents (0700 when `mode` is 0). Existing directories are fine. Errors:
 * MU_RUNDIR. */
mu_status_t mu_make_dirs(const char *path, mode_t mode);
/* fsync of a directory. Errors: MU_IO. */
mu_status_t mu_sync_dir(const char *path);
/* Removes a tree without following links; an absent one is fine. Errors: MU_IO. */
mu_status_t mu_remove_tree(const char *path);
/* Before one says of a path that it is not there: MU_OK when that is so, or when it is there; else the error that hides
 * it from us, as a folder that we may not enter. Errors: MU_NOINPUT, MU_IO. */
mu_status_t mu_path_visible(const char *path);
bool mu_is_dir(const char *path);
bool mu_is_file(const char *path);
/* Whether both name one place: without links where they are there, else as they are written, from here. */
bool mu_same_path(const char *a, const char *b);
/* "dir/name"; free() it. */
char *mu_path_join(const char *dir, const char *name);
/* The directory part of a path: "." when there is none. free() it. */
char *mu_path_parent(const char *path);
/* The directory of the running program, NUL terminated; MU_BUG when /proc is not there. */
mu_status_t mu_program_dir(mu_buf_t *out);

#endif
