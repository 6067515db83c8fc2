/*
 * One attempt of a run: starts mpirun in a process group of its own, listens to the guards, shows progress, asks
 * for checkpoint and stop, finds who failed first, and leaves nothing behind. One thread, one poll loop.
 *
 *     mu_supervise(&supervisor, &outcome)      once per attempt; the caller decides about the next
 */
#ifndef MU_LAUNCHER_SUPERVISE_H
#define MU_LAUNCHER_SUPERVISE_H

#include "common/args.h"
#include "launcher/monitor/progress.h"
#include "launcher/monitor/rank_table.h"
#include "launcher/monitor/rundir_writer.h"
#include "launcher/monitor/server.h"
#include <signal.h>

typedef struct mu_supervisor {
    const char *run_dir;
    ino_t key_inode;           /* of control.key, removed once every rank has said hello */
    const char *config_digest; /* of RUN/config.yml: every rank must have read the same */
    mu_args_t *args, *env;     /* mpirun's */
    int ranks;                 /* with the controller */
    bool many_hosts;           /* say the host with each line */
    mu_limits_t limits;
    mu_server_t *server;
    mu_rundir_writer_t *writer;
    mu_progress_t *progress;
    mu_run_state_t *state; /* kept up to date and handed to the writer; state->attempt is this attempt */
    const volatile sig_atomic_t *signals; /* how many of SIGTERM, SIGINT, SIGUSR1, SIGHUP have come */
    sig_atomic_t signals_heard;
    int stops;              /* how often a stop was asked for, over all attempts: 1 save and stop, 2 now */
    double completion_wait; /* seconds in which the controller's record may still appear on a shared volume */
    int drains;             /* how often a host said that it goes, over all attempts */
} mu_supervisor_t;

typedef struct mu_outcome {
    mu_status_t status;     /* MU_OK, MU_STOPPED, or what ended it */
    bool ran;               /* some rank said hello */
    bool drained;           /* MU_STOPPED since a host goes, not since the run shall end */
    bool idle;              /* MU_OK, and there was no step left to do */
    int rank;               /* first cause; -1: none, or mpirun itself */
    int phase;              /* mu_phase_t of that rank; -1: unknown */
    int secondary_failures; /* others that failed afterwards, and are not the cause */
    char who[128];          /* "rank 13 (gpu-01)" */
    char what[512];         /* "was killed by signal 9 (Killed) in phase step at step 12" */
    char last_line[512];
    char log[4200];
    double time; /* seconds since 1970 when it was seen */
} mu_outcome_t;

/* Errors are in outcome->status; the return value is MU_OK unless mpirun could not even be started (MU_BUG).
 */
mu_status_t mu_supervise(mu_supervisor_t *supervisor, mu_outcome_t *outcome);

/* Takes pending signals and the files `stop` and `drain` in, as mu_supervise() does; for the pauses between
 * attempts. */
void mu_supervisor_poll_requests(mu_supervisor_t *supervisor);

#endif
