/*
 * What a person sees while a run goes on: on a terminal one line that is rewritten, elsewhere a plain line
 * every log_interval steps, at most one in two seconds. Lines of the log are printed above it.
 */
#ifndef MU_LAUNCHER_PROGRESS_H
#define MU_LAUNCHER_PROGRESS_H

#include "common/buf.h"
#include "common/control/control.h"
#include "launcher/monitor/async_stderr.h"

typedef struct mu_progress {
    mu_async_stderr_t *async_stderr;
    bool terminal;
    int64_t log_interval, shown_step, shown_ns, first_step, first_ns;
    char line[256]; /* on the terminal now, "" if none */
} mu_progress_t;

/* Becomes the log's sink, until its end, when the screen is that again. One at a time. */
void mu_progress_begin(mu_progress_t *progress, mu_async_stderr_t *async_stderr, int64_t log_interval);
/* After a heartbeat of the controller. */
void mu_progress_heartbeat(mu_progress_t *progress, const mu_heartbeat_t *heartbeat, int64_t now);
/* A line of a rank, already safe for a terminal. */
void mu_progress_print(mu_progress_t *progress, const char *line);
/* A new attempt: what the estimate knew is void. */
void mu_progress_restart(mu_progress_t *progress);
void mu_progress_end(mu_progress_t *progress);

/* "step 120/500  loss 3.1416  5012 tokens/s  checkpoint 100  3m12s left" */
void mu_progress_text(const mu_heartbeat_t *heartbeat, double seconds_left, mu_buf_t *out);
#endif
