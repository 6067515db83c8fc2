/*
 * What the files of one run share; run.c is at the top. From the bottom up:
 *
 *     run_signals.c    requests to stop by signal
 *     run_directory.c  the run directory: who owns it, what earlier launchers left, what is written before a start
 *     run_hosts.c      the hosts: ready, fit, or the error that says which is not
 *     run_attempt.c    one attempt: the command, mpirun under supervision
 *     run_restarts.c   one attempt after another, as the policy decides
 *     run_end.c        the last lines, run.json, the verdict, and what is removed
 */
#ifndef MU_LAUNCHER_RUN_IMPL_H
#define MU_LAUNCHER_RUN_IMPL_H

#include "common/digest.h"
#include "launcher/monitor/supervise.h"
#include "launcher/ready/ready.h"
#include "launcher/run/run_plan.h"
#include "launcher/run/tracker.h"

#include <signal.h>

/* Everything that lives as long as the launcher. */
typedef struct mu_launch {
    mu_run_plan_t plan;
    mu_claim_t claim;
    mu_run_state_t state;
    mu_supervisor_t supervisor;
    mu_progress_t progress;
    mu_secrets_t *secrets; /* NULL once the trackers have them */
    mu_tracker_t *tracker;
    mu_ssh_t *ssh;
    mu_ready_t *ready;
    mu_buf_t tmp_dir, shm_base, ssh_args;
    mu_buf_t copies_dir;   /* of copies in memory, on each host; empty: none are made */
    int64_t first_attempt; /* of this launcher */
    int tmp_fd;            /* holds tmp_dir */
    char *config_path, *hostfile, *key_path;
    bool *fit; /* of each host: it may be used */
    int *gpus; /* of each host */
    uint8_t *key;
    const volatile sig_atomic_t *signals; /* requests to stop; every wait looks at it */
    char config_digest[MU_DIGEST_HEX], file_digest[MU_DIGEST_HEX];
    char verdict_digest
        [MU_DIGEST_HEX]; /* of all that was asked for: config, workers, hosts, settings of Open MPI */
    char hosts_digest[MU_DIGEST_HEX]; /* of that and the hosts that were given */
} mu_launch_t;

/* Counts SIGINT, SIGTERM, SIGUSR1, SIGQUIT and, unless nohup ignores it, SIGHUP from now on. */
const volatile sig_atomic_t *mu_launch_catch_signals(void);

/* Makes the directory ours alone, ends what an earlier attempt left, and starts its writer. Errors: MU_RUNDIR, MU_IO,
 * and a final status when a verdict of the same request is there. */
mu_status_t mu_launch_claim(mu_launch_t *r);
/* A fresh state with what earlier launchers left in run.json. */
void mu_launch_read_past(mu_launch_t *r);
/* Removes requests to stop and to drain: what was asked of a launcher before this one, or too late of this one. */
void mu_launch_forget_requests(const mu_launch_t *r);
mu_status_t mu_launch_write_config(mu_launch_t *r);
mu_status_t mu_launch_write_key(mu_launch_t *r);
/* run.json says `word` ("waiting", "starting", ...) from now on. */
void mu_launch_set_state(mu_launch_t *r, const char *word);

/* Every host ready and fit, or the error that says which is not. */
mu_status_t mu_launch_gather(mu_launch_t *r);
mu_status_t mu_launch_write_hostfile(mu_launch_t *r);

/* mpirun's words and environment. */
void mu_launch_command(mu_launch_t *r, const char *control, mu_args_t *args, mu_args_t *env);
/* From the key to the last process that is left of it. */
mu_status_t mu_launch_attempt(mu_launch_t *r, mu_outcome_t *outcome);
/* A pause in which a stop is heard. */
void mu_launch_pause(mu_launch_t *r, double seconds);
/* Where the time went, into run.json. */
void mu_launch_note_account(mu_launch_t *r);

/* Workers, layout and places for the hosts that are fit, and what follows from these. */
mu_status_t mu_launch_fit(mu_launch_t *r);
void mu_launch_say_plan(const mu_launch_t *r);
/* Attempts until the run ends; hosts are ready and fit before the first. */
mu_status_t mu_launch_attempts(mu_launch_t *r, mu_outcome_t *outcome);

void mu_launch_finish(mu_launch_t *r, mu_status_t status, const mu_outcome_t *outcome);
void mu_launch_clean_up(mu_launch_t *r);

#endif
