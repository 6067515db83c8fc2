#include "launcher/run/policy.h"
#include "common/run/rundir.h"

#include <stdio.h>
#include <string.h>

enum { REPEATED_MAX = 3, PAUSE_MAX = 30 };

/* Counts how often the run has failed at one place without getting further. */
static void count(mu_policy_t *p, const mu_failed_attempt_t *f)
{
    bool further = f->last_checkpoint + 1 > p->best_checkpoint || f->step > p->best_step;
    bool same = p->repeated > 0 && strcmp(p->place, f->place) == 0;
    p->repeated = further ? 0 : same ? p->repeated + 1 : 1;
    if (f->last_checkpoint + 1 > p->best_checkpoint)
        p->best_checkpoint = f->last_checkpoint + 1;
    if (f->step > p->best_step)
        p->best_step = f->step;
    snprintf(p->place, sizeof p->place, "%s", f->place);
}

void mu_policy_decide(mu_policy_t *p, const mu_failed_attempt_t *f, bool stopping)
{
    count(p, f);
    p->again = false;
    p->status = f->status;
    p->pause = 0;
    if (mu_status_is_final(f->status) || f->status == MU_PREFLIGHT || stopping)
        return;
    if (f->status == MU_BUG || f->status == MU_NOMEM) {
        if (p->bug_seen)
            return;
        p->bug_seen = true;
    }
    if (p->repeated >= REPEATED_MAX) {
        p->status = MU_NOPROGRESS;
        return;
    }
    if (p->restarts >= p->max_restarts)
        return;
    p->pause = 1;
    for (int64_t i = 1; i < p->repeated && p->pause < (double)PAUSE_MAX; i++)
        p->pause *= 2;
    p->restarts++;
    p->again = true;
}
