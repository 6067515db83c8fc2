/* Queries, keys and values as arrays of their own: threads divide the rows. */
#include "kernels/cpu/cpu.h"

enum { GRAIN = 16 };

typedef struct part {
    mu_device_t *dev;
    mu_array_t qkv, part;
    int which;
    const mu_qkv_t *shape;
    float *stage; /* [threads][2][heads of a group that are wanted][head_dim]; floats need none */
} part_t;

/* Heads in a row that are wanted of a key/value head's group, and where they begin in it. */
static int64_t wanted(const part_t *p, int64_t *first)
{
    int64_t group = p->shape->heads / p->shape->kv_heads;
    *first = p->which == 0 ? 0 : group + p->which - 1;
    return p->which == 0 ? group : 1;
}

static void add(void *arg, int thread, int64_t from, int64_t to)
{
    part_t *p = arg;
    int64_t d = p->shape->head_dim, kv = p->shape->kv_heads, line = (p->shape->heads / kv + 2) * d, first;
    int64_t n = wanted(p, &first) * d;
    float *stage = p->stage ? p->stage + 2 * thread * n : NULL;
    for (int64_t i = from * kv; i < to * kv; i++) {
        int64_t at = i * line + first * d;
        float *y = mu_cpu_change(p->dev, p->qkv, at, n, stage);
        const float *x = mu_cpu_read(p->dev, p->part, i * n, n, stage ? stage + n : NULL);
        for (int64_t e = 0; e < n; e++)
            y[e] += x[e];
        mu_cpu_end(p->dev, p->qkv, at, n, y);
    }
}

static void take(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    part_t *p = arg;
    int64_t d = p->shape->head_dim, kv = p->shape->kv_heads, line = (p->shape->heads / kv + 2) * d, first;
    int64_t n = wanted(p, &first) * d;
    for (int64_t i = from * kv; i < to * kv; i++)
        memcpy(mu_array_at(p->part, i * n).data, mu_array_at(p->qkv, i * line + first * d).data,
               (size_t)(n * mu_dtype_size(p->qkv.type)));
}

void mu_cpu_qkv_add(mu_device_t *dev, mu_array_t qkv, mu_array_t from, int part, const mu_qkv_t *shape)
{
    part_t p = {.dev = dev, .qkv = qkv, .part = from, .which = part, .shape = shape};
    int64_t first, n = wanted(&p, &first) * shape->head_dim;
    if (qkv.type != MU_DTYPE_F32)
        p.stage = mu_cpu_scratch(dev, dev->threads * 2 * n);
    if (p.stage || qkv.type == MU_DTYPE_F32)
        mu_cpu_run(dev, shape->rows, GRAIN, add, &p);
}

void mu_cpu_qkv_take(mu_device_t *dev, mu_array_t out, mu_array_t qkv, int part, const mu_qkv_t *shape)
{
    part_t p = {.dev = dev, .qkv = qkv, .part = out, .which = part, .shape = shape};
    mu_cpu_run(dev, shape->rows, GRAIN, take, &p);
}
