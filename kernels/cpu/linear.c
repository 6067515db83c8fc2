/*
 * Linear layers of floats. Threads share a product by slices of its result, as the product's way says (ways.h), so no
 * sum is ever divided and the number of threads changes no order of additions within oneDNN's own blocking. What
 * follows a product (bias, activation) follows each block of it, which is still in a cache.
 */
#include "common/num.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"

typedef struct linear {
    mu_device_t *dev;
    const mu_way_t *way;
    float *c; /* [m][n] = a [m][k] b [k][n] */
    mu_gemm_in_t a, b;
    int64_t m, n, k;
    const float *bias, *plus; /* [n]; [m][n], may be c */
    float *y, *pre;           /* [m][n] */
    mu_activation_t act;
    bool accumulate;
    float *dbias;   /* [m] += sums over k of a */
    float *scratch; /* packed: [threads][each] */
    int64_t each;   /* depth x cols, or rows x depth */
    /* What is done with the columns col .. col + cols - 1 of rows of the result; NULL: nothing. */
    void (*finish)(const struct linear *l, int64_t row, int64_t rows, int64_t col, int64_t cols);
    _Atomic int failed;
} linear_t;

/* From row i and column p of the operand on. */
static mu_gemm_in_t part(mu_gemm_in_t o, int64_t i, int64_t p)
{
    o.data += o.transposed ? p * o.stride + i : i * o.stride + p;
    return o;
}

static void block(linear_t *l, int64_t row, int64_t rows, int64_t col, int64_t cols, mu_gemm_in_t a,
                  mu_gemm_in_t b, int64_t p, int64_t k)
{
    float *c = l->c + row * l->n + col;
    for (int64_t r = 0; p == 0 && l->plus && l->plus != l->c && r < rows; r++)
        memcpy(c + r * l->n, l->plus + (row + r) * l->n + col, (size_t)cols * sizeof *c);
    if (l->dbias && col == 0) /* what the product reads next */
        mu_cpu_vec(l->dev)->column_sums(l->dbias + row, a.data, k, a.stride, rows);
    if (mu_gemm(c, l->n, a, b, rows, cols, k, l->accumulate || p > 0) != MU_OK)
        l->failed = 1;
    if (l->finish && p + k == l->k)
        l->finish(l, row, rows, col, cols);
}

/* rows x cols of the operand, which lie far apart, copied side by side: rows that are a power of two apart meet in few
 * lines of a cache. */
static mu_gemm_in_t pack(mu_gemm_in_t o, int64_t rows, int64_t cols, float *to)
{
    int64_t lines = o.transposed ? cols : rows, line = o.transposed ? rows : cols;
    for (int64_t i = 0; i < lines; i++)
        memcpy(to + i * line, o.data + i * o.stride, (size_t)line * sizeof *to);
    return (mu_gemm_in_t){to, line, o.transposed};
}

static void region(linear_t *l, float *packed, int64_t row, int64_t row_end, int64_t col, int64_t col_end)
{
    const mu_way_t *way = l->way;
    int64_t rows = way->rows ? way->rows : row_end - row, cols = way->cols ? way->cols : col_end - col;
    int64_t depth = way->depth ? way->depth : l->k;
    for (int64_t j = col; j < col_end; j += cols)
        for (int64_t p = 0; p < l->k; p += depth) {
            int64_t k = mu_min_i64(depth, l->k - p), n = mu_min_i64(cols, col_end - j);
            mu_gemm_in_t b = part(l->b, p, j);
            if (way->kind == MU_WAY_PACKED)
                b = pack(b, k, n, packed);
            for (int64_t i = row; i < row_end; i += rows) {
                int64_t m = mu_min_i64(rows, row_end - i);
                mu_gemm_in_t a = part(l->a, i, p);
                if (way->kind == MU_WAY_FIRST_PACKED)
                    a = pack(a, m, k, packed);
                block(l, i, m, j, n, a, b, p, k);
            }
        }
}

static void by_rows(void *arg, int thread, int64_t from, int64_t to)
{
    linear_t *l = arg;
    region(l, l->scratch ? l->scratch + thread * l->each : NULL, from, to, 0, l->n);
}

static void by_columns(void *arg, int thread, int64_t from, int64_t to)
{
    linear_t *l = arg;
    (void)thread;
    region(l, NULL, 0, l->m, from, to);
}

/* Sums of rows from .. to - 1 of a transposed a. */
static void bias_gradient(void *arg, int thread, int64_t from, int64_t to)
{
    linear_t *l = arg;
    (void)thread;
    mu_cpu_vec(l->dev)->column_sums(l->dbias + from, l->a.data + from, l->k, l->a.stride, to - from);
}

/* Floats that a thread packs at a time. */
static int64_t scratch_of(const mu_way_t *way)
{
    return way->kind == MU_WAY_PACKED         ? (int64_t)way->cols * way->depth
           : way->kind == MU_WAY_FIRST_PACKED ? (int64_t)way->rows * way->depth
                                              : 0;
}

static void run(linear_t *l, mu_product_op_t op, int64_t rows, int64_t in, int64_t out)
{
    float *dbias = l->dbias;
    l->way = mu_cpu_way(l->dev, op, MU_DTYPE_F32, rows, in, out);
    l->each = scratch_of(l->way);
    if (l->each > 0 && !(l->scratch = mu_cpu_scratch(l->dev, l->dev->threads * l->each)))
        return;
    if (l->way->kind == MU_WAY_COLUMNS) {
        l->dbias = NULL; /* no thread has all of a row */
        mu_cpu_run(l->dev, l->n, MU_WAY_GRAIN, by_columns, l);
        l->dbias = dbias;
        if (dbias)
            mu_cpu_run(l->dev, l->m, MU_WAY_GRAIN, bias_gradient, l);
    } else {
        mu_cpu_run(l->dev, l->m, MU_WAY_GRAIN, by_rows, l);
    }
    if (l->failed)
        mu_device_error(l->dev, MU_BUG);
}

static void add_bias(const linear_t *l, int64_t row, int64_t rows, int64_t col, int64_t cols)
{
    float *y = l->c + row * l->n + col;
    if (cols == l->n)
        mu_cpu_vec(l->dev)->bias(y, l->bias, rows, cols);
    else
        for (int64_t r = 0; r < rows; r++)
            mu_cpu_vec(l->dev)->bias(y + r * l->n, l->bias + col, 1, cols);
}

void mu_cpu_linear_forward(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t w, mu_array_t bias,
                           mu_array_t plus, int64_t rows, int64_t in, int64_t out)
{
    if (x.type != MU_DTYPE_F32) {
        mu_cpu_half_forward(dev, y, x, w, bias, plus, rows, in, out);
        return;
    }
    linear_t l = {.dev = dev,
                  .c = mu_f32(y),
                  .a = {mu_f32(x), in, false},
                  .b = {mu_f32(w), in, true},
                  .m = rows,
                  .n = out,
                  .k = in,
                  .bias = mu_f32(bias),
                  .plus = mu_f32(plus),
                  .accumulate = plus.data != NULL,
                  .finish = bias.data ? add_bias : NULL};
    run(&l, MU_PRODUCT_FORWARD, rows, in, out);
}

static void gelu(const linear_t *l, int64_t row, int64_t rows, int64_t col, int64_t cols)
{
    const float *bias = l->bias ? l->bias + col : NULL;
    for (int64_t r = row; r < row + rows; r++) {
        int64_t at = r * l->n + col;
        mu_cpu_vec(l->dev)->bias_gelu(l->y + at, l->c + at, bias, 1, cols, l->act);
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
                  .c = mu_f32(pre),
                  .a = {mu_f32(x), in, false},
                  .b = {mu_f32(w), in, true},
                  .m = rows,
                  .n = out,
                  .k = in,
                  .bias = mu_f32(bias),
                  .y = mu_f32(y),
                  .act = act,
                  .finish = gelu};
    run(&l, MU_PRODUCT_GELU_FORWARD, rows, in, out);
}

void mu_cpu_linear_backward_input(mu_device_t *dev, mu_array_t dx, mu_array_t dy, mu_array_t w, int64_t rows,
                                  int64_t in, int64_t out, bool accumulate)
{
    if (dy.type != MU_DTYPE_F32) {
        mu_cpu_half_backward_input(dev, dx, dy, w, rows, in, out, accumulate);
        return;
    }
    linear_t l = {.dev = dev,
                  .c = mu_f32(dx),
                  .a = {mu_f32(dy), out, false},
                  .b = {mu_f32(w), in, false},
                  .m = rows,
                  .n = in,
                  .k = out,
                  .accumulate = accumulate};
    run(&l, MU_PRODUCT_BACKWARD_INPUT, rows, in, out);
}

static void gelu_slope(const linear_t *l, int64_t row, int64_t rows, int64_t col, int64_t cols)
{
    for (int64_t r = row; r < row + rows; r++) {
        int64_t at = r * l->n + col;
        mu_cpu_vec(l->dev)->gelu_backward(l->c + at, l->c + at, l->pre + at, cols, l->act);
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
                  .c = mu_f32(dpre),
                  .a = {mu_f32(dy), out, false},
                  .b = {mu_f32(w), in, false},
                  .m = rows,
                  .n = in,
                  .k = out,
                  .pre = mu_f32(pre),
                  .act = act,
                  .finish = gelu_slope};
    run(&l, MU_PRODUCT_GELU_BACKWARD_INPUT, rows, in, out);
}

void mu_cpu_linear_backward_weight(mu_device_t *dev, float *dw, float *dbias, mu_array_t dy, mu_array_t x,
                                   int64_t rows, int64_t in, int64_t out, bool fresh)
{
    if (dy.type != MU_DTYPE_F32) {
        mu_cpu_half_backward_weight(dev, dw, dbias, dy, x, rows, in, out, fresh);
        return;
    }
    linear_t l = {.dev = dev,
                  .c = dw,
                  .a = {mu_f32(dy), out, true},
                  .b = {mu_f32(x), in, false},
                  .m = out,
                  .n = in,
                  .k = rows,
                  .dbias = dbias,
                  .accumulate = !fresh};
    run(&l, MU_PRODUCT_BACKWARD_WEIGHT, rows, in, out);
}
