/* Attention and rotary positions: what is divided among threads is heads. */
#include "kernels/cpu/cpu.h"

typedef struct turn {
    mu_device_t *dev;
    float *qkv;
    const mu_rotary_t *r;
    bool inverse;
} turn_t;

static void rotary(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    turn_t *t = arg;
    mu_cpu_vec(t->dev)->rotary(t->qkv, t->r, from, to, t->inverse);
}

void mu_cpu_rotary(mu_device_t *dev, mu_array_t qkv, const mu_rotary_t *r, bool inverse)
{
    turn_t t = {dev, mu_f32(qkv), r, inverse};
    mu_cpu_run(dev, r->rows, 16, rotary, &t);
}

typedef struct heads {
    mu_device_t *dev;
    const mu_attention_t *shape;
    const float *qkv, *dout;
    float *out, *lse, *dqkv, *cache;
    int64_t first;
    float *scratch;
    int64_t scratch_each;
} heads_t;

static bool scratch(heads_t *h, int64_t keys, bool backward)
{
    h->scratch_each = mu_vec_attention_scratch(keys, h->shape->head_dim, backward);
    h->scratch = mu_cpu_scratch(h->dev, h->scratch_each * h->dev->threads);
    return h->scratch != NULL;
}

/* Head number i of batch * heads, reading keys and values beside the queries. */
static mu_vec_attention_t head_at(const heads_t *h, int thread, int64_t i)
{
    const mu_attention_t *s = h->shape;
    int64_t b = i / s->heads, head = i % s->heads, d = s->head_dim, stride = 3 * s->heads * d;
    const float *q = h->qkv + b * s->seq * stride + head * 3 * d;
    return (mu_vec_attention_t){.n = s->seq,
                                .head_dim = d,
                                .scale = (float)s->scale,
                                .q = q,
                                .k = q + d,
                                .v = q + 2 * d,
                                .q_stride = stride,
                                .k_stride = stride,
                                .v_stride = stride,
                                .out = h->out + (b * s->seq * s->heads + head) * d,
                                .out_stride = s->heads * d,
                                .lse = h->lse ? h->lse + i * s->seq : NULL,
                                .scratch = h->scratch + thread * h->scratch_each};
}

static void forward(void *arg, int thread, int64_t from, int64_t to)
{
    heads_t *h = arg;
    for (int64_t i = from; i < to; i++) {
        mu_vec_attention_t a = head_at(h, thread, i);
        mu_cpu_vec(h->dev)->attention(&a);
    }
}

void mu_cpu_attention_forward(mu_device_t *dev, mu_array_t out, float *lse, mu_array_t qkv,
                              const mu_attention_t *shape)
{
    heads_t h = {.dev = dev, .shape = shape, .qkv = mu_f32(qkv), .out = mu_f32(out), .lse = lse};
    if (scratch(&h, shape->seq, false))
        mu_cpu_run(dev, shape->batch * shape->heads, 1, forward, &h);
}

static void backward(void *arg, int thread, int64_t from, int64_t to)
{
    heads_t *h = arg;
    const mu_attention_t *s = h->shape;
    for (int64_t i = from; i < to; i++) {
        mu_vec_attention_t a = head_at(h, thread, i);
        a.dq = h->dqkv + (a.q - h->qkv);
        a.dk = a.dq + s->head_dim;
        a.dv = a.dk + s->head_dim;
        a.d_stride = a.q_stride;
        a.dout = h->dout + (a.out - h->out);
        mu_cpu_vec(h->dev)->attention_backward(&a);
    }
}

void mu_cpu_attention_backward(mu_device_t *dev, mu_array_t dqkv, mu_array_t dout, mu_array_t qkv,
                               mu_array_t out, const float *lse, const mu_attention_t *shape)
{
    heads_t h = {.dev = dev,
                 .shape = shape,
                 .qkv = mu_f32(qkv),
                 .out = mu_f32(out),
                 .lse = (float *)(uintptr_t)lse, /* read only */
                 .dqkv = mu_f32(dqkv),
                 .dout = mu_f32(dout)};
    if (scratch(&h, shape->seq, true))
        mu_cpu_run(dev, shape->batch * shape->heads, 1, backward, &h);
}

static void cached(void *arg, int thread, int64_t from, int64_t to)
{
    heads_t *h = arg;
    const mu_attention_t *s = h->shape;
    int64_t d = s->head_dim, stride = s->heads * 2 * d;
    for (int64_t i = from; i < to; i++) {
        mu_vec_attention_t a = head_at(h, thread, i);
        float *cache = h->cache + i * 2 * d;
        for (int64_t t = 0; t < s->seq; t++)
            memcpy(cache + (h->first + t) * stride, a.k + t * a.k_stride, (size_t)(2 * d) * sizeof *cache);
        a.first = h->first;
        a.k = cache;
        a.v = cache + d;
        a.k_stride = a.v_stride = stride;
        mu_cpu_vec(h->dev)->attention(&a);
    }
}

void mu_cpu_attention_cached(mu_device_t *dev, mu_array_t out, mu_array_t cache, mu_array_t qkv,
                             int64_t first, const mu_attention_t *shape)
{
    heads_t h = {.dev = dev,
                 .shape = shape,
                 .qkv = mu_f32(qkv),
                 .out = mu_f32(out),
                 .cache = mu_f32(cache),
                 .first = first};
    if (scratch(&h, first + shape->seq, false))
        mu_cpu_run(dev, shape->heads, 1, cached, &h);
}
