/* Operations on rows of the hidden width: embeddings, layer norm, residual. */
#include "common/num.h"
#include "kernels/cpu/cpu.h"

enum { GRAIN = 16 };

/* Stages of `count` rows for every thread; NULL where none is needed (or after an error: *ok is false). */
static float *row_stages(mu_device_t *dev, mu_dtype_t type, int64_t count, int64_t hidden, bool *ok)
{
    float *stage = type == MU_DTYPE_F32 ? NULL : mu_cpu_scratch(dev, dev->threads * count * hidden);
    *ok = stage || type == MU_DTYPE_F32;
    return stage;
}

typedef struct lookup {
    mu_device_t *dev;
    mu_array_t to, from;
    const int32_t *ids;
    int64_t rows, hidden, first, count, seq;
    float *stage; /* [threads][2][hidden] */
} lookup_t;

static float *stage_of(float *stages, int thread, int64_t size)
{
    return stages ? stages + thread * size : NULL;
}

static void embed(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    lookup_t *l = arg;
    size_t bytes = (size_t)(l->hidden * mu_dtype_size(l->to.type));
    for (int64_t r = from; r < to; r++) {
        int64_t id = l->ids[r] - l->first;
        void *x = mu_array_at(l->to, r * l->hidden).data;
        if (id >= 0 && id < l->count)
            memcpy(x, mu_array_at(l->from, id * l->hidden).data, bytes);
        else
            memset(x, 0, bytes);
    }
}

void mu_cpu_embedding_forward(mu_device_t *dev, mu_array_t x, mu_array_t table, const int32_t *ids,
                              int64_t rows, int64_t hidden, int64_t first, int64_t count)
{
    lookup_t l = {dev, x, table, ids, rows, hidden, first, count, 0, NULL};
    mu_cpu_run(dev, rows, GRAIN, embed, &l);
}

/* Threads divide the columns: each walks all rows in order, so equal ids meet in one order. */
static void embed_backward(void *arg, int thread, int64_t from, int64_t to)
{
    lookup_t *l = arg;
    float *stage = stage_of(l->stage, thread, 2 * l->hidden);
    for (int64_t r = 0; r < l->rows; r++) {
        int64_t id = l->ids[r] - l->first;
        if (id >= 0 && id < l->count)
            mu_cpu_vec(l->dev)->add(mu_f32(l->to) + id * l->hidden + from,
                                    mu_cpu_read(l->dev, l->from, r * l->hidden + from, to - from, stage),
                                    to - from);
    }
}

void mu_cpu_embedding_backward(mu_device_t *dev, float *dtable, mu_array_t dx, const int32_t *ids,
                               int64_t rows, int64_t hidden, int64_t first, int64_t count)
{
    bool ok;
    lookup_t l = {dev,   mu_array_f32(dtable),
                  dx,    ids,
                  rows,  hidden,
                  first, count,
                  0,     row_stages(dev, dx.type, 2, hidden, &ok)};
    if (ok)
        mu_cpu_run(dev, hidden, GRAIN, embed_backward, &l);
}

/* What is taken of the table for row r. */
static int64_t position_of(const lookup_t *l, int64_t r)
{
    return l->first + r % l->seq - (l->ids ? l->ids[r] : 0);
}

static void position(void *arg, int thread, int64_t from, int64_t to)
{
    lookup_t *l = arg;
    int64_t h = l->hidden;
    float *stage = stage_of(l->stage, thread, 2 * h);
    for (int64_t r = from; r < to; r++) {
        float *x = mu_cpu_change(l->dev, l->to, r * h, h, stage);
        mu_cpu_vec(l->dev)->add(
            x, mu_cpu_read(l->dev, l->from, position_of(l, r) * h, h, stage ? stage + h : NULL), h);
        mu_cpu_end(l->dev, l->to, r * h, h, x);
    }
}

void mu_cpu_position_forward(mu_device_t *dev, mu_array_t x, mu_array_t table, const int32_t *start,
                             int64_t rows, int64_t seq, int64_t first, int64_t hidden)
{
    bool ok;
    lookup_t l = {dev, x, table, start, rows, hidden, first, 0, seq, row_stages(dev, x.type, 2, hidden, &ok)};
    if (ok)
        mu_cpu_run(dev, rows, GRAIN, position, &l);
}

static void position_backward(void *arg, int thread, int64_t from, int64_t to)
{
    lookup_t *l = arg;
    float *stage = stage_of(l->stage, thread, 2 * l->hidden);
    for (int64_t r = 0; r < l->rows; r++)
        mu_cpu_vec(l->dev)->add(mu_f32(l->to) + position_of(l, r) * l->hidden + from,
                                mu_cpu_read(l->dev, l->from, r * l->hidden + from, to - from, stage),
                                to - from);
}

void mu_cpu_position_backward(mu_device_t *dev, float *dtable, mu_array_t dx, const int32_t *start,
                              int64_t rows, int64_t seq, int64_t hidden)
{
    bool ok;
    lookup_t l = {dev,  mu_array_f32(dtable),
                  dx,   start,
                  rows, hidden,
                  0,    0,
                  seq,  row_stages(dev, dx.type, 2, hidden, &ok)};
    if (ok)
        mu_cpu_run(dev, hidden, GRAIN, position_backward, &l);
}

typedef struct norm {
    mu_device_t *dev;
    mu_array_t y, x;
    const float *w, *b; /* the weights as floats */
    float *mean, *rstd;
    int64_t rows, hidden;
    double eps;
    float *stage; /* [threads][3][hidden] */
    /* backward: x and the statistics as above, y is dx */
    mu_array_t dy;
    float *partial; /* [blocks][2][hidden]: dw and db of each block of rows */
    bool accumulate;
} norm_t;

/* Scratch for a norm over narrow types: its weights as floats, then stages; after them `more` floats that
 * any type needs. */
static bool norm_scratch(norm_t *n, mu_array_t w, mu_array_t b, int64_t more)
{
    int64_t h = n->hidden, own = n->x.type == MU_DTYPE_F32 ? 0 : (2 + 3 * n->dev->threads) * h;
    if (own + more == 0) {
        n->w = mu_f32(w);
        n->b = mu_f32(b);
        return true;
    }
    float *p = mu_cpu_scratch(n->dev, own + more);
    if (!p)
        return false;
    n->w = mu_cpu_read(n->dev, w, 0, h, p);
    n->b = mu_cpu_read(n->dev, b, 0, h, p + h);
    n->stage = own ? p + 2 * h : NULL;
    n->partial = p + own;
    return true;
}

static void layernorm(void *arg, int thread, int64_t from, int64_t to)
{
    norm_t *n = arg;
    int64_t h = n->hidden;
    float *stage = stage_of(n->stage, thread, 3 * h);
    for (int64_t r = from, rows; r < to; r += rows) {
        rows = mu_cpu_step(n->x.type, to - r, 1);
        float *y = mu_cpu_begin(n->y, r * h, stage);
        mu_cpu_vec(n->dev)->layernorm(y, n->mean + r, n->rstd + r,
                                      mu_cpu_read(n->dev, n->x, r * h, rows * h, stage ? stage + h : NULL),
                                      n->w, n->b, rows, h, n->eps);
        mu_cpu_end(n->dev, n->y, r * h, rows * h, y);
    }
}

void mu_cpu_layernorm_forward(mu_device_t *dev, mu_array_t y, float *mean, float *rstd, mu_array_t x,
                              mu_array_t w, mu_array_t b, int64_t rows, int64_t hidden, double eps)
{
    norm_t n = {
        .dev = dev, .y = y, .mean = mean, .rstd = rstd, .x = x, .rows = rows, .hidden = hidden, .eps = eps};
    if (norm_scratch(&n, w, b, 0))
        mu_cpu_run(dev, rows, GRAIN, layernorm, &n);
}

/* Blocks of rows have a fixed size, and their parts of dw and db are added in order, so that the sums do not
 * depend on the number of threads. */
enum { NORM_BLOCK = 64 };

static void norm_rows_backward(norm_t *n, float *stage, float *partial, int64_t r, int64_t rows)
{
    int64_t h = n->hidden;
    float *stage_x = stage ? stage + h : NULL, *stage_dy = stage ? stage + 2 * h : NULL;
    float *dx = n->accumulate ? mu_cpu_change(n->dev, n->y, r * h, rows * h, stage)
                              : mu_cpu_begin(n->y, r * h, stage);
    mu_cpu_vec(n->dev)->layernorm_backward(dx, partial, partial + h,
                                           mu_cpu_read(n->dev, n->dy, r * h, rows * h, stage_dy),
                                           mu_cpu_read(n->dev, n->x, r * h, rows * h, stage_x), n->w,
                                           n->mean + r, n->rstd + r, rows, h, n->accumulate);
    mu_cpu_end(n->dev, n->y, r * h, rows * h, dx);
}

static void layernorm_backward(void *arg, int thread, int64_t from, int64_t to)
{
    norm_t *n = arg;
    int64_t h = n->hidden;
    float *stage = stage_of(n->stage, thread, 3 * h);
    for (int64_t block = from; block < to; block++) {
        int64_t r = block * NORM_BLOCK, end = mu_min_i64(r + NORM_BLOCK, n->rows);
        float *partial = n->partial + block * 2 * h;
        memset(partial, 0, (size_t)(2 * h) * sizeof *partial);
        for (int64_t rows; r < end; r += rows) {
            rows = mu_cpu_step(n->x.type, end - r, 1);
            norm_rows_backward(n, stage, partial, r, rows);
        }
    }
}

void mu_cpu_layernorm_backward(mu_device_t *dev, mu_array_t dx, float *dw, float *db, mu_array_t dy,
                               mu_array_t x, mu_array_t w, const float *mean, const float *rstd, int64_t rows,
                               int64_t hidden, bool accumulate)
{
    int64_t blocks = (rows + NORM_BLOCK - 1) / NORM_BLOCK;
    norm_t n = {
        .dev = dev, .y = dx, .x = x, .rows = rows, .hidden = hidden, .dy = dy, .accumulate = accumulate};
    if (!norm_scratch(&n, w, MU_NO_ARRAY, blocks * 2 * hidden))
        return;
    n.mean = (float *)(uintptr_t)mean; /* read only from here on */
    n.rstd = (float *)(uintptr_t)rstd;
    mu_cpu_run(dev, blocks, 1, layernorm_backward, &n);
    mu_cpu_vec(dev)->column_sums(dw, n.partial, blocks, 2 * hidden, hidden);
    mu_cpu_vec(dev)->column_sums(db, n.partial + hidden, blocks, 2 * hidden, hidden);
}

void mu_cpu_layernorm_pair_forward(mu_device_t *dev, mu_array_t y1, mu_array_t y2, float *mean, float *rstd,
                                   mu_array_t x, mu_array_t w1, mu_array_t b1, mu_array_t w2, mu_array_t b2,
                                   int64_t rows, int64_t hidden, double eps)
{
    mu_cpu_layernorm_forward(dev, y1, mean, rstd, x, w1, b1, rows, hidden, eps);
    mu_cpu_layernorm_forward(dev, y2, mean, rstd, x, w2, b2, rows, hidden, eps);
}

void mu_cpu_layernorm_pair_backward(mu_device_t *dev, mu_array_t dx, float *dw1, float *db1, float *dw2,
                                    float *db2, mu_array_t dy1, mu_array_t dy2, mu_array_t x, mu_array_t w1,
                                    mu_array_t w2, const float *mean, const float *rstd, int64_t rows,
                                    int64_t hidden, bool accumulate)
{
    mu_cpu_layernorm_backward(dev, dx, dw1, db1, dy1, x, w1, mean, rstd, rows, hidden, accumulate);
    mu_cpu_layernorm_backward(dev, dx, dw2, db2, dy2, x, w2, mean, rstd, rows, hidden, true);
}

/* RMS norm: the weights alone, and [threads][3][hidden] of stages. */
static void rmsnorm(void *arg, int thread, int64_t from, int64_t to)
{
    norm_t *n = arg;
    int64_t h = n->hidden;
    float *stage = stage_of(n->stage, thread, 3 * h);
    for (int64_t r = from, rows; r < to; r += rows) {
        rows = mu_cpu_step(n->x.type, to - r, 1);
        float *y = mu_cpu_begin(n->y, r * h, stage);
        mu_cpu_vec(n->dev)->rmsnorm(y, n->rstd + r,
                                    mu_cpu_read(n->dev, n->x, r * h, rows * h, stage ? stage + h : NULL),
                                    n->w, rows, h, n->eps);
        mu_cpu_end(n->dev, n->y, r * h, rows * h, y);
    }
}

void mu_cpu_rmsnorm_forward(mu_device_t *dev, mu_array_t y, float *rstd, mu_array_t x, mu_array_t w,
                            int64_t rows, int64_t hidden, double eps)
{
    norm_t n = {.dev = dev, .y = y, .rstd = rstd, .x = x, .rows = rows, .hidden = hidden, .eps = eps};
    if (norm_scratch(&n, w, MU_NO_ARRAY, 0))
        mu_cpu_run(dev, rows, GRAIN, rmsnorm, &n);
}

static void rmsnorm_backward(void *arg, int thread, int64_t from, int64_t to)
{
    norm_t *n = arg;
    int64_t h = n->hidden;
    float *stage = stage_of(n->stage, thread, 3 * h), *stage_x = stage ? stage + h : NULL,
          *stage_dy = stage ? stage + 2 * h : NULL;
    for (int64_t block = from; block < to; block++) {
        int64_t r = block * NORM_BLOCK, end = mu_min_i64(r + NORM_BLOCK, n->rows);
        float *partial = n->partial + block * h;
        memset(partial, 0, (size_t)h * sizeof *partial);
        for (int64_t rows; r < end; r += rows) {
            rows = mu_cpu_step(n->x.type, end - r, 1);
            float *dx = n->accumulate ? mu_cpu_change(n->dev, n->y, r * h, rows * h, stage)
                                      : mu_cpu_begin(n->y, r * h, stage);
            mu_cpu_vec(n->dev)->rmsnorm_backward(dx, partial,
                                                 mu_cpu_read(n->dev, n->dy, r * h, rows * h, stage_dy),
                                                 mu_cpu_read(n->dev, n->x, r * h, rows * h, stage_x), n->w,
                                                 n->rstd + r, rows, h, n->accumulate);
            mu_cpu_end(n->dev, n->y, r * h, rows * h, dx);
        }
    }
}

void mu_cpu_rmsnorm_backward(mu_device_t *dev, mu_array_t dx, float *dw, mu_array_t dy, mu_array_t x,
                             mu_array_t w, const float *rstd, int64_t rows, int64_t hidden, bool accumulate)
{
    int64_t blocks = (rows + NORM_BLOCK - 1) / NORM_BLOCK;
    norm_t n = {
        .dev = dev, .y = dx, .x = x, .rows = rows, .hidden = hidden, .dy = dy, .accumulate = accumulate};
    if (!norm_scratch(&n, w, MU_NO_ARRAY, blocks * hidden))
        return;
    n.rstd = (float *)(uintptr_t)rstd; /* read only from here on */
    mu_cpu_run(dev, blocks, 1, rmsnorm_backward, &n);
    mu_cpu_vec(dev)->column_sums(dw, n.partial, blocks, hidden, hidden);
}

typedef struct branch {
    mu_device_t *dev;
    mu_array_t y, x, branch, b1, b2;
    int64_t hidden;
    float *stage; /* [threads][5][hidden] */
} branch_t;

static void residual(void *arg, int thread, int64_t from, int64_t to)
{
    branch_t *b = arg;
    int64_t h = b->hidden;
    float *stage[5] = {NULL};
    for (int i = 0; b->stage && i < 5; i++)
        stage[i] = b->stage + (5 * thread + i) * h;
    const float *b1 = mu_cpu_read(b->dev, b->b1, 0, h, stage[0]);
    const float *b2 = mu_cpu_read(b->dev, b->b2, 0, h, stage[1]);
    for (int64_t r = from, rows; r < to; r += rows) {
        rows = mu_cpu_step(b->x.type, to - r, 1);
        float *y = mu_cpu_begin(b->y, r * h, stage[2]);
        mu_cpu_vec(b->dev)->residual(y, mu_cpu_read(b->dev, b->x, r * h, rows * h, stage[3]),
                                     mu_cpu_read(b->dev, b->branch, r * h, rows * h, stage[4]), b1, b2, rows,
                                     h);
        mu_cpu_end(b->dev, b->y, r * h, rows * h, y);
    }
}

void mu_cpu_residual(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t branch, mu_array_t bias1,
                     mu_array_t bias2, int64_t rows, int64_t hidden)
{
    bool ok;
    branch_t b = {dev, y, x, branch, bias1, bias2, hidden, row_stages(dev, x.type, 5, hidden, &ok)};
    if (ok)
        mu_cpu_run(dev, rows, GRAIN, residual, &b);
}
