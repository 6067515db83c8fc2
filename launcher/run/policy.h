/* Whether a failed attempt is worth another one. Pure. */
#ifndef MU_LAUNCHER_POLICY_H
#define MU_LAUNCHER_POLICY_H

#include "common/status.h"
#include <stdbool.h>
#include <stdint.h>

/* How an attempt failed. */
typedef struct mu_failed_attempt {
    mu_status_t status;
    int64_t step;            /* updates done, in this attempt or an earlier one that it resumed */
    int64_t last_checkpoint; /* newest step saved so far; -1: none */
    const char *place;       /* what failed and where: rank, host, phase; two equal ones are one cause */
} mu_failed_attempt_t;

typedef struct mu_policy {
    int64_t max_restarts;
    /* kept between calls; start from zero, best_checkpoint from what is there: step + 1, 0 for none */
    int64_t restarts, repeated, best_checkpoint, best_step;
    char place[256];
    bool bug_seen;
    /* the decision */
    bool again;
    double pause;       /* seconds before the next attempt */
    mu_status_t status; /* of the run, when not again */
} mu_policy_t;

/*
 * Final statuses (docs/exit-codes.md) and MU_PREFLIGHT end the run; MU_BUG is tried once more; the others up to
 * max_restarts times, after 1, 2, 4, ... at most 30 s. Three failures in a row at the same place, without a newer
 * checkpoint and without a step that no attempt reached before, are MU_NOPROGRESS. If a stop was asked for, nothing is
 * tried again.
 */
void mu_policy_decide(mu_policy_t *policy, const mu_failed_attempt_t *failed, bool stopping);

#endif
