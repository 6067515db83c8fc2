/*
 * The trackers of a run: processes beside it that take its points elsewhere, started when config or environment ask.
 *
 *     mu_tracker_plan(config, secrets, run_dir, &plan)    what is asked for, and whether it can be had; starts nothing
 *     mu_tracker_start(plan, run_dir, &tracker)           with the directory claimed
 *     ... the run ...
 *     mu_tracker_end(tracker, &signals)                   once run.json has the last state
 *
 * Nothing a tracker does can slow or end the run: it only reads the run directory, at a lower priority, and the
 * launcher does not wait for it before the run's end. Each has a keeper, a child of the launcher (process name
 * muster-keeper), which holds the credentials and starts the tracker again when it is killed. Both end when the
 * launcher goes. Their output is in RUN/logs/track.log.
 */
#ifndef MU_LAUNCHER_RUN_TRACKER_H
#define MU_LAUNCHER_RUN_TRACKER_H

#include "common/args.h"
#include "common/config/config.h"
#include "launcher/track/secrets.h"

#include <signal.h>

/* Commands without those options that only a launcher gives; empty: not asked for. */
typedef struct mu_tracker_plan {
    mu_args_t track, wandb;
    double wait; /* seconds that a tracker gets at the run's end */
} mu_tracker_plan_t;

typedef struct mu_tracker mu_tracker_t;

/* MLFLOW_TRACKING_URI is taken from `secrets`, where user and password of it are kept. What is asked for and cannot be
 * had (no muster-wandb beside muster or in PATH, an address that is none) is a warning: the run goes on without.
 * Errors: MU_BUG. */
mu_status_t mu_tracker_plan(const mu_config_t *config, mu_secrets_t *secrets, const char *run_dir,
                            mu_tracker_plan_t *out);
/* The same warning of a missing muster-wandb, before a run. Errors: MU_BUG. */
mu_status_t mu_tracker_check(const mu_config_t *config);
void mu_tracker_plan_free(mu_tracker_plan_t *plan);

/* *out is NULL when nothing is asked for. A tracker that cannot be started is a warning. */
void mu_tracker_start(const mu_tracker_plan_t *plan, const mu_secrets_t *secrets, const char *run_dir,
                      mu_tracker_t **out);
/* Waits until everything is delivered, plan.wait at most, or until another signal was counted; reports what was not,
 * with the command that delivers it. Frees. NULL is fine. */
void mu_tracker_end(mu_tracker_t *tracker, const volatile sig_atomic_t *signals);

#endif
