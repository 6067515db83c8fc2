/* The parts of the guard, among themselves. Everything here runs in one thread of the guard's process. */
#ifndef MU_WORKER_GUARD_IMPL_H
#define MU_WORKER_GUARD_IMPL_H

#include "common/control/control_link.h"
#include "worker/guard/guard.h"
#include <sys/types.h>

/* What the environment says. */
typedef struct mu_guard_env {
    bool supervised; /* a launcher is there */
    mu_address_t launcher;
    char *key_file;
    uint8_t *key; /* of mu_control_key_room(); NULL: not supervised */
    double lease; /* seconds */
    int rank, world_size, attempt;
    char *run_dir, *shm_dir; /* NULL: not given */
    char *token;             /* of the run; NULL: not given, or none */
} mu_guard_env_t;

mu_status_t mu_guard_env_read(mu_guard_env_t *out);
/* Takes key, address and lease out of the environment of this process. */
void mu_guard_env_scrub(void);

/* ---- guard_proc.c: what the kernel says ---- */

/* State letter and resident bytes of a process; '?' and 0 when it is gone. */
void mu_proc_state(pid_t pid, char *state, int64_t *rss_bytes);
/* Kills for memory in our cgroup (the whole host where that cannot be read) since it was made; its limit in
 * bytes, -1: none. */
void mu_proc_oom(int64_t *kills, int64_t *limit_bytes);

/* ---- guard_net.c: what the rank's TCP connections wait for ---- */

/* Of the connections that hold bytes for which no acknowledgement comes: the one that has sent the same most often.
 * The system of a peer that is stopped or busy acknowledges all the same, or says that there is no room; only a
 * network that loses or delays does neither. */
typedef struct mu_resending {
    int times;     /* 0: none */
    char peer[48]; /* its numeric address */
} mu_resending_t;

/* Looks through /proc: some 100 us. */
void mu_net_resending(pid_t pid, mu_resending_t *most);
/* The table's text, and whose sockets count; *most is only raised. */
void mu_net_parse(const char *text, const unsigned long *inodes, int count, mu_resending_t *most);

/* ---- guard_log.c: the process that writes a rank's log ---- */

typedef struct mu_guard_log {
    pid_t pid;
    int write_fd; /* becomes stdout and stderr of the rank */
    int line_fd;  /* packets for the guard, non-blocking: mu_log_packet_t without the unused end of text */
} mu_guard_log_t;

typedef struct mu_log_packet {
    int64_t dropped_bytes; /* so far: what a flood kept out of the file */
    int32_t level;         /* mu_log_level_t as far as the line shows it */
    char text[512];        /* NUL terminated, cut */
} mu_log_packet_t;

/* Forks the writer of RUN_DIR/logs/rank-NNNNN.log. It ends when every holder of write_fd has. It is a process
 * of its own so that storage that hangs stops neither heartbeats nor the lease. Errors: MU_RUNDIR, MU_IO, MU_BUG. */
mu_status_t mu_guard_log_start(const char *run_dir, int rank, mu_guard_log_t *out);

/* ---- guard_uplink.c: the connection to the launcher ---- */

enum { MU_UPLINKS = 6, MU_UPLINK_LINES = 16 };

typedef struct mu_uplink {
    const mu_guard_env_t *env;
    const mu_hello_t *hello;
    mu_link_t *link[MU_UPLINKS];
    bool greeted[MU_UPLINKS];
    int greetings;                   /* connections opened so far */
    mu_line_t kept[MU_UPLINK_LINES]; /* lines from before there was a connection: the last ones */
    int kept_count;
    int64_t dialed_ns, answered_ns,
        unanswered_ns;          /* unanswered_ns: when the oldest open question was sent, or 0 */
    int64_t sequence, answered; /* of the last message that wants an answer; highest answered */
    mu_order_t order;           /* the last one; request and kill never fall */
} mu_uplink_t;

void mu_uplink_init(mu_uplink_t *up, const mu_guard_env_t *env, const mu_hello_t *hello);
/* Dials, and dials again: at once when there is no connection, after 1.5 s without an answer, and each second
 * from then on, beside those that are silent. */
void mu_uplink_tick(mu_uplink_t *up);
/* Puts heartbeat.sequence or death.sequence in and sends on every open connection. */
void mu_uplink_send(mu_uplink_t *up, mu_message_t *message);
/* pollfds for every connection; returns how many. After poll(), mu_uplink_move() takes them back in the same
 * order, and takes in answers: the first connection that answers stays, the others are closed. */
struct pollfd;
int mu_uplink_poll(const mu_uplink_t *up, struct pollfd *fds);
void mu_uplink_move(mu_uplink_t *up, const struct pollfd *fds);
void mu_uplink_close(mu_uplink_t *up);

/* ---- guard_watch.c: the loop ---- */

typedef struct mu_guard {
    const mu_guard_env_t *env;
    mu_page_t *page;
    pid_t rank_pid;
    pid_t daemon_pid; /* our parent when we started: its SIGTERM takes the job down */
    int daemon_fd;    /* a pidfd of our parent, mpirun or its daemon on this host; -1: not known */
    int line_fd;      /* -1: none */
    int signal_fd;    /* SIGCHLD, SIGTERM, SIGINT, SIGUSR1 */
    int64_t oom_kills_before;
    char config_digest[64];
} mu_guard_t;

/* Watches until the rank has ended and the launcher knows; returns the exit code of the guard. */
int mu_guard_watch(mu_guard_t *guard);

#endif
