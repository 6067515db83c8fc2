/*
 * The head and the loss (gpt-neox mpu/cross_entropy.py): logits of a slice of the vocabulary, a chunk of
 * tokens at a time, turned into their gradient in place.
 */
#include "common/buf.h"
#include "common/log.h"
#include "common/token_marks.h"
#include "kernels/convert.h"
#include "worker/model/net_impl.h"

static mu_status_t check_tokens(const mu_net_t *net, const int32_t *tokens, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (tokens[i] < 0 || tokens[i] >= net->model.vocab)
            return mu_fail(
                MU_DATA,
                "token %d lies outside the model's vocabulary of %lld: the data was made with another "
                "tokenizer",
                (int)tokens[i], (long long)net->model.vocab);
    return MU_OK;
}

mu_status_t mu_net_put_ids(mu_net_t *net, const int32_t *tokens, int64_t count)
{
    MU_TRY(check_tokens(net, tokens, count));
    net->ops->put(net->dev, net->ids, tokens, count * (int64_t)sizeof *tokens);
    return MU_OK;
}

/* Where documents begin in the sequences, for attention and positions; nothing where no document begins inside one. */
static mu_status_t put_borders(mu_net_t *net, const int32_t *tokens, int64_t batch)
{
    int64_t s = net->seq, bytes = net->rows * (int64_t)sizeof *net->start;
    bool inside = false;
    int32_t *start = mu_alloc((size_t)bytes);
    for (int64_t b = 0; b < batch; b++)
        for (int64_t i = 0, from = 0; i < s; i++) {
            if (tokens[b * (s + 1) + i] & MU_TOKEN_BEGINS)
                from = i;
            inside = inside || from > 0;
            start[b * s + i] = (int32_t)from;
        }
    net->attention_start = net->position_start = NULL;
    mu_status_t status = MU_OK;
    void *p = net->start;
    if (inside && !p)
        status = mu_net_get_memory(net, MU_MEM_WORKSPACE, bytes, &p);
    net->start = p;
    if (status == MU_OK && inside) {
        net->ops->put(net->dev, net->start, start, batch * s * (int64_t)sizeof *start);
        net->attention_start = net->options.reset_attention ? net->start : NULL;
        net->position_start = net->options.reset_positions ? net->start : NULL;
    }
    free(start);
    return status;
}

/* tokens [batch][seq + 1] -> ids, labels, weights (0 or 1), borders; returns how many count. */
static mu_status_t put_samples(mu_net_t *net, const int32_t *tokens, int64_t batch, int64_t *counted)
{
    int64_t s = net->seq, rows = batch * s, n = 0;
    for (int64_t r = 0; r < rows; r++) {
        const int32_t *token = tokens + r / s * (s + 1) + r % s;
        net->host_ids[r] = mu_token_id(token[0]);
        net->host_labels[r] = mu_token_id(token[1]);
        bool counts = !(token[1] & MU_TOKEN_UNCOUNTED) &&
                      (net->options.eod < 0 || net->host_ids[r] != net->options.eod);
        net->host_weights[r] = counts ? 1.0F : 0.0F;
        n += counts;
    }
    MU_TRY(check_tokens(net, net->host_labels, rows));
    MU_TRY(mu_net_put_ids(net, net->host_ids, rows));
    net->ops->put(net->dev, net->labels, net->host_labels, rows * (int64_t)sizeof *net->labels);
    net->ops->put(net->dev, net->weights, net->host_weights, rows * (int64_t)sizeof *net->weights);
    *counted = n;
    return put_borders(net, tokens, batch);
}

static void head_logits(mu_net_t *net, int64_t from, int64_t rows, bool each)
{
    mu_net_linear(net, each, net->logits, mu_array_at(net->normed, from * net->model.hidden),
                  net->embed_out->weight, MU_NO_ARRAY, MU_NO_ARRAY, rows, net->model.hidden, net->vocab);
}

/* Rows from .. from + rows - 1: adds to *loss; net->logits are left as exp leaves them, net->max and net->sums as
 * reduced. */
static mu_status_t chunk_loss(mu_net_t *net, int64_t from, int64_t rows, double *loss)
{
    head_logits(net, from, rows, false);
    net->ops->cross_entropy_max(net->dev, net->max, net->sums, net->logits, rows, net->vocab);
    MU_TRY(mu_comm_allreduce(net->tp, MU_MAX, MU_TYPE_F32, net->max, rows));
    net->ops->cross_entropy_exp(net->dev, net->logits, net->sums, net->max, net->labels + from, rows,
                                net->vocab, net->vocab_first);
    MU_TRY(mu_comm_allreduce(net->tp, MU_SUM, MU_TYPE_F32, net->sums, 2 * rows));
    net->ops->cross_entropy_loss(net->dev, loss, net->sums, net->weights + from, rows);
    return MU_OK;
}

static void chunk_backward(mu_net_t *net, int64_t from, int64_t rows, double factor)
{
    int64_t h = net->model.hidden;
    mu_array_t x = mu_array_at(net->normed, from * h);
    net->ops->cross_entropy_backward(net->dev, net->logits, net->sums, net->max, net->weights + from,
                                     net->labels + from, rows, net->vocab, net->vocab_first, factor);
    if (net->embed_out->gradient)
        net->ops->linear_backward_weight(net->dev, net->embed_out->gradient, NULL, net->logits, x, rows, h,
                                         net->vocab, net->fresh && from == 0);
    net->ops->linear_backward_input(net->dev, mu_array_at(net->dnormed, from * h), net->logits,
                                    net->embed_out->weight, rows, h, net->vocab, false);
}

/* Reads the losses that wait on the device. */
static mu_status_t read_pending(mu_net_t *net)
{
    double loss[MU_NET_PENDING];
    if (net->pending == 0)
        return MU_OK;
    int64_t bytes = net->pending * (int64_t)sizeof *loss;
    MU_TRY(net->ops->get(net->dev, loss, net->loss, bytes));
    net->ops->zero(net->dev, net->loss, bytes);
    for (int i = 0; i < net->pending; i++) {
        net->taken.token_sum += loss[i];
        net->taken.tokens += net->pending_tokens[i];
        net->taken.micro_batches++;
        if (net->pending_tokens[i] > 0)
            net->taken.mean_sum += loss[i] / (double)net->pending_tokens[i];
    }
    net->pending = 0;
    return MU_OK;
}

static mu_status_t next_loss(mu_net_t *net, int64_t counted, double **out)
{
    if (net->pending == MU_NET_PENDING)
        MU_TRY(read_pending(net));
    net->pending_tokens[net->pending] = counted;
    *out = net->loss + net->pending++;
    return MU_OK;
}

mu_status_t mu_net_take_loss(mu_net_t *net, mu_net_loss_t *out)
{
    MU_TRY(read_pending(net));
    MU_TRY(net->ops->sync(net->dev));
    *out = net->taken;
    net->taken = (mu_net_loss_t){0};
    return MU_OK;
}

mu_status_t mu_net_forward_loss(mu_net_t *net, const int32_t *tokens, int64_t batch)
{
    int64_t counted, rows = batch * net->seq;
    double *loss;
    MU_TRY(put_samples(net, tokens, batch, &counted));
    MU_TRY(next_loss(net, counted, &loss));
    MU_TRY(mu_net_trunk_forward(net, &(mu_net_place_t){.batch = batch, .seq = net->seq}));
    mu_net_final_norm(net, 0, rows);
    for (int64_t from = 0; from < rows; from += net->chunk)
        MU_TRY(chunk_loss(net, from, rows - from < net->chunk ? rows - from : net->chunk, loss));
    return MU_OK;
}

static mu_status_t forward_backward(mu_net_t *net, const int32_t *tokens, double each, double scale)
{
    int64_t counted, rows = net->rows, h = net->model.hidden;
    double *loss;
    MU_TRY(put_samples(net, tokens, net->batch, &counted));
    MU_TRY(next_loss(net, counted, &loss));
    MU_TRY(mu_net_trunk_forward(net, &(mu_net_place_t){.batch = net->batch, .seq = net->seq}));
    mu_net_final_norm(net, 0, rows);
    double factor = scale == 0 ? each : counted > 0 ? scale / (double)counted : 0;
    for (int64_t from = 0; from < rows; from += net->chunk) {
        int64_t n = rows - from < net->chunk ? rows - from : net->chunk;
        MU_TRY(chunk_loss(net, from, n, loss));
        chunk_backward(net, from, n, factor);
    }
    MU_TRY(mu_comm_allreduce(net->tp, MU_SUM, mu_type_of(net->dnormed.type), net->dnormed.data, rows * h));
    float *dw = mu_net_is_frozen(net) ? net->reduced_norms : net->lnf_w->gradient;
    float *db = mu_net_is_frozen(net) ? dw + h : net->lnf_b ? net->lnf_b->gradient : NULL;
    if (net->model.norm == MU_NORM_RMS)
        net->ops->rmsnorm_backward(net->dev, net->dy, dw, net->dnormed, net->hidden, net->lnf_w->weight,
                                   net->rstd, rows, h, false);
    else
        net->ops->layernorm_backward(net->dev, net->dy, dw, db, net->dnormed, net->hidden, net->lnf_w->weight,
                                     net->mean, net->rstd, rows, h, false);
    MU_TRY(mu_net_group_whole(net, mu_net_group_count(net) - 1));
    MU_TRY(mu_net_trunk_backward(net));
    net->fresh = false;
    return MU_OK;
}

/* The gradients of each * (the sum of losses), or with a `scale` of scale * (their mean). */
static mu_status_t train(mu_net_t *net, const int32_t *tokens, double each, double scale)
{
    net->dropping = true;
    mu_status_t status = forward_backward(net, tokens, each, scale);
    net->dropping = false;
    return status;
}

mu_status_t mu_net_forward_backward(mu_net_t *net, const int32_t *tokens, double scale)
{
    return train(net, tokens, 0, scale);
}

mu_status_t mu_net_forward_backward_sum(mu_net_t *net, const int32_t *tokens, double each)
{
    return train(net, tokens, each, 0);
}

/* To the host, from whichever worker's slice lies in `from`. */
static mu_status_t get_logits(mu_net_t *net, mu_array_t from, int64_t rows, int root, void *narrow,
                              float *out)
{
    int64_t width = mu_net_vocab_of(net, root), size = mu_dtype_size(from.type);
    MU_TRY(mu_comm_sync(&net->tp, 1));
    MU_TRY(net->ops->get(net->dev, narrow, from.data, rows * width * size));
    for (int64_t r = 0; r < rows; r++)
        mu_convert_to_floats(out + r * net->model.vocab + root * net->vocab_most,
                             (char *)narrow + r * width * size, from.type, width);
    return MU_OK;
}

mu_status_t mu_net_gather_logits(mu_net_t *net, int64_t from, int64_t rows, bool each, float *out)
{
    int64_t row = rows * mu_dtype_size(net->logits.type); /* bytes of a column of logits */
    mu_array_t slice = net->logits;
    mu_status_t status = MU_OK;
    if (net->tp->size > 1 && !net->slice.data)
        MU_TRY(mu_net_get_array(net, MU_MEM_COMMUNICATION, net->chunk * net->vocab_most, &net->slice));
    if (net->tp->size > 1)
        slice = net->slice;
    void *host = mu_alloc((size_t)(row * net->vocab_most));
    head_logits(net, from, rows, each);
    for (int root = 0; status == MU_OK && root < net->tp->size; root++) {
        int64_t bytes = row * mu_net_vocab_of(net, root);
        if (net->tp->size > 1 && root == net->tp->rank)
            net->ops->copy(net->dev, slice.data, net->logits.data, bytes);
        status = mu_comm_broadcast(net->tp, root, slice.data, bytes);
        if (status == MU_OK)
            status = get_logits(net, slice, rows, root, host, out);
    }
    free(host);
    return status;
}

mu_status_t mu_net_logits(mu_net_t *net, const int32_t *tokens, float *out)
{
    net->attention_start = net->position_start = NULL;
    MU_TRY(mu_net_put_ids(net, tokens, net->rows));
    MU_TRY(mu_net_trunk_forward(net, &(mu_net_place_t){.batch = net->batch, .seq = net->seq}));
    mu_net_final_norm(net, 0, net->rows);
    for (int64_t from = 0; from < net->rows; from += net->chunk) {
        int64_t n = net->rows - from < net->chunk ? net->rows - from : net->chunk;
        MU_TRY(mu_net_gather_logits(net, from, n, false, out + from * net->model.vocab));
    }
    return MU_OK;
}
