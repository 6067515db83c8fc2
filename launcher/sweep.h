/*
 * What a killed attempt left on this machine, and nothing else: processes of ours whose environment carries
 * the run's token, folders named after it. A process with the same command line but another token is somebody
 * else's run.
 */
#ifndef MU_LAUNCHER_SWEEP_H
#define MU_LAUNCHER_SWEEP_H

#include "common/buf.h"
#include "common/status.h"
#include "launcher/hosts.h"
#include "launcher/ssh.h"

/* The run's folders: "/tmp/muster-UID-TOKEN", and in shared memory the same (under /tmp where there is none).
 */
void mu_run_tmp_dir(const char *token, mu_buf_t *out);
void mu_run_shm_dir(const char *token, mu_buf_t *out);
/* Makes the first one, 0700 and ours. Errors: MU_RUNDIR. */
mu_status_t mu_run_tmp_make(const char *dir);

/* SIGKILL to every process of our user with MUSTER_RUN_TOKEN=token, but this one; waits up to 2 s until they
 * are gone. Returns how many there were. */
int mu_sweep_processes(const char *token);
/* Removes both folders. */
void mu_sweep_folders(const char *token);
/* The same on the other hosts of the list, over the logins that are open, at most 32 at once and 3 s in all.
 * A host that does not answer keeps them until the next start; that is no error. skip: of each host, true
 * where nothing is to be done. */
void mu_sweep_hosts(const mu_ssh_t *ssh, const mu_hosts_t *hosts, const bool *skip, const char *token);

#endif
