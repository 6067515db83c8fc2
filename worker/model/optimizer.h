/*
 * The optimizer: gradient norm, clipping, AdamW over the parameters of one worker.
 *
 * Called when the gradients are whole: summed over micro batches and replicas. With optimizer state divided
 * over dp (ZeRO stage 1) each worker updates what it owns, and the weights must be spread then:
 * mu_replicas_update() does both.
 *     mu_optimizer_norm_begin(net);          enqueued after backward
 *     ... the host reads the loss: one wait for both ...
 *     mu_optimizer_norm_end(net, &norm);
 *     mu_optimizer_step(net, &optimizer, norm, t);
 */
#ifndef MU_WORKER_OPTIMIZER_H
#define MU_WORKER_OPTIMIZER_H

#include "worker/model/net.h"

typedef struct mu_optimizer {
    double lr, beta1, beta2, eps; /* lr: times each parameter's lr_scale */
    double weight_decay;          /* of parameters with `decay` (worker/model/net.h) */
    double clip;                  /* largest norm of the gradient; 0: no clipping */
    double loss_scale;            /* that the gradients carry (common/config/loss_scale.h); 0: none */
} mu_optimizer_t;

/* The L2 norm of the whole model's gradient: what is sliced over tp or divided over dp is summed there, what
 * each holds whole is counted once. The squares are summed in double. tp-collective, and a collective of the
 * shard group if there is one; the same value on every worker. May be inf or nan: the caller decides what
 * that means. norm_begin is enqueued, norm_end waits for the device; mu_optimizer_norm() is both. */
mu_status_t mu_optimizer_norm_begin(mu_net_t *net);
mu_status_t mu_optimizer_norm_end(mu_net_t *net, double *out);
mu_status_t mu_optimizer_norm(mu_net_t *net, double *out);

/* One update of what this worker owns, number t >= 1, with gradients scaled by min(1, clip / (norm + 1e-6)) /
 * loss scale; `norm` is that without the loss scale. Enqueued; not a collective. */
void mu_optimizer_step(mu_net_t *net, const mu_optimizer_t *optimizer, double norm, int64_t t);
/* The same for one group of parameters (worker/model/net.h). */
void mu_optimizer_step_group(mu_net_t *net, const mu_optimizer_t *optimizer, double norm, int64_t t,
                             int group);

#endif
