/* Generation: sequences in slots of a key/value cache. */
#include "common/buf.h"
#include "common/log.h"
#include "common/num.h"
#include "worker/model/net_impl.h"

static int64_t cache_bytes(const mu_net_t *net, int64_t slots, int64_t capacity)
{
    return slots * capacity * 2 * net->kv_heads * mu_model_head_dim(&net->model) *
           mu_dtype_size(net->options.dtype);
}

int64_t mu_net_slots_bytes(const mu_net_t *net, int64_t slots, int64_t capacity)
{
    return net->model.layers * cache_bytes(net, slots, capacity);
}

static mu_status_t make_cache(mu_net_t *net, int64_t slots, int64_t capacity)
{
    if (!net->cache)
        net->cache = mu_calloc((size_t)net->model.layers, sizeof *net->cache);
    net->slots = net->capacity = 0;
    for (int64_t l = 0; l < net->model.layers; l++) {
        mu_device_free(net->dev, net->cache[l].data);
        net->cache[l] = (mu_array_t){NULL, net->options.dtype};
        MU_TRY(mu_device_alloc(net->dev, MU_MEM_ACTIVATIONS, cache_bytes(net, slots, capacity),
                               &net->cache[l].data));
    }
    net->slots = slots;
    net->capacity = capacity;
    return MU_OK;
}

/* Where rows lie is read by kernels. */
static mu_status_t make_place(mu_net_t *net, int64_t slots)
{
    void *p;
    mu_device_free(net->dev, net->row_place);
    net->row_place = NULL;
    MU_TRY(mu_device_alloc(net->dev, MU_MEM_WORKSPACE, 2 * slots * (int64_t)sizeof *net->row_place, &p));
    net->row_place = p;
    return MU_OK;
}

mu_status_t mu_net_slots(mu_net_t *net, int64_t slots, int64_t capacity)
{
    if (capacity > mu_model_longest(&net->model))
        return mu_fail(MU_CONFIG, "%lld tokens to hold, but the model %s %lld%s", (long long)capacity,
                       net->model.window > 0 ? "sees" : "has", (long long)mu_model_longest(&net->model),
                       net->model.window > 0 ? " at a time (sliding_window_width)" : " positions");
    if (slots == net->slots && capacity <= net->capacity)
        return MU_OK;
    if (net->ops->attention_rows && slots != net->slots)
        MU_TRY(make_place(net, slots));
    return make_cache(net, slots, capacity);
}

int64_t mu_net_rows(const mu_net_t *net)
{
    return net->rows;
}

static mu_status_t check_pieces(const mu_net_t *net, const mu_net_piece_t *piece, int n, int64_t *rows)
{
    *rows = 0;
    for (int i = 0; i < n; i++) {
        const mu_net_piece_t *p = &piece[i];
        if (p->slot < 0 || p->slot >= net->slots || p->first < 0 || p->count < 1 || p->wanted < 0 ||
            p->wanted > p->count)
            return mu_fail(MU_BUG, "piece %d of a step: slot %lld, tokens %lld to %lld", i,
                           (long long)p->slot, (long long)p->first, (long long)(p->first + p->count));
        if (p->first + p->count > net->capacity)
            return mu_fail(MU_CONFIG, "%lld tokens and %lld more do not fit %lld", (long long)p->first,
                           (long long)p->count, (long long)net->capacity);
        *rows += p->count;
    }
    return *rows > 0 && *rows <= net->rows ? MU_OK
                                           : mu_fail(MU_BUG, "%lld rows in a step of at most %lld",
                                                     (long long)*rows, (long long)net->rows);
}

/* Norms of the rows whose logits are wanted, which lie apart: one after the other. How many rows. */
static int64_t wanted_norms(mu_net_t *net, const mu_net_piece_t *piece, int n)
{
    int64_t row = 0, made = 0, h = net->model.hidden;
    for (int i = 0; i < n; i++) {
        row += piece[i].count;
        if (piece[i].wanted == 0)
            continue;
        mu_net_norm(net, mu_array_at(net->normed, made * h), net->mean + made, net->rstd + made,
                    mu_array_at(net->hidden, (row - piece[i].wanted) * h), net->lnf_w, net->lnf_b,
                    piece[i].wanted);
        made += piece[i].wanted;
    }
    return made;
}

/* Whether each sequence has one row, whose logits are wanted. */
static bool one_row_each(const mu_net_piece_t *piece, int n)
{
    for (int i = 0; i < n; i++)
        if (piece[i].count != 1 || piece[i].wanted != 1)
            return false;
    return true;
}

static void put_place(mu_net_t *net, mu_net_place_t *place)
{
    int64_t n = place->pieces, bytes = 2 * n * (int64_t)sizeof *net->row_place;
    int32_t *host = mu_alloc((size_t)bytes);
    for (int64_t i = 0; i < n; i++) {
        host[i] = (int32_t)place->piece[i].slot;
        host[n + i] = -(int32_t)place->piece[i].first;
    }
    net->ops->put(net->dev, net->row_place, host, bytes);
    free(host);
    place->slot = net->row_place;
    place->start = net->row_place + n;
}

mu_status_t mu_net_step(mu_net_t *net, const mu_net_piece_t *piece, int n, const int32_t *tokens,
                        float *logits)
{
    int64_t rows;
    MU_TRY(check_pieces(net, piece, n, &rows));
    MU_TRY(mu_net_put_ids(net, tokens, rows));
    mu_net_place_t place = {.batch = 1, .seq = rows, .piece = piece, .pieces = n};
    if (net->ops->attention_rows && one_row_each(piece, n)) {
        put_place(net, &place);
        MU_TRY(mu_net_step_rows(net, &place));
    } else {
        MU_TRY(mu_net_trunk_forward(net, &place));
        rows = wanted_norms(net, piece, n);
    }
    for (int64_t done = 0, part; done < rows; done += part) {
        part = mu_min_i64(rows - done, net->chunk);
        MU_TRY(mu_net_gather_logits(net, done, part, true, logits + done * net->model.vocab));
    }
    return MU_OK;
}

/* ---- one sequence ---- */

mu_status_t mu_net_decode_begin(mu_net_t *net, int64_t capacity)
{
    net->length = 0;
    return mu_net_slots(net, 1, capacity);
}

mu_status_t mu_net_decode(mu_net_t *net, const int32_t *tokens, int64_t n, float *logits)
{
    if (net->length + n > net->capacity)
        return mu_fail(MU_CONFIG, "%lld tokens and %lld more do not fit %lld", (long long)net->length,
                       (long long)n, (long long)net->capacity);
    for (int64_t done = 0, part; done < n; done += part) {
        part = mu_min_i64(n - done, net->rows);
        mu_net_piece_t piece = {.first = net->length, .count = part, .wanted = logits && done + part == n};
        MU_TRY(mu_net_step(net, &piece, 1, tokens + done, logits));
        net->length += part;
    }
    return MU_OK;
}

/* Attention reads positions below the sequence's length only, so what lies beyond need not be wiped. */
mu_status_t mu_net_decode_back(mu_net_t *net, int64_t length)
{
    if (length < 0 || length > net->length)
        return mu_fail(MU_BUG, "back to %lld tokens of a sequence of %lld", (long long)length,
                       (long long)net->length);
    net->length = length;
    return MU_OK;
}
