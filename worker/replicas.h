/*
 * Gradients over the replicas: their sum over dp while backward goes on, and with divided optimizer state
 * (ZeRO stage 1: Rajbhandari et al., 2020) the new weights back from their owners.
 *
 *     mu_replicas_t r = {.net = net, .dp = dp, .overlap = true};
 *     each step:
 *         ... all micro batches but the last ...
 *         mu_replicas_last(&r);         before the last one's mu_net_forward_backward()
 *         mu_replicas_finish(&r);       behind it: what the optimizer reads is the sum over dp
 *         mu_optimizer_step(...);
 *         mu_replicas_weights(&r);      every replica holds all weights again
 *
 * A group of parameters (mu_net_group_count()) is reduced as soon as backward is done with it. Without
 * `overlap` all groups are reduced in mu_replicas_finish(), in the same order: the same bits. With the net's
 * optimizer state divided, vectors are summed everywhere and of matrices each replica gets the rows that it
 * owns; gradients elsewhere are undefined then. Every worker of the dp group makes these calls. Errors:
 * MU_NETWORK, and the device's.
 */
#ifndef MU_WORKER_REPLICAS_H
#define MU_WORKER_REPLICAS_H

#include "worker/net.h"

typedef struct mu_replicas {
    mu_net_t *net;
    mu_comm_t *dp; /* buffers of the net's device */
    bool overlap;
} mu_replicas_t;

void mu_replicas_last(mu_replicas_t *replicas);
mu_status_t mu_replicas_finish(mu_replicas_t *replicas);
mu_status_t mu_replicas_weights(mu_replicas_t *replicas);

#endif
