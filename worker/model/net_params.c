/* The parameters of a network, in flat buffers: those that are trained, and those that an adapter leaves as they
 * are. */
#include "common/buf.h"
#include "common/num.h"
#include "worker/model/net_impl.h"

static int group_of(const mu_net_t *net, const mu_tensor_t *tensor)
{
    bool adapter = tensor->kind == MU_T_LORA_A || tensor->kind == MU_T_LORA_B;
    bool mlp = adapter ? mu_net_lora_of_mlp(tensor->target)
                       : tensor->kind >= MU_T_FC1_W && tensor->kind <= MU_T_GATE_B;
    if (tensor->layer >= 0)
        return mlp ? MU_GROUP_MLP(tensor->layer) : MU_GROUP_ATTENTION(tensor->layer);
    bool embedding = tensor->kind == MU_T_EMBED_IN || tensor->kind == MU_T_EMBED_POS;
    return embedding ? 0 : mu_net_group_count(net) - 1;
}

static int64_t aligned(int64_t elements)
{
    return (elements + MU_NET_ALIGN - 1) / MU_NET_ALIGN * MU_NET_ALIGN;
}

/* The parameters from..to - 1. Model order keeps a group together; in it the vectors go first, so that they are one
 * message. `next`: where the first one's index goes. Returns the elements. */
static int64_t place_params(mu_net_t *net, int from, int to, int *next)
{
    int64_t at = 0;
    for (int first = from, end; first < to; first = end) {
        end = first;
        while (end < to && net->param[end].group == net->param[first].group)
            end++;
        for (int dims = 1; dims <= 2; dims++) {
            for (int i = first; i < end; i++) {
                if (net->param[i].tensor.dims != dims)
                    continue;
                net->param[i].at = at;
                at += aligned(net->param[i].elements);
                *next = i;
                next = &net->param[i].next;
            }
        }
    }
    *next = -1;
    return at;
}

int64_t mu_net_tensor_row(const mu_net_t *net, const mu_net_param_t *param, int64_t row, int64_t *rows)
{
    bool copy;
    int64_t at =
        mu_model_spread_row(&net->model, net->tp->size, &param->tensor, param->offset[0] + row, rows, &copy);
    *rows = mu_min_i64(*rows, param->count[0] - row);
    return at;
}

/* Elements of a slice before those that count elsewhere. */
static int64_t counted(const mu_net_t *net, const mu_net_param_t *p)
{
    int64_t row = 0;
    bool copy = false;
    for (int64_t rows; row < p->count[0]; row += rows) {
        mu_model_spread_row(&net->model, net->tp->size, &p->tensor, p->offset[0] + row, &rows, &copy);
        if (copy)
            break;
    }
    return mu_min_i64(row, p->count[0]) * p->count[1];
}

static void describe_params(mu_net_t *net)
{
    const mu_comm_t *shard = net->options.shard;
    const mu_model_t spread = mu_model_spread(&net->model, net->tp->size);
    net->param_count = mu_model_tensor_count(&net->model);
    net->param = mu_calloc((size_t)net->param_count, sizeof *net->param);
    for (int i = 0; i < net->param_count; i++) {
        mu_net_param_t *p = &net->param[i];
        mu_model_tensor(&spread, i, &p->tensor);
        mu_tensor_slice(&p->tensor, net->tp->size, net->tp->rank, p->offset, p->count);
        mu_tensor_owned(&p->tensor, p->count, shard ? shard->rank : 0, shard ? shard->size : 1, &p->own,
                        &p->owned);
        p->elements = p->count[0] * p->count[1];
        p->counted = counted(net, p);
        p->group = group_of(net, &p->tensor);
        p->decay = p->tensor.decay;
        p->lr_scale = 1;
        if (p->tensor.trained)
            net->flat.owned += aligned(p->owned);
    }
    int trained = mu_model_saved_first(&net->model);
    net->frozen.elements = place_params(net, 0, trained, &net->frozen.first);
    net->flat.elements = place_params(net, trained, net->param_count, &net->flat.first);
}

static void name_layer_param(mu_layer_params_t *l, const mu_net_param_t *p)
{
    if (p->tensor.kind == MU_T_LORA_A || p->tensor.kind == MU_T_LORA_B) {
        (p->tensor.kind == MU_T_LORA_A ? l->lora_a : l->lora_b)[p->tensor.target] = p;
        return;
    }
    const mu_net_param_t **const slot[] = {
        [MU_T_LN1_W] = &l->ln1_w,     [MU_T_LN1_B] = &l->ln1_b,     [MU_T_LN2_W] = &l->ln2_w,
        [MU_T_LN2_B] = &l->ln2_b,     [MU_T_QKV_W] = &l->qkv_w,     [MU_T_QKV_B] = &l->qkv_b,
        [MU_T_Q_NORM_W] = &l->q_norm, [MU_T_K_NORM_W] = &l->k_norm, [MU_T_DENSE_W] = &l->dense_w,
        [MU_T_DENSE_B] = &l->dense_b, [MU_T_GATE_W] = &l->gate_w,   [MU_T_GATE_B] = &l->gate_b,
        [MU_T_FC1_W] = &l->fc1_w,     [MU_T_FC1_B] = &l->fc1_b,     [MU_T_FC2_W] = &l->fc2_w,
        [MU_T_FC2_B] = &l->fc2_b,
    };
    *slot[p->tensor.kind] = p;
}

static void name_params(mu_net_t *net)
{
    net->layer = mu_calloc((size_t)net->model.layers, sizeof *net->layer);
    for (int i = 0; i < net->param_count; i++) {
        const mu_net_param_t *p = &net->param[i];
        if (p->tensor.layer >= 0)
            name_layer_param(&net->layer[p->tensor.layer], p);
        else if (p->tensor.kind == MU_T_EMBED_IN)
            net->embed_in = p;
        else if (p->tensor.kind == MU_T_EMBED_POS)
            net->embed_pos = p;
        else if (p->tensor.kind == MU_T_LNF_W)
            net->lnf_w = p;
        else if (p->tensor.kind == MU_T_LNF_B)
            net->lnf_b = p;
        else
            net->embed_out = p;
    }
    if (!net->embed_out)
        net->embed_out = net->embed_in;
}

static mu_status_t make_trained(mu_net_t *net)
{
    mu_net_flat_t *flat = &net->flat;
    MU_TRY(mu_net_get_array(net, MU_MEM_WEIGHTS, flat->elements, &flat->weight));
    if (net->options.training) {
        MU_TRY(mu_net_get_floats(net, MU_MEM_GRADIENTS, flat->elements, &flat->gradient));
        MU_TRY(mu_net_get_floats(net, MU_MEM_OPTIMIZER, flat->owned, &flat->m));
        MU_TRY(mu_net_get_floats(net, MU_MEM_OPTIMIZER, flat->owned, &flat->v));
        if (net->options.dtype != MU_DTYPE_F32)
            MU_TRY(mu_net_get_floats(net, MU_MEM_OPTIMIZER, flat->owned, &flat->master));
    }
    int64_t owned = 0;
    for (int i = flat->first; i >= 0; i = net->param[i].next) {
        mu_net_param_t *p = &net->param[i];
        p->weight = mu_array_at(flat->weight, p->at);
        if (net->options.training) {
            p->gradient = flat->gradient + p->at;
            p->m = flat->m + owned;
            p->v = flat->v + owned;
            p->master = flat->master ? flat->master + owned : NULL;
            owned += aligned(p->owned);
        }
    }
    return MU_OK;
}

static mu_status_t make_frozen(mu_net_t *net)
{
    if (net->frozen.elements == 0)
        return MU_OK;
    MU_TRY(mu_net_get_array(net, MU_MEM_WEIGHTS, net->frozen.elements, &net->frozen.weight));
    for (int i = net->frozen.first; i >= 0; i = net->param[i].next)
        net->param[i].weight = mu_array_at(net->frozen.weight, net->param[i].at);
    return MU_OK;
}

mu_status_t mu_net_make_params(mu_net_t *net)
{
    describe_params(net);
    MU_TRY(make_frozen(net));
    MU_TRY(make_trained(net));
    name_params(net);
    return MU_OK;
}
