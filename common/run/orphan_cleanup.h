/*
 * What an attempt left on this machine, and nothing else: processes of our user whose environment carries the
 * run's token, folders named after it. A process with the same command line but another token is somebody
 * else's run.
 *
 * The launcher cleans up its own machine, the probe its host before an attempt and after the run, and a guard
 * that lost the launcher its host before it goes.
 */
#ifndef MU_COMMON_ORPHAN_CLEANUP_H
#define MU_COMMON_ORPHAN_CLEANUP_H

#include "common/buf.h"
#include "common/status.h"
#include <stdbool.h>
#include <stdint.h>

/* The run's folders: "/tmp/muster-UID-TOKEN", and in shared memory the same (under /tmp where there is none).
 */
void mu_run_tmp_dir(const char *token, mu_buf_t *out);
void mu_run_shm_dir(const char *token, mu_buf_t *out);
/* The folder of copies in memory, "/dev/shm/muster-UID-TOKEN.copies": one folder in it for each launcher of the run. */
void mu_run_copies_dir(const char *token, mu_buf_t *out);
/* Makes the first one, 0700 and ours, and holds it until *fd is closed: nobody removes it meanwhile. Errors:
 * MU_IO: what hinders it is not the run's. */
mu_status_t mu_run_tmp_make(const char *dir, int *fd);
/* Whether one of these names is taken on this machine by what is not a private folder of ours. */
bool mu_run_folders_foreign(const char *token);
/* Whether mpirun's files have room in that folder: Open MPI does not start on a full volume, and its words for that
 * name no cause. Errors: MU_IO. */
mu_status_t mu_run_tmp_room(const char *dir);

/* Whether a token is one: 32 hex digits. What comes from elsewhere becomes part of a path. */
bool mu_run_token_ok(const char *token);
/* SIGKILL to every process of our user with MUSTER_RUN_TOKEN=token, but this one and those with a
 * MUSTER_ATTEMPT above `last`; waits up to 2 s until they are gone. Returns how many there were. */
int mu_orphan_cleanup_processes(const char *token, int64_t last);
/* Removes the first two folders, except one that a launcher here holds. */
void mu_orphan_cleanup_folders(const char *token);
/* Removes copies in memory, except those of the launcher whose folder is named `keep` (NULL: none). They outlive
 * attempts, not launchers. */
void mu_orphan_cleanup_copies(const char *token, const char *keep);

#endif
