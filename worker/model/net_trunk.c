/*
 * Embedding and layers, forward and backward (gpt-neox transformer.py; block variants in common/model.h).
 *
 * In the parallel residual the partial results of attention and MLP are added before the one reduction.
 * Backward, each worker takes its partial gradient through the norms, which is linear, and what is reduced is
 * the sum: one message for both norms, with the gradients of their weights after it (a second message when
 * activations are not float).
 */
#include "common/buf.h"
#include "worker/model/net_impl.h"

#include <math.h>

static mu_status_t reduce(mu_net_t *net, mu_array_t a, int64_t count)
{
    return mu_comm_allreduce(net->tp, MU_SUM, mu_type_of(a.type), a.data, count);
}

static mu_array_t layer_output(const mu_net_t *net, int64_t l)
{
    return l + 1 < net->model.layers ? net->saved[l + 1].x : net->hidden;
}

/* drop: of the layer's probabilities, if the call drops any. */
static mu_attention_t attention_shape(const mu_net_t *net, const mu_net_place_t *place,
                                      const mu_dropout_t *drop)
{
    int64_t d = mu_model_head_dim(&net->model);
    return (mu_attention_t){.batch = place->batch,
                            .seq = place->seq,
                            .heads = net->heads,
                            .head_dim = d,
                            .scale = 1.0 / sqrt((double)d),
                            .kv_heads = net->kv_heads,
                            .start = place->piece ? NULL : net->attention_start,
                            .dropout = net->dropping && drop->rate > 0 ? drop : NULL};
}

mu_attention_t mu_net_attention(const mu_net_t *net)
{
    const mu_net_place_t place = {.batch = net->options.micro_batch,
                                  .seq = net->rows / net->options.micro_batch};
    const mu_dropout_t none = {.rate = 0};
    mu_attention_t shape = attention_shape(net, &place, &none);
    shape.start = NULL;
    return shape;
}

static void rotate(mu_net_t *net, mu_array_t qkv, const mu_net_place_t *place, bool inverse)
{
    if (!net->rotary)
        return;
    mu_rotary_t r = {net->rotary,
                     place->batch * place->seq,
                     place->start ? 1 : place->seq,
                     0,
                     net->heads,
                     mu_model_head_dim(&net->model),
                     net->model.rotary_dims,
                     net->kv_heads,
                     place->piece ? place->start : net->position_start};
    if (!place->piece || place->start) {
        net->ops->rotary(net->dev, qkv, &r, inverse);
        return;
    }
    for (int i = 0; i < place->pieces; i++) {
        r.rows = r.seq = place->piece[i].count;
        r.first = place->piece[i].first;
        net->ops->rotary(net->dev, qkv, &r, inverse);
        qkv = mu_array_at(qkv, r.rows * net->qkv);
    }
}

static void add_positions(mu_net_t *net, mu_array_t x, const mu_net_place_t *place)
{
    int64_t h = net->model.hidden;
    if (!net->embed_pos)
        return;
    if (!place->piece || place->start) {
        net->ops->position_forward(net->dev, x, net->embed_pos->weight,
                                   place->piece ? place->start : net->position_start,
                                   place->batch * place->seq, place->start ? 1 : place->seq, 0, h);
        return;
    }
    for (int i = 0; i < place->pieces; i++) {
        const mu_net_piece_t *p = &place->piece[i];
        net->ops->position_forward(net->dev, x, net->embed_pos->weight, NULL, p->count, p->count, p->first,
                                   h);
        x = mu_array_at(x, p->count * h);
    }
}

/* The pieces' rows against their slots of the cache. */
static void attention_cached(mu_net_t *net, int64_t l, const mu_net_place_t *place,
                             const mu_attention_t *shape)
{
    mu_layer_saved_t *s = &net->saved[l];
    mu_array_t qkv = s->qkv, ctx = s->ctx;
    int64_t token = 2 * net->kv_heads * shape->head_dim, row = 0;
    if (place->slot) {
        mu_attention_t rows = *shape;
        rows.batch = shape->batch * shape->seq;
        rows.seq = 1;
        net->ops->attention_rows(net->dev, ctx, net->cache[l], qkv, place->slot, place->start, net->capacity,
                                 &rows);
        return;
    }
    if (net->ops->attention_pieces) {
        mu_cached_piece_t *piece = mu_alloc((size_t)place->pieces * sizeof *piece);
        for (int i = 0; i < place->pieces; row += place->piece[i++].count)
            piece[i] = (mu_cached_piece_t){row, place->piece[i].count, place->piece[i].first,
                                           place->piece[i].slot * net->capacity};
        net->ops->attention_pieces(net->dev, ctx, net->cache[l], qkv, piece, place->pieces, shape);
        free(piece);
        return;
    }
    for (int i = 0; i < place->pieces; i++) {
        const mu_net_piece_t *p = &place->piece[i];
        mu_attention_t one = *shape;
        one.seq = p->count;
        net->ops->attention_cached(net->dev, ctx, mu_array_at(net->cache[l], p->slot * net->capacity * token),
                                   qkv, p->first, &one);
        qkv = mu_array_at(qkv, p->count * net->qkv);
        ctx = mu_array_at(ctx, p->count * net->width);
    }
}

static mu_qk_norm_t qk_shape(const mu_net_t *net, int64_t rows)
{
    return (mu_qk_norm_t){rows, net->heads, net->kv_heads, mu_model_head_dim(&net->model),
                          net->model.norm_eps};
}

void mu_net_norm(mu_net_t *net, mu_array_t y, float *mean, float *rstd, mu_array_t x, const mu_net_param_t *w,
                 const mu_net_param_t *b, int64_t rows)
{
    int64_t h = net->model.hidden;
    if (net->model.norm == MU_NORM_RMS)
        net->ops->rmsnorm_forward(net->dev, y, rstd, x, w->weight, rows, h, net->model.norm_eps);
    else
        net->ops->layernorm_forward(net->dev, y, mean, rstd, x, w->weight, b->weight, rows, h,
                                    net->model.norm_eps);
}

/* Whether both norms have the same input: then they are made together, with attention's. */
static bool both_norms(const mu_net_t *net)
{
    return net->model.residual == MU_RESIDUAL_PARALLEL;
}

/* x -> ctx, keeping what backward needs */
static void attention_forward(mu_net_t *net, int64_t l, const mu_net_place_t *place)
{
    const mu_layer_params_t *p = &net->layer[l];
    mu_layer_saved_t *s = &net->saved[l];
    int64_t rows = place->batch * place->seq, h = net->model.hidden;
    mu_dropout_t drop = mu_net_attention_dropout(net, l);
    mu_attention_t shape = attention_shape(net, place, &drop);
    if (both_norms(net) && net->model.norm == MU_NORM_LAYER) {
        net->ops->layernorm_pair_forward(net->dev, s->ln1, s->ln2, s->mean1, s->rstd1, s->x, p->ln1_w->weight,
                                         p->ln1_b->weight, p->ln2_w->weight, p->ln2_b->weight, rows, h,
                                         net->model.norm_eps);
    } else {
        mu_net_norm(net, s->ln1, s->mean1, s->rstd1, s->x, p->ln1_w, p->ln1_b, rows);
        if (both_norms(net))
            mu_net_norm(net, s->ln2, s->mean1, s->rstd1, s->x, p->ln2_w, p->ln2_b, rows);
    }
    mu_net_linear(net, place->piece, p->q_norm ? s->raw : s->qkv, s->ln1, p->qkv_w->weight,
                  mu_net_weight(p->qkv_b), MU_NO_ARRAY, rows, h, net->qkv);
    mu_net_lora_forward(net, l, MU_LORA_QKV, p->q_norm ? s->raw : s->qkv, s->ln1, rows, place->piece);
    if (p->q_norm) {
        mu_qk_norm_t norm = qk_shape(net, rows);
        net->ops->qk_norm_forward(net->dev, s->qkv, s->rstd_qk, s->raw, p->q_norm->weight, p->k_norm->weight,
                                  &norm);
    }
    rotate(net, s->qkv, place, false);
    if (place->piece)
        attention_cached(net, l, place, &shape);
    else
        net->ops->attention_forward(net->dev, s->ctx, s->lse, s->qkv, &shape);
}

/* mid, or the norm that attention_forward() made -> act */
static void mlp_forward(mu_net_t *net, int64_t l, int64_t rows, bool each)
{
    const mu_layer_params_t *p = &net->layer[l];
    mu_layer_saved_t *s = &net->saved[l];
    int64_t h = net->model.hidden;
    if (net->model.residual == MU_RESIDUAL_SEQUENTIAL)
        mu_net_norm(net, s->ln2, s->mean2, s->rstd2, s->mid, p->ln2_w, p->ln2_b, rows);
    bool gated = mu_model_gated(&net->model),
         apart = p->lora_a[MU_LORA_FC1] || (each && net->ops->linear_rows);
    if (!gated && !apart) {
        net->ops->linear_gelu_forward(net->dev, s->act, s->pre, s->ln2, p->fc1_w->weight,
                                      mu_net_weight(p->fc1_b), rows, h, net->ffn, net->model.activation);
        return;
    }
    if (gated) {
        mu_net_linear(net, each, s->gate, s->ln2, p->gate_w->weight, mu_net_weight(p->gate_b), MU_NO_ARRAY,
                      rows, h, net->ffn);
        mu_net_lora_forward(net, l, MU_LORA_GATE, s->gate, s->ln2, rows, each);
    }
    mu_net_linear(net, each, s->pre, s->ln2, p->fc1_w->weight, mu_net_weight(p->fc1_b), MU_NO_ARRAY, rows, h,
                  net->ffn);
    mu_net_lora_forward(net, l, MU_LORA_FC1, s->pre, s->ln2, rows, each);
    if (!gated) {
        net->ops->gelu_forward(net->dev, s->act, s->pre, rows * net->ffn, net->model.activation);
        return;
    }
    net->ops->swiglu_forward(net->dev, s->act, s->gate, s->pre, rows * net->ffn);
}

/* One worker has nobody to add to: each branch's last product adds what came before it to its own result. */
static void layer_forward_alone(mu_net_t *net, int64_t l, const mu_net_place_t *place)
{
    const mu_layer_params_t *p = &net->layer[l];
    mu_layer_saved_t *s = &net->saved[l];
    int64_t rows = place->batch * place->seq, h = net->model.hidden;
    bool sequential = net->model.residual == MU_RESIDUAL_SEQUENTIAL;
    mu_array_t out = layer_output(net, l), mid = sequential ? s->mid : out;
    attention_forward(net, l, place);
    mu_net_linear(net, place->piece, mid, s->ctx, p->dense_w->weight, mu_net_weight(p->dense_b), s->x, rows,
                  net->width, h);
    mu_net_lora_forward(net, l, MU_LORA_DENSE, mid, s->ctx, rows, place->piece);
    mlp_forward(net, l, rows, place->piece);
    mu_net_linear(net, place->piece, out, s->act, p->fc2_w->weight, mu_net_weight(p->fc2_b), mid, rows,
                  net->ffn, h);
    mu_net_lora_forward(net, l, MU_LORA_FC2, out, s->act, rows, place->piece);
}

/* With hidden dropout each branch is a sum of its own before it is dropped out. Its bias is part of that: the first
 * worker adds it. The draws are the same on all, so what is dropped of the parts is dropped of their sum. */
static mu_status_t layer_forward_dropped(mu_net_t *net, int64_t l, const mu_net_place_t *place)
{
    const mu_layer_params_t *p = &net->layer[l];
    mu_layer_saved_t *s = &net->saved[l];
    int64_t rows = net->rows, h = net->model.hidden;
    bool sequential = net->model.residual == MU_RESIDUAL_SEQUENTIAL, first = net->tp->rank == 0;
    mu_array_t mlp = sequential ? net->branch : net->dropped;
    attention_forward(net, l, place);
    mu_net_linear(net, false, net->branch, s->ctx, p->dense_w->weight,
                  first ? mu_net_weight(p->dense_b) : MU_NO_ARRAY, MU_NO_ARRAY, rows, net->width, h);
    mu_net_lora_forward(net, l, MU_LORA_DENSE, net->branch, s->ctx, rows, false);
    mu_net_drop(net, l, MU_DROP_DENSE, net->branch, net->branch, MU_NO_ARRAY);
    if (sequential) {
        MU_TRY(reduce(net, net->branch, rows * h));
        net->ops->residual(net->dev, s->mid, s->x, net->branch, MU_NO_ARRAY, MU_NO_ARRAY, rows, h);
    }
    mlp_forward(net, l, rows, false);
    mu_net_linear(net, false, mlp, s->act, p->fc2_w->weight, first ? mu_net_weight(p->fc2_b) : MU_NO_ARRAY,
                  MU_NO_ARRAY, rows, net->ffn, h);
    mu_net_lora_forward(net, l, MU_LORA_FC2, mlp, s->act, rows, false);
    mu_net_drop(net, l, MU_DROP_MLP, net->branch, mlp, sequential ? MU_NO_ARRAY : net->branch);
    MU_TRY(reduce(net, net->branch, rows * h));
    net->ops->residual(net->dev, layer_output(net, l), sequential ? s->mid : s->x, net->branch, MU_NO_ARRAY,
                       MU_NO_ARRAY, rows, h);
    return MU_OK;
}

static mu_status_t layer_forward(mu_net_t *net, int64_t l, const mu_net_place_t *place)
{
    const mu_layer_params_t *p = &net->layer[l];
    mu_layer_saved_t *s = &net->saved[l];
    int64_t rows = place->batch * place->seq, h = net->model.hidden;
    bool sequential = net->model.residual == MU_RESIDUAL_SEQUENTIAL;
    if (mu_net_drops(net))
        return layer_forward_dropped(net, l, place);
    if (net->tp->size == 1) {
        layer_forward_alone(net, l, place);
        return MU_OK;
    }
    attention_forward(net, l, place);
    mu_net_linear(net, place->piece, net->branch, s->ctx, p->dense_w->weight, MU_NO_ARRAY, MU_NO_ARRAY, rows,
                  net->width, h);
    mu_net_lora_forward(net, l, MU_LORA_DENSE, net->branch, s->ctx, rows, place->piece);
    if (sequential) {
        MU_TRY(reduce(net, net->branch, rows * h));
        net->ops->residual(net->dev, s->mid, s->x, net->branch, mu_net_weight(p->dense_b), MU_NO_ARRAY, rows,
                           h);
    }
    mlp_forward(net, l, rows, place->piece);
    mu_net_linear(net, place->piece, net->branch, s->act, p->fc2_w->weight, MU_NO_ARRAY,
                  sequential ? MU_NO_ARRAY : net->branch, rows, net->ffn, h);
    mu_net_lora_forward(net, l, MU_LORA_FC2, net->branch, s->act, rows, place->piece);
    MU_TRY(reduce(net, net->branch, rows * h));
    net->ops->residual(net->dev, layer_output(net, l), sequential ? s->mid : s->x, net->branch,
                       mu_net_weight(p->fc2_b), sequential ? MU_NO_ARRAY : mu_net_weight(p->dense_b), rows,
                       h);
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
    add_positions(net, x, place);
    if (mu_net_drops(net))
        mu_net_drop(net, 0, MU_DROP_EMBEDDING, x, x, MU_NO_ARRAY);
    for (int64_t l = 0; l < net->model.layers; l++) {
        MU_TRY(mu_net_group_need(net, MU_GROUP_ATTENTION(l)));
        MU_TRY(mu_net_group_need(net, MU_GROUP_MLP(l)));
        MU_TRY(layer_forward(net, l, place));
    }
    return mu_net_group_need(net, mu_net_group_count(net) - 1);
}

void mu_net_final_norm(mu_net_t *net, int64_t from, int64_t rows)
{
    int64_t at = from * net->model.hidden;
    mu_net_norm(net, mu_array_at(net->normed, at), net->mean + from, net->rstd + from,
                mu_array_at(net->hidden, at), net->lnf_w, net->lnf_b, rows);
}

static void weight_gradients(mu_net_t *net, const mu_net_param_t *w, const mu_net_param_t *b, mu_array_t dy,
                             mu_array_t x, int64_t in, int64_t out)
{
    if (!w->gradient)
        return;
    net->ops->linear_backward_weight(net->dev, w->gradient, b ? b->gradient : NULL, dy, x, net->rows, in, out,
                                     net->fresh);
}

/* dact (of the product of both halves) -> dln2 */
static void gated_backward(mu_net_t *net, int64_t l)
{
    const mu_layer_params_t *p = &net->layer[l];
    const mu_layer_saved_t *s = &net->saved[l];
    int64_t rows = net->rows, h = net->model.hidden;
    net->ops->swiglu_backward(net->dev, net->dgate, net->dact, net->dact, s->gate, s->pre, rows * net->ffn);
    weight_gradients(net, p->gate_w, p->gate_b, net->dgate, s->ln2, h, net->ffn);
    weight_gradients(net, p->fc1_w, p->fc1_b, net->dact, s->ln2, h, net->ffn);
    net->ops->linear_backward_input(net->dev, net->dln2, net->dgate, p->gate_w->weight, rows, h, net->ffn,
                                    false);
    net->ops->linear_backward_input(net->dev, net->dln2, net->dact, p->fc1_w->weight, rows, h, net->ffn,
                                    true);
    mu_net_lora_backward(net, l, MU_LORA_GATE, net->dln2, net->dgate, s->ln2);
    mu_net_lora_backward(net, l, MU_LORA_FC1, net->dln2, net->dact, s->ln2);
}

/* dy of a branch: that of the residual stream, or what was not dropped of it. */
static mu_array_t branch_gradient(mu_net_t *net, int64_t l, int kind)
{
    if (!mu_net_drops(net))
        return net->dy;
    mu_net_drop(net, l, kind, net->dropped, net->dy, MU_NO_ARRAY);
    return net->dropped;
}

/* dy -> dln2 */
static void mlp_backward(mu_net_t *net, int64_t l)
{
    const mu_layer_params_t *p = &net->layer[l];
    const mu_layer_saved_t *s = &net->saved[l];
    int64_t rows = net->rows, h = net->model.hidden;
    mu_array_t dy = branch_gradient(net, l, MU_DROP_MLP);
    weight_gradients(net, p->fc2_w, p->fc2_b, dy, s->act, net->ffn, h);
    if (mu_model_gated(&net->model)) {
        net->ops->linear_backward_input(net->dev, net->dact, dy, p->fc2_w->weight, rows, net->ffn, h, false);
        mu_net_lora_backward(net, l, MU_LORA_FC2, net->dact, dy, s->act);
        gated_backward(net, l);
        return;
    }
    if (p->lora_a[MU_LORA_FC2]) {
        net->ops->linear_backward_input(net->dev, net->dact, dy, p->fc2_w->weight, rows, net->ffn, h, false);
        mu_net_lora_backward(net, l, MU_LORA_FC2, net->dact, dy, s->act);
        net->ops->gelu_backward(net->dev, net->dact, net->dact, s->pre, rows * net->ffn,
                                net->model.activation);
    } else {
        net->ops->linear_gelu_backward_input(net->dev, net->dact, dy, p->fc2_w->weight, s->pre, rows,
                                             net->ffn, h, net->model.activation);
    }
    weight_gradients(net, p->fc1_w, p->fc1_b, net->dact, s->ln2, h, net->ffn);
    net->ops->linear_backward_input(net->dev, net->dln2, net->dact, p->fc1_w->weight, rows, h, net->ffn,
                                    false);
    mu_net_lora_backward(net, l, MU_LORA_FC1, net->dln2, net->dact, s->ln2);
}

/* dqkv, after the norms of queries and keys, -> before them. With tp the norms' gradients wait in front of those of
 * the layer's norms, for norms_backward(). */
static void qk_norms_backward(mu_net_t *net, int64_t l)
{
    const mu_layer_params_t *p = &net->layer[l];
    const mu_layer_saved_t *s = &net->saved[l];
    mu_qk_norm_t norm = qk_shape(net, net->rows);
    float *dq = p->q_norm->gradient, *dk = p->k_norm->gradient;
    if (net->tp->size > 1 || mu_net_is_frozen(net)) {
        dq = net->reduced_norms;
        dk = dq + norm.head_dim;
        net->ops->zero(net->dev, dq, mu_net_qk_weights(net) * (int64_t)sizeof *dq);
    }
    net->ops->qk_norm_backward(net->dev, net->dqkv, dq, dk, s->raw, p->q_norm->weight, p->k_norm->weight,
                               s->rstd_qk, &norm);
}

/* dy -> dln1, added to what is there when accumulating */
static void attention_backward(mu_net_t *net, int64_t l, const mu_net_place_t *place, mu_array_t dln1,
                               bool accumulate)
{
    const mu_layer_params_t *p = &net->layer[l];
    const mu_layer_saved_t *s = &net->saved[l];
    int64_t rows = net->rows, h = net->model.hidden;
    mu_dropout_t drop = mu_net_attention_dropout(net, l);
    mu_attention_t shape = attention_shape(net, place, &drop);
    mu_array_t dy = branch_gradient(net, l, MU_DROP_DENSE);
    weight_gradients(net, p->dense_w, p->dense_b, dy, s->ctx, net->width, h);
    net->ops->linear_backward_input(net->dev, net->dctx, dy, p->dense_w->weight, rows, net->width, h, false);
    mu_net_lora_backward(net, l, MU_LORA_DENSE, net->dctx, dy, s->ctx);
    net->ops->attention_backward(net->dev, net->dqkv, net->dctx, s->qkv, s->ctx, s->lse, &shape);
    rotate(net, net->dqkv, place, true);
    if (p->q_norm)
        qk_norms_backward(net, l);
    weight_gradients(net, p->qkv_w, p->qkv_b, net->dqkv, s->ln1, h, net->qkv);
    net->ops->linear_backward_input(net->dev, dln1, net->dqkv, p->qkv_w->weight, rows, h, net->qkv,
                                    accumulate);
    mu_net_lora_backward(net, l, MU_LORA_QKV, dln1, net->dqkv, s->ln1);
}

/* One norm on the way back: from the partial gradient of its output, dln, to that of its input. */
typedef struct norm {
    const mu_net_param_t *w, *b;
    mu_array_t x, dln;
    const float *mean, *rstd;
} norm_t;

/* dx (+)= the gradients of the norms' input, of which there are one or two; dw[i] and db[i] += the weights'. RMS
 * norms have no db. */
static void norms_input(mu_net_t *net, mu_array_t dx, float *const dw[2], float *const db[2],
                        const norm_t *norm, int count, bool accumulate)
{
    int64_t rows = net->rows, h = net->model.hidden;
    if (net->model.norm == MU_NORM_RMS)
        for (int i = 0; i < count; i++)
            net->ops->rmsnorm_backward(net->dev, dx, dw[i], norm[i].dln, norm[i].x, norm[i].w->weight,
                                       norm[i].rstd, rows, h, accumulate || i > 0);
    else if (count == 2)
        net->ops->layernorm_pair_backward(net->dev, dx, dw[0], db[0], dw[1], db[1], norm[0].dln, norm[1].dln,
                                          norm[0].x, norm[0].w->weight, norm[1].w->weight, norm[0].mean,
                                          norm[0].rstd, rows, h, accumulate);
    else
        net->ops->layernorm_backward(net->dev, dx, dw[0], db[0], norm[0].dln, norm[0].x, norm[0].w->weight,
                                     norm[0].mean, norm[0].rstd, rows, h, accumulate);
}

/* The gradients of queries' and keys' norms, summed over the group, from the message of the layer's first norm. */
static void qk_norms_take(mu_net_t *net, int64_t l)
{
    const mu_layer_params_t *p = &net->layer[l];
    int64_t d = mu_model_head_dim(&net->model);
    if (net->tp->size == 1 || !p->q_norm || mu_net_is_frozen(net))
        return;
    net->ops->add(net->dev, mu_array_f32(p->q_norm->gradient), mu_array_f32(net->reduced_norms), d);
    net->ops->add(net->dev, mu_array_f32(p->k_norm->gradient), mu_array_f32(net->reduced_norms + d), d);
}

/* net->dy += the gradients of the norms' input, summed over the group */
static mu_status_t norms_backward(mu_net_t *net, const norm_t *norm, int count)
{
    int64_t rows = net->rows, h = net->model.hidden, each = net->model.norm == MU_NORM_RMS ? 1 : 2;
    int64_t qk = mu_net_qk_weights(net), weights = each * count * h;
    bool alone = net->tp->size == 1, frozen = mu_net_is_frozen(net), own = alone && !frozen;
    float *dw[2], *db[2] = {NULL}, *parts = own ? NULL : net->reduced_norms + qk;
    for (int i = 0; i < count; i++) {
        dw[i] = own ? norm[i].w->gradient : parts + each * i * h;
        if (norm[i].b)
            db[i] = own ? norm[i].b->gradient : parts + (each * i + 1) * h;
    }
    if (alone) {
        norms_input(net, net->dy, dw, db, norm, count, true);
        return MU_OK;
    }
    net->ops->zero(net->dev, parts, weights * (int64_t)sizeof *parts);
    norms_input(net, net->reduced, dw, db, norm, count, false);
    if (frozen) {
        MU_TRY(reduce(net, net->reduced, rows * h));
    } else if (net->reduced.type == MU_DTYPE_F32) {
        MU_TRY(reduce(net, net->reduced, rows * h + qk + weights));
    } else {
        MU_TRY(reduce(net, net->reduced, rows * h));
        MU_TRY(reduce(net, mu_array_f32(net->reduced_norms), qk + weights));
    }
    net->ops->add(net->dev, net->dy, net->reduced, rows * h);
    for (int i = 0; i < count && !frozen; i++) {
        net->ops->add(net->dev, mu_array_f32(norm[i].w->gradient), mu_array_f32(dw[i]), h);
        if (norm[i].b)
            net->ops->add(net->dev, mu_array_f32(norm[i].b->gradient), mu_array_f32(db[i]), h);
    }
    return MU_OK;
}

static mu_status_t norms_and_attention_backward(mu_net_t *net, int64_t l, const mu_net_place_t *place)
{
    const mu_layer_params_t *p = &net->layer[l];
    mu_layer_saved_t *s = &net->saved[l];
    norm_t norm1 = {p->ln1_w, p->ln1_b, s->x, net->dnormed, s->mean1, s->rstd1};
    norm_t norm2 = {p->ln2_w, p->ln2_b, s->mid, net->dln2, s->mean2, s->rstd2};
    if (net->model.residual == MU_RESIDUAL_SEQUENTIAL) {
        if (p->q_norm && net->tp->size > 1) /* nothing of theirs yet */
            net->ops->zero(net->dev, net->reduced_norms, mu_net_qk_weights(net) * (int64_t)sizeof(float));
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

static mu_status_t layer_backward(mu_net_t *net, int64_t l, const mu_net_place_t *place)
{
    if (net->options.checkpoint_activations) {
        attention_forward(net, l, place);
        mlp_forward(net, l, net->rows, false);
    }
    mlp_backward(net, l);
    MU_TRY(mu_net_lora_sum(net, l, true));
    MU_TRY(mu_net_group_whole(net, MU_GROUP_MLP(l)));
    MU_TRY(norms_and_attention_backward(net, l, place));
    MU_TRY(mu_net_lora_sum(net, l, false));
    qk_norms_take(net, l);
    return MU_OK;
}

mu_status_t mu_net_trunk_backward(mu_net_t *net)
{
    mu_net_place_t place = {.batch = net->batch, .seq = net->seq};
    int64_t h = net->model.hidden;
    for (int64_t l = net->model.layers; l-- > 0;) {
        MU_TRY(layer_backward(net, l, &place));
        MU_TRY(mu_net_group_whole(net, MU_GROUP_ATTENTION(l)));
    }
    if (mu_net_is_frozen(net))
        return mu_net_group_whole(net, 0);
    if (mu_net_drops(net))
        mu_net_drop(net, 0, MU_DROP_EMBEDDING, net->dy, net->dy, MU_NO_ARRAY);
    if (net->embed_pos)
        net->ops->position_backward(net->dev, net->embed_pos->gradient, net->dy, net->position_start,
                                    net->rows, net->seq, h);
    net->ops->embedding_backward(net->dev, net->embed_in->gradient, net->dy, net->ids, net->rows, h,
                                 net->vocab_first, net->vocab);
    return mu_net_group_whole(net, 0);
}
