#include "launcher/run/policy.h"
#include "common/rundir.h"

enum { STALLS_MAX = 3, PAUSE_MAX = 30 };

void mu_policy_decide(mu_policy_t *p, mu_status_t status, int64_t last_checkpoint, bool stopping)
{
    bool newer = last_checkpoint + 1 > p->best_checkpoint;
    p->stalled = newer ? 0 : p->stalled + 1;
    if (newer)
        p->best_checkpoint = last_checkpoint + 1;
    p->again = false;
    p->status = status;
    p->pause = 0;
    if (mu_status_is_final(status) || status == MU_PREFLIGHT || stopping)
        return;
    if (status == MU_BUG || status == MU_NOMEM) {
        if (p->bug_seen)
            return;
        p->bug_seen = true;
    }
    if (p->restarts >= p->max_restarts)
        return;
    if (p->stalled >= STALLS_MAX) {
        p->status = MU_NOPROGRESS;
        return;
    }
    p->pause = 1;
    for (int64_t i = 1; i < p->stalled && p->pause < (double)PAUSE_MAX; i++)
        p->pause *= 2;
    p->restarts++;
    p->again = true;
}
