#include "worker/optimizer.h"

#include <math.h>

/* Sums of squares by who else holds other parts of the same tensors; neighbours in this order, so that each
 * group sums one piece. */
enum { BY_DP, BY_DP_AND_TP, BY_TP, WHOLE, SUMS = MU_NET_NUMBERS };

static int sum_of(const mu_net_param_t *param, bool divided)
{
    bool by_tp = param->tensor.split != MU_SPLIT_NONE;
    if (divided && param->tensor.dims == 2)
        return by_tp ? BY_DP_AND_TP : BY_DP;
    return by_tp ? BY_TP : WHOLE;
}

mu_status_t mu_optimizer_norm_begin(mu_net_t *net)
{
    mu_device_t *dev = mu_net_device(net);
    mu_comm_t *shard = mu_net_shard(net);
    double *sums = mu_net_numbers(net);
    dev->ops->zero(dev, sums, SUMS * (int64_t)sizeof *sums);
    for (int i = 0; i < mu_net_param_count(net); i++) {
        const mu_net_param_t *param = mu_net_param(net, i);
        dev->ops->sum_squares(dev, sums + sum_of(param, shard != NULL), param->gradient + param->own,
                              param->owned);
    }
    if (shard)
        MU_TRY(mu_comm_allreduce(shard, MU_SUM, MU_TYPE_F64, sums + BY_DP, 2));
    return mu_comm_allreduce(mu_net_tp(net), MU_SUM, MU_TYPE_F64, sums + BY_DP_AND_TP, 2);
}

mu_status_t mu_optimizer_norm_end(mu_net_t *net, double *out)
{
    mu_device_t *dev = mu_net_device(net);
    mu_comm_t *const groups[] = {mu_net_tp(net), mu_net_shard(net)};
    double squares[SUMS];
    MU_TRY(mu_comm_sync(groups, 2));
    MU_TRY(dev->ops->get(dev, squares, mu_net_numbers(net), sizeof squares));
    *out = sqrt(squares[BY_DP] + squares[BY_DP_AND_TP] + squares[BY_TP] + squares[WHOLE]);
    return MU_OK;
}

mu_status_t mu_optimizer_norm(mu_net_t *net, double *out)
{
    MU_TRY(mu_optimizer_norm_begin(net));
    return mu_optimizer_norm_end(net, out);
}

void mu_optimizer_step_group(mu_net_t *net, const mu_optimizer_t *optimizer, double norm, int64_t t,
                             int group)
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
        if (p->group != group)
            continue;
        a.weight_decay = p->tensor.decay ? optimizer->weight_decay : 0;
        dev->ops->adamw(dev, mu_array_at(p->weight, p->own), p->master, p->m, p->v, p->gradient + p->own,
                        p->owned, &a);
    }
}

void mu_optimizer_step(mu_net_t *net, const mu_optimizer_t *optimizer, double norm, int64_t t)
{
    for (int group = 0; group < mu_net_group_count(net); group++)
        mu_optimizer_step_group(net, optimizer, norm, t, group);
}
