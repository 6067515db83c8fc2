#include "worker/model/optimizer.h"
#include "common/num.h"

#include <math.h>

/* Sums of squares by who else holds other parts of the same tensors; neighbours in this order, so that each
 * group sums one piece. */
enum { BY_DP, BY_DP_AND_TP, BY_TP, WHOLE, SUMS = MU_NET_NUMBERS };

static int sum_of(const mu_net_t *net, const mu_net_param_t *param)
{
    bool by_tp = mu_net_tp(net)->size > 1 && param->tensor.split != MU_SPLIT_NONE;
    if (mu_net_shard(net) && param->tensor.dims == 2)
        return by_tp ? BY_DP_AND_TP : BY_DP;
    return by_tp ? BY_TP : WHOLE;
}

static bool counts_whole(const mu_net_param_t *p)
{
    return p->counted == p->elements;
}

static bool same_sum(const mu_net_t *net, const mu_net_param_t *a, const mu_net_param_t *b)
{
    return sum_of(net, a) == sum_of(net, b) && counts_whole(a) && counts_whole(b);
}

static bool same_update(const mu_net_t *net, const mu_net_param_t *a, const mu_net_param_t *b)
{
    (void)net;
    return a->group == b->group && a->decay == b->decay && a->lr_scale == b->lr_scale;
}

/* Neighbours in the flat buffers that are alike and whole are taken as one. */
typedef struct run {
    const mu_net_param_t *first;
    int64_t n; /* elements that the optimizer updates, from first's on; zeros between and after are counted */
    int next;  /* the parameter after; -1: none */
} run_t;

static run_t run_from(const mu_net_t *net, int index,
                      bool (*alike)(const mu_net_t *, const mu_net_param_t *, const mu_net_param_t *))
{
    const mu_net_param_t *last = mu_net_param(net, index);
    run_t run = {last, last->owned, last->next};
    while (last->owned == last->elements) {
        run.n = last->at + (last->elements + MU_NET_ALIGN - 1) / MU_NET_ALIGN * MU_NET_ALIGN - run.first->at;
        run.next = last->next;
        if (run.next < 0)
            break;
        last = mu_net_param(net, run.next);
        if (!alike(net, run.first, last))
            break;
    }
    return run;
}

mu_status_t mu_optimizer_norm_begin(mu_net_t *net)
{
    mu_device_t *dev = mu_net_device(net);
    mu_comm_t *shard = mu_net_shard(net);
    double *sums = mu_net_numbers(net);
    dev->ops->zero(dev, sums, SUMS * (int64_t)sizeof *sums);
    for (int i = mu_net_flat(net)->first; i >= 0;) {
        run_t run = run_from(net, i, same_sum);
        if (!counts_whole(run.first))
            run.n = mu_min_i64(run.first->own + run.first->owned, run.first->counted) - run.first->own;
        if (run.n > 0)
            dev->ops->sum_squares(dev, sums + sum_of(net, run.first), run.first->gradient + run.first->own,
                                  run.n);
        i = run.next;
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
    mu_adamw_t a = {.beta1 = optimizer->beta1,
                    .beta2 = optimizer->beta2,
                    .eps = optimizer->eps,
                    .grad_scale = coefficient < 1 ? coefficient : 1,
                    .t = t};
    if (optimizer->loss_scale > 0)
        a.grad_scale /= optimizer->loss_scale;
    for (int i = mu_net_flat(net)->first, next; i >= 0; i = next) {
        run_t run = run_from(net, i, same_update);
        const mu_net_param_t *p = run.first;
        next = run.next;
        if (p->group != group)
            continue;
        a.lr = optimizer->lr * p->lr_scale;
        a.weight_decay = p->decay ? optimizer->weight_decay : 0;
        dev->ops->adamw(dev, mu_array_at(p->weight, p->own), p->master, p->m, p->v, p->gradient + p->own,
                        run.n, &a);
    }
}

void mu_optimizer_step(mu_net_t *net, const mu_optimizer_t *optimizer, double norm, int64_t t)
{
    for (int group = 0; group < mu_net_group_count(net); group++)
        mu_optimizer_step_group(net, optimizer, norm, t, group);
}
