/*
 * Embedding and layers, forward and backward (gpt-neox transformer.py; block variants in common/model.h).
 *
 * In the parallel residual the partial results of attention and MLP are added before the one reduction.
 * Backward, each worker takes its partial gradient through the norms, which is linear, and what is reduced is
 * the sum: one message for both norms, with the gradients of their weights behind it (a second message when
 * activations are not float).
 */
#include "worker/net_impl.h"

#include <math.h>

static mu_status_t reduce(mu_net_t *net, mu_array_t a, int64_t count)
{
    return mu_comm_allreduce(net->tp, MU_SUM, mu_type_of(a.type), a.data, count);
}

static mu_array_t layer_output(const mu_net_t *net, int64_t l)
{
    return l + 1 < net->model.layers ? net->saved[l + 1].x : net->hidden;
}

static mu_attention_t attention_shape(const mu_net_t *net, const mu_net_place_t *place)
{
    int64_t d = mu_model_head_dim(&net->model);
    return (mu_attention_t){place->batch, place->seq, net->heads, d, 1.0 / sqrt((double)d)};
}

static void turn(mu_net_t *net, mu_array_t qkv, const mu_net_place_t *place, bool inverse)
{
    if (!net->rotary)
        return;
    mu_rotary_t r = {net->rotary,
                     place->batch * place->seq,
                     place->seq,
                     place->first,
                     net->heads,
                     mu_model_head_dim(&net->model),
                     net->model.rotary_dims};
    net->ops->rotary(net->dev, qkv, &r, inverse);
}

/* x -> ctx, keeping what backward needs */
static void attention_forward(mu_net_t *net, int64_t l, const mu_net_place_t *place)
{
    const mu_layer_params_t *p = &net->layer[l];
    mu_layer_saved_t *s = &net->saved[l];
    int64_t rows = place->batch * place->seq, h = net->model.hidden;
    mu_attention_t shape = attention_shape(net, place);
    net->ops->layernorm_forward(net->dev, s->ln1, s->mean1, s->rstd1, s->x, p->ln1_w->weight,
                                p->ln1_b->weight, rows, h, net->model.norm_eps);
    net->ops->linear_forward(net->dev, s->qkv, s->ln1, p->qkv_w->weight, p->qkv_b->weight, rows, h,
                             3 * net->width, false);
    turn(net, s->qkv, place, false);
    if (place->cached)
        net->ops->attention_cached(net->dev, s->ctx, net->cache[l], s->qkv, place->first, &shape);
    else
        net->ops->attention_forward(net->dev, s->ctx, s->lse, s->qkv, &shape);
}

/* x, or mid -> act */
static void mlp_forward(mu_net_t *net, int64_t l, int64_t rows)
{
    const mu_layer_params_t *p = &net->layer[l];
    mu_layer_saved_t *s = &net->saved[l];
    int64_t h = net->model.hidden;
    if (p->ln2_w) {
        mu_array_t from = net->model.residual == MU_RESIDUAL_SEQUENTIAL ? s->mid : s->x;
        net->ops->layernorm_forward(net->dev, s->ln2, s->mean2, s->rstd2, from, p->ln2_w->weight,
                                    p->ln2_b->weight, rows, h, net->model.norm_eps);
    }
    net->ops->linear_gelu_forward(net->dev, s->act, s->pre, s->ln2, p->fc1_w->weight, p->fc1_b->weight, rows,
                                  h, net->ffn, net->model.activation);
}

static mu_status_t layer_forward(mu_net_t *net, int64_t l, const mu_net_place_t *place)
{
    const mu_layer_params_t *p = &net->layer[l];
    mu_layer_saved_t *s = &net->saved[l];
    int64_t rows = place->batch * place->seq, h = net->model.hidden;
    bool sequential = net->model.residual == MU_RESIDUAL_SEQUENTIAL;
    attention_forward(net, l, place);
    net->ops->linear_forward(net->dev, net->branch, s->ctx, p->dense_w->weight, MU_NO_ARRAY, rows, net->width,
                             h, false);
    if (sequential) {
        MU_TRY(reduce(net, net->branch, rows * h));
        net->ops->residual(net->dev, s->mid, s->x, net->branch, p->dense_b->weight, MU_NO_ARRAY, rows, h);
    }
    mlp_forward(net, l, rows);
    net->ops->linear_forward(net->dev, net->branch, s->act, p->fc2_w->weight, MU_NO_ARRAY, rows, net->ffn, h,
                             !sequential);
    MU_TRY(reduce(net, net->branch, rows * h));
    net->ops->residual(net->dev, layer_output(net, l), sequential ? s->mid : s->x, net->branch,
                       p->fc2_b->weight, sequential ? MU_NO_ARRAY : p->dense_b->weight, rows, h);
    return MU_OK;
}

mu_status_t mu_net_trunk_forward(mu_net_t *net, const mu_net_place_t *place)
{
    int64_t rows = place->batch * place->seq, h = net->model.hidden;
    mu_array_t x = net->saved[0].x;
    MU_TRY(mu_net_group_need(net, 0));
    net->ops->embedding_forward(net->dev, x, net->embed_in->weight, net->ids, rows, h, net->vocab_first,
                                net->vocab);
    MU_TRY(reduce(net, x, rows * h));
    if (net->embed_pos)
        net->ops->position_forward(net->dev, x, net->embed_pos->weight, rows, place->seq, place->first, h);
    for (int64_t l = 0; l < net->model.layers; l++) {
        MU_TRY(mu_net_group_need(net, 1 + (int)l));
        MU_TRY(layer_forward(net, l, place));
    }
    return mu_net_group_need(net, mu_net_group_count(net) - 1);
}

void mu_net_final_norm(mu_net_t *net, int64_t from, int64_t rows)
{
    int64_t at = from * net->model.hidden;
    net->ops->layernorm_forward(net->dev, mu_array_at(net->normed, at), net->mean + from, net->rstd + from,
                                mu_array_at(net->hidden, at), net->lnf_w->weight, net->lnf_b->weight, rows,
                                net->model.hidden, net->model.norm_eps);
}

/* dy -> dln2 */
static void mlp_backward(mu_net_t *net, int64_t l)
{
    const mu_layer_params_t *p = &net->layer[l];
    const mu_layer_saved_t *s = &net->saved[l];
    int64_t rows = net->rows, h = net->model.hidden;
    net->ops->linear_backward_weight(net->dev, p->fc2_w->gradient, p->fc2_b->gradient, net->dy, s->act, rows,
                                     net->ffn, h);
    net->ops->linear_gelu_backward_input(net->dev, net->dact, net->dy, p->fc2_w->weight, s->pre, rows,
                                         net->ffn, h, net->model.activation);
    net->ops->linear_backward_weight(net->dev, p->fc1_w->gradient, p->fc1_b->gradient, net->dact, s->ln2,
                                     rows, h, net->ffn);
    net->ops->linear_backward_input(net->dev, net->dln2, net->dact, p->fc1_w->weight, rows, h, net->ffn,
                                    false);
}

/* dy -> dln1, added to what is there when accumulating */
static void attention_backward(mu_net_t *net, int64_t l, const mu_net_place_t *place, mu_array_t dln1,
                               bool accumulate)
{
    const mu_layer_params_t *p = &net->layer[l];
    const mu_layer_saved_t *s = &net->saved[l];
    int64_t rows = net->rows, h = net->model.hidden;
    mu_attention_t shape = attention_shape(net, place);
    net->ops->linear_backward_weight(net->dev, p->dense_w->gradient, p->dense_b->gradient, net->dy, s->ctx,
                                     rows, net->width, h);
    net->ops->linear_backward_input(net->dev, net->dctx, net->dy, p->dense_w->weight, rows, net->width, h,
                                    false);
    net->ops->attention_backward(net->dev, net->dqkv, net->dctx, s->qkv, s->ctx, s->lse, &shape);
    turn(net, net->dqkv, place, true);
    net->ops->linear_backward_weight(net->dev, p->qkv_w->gradient, p->qkv_b->gradient, net->dqkv, s->ln1,
                                     rows, h, 3 * net->width);
    net->ops->linear_backward_input(net->dev, dln1, net->dqkv, p->qkv_w->weight, rows, h, 3 * net->width,
                                    accumulate);
}

/* One norm on the way back: from the partial gradient of its output, dln, to that of its input. */
typedef struct norm {
    const mu_net_param_t *w, *b;
    mu_array_t x, dln;
    const float *mean, *rstd;
} norm_t;

/* net->dy += the gradients of the norms' inputs, summed over the group */
static mu_status_t norms_backward(mu_net_t *net, const norm_t *norm, int count)
{
    int64_t rows = net->rows, h = net->model.hidden, weights = 2 * count * h;
    if (net->tp->size == 1) {
        for (int i = 0; i < count; i++)
            net->ops->layernorm_backward(net->dev, net->dy, norm[i].w->gradient, norm[i].b->gradient,
                                         norm[i].dln, norm[i].x, norm[i].w->weight, norm[i].mean,
                                         norm[i].rstd, rows, h, true);
        return MU_OK;
    }
    net->ops->zero(net->dev, net->reduced_norms, weights * (int64_t)sizeof *net->reduced_norms);
    for (int i = 0; i < count; i++) {
        float *dw = net->reduced_norms + 2 * i * h;
        net->ops->layernorm_backward(net->dev, net->reduced, dw, dw + h, norm[i].dln, norm[i].x,
                                     norm[i].w->weight, norm[i].mean, norm[i].rstd, rows, h, i > 0);
    }
    if (net->reduced.type == MU_DTYPE_F32) {
        MU_TRY(reduce(net, net->reduced, rows * h + weights));
    } else {
        MU_TRY(reduce(net, net->reduced, rows * h));
        MU_TRY(reduce(net, mu_array_f32(net->reduced_norms), weights));
    }
    net->ops->add(net->dev, net->dy, net->reduced, rows * h);
    for (int i = 0; i < count; i++) {
        float *dw = net->reduced_norms + 2 * i * h;
        net->ops->add(net->dev, mu_array_f32(norm[i].w->gradient), mu_array_f32(dw), h);
        net->ops->add(net->dev, mu_array_f32(norm[i].b->gradient), mu_array_f32(dw + h), h);
    }
    return MU_OK;
}

static mu_status_t layer_backward(mu_net_t *net, int64_t l, const mu_net_place_t *place)
{
    const mu_layer_params_t *p = &net->layer[l];
    mu_layer_saved_t *s = &net->saved[l];
    if (net->options.checkpoint_activations) {
        attention_forward(net, l, place);
        mlp_forward(net, l, net->rows);
    }
    norm_t norm1 = {p->ln1_w, p->ln1_b, s->x, net->dnormed, s->mean1, s->rstd1};
    norm_t norm2 = {p->ln2_w, p->ln2_b, s->x, net->dln2, s->mean2, s->rstd2};
    mlp_backward(net, l);
    if (net->model.residual == MU_RESIDUAL_SEQUENTIAL) {
        norm2.x = s->mid;
        MU_TRY(norms_backward(net, &norm2, 1));
        attention_backward(net, l, place, net->dnormed, false);
        return norms_backward(net, &norm1, 1);
    }
    if (net->model.residual == MU_RESIDUAL_PARALLEL_TIED) {
        attention_backward(net, l, place, net->dln2, true);
        norm1.dln = net->dln2;
        return norms_backward(net, &norm1, 1);
    }
    attention_backward(net, l, place, net->dnormed, false);
    return norms_backward(net, (norm_t[]){norm1, norm2}, 2);
}

mu_status_t mu_net_trunk_backward(mu_net_t *net)
{
    mu_net_place_t place = {.batch = net->batch, .seq = net->seq};
    int64_t h = net->model.hidden;
    for (int64_t l = net->model.layers; l-- > 0;) {
        MU_TRY(layer_backward(net, l, &place));
        MU_TRY(mu_net_group_whole(net, 1 + (int)l));
    }
    if (net->embed_pos)
        net->ops->position_backward(net->dev, net->embed_pos->gradient, net->dy, net->rows, net->seq, h);
    net->ops->embedding_backward(net->dev, net->embed_in->gradient, net->dy, net->ids, net->rows, h,
                                 net->vocab_first, net->vocab);
    return mu_net_group_whole(net, 0);
}
