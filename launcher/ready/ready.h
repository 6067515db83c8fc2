/*
 * Readiness: every host at once, until each can be logged in to and answers as this muster, or cannot.
 *
 *     mu_ready_new(hosts, ssh, &options, &ready);
 *     status = mu_ready_wait(ready);        prints what it waits for; returns at the deadline at the latest
 *     mu_ready_host(ready, i)               what is known of host i
 *     mu_preflight_run(ready, ...)          uses the open logins (launcher/preflight/preflight.h)
 *     mu_ready_free(ready);                 ends the logins
 *
 * Each host passes the stages below. Nothing here blocks on one host: names are looked up by threads, all
 * sockets and logins hang in one poll loop. A cause that may go away is tried again until the deadline, with
 * jitter; one that cannot (permission denied, host key, wrong version, no muster) is kept.
 *
 * mu_ready_wait() returns
 *     MU_OK         all hosts are ready; or min_hosts are, and the others did not come within `last_call`
 * seconds more or can never come MU_AUTH, MU_PREFLIGHT, MU_UNREADY (in this order of precedence) what can
 * still come is fewer than min_hosts: the others got up to 3 s to show their state MU_UNREADY    the deadline
 * passed with fewer than min_hosts ready MU_STOPPED    *options.stop became non-zero On an error, every
 * host's state is printed, grouped by cause, biggest group first.
 *
 * This machine needs no ssh: its probe is started directly, and mpirun starts its ranks there directly too.
 */
#ifndef MU_LAUNCHER_READY_H
#define MU_LAUNCHER_READY_H

#include "common/buf.h"
#include "launcher/hosts/hosts.h"
#include "launcher/ready/ssh.h"
#include <jansson.h>
#include <signal.h>
#include <stdint.h>

typedef enum mu_stage {                   /* how far a host has come */
                        MU_STAGE_NAME,    /* its name is being looked up */
                        MU_STAGE_CONNECT, /* TCP to its sshd */
                        MU_STAGE_BANNER,  /* "SSH-2.0-" */
                        MU_STAGE_LOGIN,   /* ssh, authenticated, until muster-worker's hello line */
                        MU_STAGE_READY
} mu_stage_t;

/* Why a host is not ready: name in JSON, status it leads to, whether it may go away, text for people. */
#define MU_REASON_TABLE(X)                                                                                   \
    X(NONE, "none", UNREADY, true, "no answer yet")                                                          \
    X(LOOKUP, "lookup", UNREADY, true, "name is being looked up")                                            \
    X(NO_NAME, "name_not_found", UNREADY, true, "name not found")                                            \
    X(NO_RESOLVER, "resolver_failed", UNREADY, true, "name server does not answer")                          \
    X(REFUSED, "refused", UNREADY, true, "refused (sshd not up)")                                            \
    X(NO_ANSWER, "no_answer", UNREADY, true, "no answer")                                                    \
    X(NO_ROUTE, "no_route", UNREADY, true, "no route")                                                       \
    X(NOT_SSH, "not_ssh", UNREADY, true, "port is open, but not sshd's")                                     \
    X(SILENT, "silent", UNREADY, true, "port is open, but sends no ssh banner")                              \
    X(THROTTLED, "throttled", UNREADY, true, "sshd closes new connections (MaxStartups, or starting)")       \
    X(SLOW, "slow_login", UNREADY, true, "logged in, but no hello from muster-worker")                       \
    X(LOGIN, "login_failed", UNREADY, true, "ssh failed")                                                    \
    X(DENIED, "permission_denied", AUTH, false, "permission denied")                                         \
    X(KEY_CHANGED, "host_key_changed", AUTH, false, "host key changed")                                      \
    X(KEY_UNKNOWN, "host_key_unknown", AUTH, false, "host key unknown")                                      \
    X(SSH_CONFIG, "ssh_config", CONFIG, false, "ssh refuses its configuration")                              \
    X(NO_SSH, "no_ssh", PREFLIGHT, false, "ssh does not start on this machine")                              \
    X(NOISE, "noise", PREFLIGHT, false, "login shell answers instead of muster-worker")                      \
    X(AMBIGUOUS, "ambiguous_name", CONFIG, false, "name is this machine's and another's")                    \
    X(TWICE, "same_machine", CONFIG, false, "is a machine that the list names already")                      \
    X(SAME_NAME, "same_host_name", PREFLIGHT, false, "has the host name of another machine")                 \
    X(MISSING, "muster_missing", PREFLIGHT, false, "muster-worker is missing there")                         \
    X(BROKEN, "muster_broken", PREFLIGHT, false, "muster-worker does not start there")                       \
    X(VERSION, "wrong_version", PREFLIGHT, false, "another build of muster")

typedef enum mu_reason {
#define MU_REASON_ENUM(name, json, status, transient, text) MU_REASON_##name,
    MU_REASON_TABLE(MU_REASON_ENUM)
#undef MU_REASON_ENUM
        MU_REASON_COUNT
} mu_reason_t;

const char *mu_reason_name(mu_reason_t reason);
const char *mu_reason_text(mu_reason_t reason);
mu_status_t mu_reason_status(mu_reason_t reason);
bool mu_reason_is_transient(mu_reason_t reason);
/* What ssh wrote and how it ended, as a reason; `detail` gets its most telling line. exit_code: 255 is ssh's
 * own, 126 and 127 the remote shell's, anything else muster-worker's. noise: bytes on stdout before a hello.
 */
mu_reason_t mu_ready_classify(int exit_code, const char *stderr_text, const char *noise, mu_buf_t *detail);

typedef struct mu_ready_host {
    mu_stage_t stage;
    mu_reason_t reason;   /* the last try's; MU_REASON_NONE when ready */
    const char *detail;   /* what was seen, escaped for a terminal; "" if nothing to add */
    const char *address;  /* numeric, as connected to; "" before */
    const char *launcher; /* our address on that connection: where the host can reach us; "" before */
    bool local;           /* this machine: no ssh */
    int tries;
    double ready_after;  /* seconds since mu_ready_wait() began; 0 unless ready */
    const json_t *hello; /* muster-worker's hello object when ready (worker/probe/probe.h), else NULL */
} mu_ready_host_t;

typedef struct mu_ready_options {
    double timeout;   /* seconds; muster.ready_timeout */
    int min_hosts;    /* 0: all */
    double last_call; /* seconds for the others once min_hosts are ready; 0: 30 */
    double
        nameless; /* seconds without a name after which a pod of an MPIJob may have ended for good; 0: 60 */
    const char
        *worker;       /* absolute path of muster-worker, the same on every host; NULL: beside this program */
    const char *build; /* digest that its hello must carry; NULL: of that file here */
    const char
        *token; /* marks the probes on other hosts as processes of this run and attempt; NULL: no mark */
    int64_t attempt;
    mu_stage_t until;   /* 0: MU_STAGE_READY; an earlier stage ends there (measurements) */
    bool no_ssh_config; /* do not ask `ssh -G` for the real name and port */
    bool quiet;         /* print nothing while waiting */
    const volatile sig_atomic_t *stop;
} mu_ready_options_t;

typedef struct mu_ready mu_ready_t;

/* hosts and ssh must outlive it; ssh may be NULL with `until` before MU_STAGE_LOGIN. Raises the soft limit of
 * open files as far as needed and allowed. Errors: MU_BUG, MU_NOINPUT (no muster-worker here). */
mu_status_t mu_ready_new(const mu_hosts_t *hosts, const mu_ssh_t *ssh, const mu_ready_options_t *options,
                         mu_ready_t **out);
mu_status_t mu_ready_wait(mu_ready_t *ready);
void mu_ready_free(mu_ready_t *ready);

int mu_ready_count(const mu_ready_t *ready); /* hosts that are ready */
/* Valid until the next call on `ready`. */
mu_ready_host_t mu_ready_host(const mu_ready_t *ready, int index);
/* Our address on the connection to the first ready host elsewhere, to which the guards of all hosts connect; "":
 * unknown. Valid until the next call on `ready`. */
const char *mu_ready_control_address(const mu_ready_t *ready);
/* {"hosts": [{"host", "stage", "ready", "reason", "detail", "address", "local", "tries", "ready_after"}]}; a
 * new reference. */
json_t *mu_ready_json(const mu_ready_t *ready);

#endif
