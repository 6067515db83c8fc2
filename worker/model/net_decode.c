/* Generation: one sequence against a key/value cache. */
#include "common/buf.h"
#include "common/log.h"
#include "common/num.h"
#include "worker/model/net_impl.h"

static mu_status_t make_cache(mu_net_t *net, int64_t capacity)
{
    if (!net->cache)
        net->cache = mu_calloc((size_t)net->model.layers, sizeof *net->cache);
    net->capacity = 0;
    for (int64_t l = 0; l < net->model.layers; l++) {
        mu_device_free(net->dev, net->cache[l].data);
        net->cache[l] = (mu_array_t){NULL, net->options.dtype};
        int64_t bytes =
            capacity * 2 * net->kv_heads * mu_model_head_dim(&net->model) * mu_dtype_size(net->cache[l].type);
        MU_TRY(mu_device_alloc(net->dev, MU_MEM_ACTIVATIONS, bytes, &net->cache[l].data));
    }
    net->capacity = capacity;
    return MU_OK;
}

mu_status_t mu_net_decode_begin(mu_net_t *net, int64_t capacity)
{
    if (capacity > mu_model_longest(&net->model))
        return mu_fail(MU_CONFIG, "%lld tokens to hold, but the model %s %lld%s", (long long)capacity,
                       net->model.window > 0 ? "sees" : "has", (long long)mu_model_longest(&net->model),
                       net->model.window > 0 ? " at a time (sliding_window_width)" : " positions");
    if (capacity > net->capacity)
        MU_TRY(make_cache(net, capacity));
    net->length = 0;
    return MU_OK;
}

mu_status_t mu_net_decode(mu_net_t *net, const int32_t *tokens, int64_t n, float *logits)
{
    if (net->length + n > net->capacity)
        return mu_fail(MU_CONFIG, "%lld tokens and %lld more do not fit %lld", (long long)net->length,
                       (long long)n, (long long)net->capacity);
    int64_t last = 0;
    for (int64_t done = 0; done < n; done += last) {
        last = mu_min_i64(n - done, net->rows);
        mu_net_place_t place = {.batch = 1, .seq = last, .first = net->length, .cached = true};
        MU_TRY(mu_net_put_ids(net, tokens + done, last));
        MU_TRY(mu_net_trunk_forward(net, &place));
        net->length += last;
    }
    if (!logits)
        return MU_OK;
    mu_net_final_norm(net, last - 1, 1);
    return mu_net_gather_logits(net, last - 1, 1, logits);
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
