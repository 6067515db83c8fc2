#include "worker/optimizer.h"

#include <math.h>

mu_status_t mu_optimizer_norm(mu_net_t *net, double *out)
{
    mu_device_t *dev = mu_net_device(net);
    mu_comm_t *tp = mu_net_tp(net);
    enum { SLICED, REPLICATED };
    double squares[2];
    void *p;
    mu_status_t status;
    MU_TRY(mu_device_alloc(dev, MU_MEM_COMMUNICATION, sizeof squares, &p));
    double *sums = p;
    for (int i = 0; i < mu_net_param_count(net); i++) {
        const mu_net_param_t *param = mu_net_param(net, i);
        int which = param->tensor.split == MU_SPLIT_NONE ? REPLICATED : SLICED;
        dev->ops->sum_squares(dev, sums + which, param->gradient, param->elements);
    }
    MU_TRY_GOTO(status, mu_comm_allreduce(tp, MU_SUM, MU_TYPE_F64, sums + SLICED, 1), done);
    MU_TRY_GOTO(status, dev->ops->get(dev, squares, sums, sizeof squares), done);
    *out = sqrt(squares[SLICED] + squares[REPLICATED]);
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
    for (int i = 0; i < mu_net_param_count(net); i++) {
        const mu_net_param_t *p = mu_net_param(net, i);
        a.weight_decay = p->tensor.decay ? optimizer->weight_decay : 0;
        dev->ops->adamw(dev, p->weight, NULL, p->m, p->v, p->gradient, p->elements, &a);
    }
}
