/*
 * The mpirun command: the one file that knows how Open MPI 4.1 (ORTE) and 5 (PRRTE) differ. Everything that
 * mpirun would guess is said; a value that the user set by OMPI_MCA_name (or PRTE_MCA_name), or in a file of Open
 * MPI's, is left out, so that his wins (launcher/mpi/settings.h). Of ssh's options his come first and ours after them.
 *
 *     mu_mpirun_find("mpirun", &mpirun);             which one, which version
 *     mu_mpirun_hostfile(hosts, ranks, n, &text);    write it where job.hostfile says
 *     mu_mpirun_args(&mpirun, &job, &args);          the words of the command
 *     mu_mpirun_env(&job, &env);                     its whole environment
 */
#ifndef MU_LAUNCHER_MPIRUN_H
#define MU_LAUNCHER_MPIRUN_H

#include "common/status.h"
#include "common/args.h"
#include "launcher/mpi/settings.h"
#include <stdbool.h>

typedef struct mu_mpirun {
    char program[4096]; /* as found in PATH */
    char version[64];   /* "Open MPI 4.1.4" */
    int major;
} mu_mpirun_t;

/* Ranks of one host, in the order of ranks: the controller's host comes first and has one more. */
typedef struct mu_host_ranks {
    const char *host; /* as mpirun is to know it */
    int ranks;
} mu_host_ranks_t;

typedef struct mu_mpi_job {
    int ranks;              /* with the controller */
    bool local;             /* all on this machine: no ssh, nothing listens beyond loopback */
    bool crowded;           /* more threads than cores on some host: who waits must yield */
    bool dotted;            /* some host's name has a domain, by which alone it may be known */
    const char *hostfile;   /* path */
    const char *tmp_dir;    /* session directories go there, on every host */
    const char *shm_dir;    /* shared memory goes there (the guard makes it), on every host */
    const char *interfaces; /* "10.0.0.0/16" or "eth0"; NULL when local */
    int family;             /* 4 or 6: all hosts were reached by it, and the other is not used; 0: both */
    const char *ssh_args;   /* mu_ssh_mpirun_args(); NULL when local */
    const char *agent;  /* path of the agent that starts daemons (launcher/mpi/agent.h); NULL: none of ours */
    const char *worker; /* muster-worker */
    const char *config; /* its argument */
    int daemon_port, daemon_ports; /* mpirun and its daemons listen on these, and on no other */
    const mu_settings_t
        *settings;         /* what is set for Open MPI elsewhere; NULL: look at the environment alone */
    const mu_args_t *more; /* further ones; NULL: none */
    const mu_args_t *vars; /* NAME=VALUE of ours, for mpirun and every rank */
} mu_mpi_job_t;

/* Runs `PROGRAM --version`. Errors: MU_PREFLIGHT, when it is not there or is not Open MPI 4 or 5. */
mu_status_t mu_mpirun_find(const char *program, mu_mpirun_t *out);
void mu_mpirun_hostfile(const mu_mpirun_t *mpirun, const mu_host_ranks_t *places, int count, mu_buf_t *out);
/* Whether a name is one with a domain: "job-worker-0.job.ml.svc", not "10.1.0.7". */
bool mu_mpirun_dotted(const mu_host_ranks_t *places, int count);
void mu_mpirun_args(const mu_mpirun_t *mpirun, const mu_mpi_job_t *job, mu_args_t *out);
/* From an allow-list of this process's environment, job->vars, and mpirun's own needs. Nothing else goes to a
 * rank: no token of a model hub, no key of a cloud. */
void mu_mpirun_env(const mu_mpi_job_t *job, mu_args_t *out);
/* Whether our agent may start the daemons: not when the user has chosen another one, or no rsh at all. */
bool mu_mpirun_takes_agent(const mu_mpirun_t *mpirun, const mu_settings_t *settings);
/* How ranks on several hosts reach each other: as mu_mpirun_args() says it, or the user by OMPI_MCA_ variables or
 * files. */
typedef struct mu_rank_net {
    bool tcp; /* false: the user has chosen another transport, or only what is not to be taken */
    const char *interfaces; /* `ours`, or the user's; valid until environment or settings change */
    int port, ports;        /* the first that ranks listen on, and how many */
} mu_rank_net_t;
mu_rank_net_t mu_mpirun_rank_net(const mu_settings_t *settings, const char *ours);
/* Whether a rank that ended with this code did so inside Open MPI 5, because a peer's connection broke: it
 * aborts with MPI_ERR_UNKNOWN there, where 4 goes on waiting. The cause is elsewhere. */
bool mu_mpirun_lost_peer(int64_t exit_code);
/* Whether a variable of this environment may go to mpirun; `ranks`: on to ranks on other hosts as well. */
bool mu_env_allowed(const char *name, size_t n, bool ranks);

#endif
