/* Whether a failed attempt is worth another one. Pure. */
#ifndef MU_LAUNCHER_POLICY_H
#define MU_LAUNCHER_POLICY_H

#include "common/status.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct mu_policy {
    int64_t max_restarts;
    /* kept between calls; start from zero, best_checkpoint from what is there: step + 1, 0 for none */
    int64_t restarts, stalled, best_checkpoint;
    bool bug_seen;
    /* the decision */
    bool again;
    double pause;       /* seconds before the next attempt */
    mu_status_t status; /* of the run, when not again */
} mu_policy_t;

/*
 * After an attempt that failed with `status`; last_checkpoint: newest step saved so far, -1 for none.
 * Final statuses (docs/exit-codes.md) and MU_PREFLIGHT end the run; MU_BUG is tried once more; the others up
 * to max_restarts times, after 1, 2, 4, ... at most 30 s. Three failures in a row without a newer checkpoint
 * are MU_NOPROGRESS. When a stop was asked for, nothing is tried again.
 */
void mu_policy_decide(mu_policy_t *policy, mu_status_t status, int64_t last_checkpoint, bool stopping);

#endif
