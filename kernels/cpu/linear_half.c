/*
 * Linear layers of 16-bit arrays. A block of the result is computed in float, in scratch that stays in the
 * second-level cache, finished there (bias, activation, what was there before) and rounded once into its
 * array. bfloat16 goes into the tile unit, or into oneDNN, as it is where the processor multiplies it; else, and
 * for fp16, panels of both operands are widened, and the product is that of floats.
 */
#include "common/num.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"

/* Blocks are those of the product's way (ways.h), with at most so many columns; operands are widened in pieces of so
 * much depth. */
enum { MOST_COLS = 768, BLOCK_DEPTH = 512, BIAS_ROWS = 64, RESULT_ROWS = 256 };

/* As mu_gemm_in_t, of any type. */
typedef struct operand {
    mu_array_t data;
    int64_t stride;
    bool transposed;
} operand_t;

typedef struct half {
    mu_device_t *dev;
    const mu_way_t *way;
    operand_t a, b; /* result [m][n] = a [m][k] b [k][n] */
    int64_t m, n, k;
    mu_array_t y, pre, bias, plus; /* y, pre, plus: [m][n] */
    float *dw;                     /* instead of y: [m][n], added to unless fresh */
    mu_activation_t act;
    bool fresh, native;
    const mu_panels_t *panels; /* NULL: not by tiles */
    /* A block of the result, [rows][way->cols], that begins at (row, col). */
    void (*finish)(const struct half *h, float *c, int64_t row, int64_t col, int64_t rows, int64_t cols);
    float *scratch; /* [threads][each]: the result, then the panels of both operands, where they are made */
    int64_t each;
    _Atomic int failed;
} half_t;

/* Rows i .. i + ni - 1 and columns p .. p + np - 1 of op(data). */
static operand_t part(operand_t o, int64_t i, int64_t p)
{
    o.data = mu_array_at(o.data, o.transposed ? p * o.stride + i : i * o.stride + p);
    return o;
}

/* The first ni rows and np columns, as floats. */
static mu_gemm_in_t widen(mu_device_t *dev, operand_t o, int64_t ni, int64_t np, float *to)
{
    int64_t rows = o.transposed ? np : ni, cols = o.transposed ? ni : np;
    for (int64_t r = 0; r < rows; r++)
        mu_cpu_vec(dev)->widen(to + r * cols, mu_array_at(o.data, r * o.stride).data, cols, o.data.type);
    return (mu_gemm_in_t){to, cols, o.transposed};
}

static mu_status_t product(half_t *h, float *panels, float *c, int64_t c_stride, operand_t a, operand_t b,
                           int64_t m, int64_t n, bool accumulate)
{
    if (h->native)
        return mu_gemm_bfloat16(c, c_stride, (mu_gemm_half_t){a.data.data, a.stride, a.transposed},
                                (mu_gemm_half_t){b.data.data, b.stride, b.transposed}, m, n, h->k,
                                accumulate);
    for (int64_t p = 0; p < h->k; p += BLOCK_DEPTH) {
        int64_t depth = mu_min_i64(BLOCK_DEPTH, h->k - p);
        MU_TRY(mu_gemm(c, c_stride, widen(h->dev, part(a, 0, p), m, depth, panels),
                       widen(h->dev, part(b, p, 0), depth, n, panels + h->way->rows * BLOCK_DEPTH), m, n,
                       depth, accumulate || p > 0));
    }
    return MU_OK;
}

static void block(half_t *h, int thread, int64_t row, int64_t col, int64_t rows, int64_t cols)
{
    float *result = h->scratch + thread * h->each, *panels = result + h->way->rows * h->way->cols;
    operand_t a = part(h->a, row, 0), b = part(h->b, 0, col);
    float *c = h->dw ? h->dw + row * h->n + col : result;
    if (product(h, panels, c, h->dw ? h->n : h->way->cols, a, b, rows, cols, h->dw && !h->fresh) != MU_OK)
        h->failed = 1;
    else if (!h->dw)
        h->finish(h, c, row, col, rows, cols);
}

/* What the panels of a thread hold: of the left operand from (row, k), of the right one from (k, column). */
typedef struct packed {
    uint16_t *left, *right;
    int64_t row, left_k, col, right_k;
} packed_t;

static mu_gemm_half_t half_of(operand_t o)
{
    return (mu_gemm_half_t){o.data.data, o.stride, o.transposed};
}

static void pack_left(half_t *h, packed_t *p, int64_t row, int64_t k, int64_t rows, int64_t depth)
{
    if (p->row == row && p->left_k == k)
        return;
    h->panels->pack_left(p->left, half_of(part(h->a, row, k)), rows, depth);
    p->row = row;
    p->left_k = k;
}

static void pack_right(half_t *h, packed_t *p, int64_t col, int64_t k, int64_t cols, int64_t depth)
{
    if (p->col == col && p->right_k == k)
        return;
    h->panels->pack_right(p->right, half_of(part(h->b, k, col)), depth, cols);
    p->col = col;
    p->right_k = k;
}

/* Some rows of a block, at most result_rows() of them. */
static void tile_rows(half_t *h, packed_t *p, float *result, int64_t block_row, int64_t block_rows,
                      int64_t first, int64_t col, int64_t rows, int64_t cols)
{
    int64_t row = block_row + first;
    float *c = h->dw ? h->dw + row * h->n + col : result;
    for (int64_t k = 0; k < h->k; k += h->way->depth) {
        int64_t depth = mu_min_i64(h->way->depth, h->k - k);
        pack_left(h, p, block_row, k, block_rows, depth);
        pack_right(h, p, col, k, cols, depth);
        h->panels->multiply(c, h->dw ? h->n : h->way->cols, p->left + mu_panel_elements(first, depth),
                            p->right, rows, cols, depth, k > 0 || (h->dw && !h->fresh));
    }
    if (!h->dw)
        h->finish(h, c, row, col, rows, cols);
}

/* Where the panels have the whole sum, the result is made in pieces that stay in the cache until they are finished. */
static int64_t result_rows(const half_t *h)
{
    return h->k <= h->way->depth ? mu_min_i64(RESULT_ROWS, h->way->rows) : h->way->rows;
}

static void tile_block(half_t *h, packed_t *p, float *result, int64_t row, int64_t col, int64_t rows,
                       int64_t cols)
{
    int64_t step = result_rows(h);
    for (int64_t i = 0; i < rows; i += step)
        tile_rows(h, p, result, row, rows, i, col, mu_min_i64(step, rows - i), cols);
}

/* Elements of both panels of a thread. */
static int64_t left_panel(const half_t *h)
{
    return mu_panel_elements(mu_min_i64(h->way->rows, h->m), mu_min_i64(h->way->depth, h->k));
}
static int64_t right_panel(const half_t *h)
{
    return mu_panel_elements(mu_min_i64(h->way->cols, h->n), mu_min_i64(h->way->depth, h->k));
}
static int64_t result_block(const half_t *h)
{
    return h->dw ? 0 : result_rows(h) * h->way->cols;
}

static void tile_region(half_t *h, int thread, int64_t row, int64_t row_end, int64_t col, int64_t col_end)
{
    int64_t rows = h->way->rows, cols = h->way->cols;
    float *result = h->scratch + thread * h->each;
    uint16_t *left = (uint16_t *)(result + result_block(h));
    packed_t p = {.left = left, .right = left + left_panel(h), .row = -1, .col = -1};
    for (int64_t i = row; i < row_end; i += rows)
        for (int64_t j = col; j < col_end; j += cols)
            tile_block(h, &p, result, i, j, mu_min_i64(rows, row_end - i), mu_min_i64(cols, col_end - j));
}

static void region(half_t *h, int thread, int64_t row, int64_t row_end, int64_t col, int64_t col_end)
{
    int64_t rows = h->way->rows, cols = h->way->cols;
    for (int64_t j = col; j < col_end; j += cols)
        for (int64_t i = row; i < row_end; i += rows)
            block(h, thread, i, j, mu_min_i64(rows, row_end - i), mu_min_i64(cols, col_end - j));
}

static void by_rows(void *arg, int thread, int64_t from, int64_t to)
{
    half_t *h = arg;
    (h->panels ? tile_region : region)(h, thread, from, to, 0, h->n);
}

static void by_columns(void *arg, int thread, int64_t from, int64_t to)
{
    half_t *h = arg;
    (h->panels ? tile_region : region)(h, thread, 0, h->m, from, to);
}

static void run(half_t *h, mu_product_op_t op, int64_t rows, int64_t in, int64_t out)
{
    mu_device_t *dev = h->dev;
    const mu_way_t *way = mu_cpu_way(dev, op, h->a.data.type, rows, in, out);
    int64_t grain = way->tiles ? 2 * MU_TILES_ROWS : MU_WAY_GRAIN;
    h->way = way;
    h->native = h->a.data.type == MU_DTYPE_BF16 && mu_cpu(dev)->native_bfloat16;
    h->panels = way->tiles ? mu_cpu(dev)->tiles->panels : NULL;
    h->each = h->panels   ? result_block(h) + (left_panel(h) + right_panel(h)) / 2
              : h->native ? way->rows * way->cols
                          : way->rows * way->cols + (way->rows + way->cols) * BLOCK_DEPTH;
    h->each = mu_max_i64(h->each, BIAS_ROWS * MOST_COLS);
    h->scratch = mu_cpu_scratch(dev, dev->threads * h->each);
    if (!h->scratch)
        return;
    if (way->kind == MU_WAY_COLUMNS)
        mu_cpu_run(dev, h->n, grain, by_columns, h);
    else
        mu_cpu_run(dev, h->m, grain, by_rows, h);
    if (h->failed)
        mu_device_error(dev, MU_BUG);
}

/* --- what is done with a block --- */

static void store(const half_t *h, mu_array_t to, const float *c, int64_t row, int64_t col, int64_t cols)
{
    mu_cpu_end(h->dev, to, row * h->n + col, cols, c);
}

static void plain(const half_t *h, float *c, int64_t row, int64_t col, int64_t rows, int64_t cols)
{
    const mu_vec_t *vec = mu_cpu_vec(h->dev);
    float bias[MOST_COLS], old[MOST_COLS];
    if (h->bias.data)
        vec->widen(bias, mu_array_at(h->bias, col).data, cols, h->bias.type);
    for (int64_t r = 0; r < rows; r++, c += h->way->cols) {
        if (h->bias.data)
            vec->add(c, bias, cols);
        if (h->plus.data)
            vec->add(c, mu_cpu_read(h->dev, h->plus, (row + r) * h->n + col, cols, old), cols);
        store(h, h->y, c, row + r, col, cols);
    }
}

static void gelu(const half_t *h, float *c, int64_t row, int64_t col, int64_t rows, int64_t cols)
{
    const mu_vec_t *vec = mu_cpu_vec(h->dev);
    float bias[MOST_COLS];
    if (h->bias.data)
        vec->widen(bias, mu_array_at(h->bias, col).data, cols, h->bias.type);
    for (int64_t r = 0; r < rows; r++, c += h->way->cols) {
        if (h->bias.data)
            vec->add(c, bias, cols);
        store(h, h->pre, c, row + r, col, cols);
        vec->gelu(c, c, cols, h->act);
        store(h, h->y, c, row + r, col, cols);
    }
}

static void gelu_slope(const half_t *h, float *c, int64_t row, int64_t col, int64_t rows, int64_t cols)
{
    float pre[MOST_COLS];
    for (int64_t r = 0; r < rows; r++, c += h->way->cols) {
        mu_cpu_vec(h->dev)->gelu_backward(
            c, c, mu_cpu_read(h->dev, h->pre, (row + r) * h->n + col, cols, pre), cols, h->act);
        store(h, h->y, c, row + r, col, cols);
    }
}

/* --- the operations --- */

void mu_cpu_half_forward(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t w, mu_array_t bias,
                         mu_array_t plus, int64_t rows, int64_t in, int64_t out)
{
    half_t h = {.dev = dev,
                .a = {x, in, false},
                .b = {w, in, true},
                .m = rows,
                .n = out,
                .k = in,
                .y = y,
                .bias = bias,
                .plus = plus,
                .finish = plain};
    run(&h, MU_PRODUCT_FORWARD, rows, in, out);
}

void mu_cpu_half_gelu_forward(mu_device_t *dev, mu_array_t y, mu_array_t pre, mu_array_t x, mu_array_t w,
                              mu_array_t bias, int64_t rows, int64_t in, int64_t out, mu_activation_t act)
{
    half_t h = {.dev = dev,
                .a = {x, in, false},
                .b = {w, in, true},
                .m = rows,
                .n = out,
                .k = in,
                .y = y,
                .pre = pre,
                .bias = bias,
                .act = act,
                .finish = gelu};
    run(&h, MU_PRODUCT_GELU_FORWARD, rows, in, out);
}

void mu_cpu_half_backward_input(mu_device_t *dev, mu_array_t dx, mu_array_t dy, mu_array_t w, int64_t rows,
                                int64_t in, int64_t out, bool accumulate)
{
    half_t h = {.dev = dev,
                .a = {dy, out, false},
                .b = {w, in, false},
                .m = rows,
                .n = in,
                .k = out,
                .y = dx,
                .plus = accumulate ? dx : MU_NO_ARRAY,
                .finish = plain};
    run(&h, MU_PRODUCT_BACKWARD_INPUT, rows, in, out);
}

void mu_cpu_half_gelu_backward_input(mu_device_t *dev, mu_array_t dpre, mu_array_t dy, mu_array_t w,
                                     mu_array_t pre, int64_t rows, int64_t in, int64_t out,
                                     mu_activation_t act)
{
    half_t h = {.dev = dev,
                .a = {dy, out, false},
                .b = {w, in, false},
                .m = rows,
                .n = in,
                .k = out,
                .y = dpre,
                .pre = pre,
                .act = act,
                .finish = gelu_slope};
    run(&h, MU_PRODUCT_GELU_BACKWARD_INPUT, rows, in, out);
}

/* Columns from .. to - 1 of dy, in strips of rows that stay in the cache. */
static void bias_gradient(void *arg, int thread, int64_t from, int64_t to)
{
    const half_t *h = arg;
    float *stage = h->scratch + thread * h->each, *dbias = mu_f32(h->bias);
    for (int64_t col = from; col < to; col += MOST_COLS) {
        int64_t cols = mu_min_i64(MOST_COLS, to - col);
        for (int64_t row = 0; row < h->k; row += BIAS_ROWS) {
            int64_t rows = mu_min_i64(BIAS_ROWS, h->k - row);
            operand_t piece = {mu_array_at(h->a.data, row * h->m + col), h->m, false};
            mu_cpu_vec(h->dev)->column_sums(dbias + col, widen(h->dev, piece, rows, cols, stage).data, rows,
                                            cols, cols);
        }
    }
}

void mu_cpu_half_backward_weight(mu_device_t *dev, float *dw, float *dbias, mu_array_t dy, mu_array_t x,
                                 int64_t rows, int64_t in, int64_t out, bool fresh)
{
    half_t h = {.dev = dev,
                .a = {dy, out, true},
                .b = {x, in, false},
                .m = out,
                .n = in,
                .k = rows,
                .bias = mu_array_f32(dbias),
                .dw = dw,
                .fresh = fresh};
    run(&h, MU_PRODUCT_BACKWARD_WEIGHT, rows, in, out);
    if (dbias && h.scratch)
        mu_cpu_run(dev, out, MU_WAY_GRAIN, bias_gradient, &h);
}
