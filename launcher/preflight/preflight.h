/*
 * Preflight: what is checked on every ready host before a rank is started, in parallel, over the logins that
 * readiness left open. The probe on each host only observes (worker/probe/probe.h); this file decides.
 *
 * It fails closed: what could not be observed is a finding, never a pass. All findings are collected; each
 * names host, check, what was found, what was wanted, and one thing to do. Warnings do not stop a run.
 *
 *     mu_preflight_run(ready, &want, &report);   MU_OK, or MU_PREFLIGHT (80) when a check failed
 *     mu_preflight_print(report)                 to stderr, grouped by check, biggest group first
 *     mu_preflight_free(report);
 */
#ifndef MU_LAUNCHER_PREFLIGHT_H
#define MU_LAUNCHER_PREFLIGHT_H

#include "launcher/mpi/settings.h"
#include "launcher/ready/ready.h"

typedef enum mu_need { MU_NEED_AUTO, MU_NEED_NO, MU_NEED_YES } mu_need_t;

typedef struct mu_preflight_want {
    const char *run_dir; /* exists and is writable here; NULL: storage is not checked (and it is said) */
    uint64_t checkpoint_bytes; /* size of one checkpoint; room for two is wanted. 0: unknown, not checked */
    uint64_t memory_per_slot;  /* bytes of host memory a rank needs; 0: unknown, not checked */
    uint64_t shm_per_slot;     /* bytes in /dev/shm a rank needs beside what MPI takes there */
    mu_need_t gpus;            /* AUTO: wanted everywhere as soon as one host has any */
    mu_need_t rdma;            /* between hosts; AUTO: as good as the hosts have it. NO: TCP is to be taken */
    int return_port;           /* where probes connect back to; 0: a free one of the control's (ports.h) */
    const char *return_host; /* our address for them; NULL: as the first host elsewhere sees it, where guards
                              * will connect to (mu_ready_control_address) */
    const mu_settings_t *settings; /* of Open MPI (launcher/mpi/settings.h); NULL: the environment alone */
    bool controller_here;          /* a rank is to run on this machine, even if the list does not name it */
    const char *daemon;            /* mpirun's program there; NULL: orted or prted, as PATH finds it here */
    const char
        *token; /* of the run: what attempts before `attempt` left on other hosts is removed; NULL: not */
    int64_t attempt;
    const char
        *copies;    /* the name of this launcher's folder of copies in memory, which stays; NULL: none does */
    double timeout; /* seconds for everything; 0: 30 */
    const volatile sig_atomic_t *stop;
} mu_preflight_want_t;

typedef struct mu_finding {
    int host;          /* index in the list; -1: this machine, whatever the list says */
    bool fatal;        /* false: a warning */
    const char *check; /* storage.same_volume: docs/readiness.md has the names */
    char *found, *wanted, *fix;
    const char
        *after; /* the check of the same host whose failure explains this one; NULL: a cause of its own */
} mu_finding_t;

typedef struct mu_preflight_report {
    mu_finding_t *finding;
    int count, fatal; /* findings; how many of them are fatal */
    int looked_at;    /* hosts; those that were not ready are not looked at */
    int checks;       /* made on each */
    double seconds;
    bool goes_on; /* for mu_preflight_print: the caller does without the unfit hosts */
    bool rdma;    /* InfiniBand and RoCE were judged: GPUs, several hosts, and nobody asks for TCP */
    char *gid;    /* "NCCL_IB_GID_INDEX=3" or another rule for RoCE's GID, where the user has set one */
    const mu_hosts_t *hosts;
    char interfaces[64]; /* for mpirun, towards all other hosts (launcher/hosts/route.h); "": unknown */
    int *gpus;           /* of host i: GPUs that a rank may use; 0 if none */
    json_t **facts; /* of host i: what its probe saw, and "clock_offset" (s its clock is ahead); or NULL */
} mu_preflight_report_t;

/* The hosts of `ready` must outlive the report. *out is set for MU_OK and MU_PREFLIGHT. Other errors:
 * MU_IO (run_dir cannot be written here), MU_STOPPED, MU_NETWORK (no socket to listen on). */
mu_status_t mu_preflight_run(mu_ready_t *ready, const mu_preflight_want_t *want, mu_preflight_report_t **out);
/* Whether no fatal finding names host i; one without any facts is unfit. */
bool mu_preflight_fit(const mu_preflight_report_t *report, int host);
void mu_preflight_print(const mu_preflight_report_t *report);
/* {"checks", "seconds", "findings": [{"host", "check", "fatal", "found", "wanted", "fix", "after"}],
 * "facts": {host: {}}} */
json_t *mu_preflight_json(const mu_preflight_report_t *report);
void mu_preflight_free(mu_preflight_report_t *report);

#endif
