/* The network's parts: memory for a call's activations. */
#include "worker/model/net.h"
#include "common/buf.h"
#include "common/log.h"
#include "common/num.h"
#include "common/rope.h"
#include "kernels/convert.h"
#include "worker/model/net_impl.h"

#include <math.h>

enum { REDUCED_ALIGN = 64 };

/* Whether an adapter has rows of keys or values. */
static bool adapts_keys(const mu_model_t *m)
{
    return mu_model_adapts(m, MU_LORA_QKV) || mu_model_adapts(m, MU_LORA_K) || mu_model_adapts(m, MU_LORA_V);
}

static mu_status_t check(const mu_device_t *dev, const mu_model_t *m, const mu_comm_t *tp,
                         const mu_net_options_t *options)
{
    if (!dev->ops->supports(dev, options->dtype))
        return mu_fail(MU_CONFIG, "%s has no %s: use another precision", dev->description,
                       mu_dtype_name(options->dtype));
    if (m->heads % tp->size == 0 && !mu_model_heads_fit(m, tp->size))
        return mu_fail(MU_CONFIG,
                       "model parallel size %d neither divides %lld key/value heads nor is a multiple",
                       tp->size, (long long)mu_model_kv_heads(m));
    if (mu_model_heads_fit(m, tp->size) && mu_model_kv_copies(m, tp->size) > 1 && adapts_keys(m))
        return mu_fail(
            MU_CONFIG,
            "muster.lora_targets: adapters of keys and values are not computed with more tensor-parallel "
            "workers (%d) than key/value heads (%lld): use fewer, or leave k_proj and v_proj out",
            tp->size, (long long)mu_model_kv_heads(m));
    if (m->heads % tp->size || m->ffn % tp->size || !mu_model_vocab_fits(m, tp->size))
        return mu_fail(
            MU_CONFIG,
            "model parallel size %d does not divide %lld heads and %lld ffn, or leaves a worker none of "
            "%lld vocabulary rows",
            tp->size, (long long)m->heads, (long long)m->ffn, (long long)m->vocab);
    int64_t seq = options->seq_length > 0 ? options->seq_length : m->seq_length;
    if (seq > m->max_positions)
        return mu_fail(MU_CONFIG, "sequences of %lld tokens, but the model has %lld positions",
                       (long long)seq, (long long)m->max_positions);
    if (seq > mu_model_longest(m))
        return mu_fail(MU_CONFIG,
                       "sequences of %lld tokens, but a token sees no more than %lld "
                       "(sliding_window_width): use sequences no longer than that",
                       (long long)seq, (long long)m->window);
    return MU_OK;
}

/* --- activations --- */

/* What backward could make again from the layer's input. */
static mu_status_t make_saved_rest(mu_net_t *net, mu_layer_saved_t *s)
{
    mu_memory_t kind = net->options.training ? MU_MEM_ACTIVATIONS : MU_MEM_WORKSPACE;
    int64_t rows = net->rows, h = net->model.hidden;
    MU_TRY(mu_net_get_array(net, kind, rows * h, &s->ln1));
    MU_TRY(mu_net_get_floats(net, kind, rows, &s->mean1));
    MU_TRY(mu_net_get_floats(net, kind, rows, &s->rstd1));
    s->ln2 = s->ln1;
    if (net->model.residual != MU_RESIDUAL_PARALLEL_TIED)
        MU_TRY(mu_net_get_array(net, kind, rows * h, &s->ln2));
    if (net->model.residual == MU_RESIDUAL_SEQUENTIAL) {
        MU_TRY(mu_net_get_floats(net, kind, rows, &s->mean2));
        MU_TRY(mu_net_get_floats(net, kind, rows, &s->rstd2));
    }
    MU_TRY(mu_net_get_array(net, kind, rows * net->qkv, &s->qkv));
    if (net->model.qk_norm) {
        MU_TRY(mu_net_get_array(net, kind, rows * net->qkv, &s->raw));
        MU_TRY(mu_net_get_floats(net, kind, rows * (net->heads + net->kv_heads), &s->rstd_qk));
    }
    MU_TRY(mu_net_get_array(net, kind, rows * net->width, &s->ctx));
    MU_TRY(mu_net_get_floats(net, kind, rows * net->heads, &s->lse));
    MU_TRY(mu_net_get_array(net, kind, rows * net->ffn, &s->pre));
    if (mu_model_gated(&net->model))
        MU_TRY(mu_net_get_array(net, kind, rows * net->ffn, &s->gate));
    return mu_net_get_array(net, kind, rows * net->ffn, &s->act);
}

static mu_status_t make_saved(mu_net_t *net)
{
    bool own = net->options.training, sequential = net->model.residual == MU_RESIDUAL_SEQUENTIAL;
    bool own_rest = own && !net->options.checkpoint_activations;
    int64_t size = net->rows * net->model.hidden;
    net->saved = mu_calloc((size_t)net->model.layers, sizeof *net->saved);
    for (int64_t l = 0; l < net->model.layers; l++) {
        mu_layer_saved_t *s = &net->saved[l];
        if (l == 0 || own_rest)
            MU_TRY(make_saved_rest(net, s));
        else
            *s = net->saved[0];
        /* without backward, one buffer is every layer's input, middle and output */
        s->x = s->mid = net->hidden;
        if (own) {
            MU_TRY(mu_net_get_array(net, MU_MEM_ACTIVATIONS, size, &s->x));
            if (sequential)
                MU_TRY(mu_net_get_array(net, MU_MEM_ACTIVATIONS, size, &s->mid));
        }
    }
    return MU_OK;
}

static mu_status_t make_rotary(mu_net_t *net)
{
    if (net->model.position != MU_POSITION_ROTARY)
        return MU_OK;
    int64_t dims = net->model.rotary_dims, count = net->model.max_positions * dims;
    double scale;
    MU_TRY(mu_net_get_floats(net, MU_MEM_WORKSPACE, count, &net->rotary));
    float *host = mu_alloc((size_t)count * sizeof *host);
    double *frequency = mu_alloc((size_t)dims * sizeof *frequency);
    mu_rope_frequencies(&net->model, frequency, &scale);
    mu_rotary_table(net->model.max_positions, dims, frequency, scale, host);
    net->ops->put(net->dev, net->rotary, host, count * (int64_t)sizeof *host);
    free(frequency);
    free(host);
    return MU_OK;
}

static mu_status_t make_head(mu_net_t *net)
{
    void *p;
    net->chunk = mu_model_logit_rows(net->rows, net->vocab_most, net->dev->logits);
    MU_TRY(mu_net_get_array(net, MU_MEM_WORKSPACE, net->chunk * net->vocab, &net->logits));
    MU_TRY(mu_net_get_floats(net, MU_MEM_WORKSPACE, net->chunk, &net->max));
    MU_TRY(mu_net_get_floats(net, MU_MEM_WORKSPACE, 2 * net->chunk, &net->sums));
    MU_TRY(mu_net_get_memory(net, MU_MEM_WORKSPACE, MU_NET_PENDING * (int64_t)sizeof *net->loss, &p));
    net->loss = p;
    MU_TRY(mu_net_get_memory(net, MU_MEM_WORKSPACE, net->rows * (int64_t)sizeof *net->ids, &p));
    net->ids = p;
    MU_TRY(mu_net_get_memory(net, MU_MEM_WORKSPACE, net->rows * (int64_t)sizeof *net->labels, &p));
    net->labels = p;
    MU_TRY(mu_net_get_floats(net, MU_MEM_WORKSPACE, net->rows, &net->weights));
    net->host_ids = mu_alloc((size_t)net->rows * sizeof *net->host_ids);
    net->host_labels = mu_alloc((size_t)net->rows * sizeof *net->host_labels);
    net->host_weights = mu_alloc((size_t)net->rows * sizeof *net->host_weights);
    return MU_OK;
}

/* Floats after floats are one message. */
static mu_status_t make_reduced(mu_net_t *net)
{
    int64_t h = net->model.hidden, bytes = net->rows * h * mu_dtype_size(net->options.dtype);
    int64_t norms = mu_net_norm_sums(net);
    if (net->options.dtype != MU_DTYPE_F32)
        bytes = (bytes + REDUCED_ALIGN - 1) / REDUCED_ALIGN * REDUCED_ALIGN;
    net->reduced.type = net->options.dtype;
    MU_TRY(mu_net_get_memory(net, MU_MEM_COMMUNICATION, bytes + norms * (int64_t)sizeof(float),
                             &net->reduced.data));
    net->reduced_norms = (float *)(void *)((char *)net->reduced.data + bytes);
    return mu_net_make_copies(net);
}

static mu_status_t make_gradients(mu_net_t *net)
{
    if (!net->options.training)
        return MU_OK;
    int64_t rows = net->rows, h = net->model.hidden;
    void *numbers;
    MU_TRY(
        mu_net_get_memory(net, MU_MEM_WORKSPACE, MU_NET_NUMBERS * (int64_t)sizeof *net->numbers, &numbers));
    net->numbers = numbers;
    MU_TRY(mu_net_get_array(net, MU_MEM_WORKSPACE, rows * h, &net->dy));
    MU_TRY(mu_net_get_array(net, MU_MEM_WORKSPACE, rows * h, &net->dnormed));
    MU_TRY(mu_net_get_array(net, MU_MEM_WORKSPACE, rows * h, &net->dln2));
    MU_TRY(mu_net_get_array(net, MU_MEM_WORKSPACE, rows * net->ffn, &net->dact));
    MU_TRY(mu_net_get_array(net, MU_MEM_WORKSPACE, rows * net->qkv, &net->dqkv));
    if (mu_model_gated(&net->model))
        MU_TRY(mu_net_get_array(net, MU_MEM_WORKSPACE, rows * net->ffn, &net->dgate));
    MU_TRY(mu_net_get_array(net, MU_MEM_WORKSPACE, rows * net->width, &net->dctx));
    if (net->model.lora.rank > 0 && net->tp->size == 1)
        MU_TRY(mu_net_get_floats(net, MU_MEM_WORKSPACE, mu_net_norm_sums(net), &net->reduced_norms));
    return net->tp->size > 1 ? make_reduced(net) : MU_OK;
}

static mu_status_t make_activations(mu_net_t *net)
{
    int64_t rows = net->rows, h = net->model.hidden;
    MU_TRY(mu_net_get_array(net, MU_MEM_WORKSPACE, rows * h, &net->hidden));
    MU_TRY(mu_net_get_array(net, MU_MEM_WORKSPACE, rows * h, &net->normed));
    MU_TRY(mu_net_get_floats(net, MU_MEM_WORKSPACE, rows, &net->mean));
    MU_TRY(mu_net_get_floats(net, MU_MEM_WORKSPACE, rows, &net->rstd));
    bool drops = net->options.training && net->model.hidden_dropout > 0;
    if (net->tp->size > 1 || drops)
        MU_TRY(mu_net_get_array(net, MU_MEM_WORKSPACE, rows * h, &net->branch));
    if (drops)
        MU_TRY(mu_net_get_array(net, MU_MEM_WORKSPACE, rows * h, &net->dropped));
    MU_TRY(make_saved(net));
    MU_TRY(make_rotary(net));
    MU_TRY(make_head(net));
    MU_TRY(mu_net_lora_make(net));
    return make_gradients(net);
}

mu_status_t mu_net_new(mu_device_t *device, const mu_model_t *model, mu_comm_t *tp,
                       const mu_net_options_t *options, mu_net_t **out)
{
    MU_TRY(check(device, model, tp, options));
    mu_net_t *net = mu_calloc(1, sizeof *net);
    net->dev = device;
    net->ops = device->ops;
    net->tp = tp;
    net->model = *model;
    net->options = *options;
    net->batch = options->micro_batch;
    net->seq = options->seq_length > 0 ? options->seq_length : model->seq_length;
    net->rows = net->batch * net->seq;
    net->heads = model->heads / tp->size;
    const mu_model_t spread = mu_model_spread(model, tp->size);
    net->kv_heads = mu_model_kv_heads(&spread) / tp->size;
    net->width = mu_model_width(model) / tp->size;
    net->qkv = mu_model_qkv_rows(&spread) / tp->size;
    net->ffn = model->ffn / tp->size;
    net->vocab_most = mu_model_vocab_most(model, tp->size);
    net->vocab_first = net->vocab_most * tp->rank;
    net->vocab = mu_net_vocab_of(net, tp->rank);
    net->no_graphs = !options->graphs || !device->ops->graph_record;
    mu_status_t status;
    MU_TRY_GOTO(status, mu_net_make_params(net), failed);
    MU_TRY_GOTO(status, make_activations(net), failed);
    *out = net;
    return MU_OK;
failed:
    mu_net_free(net);
    return status;
}

void mu_net_free(mu_net_t *net)
{
    if (!net)
        return;
    mu_net_drop_graphs(net);
    mu_device_free(net->dev, net->row_place);
    for (int i = 0; i < net->memory_count; i++)
        mu_device_free(net->dev, net->memory[i]);
    for (int64_t l = 0; net->cache && l < net->model.layers; l++)
        mu_device_free(net->dev, net->cache[l].data);
    free(net->cache);
    free(net->memory);
    free(net->host_ids);
    free(net->host_labels);
    free(net->host_weights);
    free(net->saved);
    free(net->layer);
    free(net->param);
    free(net);
}

mu_device_t *mu_net_device(const mu_net_t *net)
{
    return net->dev;
}

mu_comm_t *mu_net_tp(const mu_net_t *net)
{
    return net->tp;
}

const mu_model_t *mu_net_model(const mu_net_t *net)
{
    return &net->model;
}

mu_comm_t *mu_net_shard(const mu_net_t *net)
{
    return net->options.shard;
}

double *mu_net_numbers(const mu_net_t *net)
{
    return net->numbers;
}

void mu_net_put_weight(mu_net_t *net, int index, int64_t first, int64_t n, const float *host)
{
    enum { PIECE = 1 << 16 };
    const mu_net_param_t *p = &net->param[index];
    uint32_t narrow[PIECE / 2];
    int64_t from = mu_max_i64(first, p->own), to = mu_min_i64(first + n, p->own + p->owned), now;
    if (p->weight.type == MU_DTYPE_F32) {
        net->ops->put(net->dev, mu_array_at(p->weight, first).data, host, n * (int64_t)sizeof *host);
        return;
    }
    for (int64_t at = 0; at < n; at += now) {
        now = mu_min_i64(PIECE, n - at);
        mu_convert_from_floats(narrow, p->weight.type, host + at, now);
        net->ops->put(net->dev, mu_array_at(p->weight, first + at).data, narrow,
                      now * mu_dtype_size(p->weight.type));
    }
    if (p->master && from < to)
        net->ops->put(net->dev, p->master + (from - p->own), host + (from - first),
                      (to - from) * (int64_t)sizeof *host);
}

void mu_net_set_update(mu_net_t *net, int index, bool decay, double lr_scale)
{
    net->param[index].decay = decay;
    net->param[index].lr_scale = lr_scale;
}

int mu_net_param_count(const mu_net_t *net)
{
    return net->param_count;
}

const mu_net_param_t *mu_net_param(const mu_net_t *net, int index)
{
    return &net->param[index];
}

const mu_net_flat_t *mu_net_flat(const mu_net_t *net)
{
    return &net->flat;
}

const mu_net_flat_t *mu_net_frozen(const mu_net_t *net)
{
    return &net->frozen;
}

/* Whether backward only adds to these gradients; the others begin as a product. */
static bool only_added(const mu_net_t *net, const mu_net_param_t *p)
{
    return p->tensor.dims == 1 || p == net->embed_pos || (p == net->embed_in && p != net->embed_out) ||
           mu_net_lora_summed(net, p);
}

void mu_net_zero_gradients(mu_net_t *net)
{
    net->fresh = true;
    for (int i = net->flat.first, next; i >= 0; i = next) {
        const mu_net_param_t *first = &net->param[i], *last = first;
        next = first->next;
        if (!only_added(net, first))
            continue;
        for (; next >= 0 && only_added(net, &net->param[next]); next = last->next)
            last = &net->param[next];
        net->ops->zero(net->dev, first->gradient,
                       (last->at + last->elements - first->at) * (int64_t)sizeof *first->gradient);
    }
}
