/* The state of readiness, shared by the loop (ready.c), its stages, its texts, and preflight. */
#ifndef MU_LAUNCHER_READY_INTERNAL_H
#define MU_LAUNCHER_READY_INTERNAL_H

#include "common/machine.h"
#include "launcher/ready/ready.h"
#include "launcher/ready/ready_lookup.h"
#include "launcher/ready/ssh_login.h"

#define MU_READY_TRY_NS    2000000000  /* one TCP connect, one banner */
#define MU_READY_LOGIN_NS  20000000000 /* one login until hello */
#define MU_READY_NAME_NS   2000000000  /* for so long an address is taken as it was */
#define MU_READY_SETTLE_NS 3000000000  /* for the others, when waiting is over */

typedef enum mu_ready_phase {
    MU_READY_PHASE_WAIT, /* until next_ns */
    MU_READY_PHASE_LOOK, /* a thread looks its name up */
    MU_READY_PHASE_DIAL,
    MU_READY_PHASE_LISTEN, /* for the banner */
    MU_READY_PHASE_QUEUE,  /* for a place among the logins in progress */
    MU_READY_PHASE_LOGIN,
    MU_READY_PHASE_READY,
    MU_READY_PHASE_FAILED /* for good */
} mu_ready_phase_t;

typedef struct mu_ready_state {
    mu_ready_phase_t phase;
    mu_stage_t stage;
    mu_reason_t reason;
    bool local, shown; /* shown: some try reported a cause */
    bool asked;        /* `ssh -G` reported where the host really is (found.name, found.port) */
    int tries, dials;
    bool pod_said;       /* mu_ready_pods() has reported it */
    int64_t nameless_ns; /* since when its name is not found; 0: it is, or was not looked up yet */
    int64_t found_ns;    /* when the addresses in `found` were looked up */
    int64_t next_ns;     /* end of WAIT, or deadline of the phase */
    int fd;              /* socket, -1 if none */
    mu_found_t found;
    char banner[512];
    size_t banner_len;
    mu_login_t login;
    json_t *hello;
    mu_buf_t detail;
    char address[64], launcher[64];
    double ready_after;
} mu_ready_state_t;

struct mu_ready {
    const mu_hosts_t *hosts;
    const mu_ssh_t *ssh;
    mu_ready_options_t options;
    char *worker, *command; /* local path; the same, quoted for the remote shell, with --probe */
    char build[40];
    mu_ready_state_t *host;
    mu_lookup_t *lookup;
    struct ifaddrs *interfaces;
    char self[256];                /* gethostname */
    char machine[MU_MACHINE_SIZE]; /* this one; "": unknown */
    int min_hosts, logins, login_limit;
    int64_t begin_ns, end_ns, settle_ns, last_call_ns; /* settle, last call: 0 while not begun */
    /* progress */
    mu_buf_t line, last_line;
    int64_t line_ns;
    bool terminal;
};

typedef struct mu_ready_sum {
    int ready, failed, waiting, unseen; /* unseen: waiting hosts of which no try has reported anything */
} mu_ready_sum_t;

mu_ready_sum_t mu_ready_sum(const mu_ready_t *ready);

/* Stages (ready_stage.c, ready_login.c): each moves one host on. */
void mu_ready_start(mu_ready_t *ready, int index);
void mu_ready_found(mu_ready_t *ready, const mu_found_t *found);
void mu_ready_socket_event(mu_ready_t *ready, int index);
void mu_ready_login_start(mu_ready_t *ready, int index);
void mu_ready_login_event(mu_ready_t *ready, int index);
void mu_ready_timer(mu_ready_t *ready, int index, int64_t now);
/* A try ended with this cause: waits and tries again, or fails for good. detail may be NULL. */
void mu_ready_miss(mu_ready_t *ready, int index, mu_reason_t reason, const char *detail);
/* The host has come as far as asked for. */
void mu_ready_arrive(mu_ready_t *ready, int index);
/* Closes what the host has open, in any phase. */
void mu_ready_drop(mu_ready_t *ready, int index);

/* Texts (ready_report.c). */
void mu_ready_progress(mu_ready_t *ready, int64_t now, bool last);
/* In a pod of an MPIJob: what may have become of a worker whose name is not found for long, once a host. */
void mu_ready_pods(mu_ready_t *ready, int64_t now);
void mu_ready_verdict(mu_ready_t *ready, mu_status_t status, int64_t now);

#endif
