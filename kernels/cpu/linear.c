/*
 * Linear layers. Threads share a product by slices of its result (rows of y and dx, rows of dw), so no sum is
 * ever divided and the number of threads changes no order of additions within oneDNN's own blocking.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"

/* Slices begin at multiples of this, which keeps oneDNN's register blocks whole. */
enum { GRAIN = 48 };

typedef struct linear {
    mu_device_t *dev;
    float *y, *pre;
    const float *x, *w, *bias, *plus; /* plus may be y */
    int64_t rows, in, out;
    mu_activation_t act;
    bool accumulate;
    _Atomic int failed;
} linear_t;

static void run(linear_t *l, int64_t n, mu_pool_job_t job)
{
    mu_cpu_run(l->dev, n, GRAIN, job, l);
    if (l->failed)
        mu_device_error(l->dev, MU_BUG);
}

static void product(linear_t *l, float *c, int64_t c_stride, mu_gemm_in_t a, mu_gemm_in_t b, int64_t m,
                    int64_t n, int64_t k, bool accumulate)
{
    if (mu_gemm(c, c_stride, a, b, m, n, k, accumulate) != MU_OK)
        l->failed = 1;
}

static void forward(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    linear_t *l = arg;
    float *y = l->y + from * l->out;
    if (l->plus && l->plus != l->y)
        memcpy(y, l->plus + from * l->out, (size_t)((to - from) * l->out) * sizeof *y);
    product(l, y, l->out, (mu_gemm_in_t){l->x + from * l->in, l->in, false},
            (mu_gemm_in_t){l->w, l->in, true}, to - from, l->out, l->in, l->plus != NULL);
    if (l->bias)
        mu_cpu_vec(l->dev)->bias(y, l->bias, to - from, l->out);
}

/* With few rows (generation) the slices are columns of y instead: each thread reads its own part of w. */
static void forward_columns(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    linear_t *l = arg;
    if (l->plus && l->plus != l->y)
        for (int64_t r = 0; r < l->rows; r++)
            memcpy(l->y + r * l->out + from, l->plus + r * l->out + from, (size_t)(to - from) * sizeof *l->y);
    product(l, l->y + from, l->out, (mu_gemm_in_t){l->x, l->in, false},
            (mu_gemm_in_t){l->w + from * l->in, l->in, true}, l->rows, to - from, l->in, l->plus != NULL);
    if (l->bias)
        for (int64_t r = 0; r < l->rows; r++)
            mu_cpu_vec(l->dev)->bias(l->y + r * l->out + from, l->bias + from, 1, to - from);
}

void mu_cpu_linear_forward(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t w, mu_array_t bias,
                           mu_array_t plus, int64_t rows, int64_t in, int64_t out)
{
    if (x.type != MU_DTYPE_F32) {
        mu_cpu_half_forward(dev, y, x, w, bias, plus, rows, in, out);
        return;
    }
    linear_t l = {.dev = dev,
                  .y = mu_f32(y),
                  .x = mu_f32(x),
                  .w = mu_f32(w),
                  .bias = mu_f32(bias),
                  .plus = mu_f32(plus),
                  .rows = rows,
                  .in = in,
                  .out = out};
    if (rows < GRAIN * dev->threads)
        run(&l, out, forward_columns);
    else
        run(&l, rows, forward);
}

/* In pieces of rows that stay in the second-level cache between the product and the activation. */
static int64_t piece_rows(int64_t width)
{
    int64_t rows = (128 << 10) / width / GRAIN * GRAIN;
    return rows > GRAIN ? rows : GRAIN;
}

static void gelu_forward(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    linear_t *l = arg;
    int64_t step = piece_rows(l->out);
    for (int64_t r = from; r < to; r += step) {
        int64_t n = to - r < step ? to - r : step;
        product(l, l->pre + r * l->out, l->out, (mu_gemm_in_t){l->x + r * l->in, l->in, false},
                (mu_gemm_in_t){l->w, l->in, true}, n, l->out, l->in, false);
        mu_cpu_vec(l->dev)->bias_gelu(l->y + r * l->out, l->pre + r * l->out, l->bias, n, l->out, l->act);
    }
}

void mu_cpu_linear_gelu_forward(mu_device_t *dev, mu_array_t y, mu_array_t pre, mu_array_t x, mu_array_t w,
                                mu_array_t bias, int64_t rows, int64_t in, int64_t out, mu_activation_t act)
{
    if (x.type != MU_DTYPE_F32) {
        mu_cpu_half_gelu_forward(dev, y, pre, x, w, bias, rows, in, out, act);
        return;
    }
    linear_t l = {.dev = dev,
                  .y = mu_f32(y),
                  .pre = mu_f32(pre),
                  .x = mu_f32(x),
                  .w = mu_f32(w),
                  .bias = mu_f32(bias),
                  .rows = rows,
                  .in = in,
                  .out = out,
                  .act = act};
    run(&l, rows, gelu_forward);
}

static void backward_input(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    linear_t *l = arg;
    product(l, l->y + from * l->in, l->in, (mu_gemm_in_t){l->x + from * l->out, l->out, false},
            (mu_gemm_in_t){l->w, l->in, false}, to - from, l->in, l->out, l->accumulate);
}

void mu_cpu_linear_backward_input(mu_device_t *dev, mu_array_t dx, mu_array_t dy, mu_array_t w, int64_t rows,
                                  int64_t in, int64_t out, bool accumulate)
{
    if (dy.type != MU_DTYPE_F32) {
        mu_cpu_half_backward_input(dev, dx, dy, w, rows, in, out, accumulate);
        return;
    }
    linear_t l = {.dev = dev,
                  .y = mu_f32(dx),
                  .x = mu_f32(dy),
                  .w = mu_f32(w),
                  .rows = rows,
                  .in = in,
                  .out = out,
                  .accumulate = accumulate};
    run(&l, rows, backward_input);
}

static void gelu_backward_input(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    linear_t *l = arg;
    int64_t step = piece_rows(l->in);
    for (int64_t r = from; r < to; r += step) {
        int64_t n = to - r < step ? to - r : step;
        float *dpre = l->y + r * l->in;
        product(l, dpre, l->in, (mu_gemm_in_t){l->x + r * l->out, l->out, false},
                (mu_gemm_in_t){l->w, l->in, false}, n, l->in, l->out, false);
        mu_cpu_vec(l->dev)->gelu_backward(dpre, dpre, l->pre + r * l->in, n * l->in, l->act);
    }
}

void mu_cpu_linear_gelu_backward_input(mu_device_t *dev, mu_array_t dpre, mu_array_t dy, mu_array_t w,
                                       mu_array_t pre, int64_t rows, int64_t in, int64_t out,
                                       mu_activation_t act)
{
    if (dy.type != MU_DTYPE_F32) {
        mu_cpu_half_gelu_backward_input(dev, dpre, dy, w, pre, rows, in, out, act);
        return;
    }
    linear_t l = {.dev = dev,
                  .y = mu_f32(dpre),
                  .pre = mu_f32(pre),
                  .x = mu_f32(dy),
                  .w = mu_f32(w),
                  .rows = rows,
                  .in = in,
                  .out = out,
                  .act = act};
    run(&l, rows, gelu_backward_input);
}

typedef struct weight {
    linear_t l;
    float *dw, *dbias;
    const float *dy;
} weight_t;

static void backward_weight(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    weight_t *b = arg;
    linear_t *l = &b->l;
    product(l, b->dw + from * l->in, l->in, (mu_gemm_in_t){b->dy + from, l->out, true},
            (mu_gemm_in_t){l->x, l->in, false}, to - from, l->in, l->rows, l->accumulate);
    if (b->dbias)
        mu_cpu_vec(l->dev)->column_sums(b->dbias + from, b->dy + from, l->rows, l->out, to - from);
}

void mu_cpu_linear_backward_weight(mu_device_t *dev, float *dw, float *dbias, mu_array_t dy, mu_array_t x,
                                   int64_t rows, int64_t in, int64_t out, bool fresh)
{
    if (dy.type != MU_DTYPE_F32) {
        mu_cpu_half_backward_weight(dev, dw, dbias, dy, x, rows, in, out, fresh);
        return;
    }
    weight_t b = {.l = {.dev = dev, .x = mu_f32(x), .rows = rows, .in = in, .out = out, .accumulate = !fresh},
                  .dw = dw,
                  .dbias = dbias,
                  .dy = mu_f32(dy)};
    mu_cpu_run(dev, out, GRAIN, backward_weight, &b);
    if (b.l.failed)
        mu_device_error(dev, MU_BUG);
}
