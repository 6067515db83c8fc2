/* What a run is made of, before anything is started: the command line, the config fitted to the hosts, names
 * of folders. */
#ifndef MU_LAUNCHER_RUN_PLAN_H
#define MU_LAUNCHER_RUN_PLAN_H

#include "common/config/config.h"
#include "common/options.h"
#include "launcher/hosts/placement.h"
#include "launcher/ready/ready.h"

typedef struct mu_run_plan {
    /* the command line; points into argv */
    mu_words_t files, overrides;
    const char *hosts_option, *hostfile, *dir_option;
    int64_t workers_option; /* 0: not given */
    bool dry_run, help;
    const mu_args_t *more; /* words for the ranks after the config; NULL: none, they train */

    mu_config_t *config; /* resolved for `workers` once hosts are known */
    mu_hosts_t *hosts;
    mu_proved_t *proved; /* of each host, since readiness; NULL before */
    mu_placement_t places;
    mu_settings_t settings; /* of Open MPI, read once hosts are ready */
    char interfaces[64]; /* for mpirun, as preflight found them; "": those towards the first host elsewhere */
    mu_mpirun_t mpirun;
    char *run_dir; /* absolute */
    char *worker;  /* path of muster-worker */
} mu_run_plan_t;

/* Reads the command line. Errors: MU_USAGE. */
mu_status_t mu_run_plan_parse(int argc, char **argv, mu_run_plan_t *plan);
/* Loads the config, finds hosts, mpirun and muster-worker. Touches nothing. */
mu_status_t mu_run_plan_find(mu_run_plan_t *plan);
/* Whether the controller is to run on this machine, or may: it sees the training data, and no other is named. */
bool mu_run_plan_controller_here(const mu_config_t *config);
/* Takes what readiness found out of each host, and what is set for Open MPI elsewhere. */
void mu_run_plan_prove(mu_run_plan_t *plan, const mu_ready_t *ready);
/* Whether batch and layout fit all workers that were named (--workers, slots of every host), before any host is
 * contacted: what does not then fits no part of them. Nothing where they are not known. Errors: MU_CONFIG. */
mu_status_t mu_run_plan_foresee(const mu_run_plan_t *plan);
/* Fits workers, layout and places; again before each attempt, since hosts come and go. Of each host, as
 * preflight saw it: fit, whether it may be used; gpus. NULL: all, unknown. */
mu_status_t mu_run_plan_fit(mu_run_plan_t *plan, const bool *fit, const int *gpus);
/* mpirun's words and environment. `vars` is ours for every rank; it must outlive the call only. */
typedef struct mu_run_names {
    const char *tmp_dir, *shm_dir, *hostfile, *config, *ssh_args;
    const mu_args_t *vars;
} mu_run_names_t;
void mu_run_plan_command(const mu_run_plan_t *plan, const mu_run_names_t *names, mu_args_t *args,
                         mu_args_t *env);
void mu_run_plan_free(mu_run_plan_t *plan);

extern const mu_command_t mu_run_command;

#endif
