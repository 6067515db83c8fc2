/*
 * The list of hosts that a run may use, and where it comes from.
 *
 * mu_hosts_find() takes the first source that is there:
 *     1. --hosts h1:8,h2:8                     MU_HOSTS_OPTION
 *     2. --hostfile FILE                       MU_HOSTS_FILE (absent: 66)
 *     3. the config's `hostfile`               MU_HOSTS_FILE (absent: goes on below, and says so)
 *     4. OMPI_MCA_orte_default_hostfile, PRTE_MCA_prte_default_hostfile, I_MPI_HYDRA_HOST_FILE,
 *        HYDRA_HOST_FILE, /etc/mpi/hostfile    MU_HOSTS_MPI
 *     5. SLURM_JOB_NODELIST                    MU_HOSTS_SLURM
 *     6. PBS_NODEFILE, LSB_DJOB_HOSTFILE, PE_HOSTFILE    MU_HOSTS_BATCH
 *     7. this machine                          MU_HOSTS_LOCAL
 * A heterogeneous Slurm job is refused (78): only one of its components would be seen.
 * The order of the list is the order of the source; it decides the order of ranks.
 *
 * A line of a hostfile is one of
 *     NAME   NAME slots=8   NAME:8   NAME slots=8 port=2222 user=ann max_slots=8   # a comment
 * Words that Open MPI and MPICH know (max_slots, boards, ...) are kept and not used; any other is an error, with the
 * nearest known one. The same name alone on several lines counts as so many slots. Lines end
 * with LF or CRLF ends. NAME is a name by RFC 1123 (letters, digits, '-', '.'; and '_', which some sites use), an IPv4
 * address, or an IPv6 address in brackets; `user@NAME` is understood. Nothing else can get into a list, so a host can
 * never become an option or a command of ssh or mpirun. A host that is there twice is an error.
 *
 * Errors: MU_USAGE (--hosts), MU_NOINPUT (--hostfile is absent), MU_CONFIG (anything wrong inside a file or a
 * variable); each message names SOURCE:line:column.
 */
#ifndef MU_LAUNCHER_HOSTS_H
#define MU_LAUNCHER_HOSTS_H

#include "common/status.h"
#include <stdbool.h>
#include <stddef.h>

#define MU_HOSTS_MAX 16384
#define MU_SLOTS_MAX 4096

typedef struct mu_host {
    char *name;  /* without brackets and user; valid by mu_host_name_valid() */
    int slots;   /* 0: the source does not say (then: the host's GPUs, else 1) */
    int port;    /* of sshd; 0: what ssh itself would take */
    char *user;  /* NULL: what ssh itself would take */
    int cpus;    /* cores allocated there (Slurm); 0: unknown */
    int repeats; /* lines that name it and nothing else; 0: one */
    char
        *extra; /* other words of its line ("rack=r7 max_slots=8"), NULL if none; kept for the user, unused */
} mu_host_t;

typedef enum mu_hosts_source {
    MU_HOSTS_OPTION,
    MU_HOSTS_FILE,
    MU_HOSTS_MPI,
    MU_HOSTS_SLURM,
    MU_HOSTS_BATCH,
    MU_HOSTS_LOCAL
} mu_hosts_source_t;

typedef struct mu_hosts {
    mu_host_t *host;
    int count; /* at least 1 */
    mu_hosts_source_t source;
    char *from; /* for people: "--hosts", "/etc/mpi/hostfile", "SLURM_JOB_NODELIST", "this machine" */
} mu_hosts_t;

typedef struct mu_hosts_query {
    const char *hosts;                    /* --hosts, or NULL */
    const char *hostfile;                 /* --hostfile, or NULL */
    const char *config_hostfile;          /* the config's, or NULL */
    const char *mpi_hostfile;             /* NULL: /etc/mpi/hostfile */
    const char *(*env)(const char *name); /* NULL: getenv */
} mu_hosts_query_t;

/* Finds and reads the list; logs one line when a config's hostfile is absent. */
mu_status_t mu_hosts_find(const mu_hosts_query_t *query, mu_hosts_t **out);
void mu_hosts_free(mu_hosts_t *hosts);

/* The readers by themselves. `source` names the text in messages. */
mu_status_t mu_hosts_parse_list(const char *text, mu_hosts_t **out);
mu_status_t mu_hosts_parse_file(const char *source, const char *text, size_t n, mu_hosts_t **out);
/* nodelist: Slurm's compressed form ("node[01-16,20],gpu-a[1-2]-x"); tasks and cpus: "8(x4),4", or NULL. */
mu_status_t mu_hosts_parse_slurm(const char *nodelist, const char *tasks, const char *cpus, mu_hosts_t **out);

/* A node file of PBS or LSF (a line a slot), or with `numbers` SGE's ("HOST SLOTS ..."). */
mu_status_t mu_hosts_parse_batch(const char *source, const char *text, size_t n, bool numbers,
                                 mu_hosts_t **out);

/* Whether the n bytes are a host name or a numeric address (IPv6 without brackets). */
bool mu_host_name_valid(const char *name, size_t n);
/* Sum of the slots; a host that does not say counts as one. */
int mu_hosts_slots(const mu_hosts_t *hosts);
/* Index of a host by name (letter case does not matter), or -1. */
int mu_hosts_index(const mu_hosts_t *hosts, const char *name);

#endif
