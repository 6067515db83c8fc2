/*
 * RUN/complete.json: how an attempt came to its own end. Only the controller (world rank 0) writes it, as its last
 * act, after the last checkpoint is durable. A launcher ends with 0 or says "saved" only if it is there: a run that is
 * killed leaves none, whatever was killed in whatever order.
 *
 *     launcher    mu_completion_forget()    before each attempt
 *     controller  mu_completion_write()     status MU_OK or MU_STOPPED; durable when it returns
 *     launcher    mu_completion_read()      after all ranks have ended
 */
#ifndef MU_COMMON_COMPLETION_H
#define MU_COMMON_COMPLETION_H

#include "common/status.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct mu_completion {
    mu_status_t
        status;      /* MU_OK: all that was asked for is done; MU_STOPPED: a request to stop was followed */
    int64_t attempt; /* of the launcher; 0 without one */
    int64_t begun;   /* updates that were done when it began */
    int64_t step;    /* updates done */
    int64_t checkpoint; /* step of the newest checkpoint; -1: none */
} mu_completion_t;

/* Errors: MU_IO, MU_RUNDIR (logged). */
mu_status_t mu_completion_write(const char *run_dir, const mu_completion_t *completion);
/* False: there is none of this attempt. A file that cannot be read counts as none. */
bool mu_completion_read(const char *run_dir, int64_t attempt, mu_completion_t *out);
/* Errors: MU_RUNDIR, since a record that stays could be taken for the next attempt's. */
mu_status_t mu_completion_forget(const char *run_dir);

#endif
