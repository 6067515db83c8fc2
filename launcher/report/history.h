/*
 * What a run has left in its directory, in memory: the points of metrics.jsonl, the entries of events.jsonl, and
 * run.json. Read only; for status, compare, track and the table at the end of a run.
 *
 *     mu_history_t *h;
 *     MU_TRY(mu_history_open(dir, &h));       reads all that is there
 *     mu_history_update(h);                   what has come since
 *     mu_history_close(h);
 *
 * About 130 bytes a step.
 */
#ifndef MU_LAUNCHER_REPORT_HISTORY_H
#define MU_LAUNCHER_REPORT_HISTORY_H

#include "common/run/rundir.h"

/* The figures of a line; each is NAN where the line has none or null. Milliseconds. */
#define MU_POINT_TABLE(X)                                                                                    \
    X(loss)                                                                                                  \
    X(lr)                                                                                                    \
    X(grad_norm)                                                                                             \
    X(step_ms)                                                                                               \
    X(tokens_per_s)                                                                                          \
    X(data_wait_ms)                                                                                          \
    X(comm_ms)                                                                                               \
    X(peer_wait_ms)                                                                                          \
    X(checkpoint_ms)                                                                                         \
    X(copy_ms)                                                                                               \
    X(eval_ms)                                                                                               \
    X(valid_loss)                                                                                            \
    X(time)                                                                                                  \
    X(samples)                                                                                               \
    X(tokens)

typedef struct mu_point {
    int64_t step;
#define MU_POINT_FIELD(name) double name;
    MU_POINT_TABLE(MU_POINT_FIELD)
#undef MU_POINT_FIELD
    bool replaced; /* a later line has this step, or begins before it */
} mu_point_t;

typedef struct mu_event {
    double time;
    char kind[16], host[256]; /* "" where none */
    int64_t rank;             /* -1: none */
    char *text;
    double checkpoint_s; /* of kind `over`: what saving has held this attempt up; NAN where absent */
    int64_t status;      /* of kind `over`: exit code; -1 where absent */
    int64_t saved;       /* of kind `over`: step of the newest checkpoint; -1: none */
} mu_event_t;

typedef struct mu_history mu_history_t;

/* Errors: MU_NOINPUT (no run.json there), MU_DATA, MU_IO. */
mu_status_t mu_history_open(const char *dir, mu_history_t **out);
/* Reads what is new, run.json first: what a run wrote before it ended is there when its state says so. */
mu_status_t mu_history_update(mu_history_t *history);
void mu_history_close(mu_history_t *history);

const char *mu_history_dir(const mu_history_t *history);
const mu_run_state_t *mu_history_state(const mu_history_t *history);
/* Whether a launcher holds the directory. */
bool mu_history_alive(const mu_history_t *history);
/* Whether its state is an end: done, stopped, failed. */
bool mu_history_ended(const mu_history_t *history);
/* In the order of the files; `replaced` is up to date. Valid until the next update. */
const mu_point_t *mu_history_points(const mu_history_t *history, size_t *count);
const mu_event_t *mu_history_events(const mu_history_t *history, size_t *count);
/* Lines that were torn or damaged, and left out. */
int64_t mu_history_damaged(const mu_history_t *history);

/* Reads one line of metrics.jsonl; false when it is none. For tests. */
bool mu_point_parse(const char *line, mu_point_t *out);

#endif
