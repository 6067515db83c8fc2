/*
 * Gradients over the replicas: their sum over dp while backward goes on, and with divided optimizer state
 * (ZeRO stage 1: Rajbhandari et al., 2020) the new weights back from their owners, while the update and the
 * next forward go on.
 *
 *     mu_replicas_t r = {.net = net, .dp = dp, .overlap = true};
 *     each step:
 *         ... all micro batches but the last ...
 *         mu_replicas_last(&r);         before the last one's mu_net_forward_backward()
 *         mu_replicas_finish(&r);       after it: what the optimizer reads is the sum over dp
 *         mu_optimizer_norm(...);
 *         mu_replicas_update(&r, ...);  the net's forward may follow at once
 *     mu_replicas_settle(&r);           before anything but the net's forward reads weights
 *     mu_replicas_release(&r);          before the net goes
 *
 * A group of parameters (mu_net_group_count()) is reduced as soon as backward is done with it, and its weights
 * are spread as soon as it is updated; forward waits for each group where it needs it. Without `overlap` all
 * groups are reduced in mu_replicas_finish() and spread at the end of mu_replicas_update(), in the same order:
 * the same bits. With the net's optimizer state divided, vectors are summed everywhere and of matrices each
 * replica gets the rows that it owns; gradients elsewhere are undefined then.
 *
 * From update to the forward after it, or to settle, operations are begun on `dp`: the rules of
 * worker/comm/comm_mpi.h hold for calls of MPI. Every worker of the dp group makes these calls, and all workers of
 * a tp group make theirs in the same order. Errors: MU_NETWORK, and the device's.
 */
#ifndef MU_WORKER_REPLICAS_H
#define MU_WORKER_REPLICAS_H

#include "worker/model/net.h"
#include "worker/model/optimizer.h"

typedef struct mu_replicas {
    mu_net_t *net;
    mu_comm_t *dp; /* buffers of the net's device */
    bool overlap;
    /* its own: */
    uint64_t *number; /* [groups]: what must have been done on dp before a group's weights are whole */
    int begun;        /* groups whose weights are being spread */
    bool due;         /* not all have been waited for */
} mu_replicas_t;

void mu_replicas_last(mu_replicas_t *replicas);
mu_status_t mu_replicas_finish(mu_replicas_t *replicas);
/* mu_optimizer_step(), and every replica gets all weights. */
mu_status_t mu_replicas_update(mu_replicas_t *replicas, const mu_optimizer_t *optimizer, double norm,
                               int64_t t);
/* Until every replica holds all weights; what is enqueued later on the device sees them. */
mu_status_t mu_replicas_settle(mu_replicas_t *replicas);
/* Nothing is under way. */
void mu_replicas_release(mu_replicas_t *replicas);

#endif
