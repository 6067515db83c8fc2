#include "worker/optimizer.h"

#include <math.h>

/* Sums of squares by who else holds other parts of the same tensors; neighbours in this order, so that each
 * group sums one piece. */
enum { BY_DP, BY_DP_AND_TP, BY_TP, WHOLE, SUMS };

static int sum_of(const mu_net_param_t *param, bool divided)
{
    bool by_tp = param->tensor.split != MU_SPLIT_NONE;
    if (divided && param->tensor.dims == 2)
        return by_tp ? BY_DP_AND_TP : BY_DP;
    return by_tp ? BY_TP : WHOLE;
}

mu_status_t mu_optimizer_norm(mu_net_t *net, double *out)
{
    mu_device_t *dev = mu_net_device(net);
    mu_comm_t *shard = mu_net_shard(net);
    double squares[SUMS];
    void *p;
    mu_status_t status;
    MU_TRY(mu_device_alloc(dev, MU_MEM_COMMUNICATION, sizeof squares, &p));
    double *sums = p;
    for (int i = 0; i < mu_net_param_count(net); i++) {
        const mu_net_param_t *param = mu_net_param(net, i);
        dev->ops->sum_squares(dev, sums + sum_of(param, shard != NULL), param->gradient + param->own,
                              param->owned);
    }
    if (shard)
        MU_TRY_GOTO(status, mu_comm_allreduce(shard, MU_SUM, MU_TYPE_F64, sums + BY_DP, 2), done);
    MU_TRY_GOTO(status, mu_comm_allreduce(mu_net_tp(net), MU_SUM, MU_TYPE_F64, sums + BY_DP_AND_TP, 2), done);
    mu_comm_t *const groups[] = {mu_net_tp(net), shard};
    MU_TRY_GOTO(status, mu_comm_sync(groups, 2), done);
    MU_TRY_GOTO(status, dev->ops->get(dev, squares, sums, sizeof squares), done);
    *out = sqrt(squares[BY_DP] + squares[BY_DP_AND_TP] + squares[BY_TP] + squares[WHOLE]);
done:
    mu_device_free(dev, p);
    return status;
}

void mu_optimizer_step(mu_net_t *net, const mu_optimizer_t *optimizer, double norm, int64_t t)
{
    mu_device_t *dev = mu_net_device(net);
    double coefficient = optimizer->clip > 0 ? optimizer->clip / (norm + 1e-6) : 1;
    mu_adamw_t a = {.lr = optimizer->lr,
                    .beta1 = optimizer->beta1,
                    .beta2 = optimizer->beta2,
                    .eps = optimizer->eps,
                    .grad_scale = coefficient < 1 ? coefficient : 1,
                    .t = t};
    if (optimizer->loss_scale > 0)
        a.grad_scale /= optimizer->loss_scale;
    for (int i = 0; i < mu_net_param_count(net); i++) {
        const mu_net_param_t *p = mu_net_param(net, i);
        a.weight_decay = p->tensor.decay ? optimizer->weight_decay : 0;
        dev->ops->adamw(dev, mu_array_at(p->weight, p->own), p->master, p->m, p->v, p->gradient + p->own,
                        p->owned, &a);
    }
}
