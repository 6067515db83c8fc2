/* Attention and rotary positions: what is divided among threads is heads; in backward, which adds the gradients
 * of a key and a value over the queries that share them, and against a cache, key/value heads. */
#include "kernels/cpu/cpu.h"

typedef struct turn {
    mu_device_t *dev;
    mu_array_t qkv;
    const mu_rotary_t *r;
    bool inverse;
    int64_t group; /* queries to a key */
    float *stage;  /* [threads][group + 1][head_dim]: what turns of a key/value head */
} turn_t;

static void rotary(void *arg, int thread, int64_t from, int64_t to)
{
    turn_t *t = arg;
    if (t->qkv.type == MU_DTYPE_F32) {
        mu_cpu_vec(t->dev)->rotary(mu_f32(t->qkv), t->r, from, to, t->inverse);
        return;
    }
    int64_t d = t->r->head_dim, heads = t->r->heads / t->group, turned = t->group + 1;
    float *stage = t->stage + thread * turned * d;
    mu_rotary_t one = *t->r;
    one.rows = one.seq = one.kv_heads = 1;
    one.start = NULL;
    one.heads = t->group;
    for (int64_t head = from * heads; head < to * heads; head++) {
        int64_t row = head / heads;
        one.first = t->r->first + row % t->r->seq - (t->r->start ? t->r->start[row] : 0);
        float *qk = mu_cpu_change(t->dev, t->qkv, head * (turned + 1) * d, turned * d, stage);
        mu_cpu_vec(t->dev)->rotary(qk, &one, 0, 1, t->inverse);
        mu_cpu_end(t->dev, t->qkv, head * (turned + 1) * d, turned * d, qk);
    }
}

void mu_cpu_rotary(mu_device_t *dev, mu_array_t qkv, const mu_rotary_t *r, bool inverse)
{
    turn_t t = {.dev = dev, .qkv = qkv, .r = r, .inverse = inverse};
    t.group = r->kv_heads > 0 ? r->heads / r->kv_heads : 1;
    if (qkv.type != MU_DTYPE_F32)
        t.stage = mu_cpu_scratch(dev, dev->threads * (t.group + 1) * r->head_dim);
    if (t.stage || qkv.type == MU_DTYPE_F32)
        mu_cpu_run(dev, r->rows, 16, rotary, &t);
}

typedef struct heads {
    mu_device_t *dev;
    const mu_attention_t *shape;
    mu_array_t qkv, dout, out, dqkv, cache;
    float *lse;
    int64_t first;
    const mu_panels_t *panels; /* bfloat16, where the tile unit multiplies it; else NULL */
    float *scratch;
    int64_t scratch_each;
} heads_t;

static const mu_panels_t *panels_of(mu_device_t *dev, mu_array_t qkv)
{
    const mu_tiles_t *tiles = mu_cpu(dev)->tiles;
    return tiles && qkv.type == MU_DTYPE_BF16 ? tiles->panels : NULL;
}

static bool scratch(heads_t *h, int64_t keys, bool backward)
{
    h->scratch_each = mu_vec_attention_scratch(keys, h->shape->head_dim, backward);
    h->scratch = mu_cpu_scratch(h->dev, h->scratch_each * h->dev->threads);
    return h->scratch != NULL;
}

static int64_t group_of(const mu_attention_t *s)
{
    return s->heads / mu_attention_kv_heads(s);
}

/* Elements of qkv in a token. */
static int64_t qkv_stride(const mu_attention_t *s)
{
    return (s->heads + 2 * mu_attention_kv_heads(s)) * s->head_dim;
}

/* Where head number i of batch * heads begins: its q in qkv, its row in out. */
static int64_t qkv_at(const mu_attention_t *s, int64_t i)
{
    int64_t head = i % s->heads, group = group_of(s);
    return i / s->heads * s->seq * qkv_stride(s) + (head / group * (group + 2) + head % group) * s->head_dim;
}
static int64_t out_at(const mu_attention_t *s, int64_t i)
{
    return (i / s->heads * s->seq * s->heads + i % s->heads) * s->head_dim;
}

/* The number of the element of its first query and first key. */
static uint64_t drop_at(const mu_attention_t *s, int64_t i)
{
    const mu_dropout_t *d = s->dropout;
    if (!d)
        return 0;
    int64_t head = (d->first + i / s->heads) * d->columns + d->column + i % s->heads;
    return (uint64_t)(head * s->seq * s->seq);
}

/* Head number i of batch * heads, reading keys and values beside the queries. */
static mu_vec_attention_t head_at(const heads_t *h, int thread, int64_t i)
{
    const mu_attention_t *s = h->shape;
    int64_t d = s->head_dim, stride = qkv_stride(s), group = group_of(s);
    mu_array_t q = mu_array_at(h->qkv, qkv_at(s, i)), k = mu_array_at(q, (group - i % group) * d);
    return (mu_vec_attention_t){.n = s->seq,
                                .head_dim = d,
                                .scale = (float)s->scale,
                                .q = q,
                                .k = k,
                                .v = mu_array_at(k, d),
                                .q_stride = stride,
                                .k_stride = stride,
                                .v_stride = stride,
                                .out = mu_array_at(h->out, out_at(s, i)),
                                .out_stride = s->heads * d,
                                .group = 1,
                                .lse = h->lse ? h->lse + i * s->seq : NULL,
                                .start = s->start ? s->start + i / s->heads * s->seq : NULL,
                                .dropout = s->dropout,
                                .drop_at = drop_at(s, i),
                                .panels = h->panels,
                                .scratch = h->scratch + thread * h->scratch_each};
}

static void forward(void *arg, int thread, int64_t from, int64_t to)
{
    heads_t *h = arg;
    const mu_vec_t *vec = mu_cpu_vec(h->dev);
    for (int64_t i = from; i < to; i++) {
        mu_vec_attention_t a = head_at(h, thread, i);
        (h->panels ? vec->attention_panels : vec->attention)(&a);
    }
}

void mu_cpu_attention_forward(mu_device_t *dev, mu_array_t out, float *lse, mu_array_t qkv,
                              const mu_attention_t *shape)
{
    heads_t h = {
        .dev = dev, .shape = shape, .qkv = qkv, .out = out, .lse = lse, .panels = panels_of(dev, qkv)};
    if (scratch(&h, shape->seq, false))
        mu_cpu_run(dev, shape->batch * shape->heads, 1, forward, &h);
}

static void backward(void *arg, int thread, int64_t from, int64_t to)
{
    heads_t *h = arg;
    const mu_attention_t *s = h->shape;
    const mu_vec_t *vec = mu_cpu_vec(h->dev);
    for (int64_t kv = from; kv < to; kv++) {
        int64_t group = group_of(s), i = kv * group; /* the first query's head */
        mu_vec_attention_t a = head_at(h, thread, i);
        a.group = group;
        a.dq = mu_array_at(h->dqkv, qkv_at(s, i));
        a.dk = mu_array_at(a.dq, group * s->head_dim);
        a.dv = mu_array_at(a.dk, s->head_dim);
        a.d_stride = a.q_stride;
        a.dout = mu_array_at(h->dout, out_at(s, i));
        (h->panels ? vec->attention_panels_backward : vec->attention_backward)(&a);
    }
}

void mu_cpu_attention_backward(mu_device_t *dev, mu_array_t dqkv, mu_array_t dout, mu_array_t qkv,
                               mu_array_t out, const float *lse, const mu_attention_t *shape)
{
    heads_t h = {.dev = dev,
                 .shape = shape,
                 .qkv = qkv,
                 .out = out,
                 .lse = (float *)(uintptr_t)lse, /* read only */
                 .dqkv = dqkv,
                 .dout = dout,
                 .panels = panels_of(dev, qkv)};
    if (scratch(&h, shape->seq, true))
        mu_cpu_run(dev, shape->batch * mu_attention_kv_heads(shape), 1, backward, &h);
}

static void cached(void *arg, int thread, int64_t from, int64_t to)
{
    heads_t *h = arg;
    const mu_attention_t *s = h->shape;
    int64_t d = s->head_dim, group = group_of(s), stride = mu_attention_kv_heads(s) * 2 * d;
    for (int64_t kv = from; kv < to; kv++) {
        mu_vec_attention_t a = head_at(h, thread, kv * group);
        mu_array_t cache = mu_array_at(h->cache, kv * 2 * d);
        for (int64_t t = 0; t < s->seq; t++)
            memcpy(mu_array_at(cache, (h->first + t) * stride).data, mu_array_at(a.k, t * a.k_stride).data,
                   (size_t)(2 * d * mu_dtype_size(cache.type)));
        a.first = h->first;
        a.k = cache;
        a.v = mu_array_at(cache, d);
        a.k_stride = a.v_stride = stride;
        for (int64_t query = 0; query < group; query++) {
            mu_cpu_vec(h->dev)->attention(&a);
            a.q = mu_array_at(a.q, d);
            a.out = mu_array_at(a.out, d);
        }
    }
}

void mu_cpu_attention_cached(mu_device_t *dev, mu_array_t out, mu_array_t cache, mu_array_t qkv,
                             int64_t first, const mu_attention_t *shape)
{
    heads_t h = {.dev = dev, .shape = shape, .qkv = qkv, .out = out, .cache = cache, .first = first};
    if (scratch(&h, first + shape->seq, false))
        mu_cpu_run(dev, mu_attention_kv_heads(shape), 1, cached, &h);
}
