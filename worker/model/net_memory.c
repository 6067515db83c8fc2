/* The memory of a network: all that it has taken of its device, to be given back with it. */
#include "common/buf.h"
#include "worker/model/net_impl.h"

mu_status_t mu_net_get_memory(mu_net_t *net, mu_memory_t kind, int64_t bytes, void **out)
{
    MU_TRY(mu_device_alloc(net->dev, kind, bytes, out));
    if (net->memory_count == net->memory_cap) {
        net->memory_cap = net->memory_cap ? 2 * net->memory_cap : 64;
        net->memory = mu_realloc(net->memory, (size_t)net->memory_cap * sizeof *net->memory);
    }
    net->memory[net->memory_count++] = *out;
    return MU_OK;
}

mu_status_t mu_net_get_array(mu_net_t *net, mu_memory_t kind, int64_t elements, mu_array_t *out)
{
    out->type = net->options.dtype;
    return mu_net_get_memory(net, kind, elements * mu_dtype_size(out->type), &out->data);
}

mu_status_t mu_net_get_floats(mu_net_t *net, mu_memory_t kind, int64_t elements, float **out)
{
    void *p;
    MU_TRY(mu_net_get_memory(net, kind, elements * (int64_t)sizeof(float), &p));
    *out = p;
    return MU_OK;
}
