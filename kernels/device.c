#include "kernels/device.h"
#include "common/buf.h"
#include "common/log.h"
#include "common/num.h"

#include <math.h>

/* What is held. A device has tens of allocations, so a list will do; it lives on the host because the
 * device's memory cannot be written from here. */
struct mu_held {
    void *p;
    int64_t bytes;
    mu_memory_t kind;
};

const char *mu_memory_name(mu_memory_t kind)
{
    static const char *const name[MU_MEM_KINDS] = {
        [MU_MEM_WEIGHTS] = "weights",     [MU_MEM_GRADIENTS] = "gradients",
        [MU_MEM_OPTIMIZER] = "optimizer", [MU_MEM_ACTIVATIONS] = "activations",
        [MU_MEM_WORKSPACE] = "workspace", [MU_MEM_COMMUNICATION] = "communication",
    };
    return name[kind];
}

const char *mu_dtype_name(mu_dtype_t type)
{
    return type == MU_DTYPE_F32 ? "fp32" : type == MU_DTYPE_BF16 ? "bf16" : "fp16";
}

static void count(mu_memory_count_t *c, int64_t bytes)
{
    c->current += bytes;
    c->peak = mu_max_i64(c->peak, c->current);
}

void mu_device_count(mu_device_t *dev, mu_memory_t kind, int64_t bytes)
{
    count(&dev->memory[kind], bytes);
    count(&dev->total, bytes);
}

mu_status_t mu_device_alloc(mu_device_t *dev, mu_memory_t kind, int64_t bytes, void **out)
{
    void *p = bytes > 0 ? dev->ops->alloc(dev, bytes) : NULL;
    if (!p) {
        char wanted[32], held[32];
        return mu_fail(MU_NOMEM,
                       "%s: no memory for %s of %s (%s held); use a smaller micro batch or more workers",
                       dev->ops->name, mu_human_bytes((uint64_t)mu_max_i64(bytes, 0), wanted, sizeof wanted),
                       mu_memory_name(kind), mu_human_bytes((uint64_t)dev->total.current, held, sizeof held));
    }
    if (dev->held_count == dev->held_cap) {
        dev->held_cap = dev->held_cap ? 2 * dev->held_cap : 32;
        dev->held = mu_realloc(dev->held, (size_t)dev->held_cap * sizeof *dev->held);
    }
    dev->held[dev->held_count++] = (struct mu_held){p, bytes, kind};
    mu_device_count(dev, kind, bytes);
    *out = p;
    return MU_OK;
}

void mu_device_free(mu_device_t *dev, void *p)
{
    if (!p)
        return;
    for (int i = dev->held_count; i-- > 0;) {
        if (dev->held[i].p == p) {
            mu_device_count(dev, dev->held[i].kind, -dev->held[i].bytes);
            dev->held[i] = dev->held[--dev->held_count];
            dev->ops->free(dev, p);
            return;
        }
    }
    mu_device_error(dev, mu_fail(MU_BUG, "%s: freeing %p, which is not held", dev->ops->name, p));
}

void mu_device_error(mu_device_t *dev, mu_status_t status)
{
    if (dev->status == MU_OK)
        dev->status = status;
}

void mu_device_close(mu_device_t *dev)
{
    if (!dev)
        return;
    dev->ops->close(dev);
    if (dev->held_count > 0)
        mu_warn("%s: closed while %d allocations are held", dev->ops->name, dev->held_count);
    free(dev->held);
    free(dev);
}

void mu_rotary_table(int64_t positions, int64_t dims, const double *frequency, double scale, float *out)
{
    int64_t half = dims / 2;
    for (int64_t p = 0; p < positions; p++, out += dims) {
        for (int64_t i = 0; i < half; i++) {
            double angle = (double)p * frequency[i];
            out[i] = (float)(scale * cos(angle));
            out[half + i] = (float)(scale * sin(angle));
        }
    }
}
