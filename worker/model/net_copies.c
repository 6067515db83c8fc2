/* Keys and values that several workers of a tp group hold, since it has more workers than the model has key/value
 * heads: each computes them for its own queries, and their gradients are summed. */
#include "worker/model/net_impl.h"

/* Floats of a head: rows of k and v of the weight, and their biases. */
static int64_t head_floats(const mu_net_t *net, int64_t *weights)
{
    int64_t rows = 2 * mu_model_head_dim(&net->model);
    *weights = rows * net->model.hidden;
    return *weights + (net->layer[0].qkv_b ? rows : 0);
}

mu_status_t mu_net_make_copies(mu_net_t *net)
{
    int64_t weights;
    if (mu_model_kv_copies(&net->model, net->tp->size) == 1 || mu_net_is_frozen(net))
        return MU_OK;
    return mu_net_get_floats(net, MU_MEM_COMMUNICATION,
                             mu_model_kv_heads(&net->model) * head_floats(net, &weights), &net->copies);
}

/* The layer whose norms and attention are the group; NULL: another kind of group. */
static const mu_layer_params_t *layer_of(const mu_net_t *net, int group)
{
    bool attention = group > 0 && group % 2 == 1 && group < MU_GROUP_ATTENTION(net->model.layers);
    return attention ? &net->layer[(group - 1) / 2] : NULL;
}

/* Every head has a place in one message: a worker fills its head's and reads the sum there. */
mu_status_t mu_net_sum_copies(mu_net_t *net, int group)
{
    const mu_layer_params_t *l = layer_of(net, group);
    int64_t copies = mu_model_kv_copies(&net->model, net->tp->size), kv = mu_model_kv_heads(&net->model),
            weights;
    if (copies == 1 || !l || mu_net_is_frozen(net))
        return MU_OK;
    int64_t each = head_floats(net, &weights), size = sizeof(float);
    float *own = net->copies + net->tp->rank / copies * each;
    float *w = l->qkv_w->gradient + l->qkv_w->elements - weights; /* the last rows of the slice */
    float *b = l->qkv_b ? l->qkv_b->gradient + l->qkv_b->elements - (each - weights) : NULL;
    net->ops->zero(net->dev, net->copies, kv * each * size);
    net->ops->copy(net->dev, own, w, weights * size);
    if (b)
        net->ops->copy(net->dev, own + weights, b, (each - weights) * size);
    MU_TRY(mu_comm_allreduce(net->tp, MU_SUM, MU_TYPE_F32, net->copies, kv * each));
    net->ops->copy(net->dev, w, own, weights * size);
    if (b)
        net->ops->copy(net->dev, b, own + weights, (each - weights) * size);
    return MU_OK;
}
