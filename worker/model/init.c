#include "worker/model/init.h"
#include "common/buf.h"
#include "common/num.h"
#include "common/philox.h"

#include <math.h>

/* FNV-1a, 64 bits: names a tensor inside the counter. */
static uint64_t hash(const char *name)
{
    uint64_t h = 0xcbf29ce484222325U;
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001b3U;
    return h;
}

/* Elements 4 * group .. 4 * group + 3, by Box and Muller. */
static void normals(uint64_t seed, uint64_t name, int64_t group, double out[4])
{
    static const double unit = 1.0 / 4294967296.0, two_pi = 6.283185307179586;
    uint32_t counter[4] = {(uint32_t)group, (uint32_t)((uint64_t)group >> 32), (uint32_t)name,
                           (uint32_t)(name >> 32)};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, word[4];
    mu_philox(counter, key, word);
    for (int i = 0; i < 4; i += 2) {
        double radius = sqrt(-2.0 * log(((double)word[i] + 0.5) * unit));
        double angle = two_pi * ((double)word[i + 1] + 0.5) * unit;
        out[i] = radius * cos(angle);
        out[i + 1] = radius * sin(angle);
    }
}

double mu_init_normal(uint64_t seed, const char *name, int64_t element)
{
    double four[4];
    normals(seed, hash(name), element / 4, four);
    return four[element % 4];
}

/* Elements first .. first + n - 1 of a tensor. */
static void fill(const mu_tensor_t *tensor, uint64_t seed, uint64_t name, int64_t first, int64_t n,
                 float *out)
{
    double four[4];
    int64_t group = -1;
    for (int64_t i = 0; i < n; i++) {
        if (tensor->init_std <= 0) {
            out[i] = (float)tensor->init_value;
            continue;
        }
        if ((first + i) / 4 != group) {
            group = (first + i) / 4;
            normals(seed, name, group, four);
        }
        out[i] = (float)(tensor->init_std * four[(first + i) % 4]);
    }
}

/* Row by row, in pieces, so that the host holds little beside the device. */
static void init_param(mu_net_t *net, int index, uint64_t seed, float *piece, int64_t piece_size)
{
    const mu_net_param_t *p = mu_net_param(net, index);
    uint64_t name = hash(p->tensor.name);
    int64_t rows_a_time = mu_max_i64(1, piece_size / p->count[1]);
    for (int64_t row = 0, rows; row < p->count[0]; row += rows) {
        int64_t at = mu_net_tensor_row(net, p, row, &rows);
        rows = mu_min_i64(rows_a_time, rows);
        for (int64_t r = 0; r < rows; r++)
            fill(&p->tensor, seed, name, (at + r) * p->tensor.shape[1] + p->offset[1], p->count[1],
                 piece + r * p->count[1]);
        mu_net_put_weight(net, index, row * p->count[1], rows * p->count[1], piece);
    }
}

static mu_status_t init_from(mu_net_t *net, uint64_t seed, int first)
{
    mu_device_t *dev = mu_net_device(net);
    int64_t size = 1 << 20;
    for (int i = 0; i < mu_net_param_count(net); i++)
        size = mu_max_i64(size, mu_net_param(net, i)->count[1]);
    float *piece = mu_alloc((size_t)size * sizeof *piece);
    for (int i = first; i < mu_net_param_count(net); i++)
        init_param(net, i, seed, piece, size);
    free(piece);
    return dev->ops->sync(dev);
}

mu_status_t mu_init_weights(mu_net_t *net, uint64_t seed)
{
    return init_from(net, seed, 0);
}

mu_status_t mu_init_adapters(mu_net_t *net, uint64_t seed)
{
    return init_from(net, seed, mu_model_saved_first(mu_net_model(net)));
}
