/* RMS norms of queries and keys, head by head: threads divide the rows. */
#include "common/num.h"
#include "kernels/cpu/cpu.h"

enum {
    GRAIN = 16,
    BLOCK = 64
}; /* rows; blocks of a fixed size are added in order, whatever the number of threads */

typedef struct qk {
    mu_device_t *dev;
    const mu_qk_norm_t *shape;
    mu_array_t qkv, raw; /* backward: qkv is dqkv */
    const float *wq, *wk;
    float *rstd;
    int64_t group, normed,
        line;       /* queries to a key; heads of a group that are normed; elements of its line */
    float *stage;   /* [threads][2][normed][head_dim]; floats need none */
    float *partial; /* backward: [blocks][2][head_dim] */
} qk_t;

/* The weights as floats, the threads' stages, and `more` floats. */
static bool prepare(qk_t *q, mu_array_t wq, mu_array_t wk, int64_t more)
{
    const mu_qk_norm_t *s = q->shape;
    int64_t d = s->head_dim;
    q->group = s->heads / s->kv_heads;
    q->normed = q->group + 1;
    q->line = (q->group + 2) * d;
    int64_t staged = q->raw.type == MU_DTYPE_F32 ? 0 : 2 * d + q->dev->threads * 2 * q->normed * d;
    float *p = staged + more > 0 ? mu_cpu_scratch(q->dev, staged + more) : NULL;
    if (!p && staged + more > 0)
        return false;
    q->wq = mu_cpu_read(q->dev, wq, 0, d, p);
    q->wk = mu_cpu_read(q->dev, wk, 0, d, staged ? p + d : NULL);
    q->stage = staged ? p + 2 * d : NULL;
    q->partial = p ? p + staged : NULL;
    return true;
}

static float *stage_of(const qk_t *q, int thread, int which)
{
    return q->stage ? q->stage + (2 * thread + which) * q->normed * q->shape->head_dim : NULL;
}

static void forward(void *arg, int thread, int64_t from, int64_t to)
{
    qk_t *q = arg;
    int64_t d = q->shape->head_dim, n = q->normed * d, kv = q->shape->kv_heads;
    size_t value = (size_t)(d * mu_dtype_size(q->qkv.type));
    for (int64_t i = from * kv; i < to * kv; i++) {
        int64_t at = i * q->line;
        const float *x = mu_cpu_read(q->dev, q->raw, at, n, stage_of(q, thread, 0));
        float *y = mu_cpu_begin(q->qkv, at, stage_of(q, thread, 1)), *rstd = q->rstd + i * q->normed;
        mu_cpu_vec(q->dev)->rmsnorm(y, rstd, x, q->wq, q->group, d, q->shape->eps);
        mu_cpu_vec(q->dev)->rmsnorm(y + q->group * d, rstd + q->group, x + q->group * d, q->wk, 1, d,
                                    q->shape->eps);
        mu_cpu_end(q->dev, q->qkv, at, n, y);
        memcpy(mu_array_at(q->qkv, at + n).data, mu_array_at(q->raw, at + n).data, value);
    }
}

void mu_cpu_qk_norm_forward(mu_device_t *dev, mu_array_t qkv, float *rstd, mu_array_t raw, mu_array_t wq,
                            mu_array_t wk, const mu_qk_norm_t *shape)
{
    qk_t q = {.dev = dev, .shape = shape, .qkv = qkv, .raw = raw, .rstd = rstd};
    if (prepare(&q, wq, wk, 0))
        mu_cpu_run(dev, shape->rows, GRAIN, forward, &q);
}

static void backward(void *arg, int thread, int64_t from, int64_t to)
{
    qk_t *q = arg;
    int64_t d = q->shape->head_dim, n = q->normed * d, kv = q->shape->kv_heads;
    for (int64_t block = from; block < to; block++) {
        float *dwq = q->partial + block * 2 * d, *dwk = dwq + d;
        int64_t end = mu_min_i64((block + 1) * BLOCK, q->shape->rows) * kv;
        memset(dwq, 0, (size_t)(2 * d) * sizeof *dwq);
        for (int64_t i = block * BLOCK * kv; i < end; i++) {
            int64_t at = i * q->line;
            const float *x = mu_cpu_read(q->dev, q->raw, at, n, stage_of(q, thread, 0));
            float *dy = mu_cpu_change(q->dev, q->qkv, at, n, stage_of(q, thread, 1));
            float *rstd = q->rstd + i * q->normed, *dk = dy + q->group * d;
            mu_cpu_vec(q->dev)->rmsnorm_backward(dy, dwq, dy, x, q->wq, rstd, q->group, d, false);
            mu_cpu_vec(q->dev)->rmsnorm_backward(dk, dwk, dk, x + q->group * d, q->wk, rstd + q->group, 1, d,
                                                 false);
            mu_cpu_end(q->dev, q->qkv, at, n, dy);
        }
    }
}

void mu_cpu_qk_norm_backward(mu_device_t *dev, mu_array_t dqkv, float *dwq, float *dwk, mu_array_t raw,
                             mu_array_t wq, mu_array_t wk, const float *rstd, const mu_qk_norm_t *shape)
{
    int64_t blocks = (shape->rows + BLOCK - 1) / BLOCK, d = shape->head_dim;
    qk_t q = {.dev = dev, .shape = shape, .qkv = dqkv, .raw = raw};
    if (!prepare(&q, wq, wk, blocks * 2 * d))
        return;
    q.rstd = (float *)(uintptr_t)rstd; /* read only from here on */
    mu_cpu_run(dev, blocks, 1, backward, &q);
    mu_cpu_vec(dev)->column_sums(dwq, q.partial, blocks, 2 * d, d);
    mu_cpu_vec(dev)->column_sums(dwk, q.partial + d, blocks, 2 * d, d);
}
