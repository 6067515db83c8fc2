/* How many hosts are ready, waiting or lost. */
#include "launcher/ready/ready_internal.h"

mu_ready_sum_t mu_ready_sum(const mu_ready_t *ready)
{
    mu_ready_sum_t sum = {0};
    for (int i = 0; i < ready->hosts->count; i++) {
        const mu_ready_state_t *host = &ready->host[i];
        sum.ready += host->phase == MU_READY_PHASE_READY;
        sum.failed += host->phase == MU_READY_PHASE_FAILED;
        sum.waiting += host->phase != MU_READY_PHASE_READY && host->phase != MU_READY_PHASE_FAILED;
        /* a login in progress, or about to be, will tell more than what was seen before */
        sum.unseen += (host->phase != MU_READY_PHASE_READY && !host->shown) ||
                      host->phase == MU_READY_PHASE_LOGIN || host->phase == MU_READY_PHASE_QUEUE;
    }
    return sum;
}
