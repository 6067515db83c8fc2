/* Operations on rows of the hidden width: embeddings, layer norm, residual. */
#include "common/num.h"
#include "kernels/cpu/cpu.h"

enum { GRAIN = 16 };

typedef struct lookup {
    mu_device_t *dev;
    float *to;
    const float *from;
    const int32_t *ids;
    int64_t rows, hidden, first, count, seq;
} lookup_t;

static void embed(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    lookup_t *l = arg;
    for (int64_t r = from; r < to; r++) {
        int64_t id = l->ids[r] - l->first;
        float *x = l->to + r * l->hidden;
        if (id >= 0 && id < l->count)
            memcpy(x, l->from + id * l->hidden, (size_t)l->hidden * sizeof *x);
        else
            memset(x, 0, (size_t)l->hidden * sizeof *x);
    }
}

void mu_cpu_embedding_forward(mu_device_t *dev, mu_array_t x, mu_array_t table, const int32_t *ids,
                              int64_t rows, int64_t hidden, int64_t first, int64_t count)
{
    lookup_t l = {dev, mu_f32(x), mu_f32(table), ids, rows, hidden, first, count, 0};
    mu_cpu_run(dev, rows, GRAIN, embed, &l);
}

/* Threads divide the columns: each walks all rows in order, so equal ids meet in one order. */
static void embed_backward(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    lookup_t *l = arg;
    for (int64_t r = 0; r < l->rows; r++) {
        int64_t id = l->ids[r] - l->first;
        if (id >= 0 && id < l->count)
            mu_cpu_vec(l->dev)->add(l->to + id * l->hidden + from, l->from + r * l->hidden + from, to - from);
    }
}

void mu_cpu_embedding_backward(mu_device_t *dev, float *dtable, mu_array_t dx, const int32_t *ids,
                               int64_t rows, int64_t hidden, int64_t first, int64_t count)
{
    lookup_t l = {dev, dtable, mu_f32(dx), ids, rows, hidden, first, count, 0};
    mu_cpu_run(dev, hidden, GRAIN, embed_backward, &l);
}

static void position(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    lookup_t *l = arg;
    for (int64_t r = from; r < to; r++)
        mu_cpu_vec(l->dev)->add(l->to + r * l->hidden, l->from + (l->first + r % l->seq) * l->hidden,
                                l->hidden);
}

void mu_cpu_position_forward(mu_device_t *dev, mu_array_t x, mu_array_t table, int64_t rows, int64_t seq,
                             int64_t first, int64_t hidden)
{
    lookup_t l = {dev, mu_f32(x), mu_f32(table), NULL, rows, hidden, first, 0, seq};
    mu_cpu_run(dev, rows, GRAIN, position, &l);
}

static void position_backward(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    lookup_t *l = arg;
    for (int64_t r = 0; r < l->rows; r++)
        mu_cpu_vec(l->dev)->add(l->to + r % l->seq * l->hidden + from, l->from + r * l->hidden + from,
                                to - from);
}

void mu_cpu_position_backward(mu_device_t *dev, float *dtable, mu_array_t dx, int64_t rows, int64_t seq,
                              int64_t hidden)
{
    lookup_t l = {dev, dtable, mu_f32(dx), NULL, rows, hidden, 0, 0, seq};
    mu_cpu_run(dev, hidden, GRAIN, position_backward, &l);
}

typedef struct norm {
    mu_device_t *dev;
    float *y, *mean, *rstd;
    const float *x, *w, *b;
    int64_t rows, hidden;
    double eps;
    /* backward: x and the statistics as above, y is dx */
    const float *dy;
    float *partial; /* [blocks][2][hidden]: dw and db of each block of rows */
    bool accumulate;
} norm_t;

static void layernorm(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    norm_t *n = arg;
    mu_cpu_vec(n->dev)->layernorm(n->y + from * n->hidden, n->mean + from, n->rstd + from,
                                  n->x + from * n->hidden, n->w, n->b, to - from, n->hidden, n->eps);
}

void mu_cpu_layernorm_forward(mu_device_t *dev, mu_array_t y, float *mean, float *rstd, mu_array_t x,
                              mu_array_t w, mu_array_t b, int64_t rows, int64_t hidden, double eps)
{
    norm_t n = {.dev = dev,
                .y = mu_f32(y),
                .mean = mean,
                .rstd = rstd,
                .x = mu_f32(x),
                .w = mu_f32(w),
                .b = mu_f32(b),
                .rows = rows,
                .hidden = hidden,
                .eps = eps};
    mu_cpu_run(dev, rows, GRAIN, layernorm, &n);
}

/* Blocks of rows have a fixed size, and their parts of dw and db are added in order, so that the sums do not
 * depend on the number of threads. */
enum { NORM_BLOCK = 64 };

static void layernorm_backward(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    norm_t *n = arg;
    int64_t h = n->hidden;
    for (int64_t block = from; block < to; block++) {
        int64_t r = block * NORM_BLOCK, rows = mu_min_i64(NORM_BLOCK, n->rows - r);
        float *partial = n->partial + block * 2 * h;
        memset(partial, 0, (size_t)(2 * h) * sizeof *partial);
        mu_cpu_vec(n->dev)->layernorm_backward(n->y + r * h, partial, partial + h, n->dy + r * h,
                                               n->x + r * h, n->w, n->mean + r, n->rstd + r, rows, h,
                                               n->accumulate);
    }
}

void mu_cpu_layernorm_backward(mu_device_t *dev, mu_array_t dx, float *dw, float *db, mu_array_t dy,
                               mu_array_t x, mu_array_t w, const float *mean, const float *rstd, int64_t rows,
                               int64_t hidden, bool accumulate)
{
    int64_t blocks = (rows + NORM_BLOCK - 1) / NORM_BLOCK;
    norm_t n = {.dev = dev,
                .y = mu_f32(dx),
                .x = mu_f32(x),
                .w = mu_f32(w),
                .rows = rows,
                .hidden = hidden,
                .dy = mu_f32(dy),
                .accumulate = accumulate,
                .partial = mu_cpu_scratch(dev, blocks * 2 * hidden)};
    if (!n.partial)
        return;
    n.mean = (float *)(uintptr_t)mean; /* read only from here on */
    n.rstd = (float *)(uintptr_t)rstd;
    mu_cpu_run(dev, blocks, 1, layernorm_backward, &n);
    mu_cpu_vec(dev)->column_sums(dw, n.partial, blocks, 2 * hidden, hidden);
    mu_cpu_vec(dev)->column_sums(db, n.partial + hidden, blocks, 2 * hidden, hidden);
}

typedef struct branch {
    mu_device_t *dev;
    float *y;
    const float *x, *branch, *b1, *b2;
    int64_t hidden;
} branch_t;

static void residual(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    branch_t *b = arg;
    int64_t at = from * b->hidden;
    mu_cpu_vec(b->dev)->residual(b->y + at, b->x + at, b->branch + at, b->b1, b->b2, to - from, b->hidden);
}

void mu_cpu_residual(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t branch, mu_array_t bias1,
                     mu_array_t bias2, int64_t rows, int64_t hidden)
{
    branch_t b = {dev, mu_f32(y), mu_f32(x), mu_f32(branch), mu_f32(bias1), mu_f32(bias2), hidden};
    mu_cpu_run(dev, rows, GRAIN, residual, &b);
}
