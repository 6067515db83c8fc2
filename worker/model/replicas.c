#include "worker/model/replicas.h"
#include "common/buf.h"
#include "common/num.h"

/* The parts of a matrix that the replicas own, in units of `unit` an element. */
static void parts_of(const mu_net_param_t *p, int shards, int64_t unit, int64_t *part)
{
    for (int r = 0; r <= shards; r++)
        part[r] = mu_part_begin(p->count[0], r, shards) * p->count[1] * unit;
}

/* Where the group's trained tensors of `dims` dimensions (0: all) lie in the flat buffers: one piece, empty when there
 * are none. */
static void piece_of(const mu_net_t *net, int group, int dims, int64_t *from, int64_t *to)
{
    *from = *to = -1;
    for (int i = 0; i < mu_net_param_count(net); i++) {
        const mu_net_param_t *p = mu_net_param(net, i);
        if (!p->tensor.trained || p->group != group || (dims != 0 && p->tensor.dims != dims))
            continue;
        *from = *from < 0 || p->at < *from ? p->at : *from;
        *to = mu_max_i64(*to, p->at + p->elements);
    }
}

static mu_status_t begin_sum(mu_replicas_t *r, int group, int dims)
{
    int64_t from, to;
    piece_of(r->net, group, dims, &from, &to);
    return from < 0
               ? MU_OK
               : mu_comm_start_allreduce(r->dp, MU_TYPE_F32, mu_net_flat(r->net)->gradient + from, to - from);
}

static mu_status_t begin_divided(mu_replicas_t *r, int group, int64_t *part)
{
    MU_TRY(begin_sum(r, group, 1));
    for (int i = 0; i < mu_net_param_count(r->net); i++) {
        const mu_net_param_t *p = mu_net_param(r->net, i);
        if (!p->tensor.trained || p->group != group || p->tensor.dims != 2)
            continue;
        parts_of(p, r->dp->size, 1, part);
        MU_TRY(mu_comm_start_reduce_scatter(r->dp, MU_TYPE_F32, p->gradient, part));
    }
    return MU_OK;
}

static mu_status_t begin_group(void *arg, int group)
{
    mu_replicas_t *r = arg;
    MU_TRY(mu_net_sum_copies(r->net, group));
    if (r->dp->size == 1)
        return MU_OK;
    if (!mu_net_shard(r->net))
        return begin_sum(r, group, 0);
    int64_t *part = mu_alloc((size_t)(r->dp->size + 1) * sizeof *part);
    mu_status_t status = begin_divided(r, group, part);
    free(part);
    return status;
}

void mu_replicas_last(mu_replicas_t *r)
{
    if (r->overlap && r->dp->size > 1)
        mu_net_on_whole(r->net, begin_group, r);
}

mu_status_t mu_replicas_finish(mu_replicas_t *r)
{
    bool begun = r->overlap && r->dp->size > 1;
    mu_net_on_whole(r->net, NULL, NULL);
    for (int group = mu_net_group_count(r->net); !begun && group-- > 0;)
        MU_TRY(begin_group(r, group));
    return r->dp->size > 1 ? mu_comm_wait(r->dp) : MU_OK;
}

/* --- weights --- */

static mu_status_t spread(mu_replicas_t *r, int group)
{
    mu_status_t status = MU_OK;
    int64_t *part = mu_alloc((size_t)(r->dp->size + 1) * sizeof *part);
    for (int i = 0; status == MU_OK && i < mu_net_param_count(r->net); i++) {
        const mu_net_param_t *p = mu_net_param(r->net, i);
        if (!p->tensor.trained || p->group != group || p->tensor.dims != 2)
            continue;
        parts_of(p, r->dp->size, mu_dtype_size(p->weight.type), part);
        status = mu_comm_start_all_gather(r->dp, MU_TYPE_BYTE, p->weight.data, part);
    }
    free(part);
    r->number[group] = r->dp->sequence;
    return status;
}

/* Until group `last` is under way. */
static mu_status_t spread_to(mu_replicas_t *r, int last)
{
    while (r->begun <= last && r->begun < mu_net_group_count(r->net))
        MU_TRY(spread(r, r->begun++));
    return MU_OK;
}

/* How many groups are under way before forward needs them. With tensor parallelism forward has sums of its
 * own, and of several communicators NCCL starts operations in the order of the calls: a layer's sum would
 * wait until the last group but one is there. So a layer ahead is begun when one is needed. */
static int ahead(const mu_replicas_t *r)
{
    return mu_net_tp(r->net)->size > 1 ? 2 : mu_net_group_count(r->net);
}

static mu_status_t need(void *arg, int group)
{
    mu_replicas_t *r = arg;
    MU_TRY(spread_to(r, group + ahead(r)));
    MU_TRY(mu_comm_wait_until(r->dp, r->number[group]));
    return group < mu_net_group_count(r->net) - 1 ? MU_OK : mu_replicas_settle(r);
}

mu_status_t mu_replicas_update(mu_replicas_t *r, const mu_optimizer_t *optimizer, double norm, int64_t t)
{
    int groups = mu_net_group_count(r->net);
    bool divided = mu_net_shard(r->net) && r->dp->size > 1;
    if (!r->number)
        r->number = mu_calloc((size_t)groups, sizeof *r->number);
    r->begun = 0;
    for (int group = 0; group < groups; group++) {
        mu_optimizer_step_group(r->net, optimizer, norm, t, group);
        if (divided && r->overlap && group <= ahead(r))
            MU_TRY(spread_to(r, group));
    }
    r->due = divided;
    if (divided && r->overlap)
        mu_net_on_need(r->net, need, r);
    return r->overlap ? MU_OK : mu_replicas_settle(r);
}

mu_status_t mu_replicas_settle(mu_replicas_t *r)
{
    if (!r->due)
        return MU_OK;
    r->due = false;
    mu_net_on_need(r->net, NULL, NULL);
    MU_TRY(spread_to(r, mu_net_group_count(r->net) - 1));
    return mu_comm_wait(r->dp);
}

void mu_replicas_release(mu_replicas_t *r)
{
    free(r->number);
    r->number = NULL;
}
