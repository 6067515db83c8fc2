/*
 * Adapters: y += scale B A dropout(x) beside a frozen linear layer (Hu et al., 2021).
 *
 * Of forward nothing is kept: backward makes A x again, which costs rank products where the layer costs its width.
 *
 * Tensor parallel. Of a column-parallel layer x and A are whole on each worker and B is divided by rows: the gradient
 * of A x is a partial sum, hence so are A's gradient, which is summed here, and dx, which is summed with the layer's
 * own. Of a row-parallel layer x and A are divided: A x is a partial sum, hence so are y, which is summed with the
 * layer's own, and B's gradient, which is summed here.
 */
#include "common/num.h"
#include "worker/model/net_impl.h"

/* The part of query_key_value, for the device's operations. */
static int part_of(mu_lora_target_t target)
{
    return (int)target - MU_LORA_Q;
}

static bool is_part(mu_lora_target_t target)
{
    return target >= MU_LORA_Q && target <= MU_LORA_V;
}

/* query_key_value stands for its parts too. */
static int last_of(mu_lora_target_t target)
{
    return (int)(target == MU_LORA_QKV ? MU_LORA_V : target);
}

static mu_qkv_t qkv_shape(const mu_net_t *net, int64_t rows)
{
    return (mu_qkv_t){rows, net->heads, net->kv_heads, mu_model_head_dim(&net->model)};
}

bool mu_net_lora_summed(const mu_net_t *net, const mu_net_param_t *p)
{
    bool adapter = p->tensor.kind == MU_T_LORA_A || p->tensor.kind == MU_T_LORA_B;
    return adapter && net->tp->size > 1 && p->tensor.split == MU_SPLIT_NONE;
}

/* The one of a layer's adapter whose gradient is summed; NULL: it has no adapter. */
static const mu_net_param_t *summed(const mu_net_t *net, int64_t l, mu_lora_target_t target)
{
    const mu_net_param_t *a = net->layer[l].lora_a[target], *b = net->layer[l].lora_b[target];
    return a && mu_net_lora_summed(net, a) ? a : b && mu_net_lora_summed(net, b) ? b : NULL;
}

/* Where its part lies in lora_sums: after those of the group's layers before it. */
static int64_t sum_at(const mu_net_t *net, int64_t l, mu_lora_target_t target)
{
    int64_t at = 0;
    for (int t = 0; t < (int)target; t++) {
        const mu_net_param_t *p = summed(net, l, (mu_lora_target_t)t);
        if (p && mu_net_lora_of_mlp((mu_lora_target_t)t) == mu_net_lora_of_mlp(target))
            at += p->elements;
    }
    return at;
}

mu_status_t mu_net_lora_make(mu_net_t *net)
{
    const mu_model_t *m = &net->model;
    int64_t in = 0, part = 0, sums = 0, rank = m->lora.rank;
    if (rank == 0)
        return MU_OK;
    for (int t = 0; t < MU_LORA_TARGETS; t++) {
        const mu_net_param_t *a = net->layer[0].lora_a[t], *b = net->layer[0].lora_b[t];
        const mu_net_param_t *p = summed(net, 0, (mu_lora_target_t)t);
        if (!a)
            continue;
        in = mu_max_i64(in, a->count[1]);
        if (is_part((mu_lora_target_t)t))
            part = mu_max_i64(part, b->count[0]);
        if (p)
            sums = mu_max_i64(sums, sum_at(net, 0, (mu_lora_target_t)t) + p->elements);
    }
    MU_TRY(mu_net_get_array(net, MU_MEM_WORKSPACE, net->rows * rank, &net->lora_inner));
    if (part > 0)
        MU_TRY(mu_net_get_array(net, MU_MEM_WORKSPACE, net->rows * part, &net->lora_part));
    if (!net->options.training)
        return MU_OK;
    MU_TRY(mu_net_get_array(net, MU_MEM_WORKSPACE, net->rows * rank, &net->lora_dinner));
    if (m->lora.dropout > 0)
        MU_TRY(mu_net_get_array(net, MU_MEM_WORKSPACE, net->rows * in, &net->lora_x));
    return sums > 0 ? mu_net_get_floats(net, MU_MEM_COMMUNICATION, sums, &net->lora_sums) : MU_OK;
}

static bool drops(const mu_net_t *net)
{
    return net->dropping && net->model.lora.dropout > 0;
}

static mu_dropout_t dropout_of(const mu_net_t *net, int64_t l, mu_lora_target_t target)
{
    const mu_net_param_t *a = net->layer[l].lora_a[target];
    return mu_net_dropout(net, net->model.lora.dropout, l, MU_DROP_LORA + (int)target, a->offset[1],
                          a->tensor.shape[1]);
}

/* What A reads: x, or lora_x where it is dropped out. */
static mu_array_t input_of(mu_net_t *net, int64_t l, mu_lora_target_t target, mu_array_t x, int64_t rows)
{
    if (!drops(net))
        return x;
    mu_dropout_t d = dropout_of(net, l, target);
    net->ops->dropout(net->dev, net->lora_x, x, MU_NO_ARRAY, rows, net->layer[l].lora_a[target]->count[1],
                      &d);
    return net->lora_x;
}

/* lora_inner = scale A x */
static void inner(mu_net_t *net, int64_t l, mu_lora_target_t target, mu_array_t x, int64_t rows, bool each)
{
    const mu_net_param_t *a = net->layer[l].lora_a[target];
    mu_dropout_t scaled = {.factor = net->model.lora.scale};
    mu_net_linear(net, each, net->lora_inner, x, a->weight, MU_NO_ARRAY, MU_NO_ARRAY, rows, a->count[1],
                  a->count[0]);
    net->ops->dropout(net->dev, net->lora_inner, net->lora_inner, MU_NO_ARRAY, rows, a->count[0], &scaled);
}

static void forward_one(mu_net_t *net, int64_t l, mu_lora_target_t target, mu_array_t y, mu_array_t x,
                        int64_t rows, bool each)
{
    const mu_net_param_t *b = net->layer[l].lora_b[target];
    if (!b)
        return;
    inner(net, l, target, input_of(net, l, target, x, rows), rows, each);
    if (!is_part(target)) {
        mu_net_linear(net, each, y, net->lora_inner, b->weight, MU_NO_ARRAY, y, rows, b->count[1],
                      b->count[0]);
        return;
    }
    mu_qkv_t shape = qkv_shape(net, rows);
    mu_net_linear(net, each, net->lora_part, net->lora_inner, b->weight, MU_NO_ARRAY, MU_NO_ARRAY, rows,
                  b->count[1], b->count[0]);
    net->ops->qkv_add(net->dev, y, net->lora_part, part_of(target), &shape);
}

void mu_net_lora_forward(mu_net_t *net, int64_t l, mu_lora_target_t target, mu_array_t y, mu_array_t x,
                         int64_t rows, bool each)
{
    for (int t = (int)target; t <= last_of(target); t++)
        forward_one(net, l, (mu_lora_target_t)t, y, x, rows, each);
}

/* The gradient of A or B: dy^T x; a part of it goes to its place in the group's sums. */
static void gradient(mu_net_t *net, int64_t l, mu_lora_target_t target, const mu_net_param_t *p,
                     mu_array_t dy, mu_array_t x)
{
    bool part = mu_net_lora_summed(net, p);
    float *dw = part ? net->lora_sums + sum_at(net, l, target) : p->gradient;
    net->ops->linear_backward_weight(net->dev, dw, NULL, dy, x, net->rows, p->count[1], p->count[0],
                                     part || net->fresh);
}

static void backward_one(mu_net_t *net, int64_t l, mu_lora_target_t target, mu_array_t dx, mu_array_t dy,
                         mu_array_t x)
{
    const mu_net_param_t *a = net->layer[l].lora_a[target], *b = net->layer[l].lora_b[target];
    int64_t rows = net->rows;
    mu_dropout_t scaled = {.factor = net->model.lora.scale};
    if (!a)
        return;
    x = input_of(net, l, target, x, rows);
    inner(net, l, target, x, rows, false);
    if (is_part(target)) {
        mu_qkv_t shape = qkv_shape(net, rows);
        net->ops->qkv_take(net->dev, net->lora_part, dy, part_of(target), &shape);
        dy = net->lora_part;
    }
    gradient(net, l, target, b, dy, net->lora_inner);
    net->ops->linear_backward_input(net->dev, net->lora_dinner, dy, b->weight, rows, b->count[1], b->count[0],
                                    false);
    net->ops->dropout(net->dev, net->lora_dinner, net->lora_dinner, MU_NO_ARRAY, rows, b->count[1], &scaled);
    gradient(net, l, target, a, net->lora_dinner, x);
    mu_array_t to = drops(net) ? net->lora_x : dx;
    net->ops->linear_backward_input(net->dev, to, net->lora_dinner, a->weight, rows, a->count[1], a->count[0],
                                    !drops(net));
    if (!drops(net))
        return;
    mu_dropout_t d = dropout_of(net, l, target);
    net->ops->dropout(net->dev, dx, net->lora_x, dx, rows, a->count[1], &d);
}

void mu_net_lora_backward(mu_net_t *net, int64_t l, mu_lora_target_t target, mu_array_t dx, mu_array_t dy,
                          mu_array_t x)
{
    for (int t = (int)target; t <= last_of(target); t++)
        backward_one(net, l, (mu_lora_target_t)t, dx, dy, x);
}

mu_status_t mu_net_lora_sum(mu_net_t *net, int64_t l, bool mlp)
{
    int64_t total = 0;
    for (int t = 0; t < MU_LORA_TARGETS; t++) {
        const mu_net_param_t *p = summed(net, l, (mu_lora_target_t)t);
        total += p && mu_net_lora_of_mlp((mu_lora_target_t)t) == mlp ? p->elements : 0;
    }
    if (total == 0)
        return MU_OK;
    MU_TRY(mu_comm_allreduce(net->tp, MU_SUM, MU_TYPE_F32, net->lora_sums, total));
    for (int t = 0; t < MU_LORA_TARGETS; t++) {
        const mu_net_param_t *p = summed(net, l, (mu_lora_target_t)t);
        if (p && mu_net_lora_of_mlp((mu_lora_target_t)t) == mlp)
            net->ops->add(net->dev, mu_array_f32(p->gradient),
                          mu_array_f32(net->lora_sums + sum_at(net, l, (mu_lora_target_t)t)), p->elements);
    }
    return MU_OK;
}
