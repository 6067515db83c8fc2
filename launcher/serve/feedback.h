/*
 * What clients say about answers: appended to a file as JSON Lines, durable before it is acknowledged, and counted for
 * /metrics. Many records share one fsync.
 *
 *     mu_feedback_open(path, limit, &feedback)
 *     mu_feedback_read(body, n, version, &line, &reward, &why)     a request's JSON becomes a line
 *     mu_feedback_add(feedback, &line, reward, exchange)           under the server's lock
 *     mu_feedback_take / _write / _acknowledge                     the loop: writes what has come, then answers
 *     mu_feedback_close(feedback)
 *
 * A line: {"time", "id", "version", "reward", "truth", "request", "response"}; id: the answer's, where the client sent
 * it back; reward and truth: null where there is none. A file that grows over `limit` is set aside as PATH.TIME.
 */
#ifndef MU_LAUNCHER_FEEDBACK_H
#define MU_LAUNCHER_FEEDBACK_H

#include "launcher/http/http_server.h"
#include "launcher/serve/asked.h"

enum { MU_FEEDBACK_WINDOW_S = 300 };

typedef struct mu_feedback mu_feedback_t;

typedef struct mu_feedback_counts {
    int64_t records, rewards; /* since the start; with a reward */
    double newest, mean;      /* NAN: none; the mean of the last MU_FEEDBACK_WINDOW_S seconds */
} mu_feedback_counts_t;

/* Errors: MU_RUNDIR, MU_IO. */
mu_status_t mu_feedback_open(const char *path, uint64_t limit, mu_feedback_t **out);
/* reward: NAN where there is none. False: `why` says what is wrong. */
bool mu_feedback_read(const char *body, size_t n, const char *version, mu_buf_t *line, double *reward,
                      mu_why_t *why);
/* The exchange is answered once the line is on the disk. */
void mu_feedback_add(mu_feedback_t *feedback, const mu_buf_t *line, double reward,
                     mu_http_exchange_t *exchange);
/* Under the lock: false when nothing waits; else what waits is taken for the next two calls. */
bool mu_feedback_take(mu_feedback_t *feedback);
/* Without the lock: writes, syncs, rotates, answers. */
void mu_feedback_write(mu_feedback_t *feedback);
void mu_feedback_counts(mu_feedback_t *feedback, mu_feedback_counts_t *out); /* under the lock */
void mu_feedback_close(mu_feedback_t *feedback);                             /* NULL is fine */

#endif
