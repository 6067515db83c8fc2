/* Linear layers. */
#include "tests/unit/kernels/cases/support.h"

typedef struct linear {
    int64_t rows, in, out;
    float *x, *w, *b, *y, *dy, *dx, *dw, *db,
        *old; /* y, dx, dw, db: what is there before; old: gelu's input */
    double *want_y, *want_acc, *want_act, *want_dx, *want_dpre, *want_dw, *want_db;
} linear_t;

static void formula(linear_t *l)
{
    int64_t rows = l->rows, in = l->in, out = l->out;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t o = 0; o < out; o++) {
            double sum = 0;
            for (int64_t i = 0; i < in; i++)
                sum += (double)l->x[r * in + i] * (double)l->w[o * in + i];
            l->want_y[r * out + o] = sum + (double)l->b[o];
            l->want_acc[r * out + o] = sum + (double)l->y[r * out + o];
            l->want_act[r * out + o] = gelu(sum + (double)l->b[o], MU_GELU_ERF);
            l->want_db[o] += (double)l->dy[r * out + o];
        }
        for (int64_t i = 0; i < in; i++) {
            double sum = 0;
            for (int64_t o = 0; o < out; o++) {
                sum += (double)l->dy[r * out + o] * (double)l->w[o * in + i];
                l->want_dw[o * in + i] += (double)l->dy[r * out + o] * (double)l->x[r * in + i];
            }
            l->want_dx[r * in + i] = sum + (double)l->dx[r * in + i];
            l->want_dpre[r * in + i] = sum * gelu_slope((double)l->old[r * in + i], MU_GELU_TANH);
        }
    }
    for (int64_t i = 0; i < out * in; i++)
        l->want_dw[i] += (double)l->dw[i];
    for (int64_t i = 0; i < out; i++)
        l->want_db[i] += (double)l->db[i];
}

static void linear_at(int64_t rows, int64_t in, int64_t out)
{
    linear_t l = {.rows = rows,
                  .in = in,
                  .out = out,
                  .x = noisy(rows * in, 1),
                  .w = noisy(out * in, 0.3),
                  .b = noisy(out, 1),
                  .y = noisy(rows * out, 1),
                  .dy = noisy(rows * out, 1),
                  .dx = noisy(rows * in, 1),
                  .dw = noisy(out * in, 1),
                  .db = noisy(out, 1),
                  .old = noisy(rows * in, 2),
                  .want_y = doubles(rows * out),
                  .want_acc = doubles(rows * out),
                  .want_act = doubles(rows * out),
                  .want_dx = doubles(rows * in),
                  .want_dpre = doubles(rows * in),
                  .want_dw = doubles(out * in),
                  .want_db = doubles(out)};
    formula(&l);
    mu_array_t x = put(l.x, rows * in), w = put(l.w, out * in), b = put(l.b, out), y = put(l.y, rows * out);
    mu_array_t dy = put(l.dy, rows * out), dx = put(l.dx, rows * in), old = put(l.old, rows * in);
    mu_array_t pre = room(rows * out), act = room(rows * out), dpre = room(rows * in);
    float *dw = put_floats(l.dw, out * in), *db = put_floats(l.db, out);
    mu_array_t other = room(rows * out);
    op->linear_forward(dev, other, x, w, MU_NO_ARRAY, y, rows, in, out);
    assert_near(get(other, rows * out), l.want_acc, rows * out, 1e-6, 1);
    op->linear_forward(dev, y, x, w, b, y, rows, in, out);
    for (int64_t i = 0; i < rows * out; i++)
        l.want_acc[i] += (double)l.b[i % out];
    assert_near(get(y, rows * out), l.want_acc, rows * out, 1e-6, 1);
    op->linear_forward(dev, y, x, w, b, MU_NO_ARRAY, rows, in, out);
    assert_near(get(y, rows * out), l.want_y, rows * out, 1e-6, 1);
    op->linear_gelu_forward(dev, act, pre, x, w, b, rows, in, out, MU_GELU_ERF);
    assert_near(get(pre, rows * out), l.want_y, rows * out, 1e-6, 1);
    assert_near(get(act, rows * out), l.want_act, rows * out, 1e-6, 2); /* from pre as stored, or before */
    op->linear_gelu_forward(dev, act, pre, x, w, b, rows, in, out, MU_GELU_TANH);
    for (int64_t i = 0; i < rows * out; i++)
        l.want_act[i] = gelu(l.want_y[i], MU_GELU_TANH);
    assert_near(get(pre, rows * out), l.want_y, rows * out, 1e-6, 1);
    assert_near(get(act, rows * out), l.want_act, rows * out, 1e-6, 2);
    op->linear_backward_input(dev, dx, dy, w, rows, in, out, true);
    assert_near(get(dx, rows * in), l.want_dx, rows * in, 1e-6, 1);
    op->linear_gelu_backward_input(dev, dpre, dy, w, old, rows, in, out, MU_GELU_TANH);
    assert_near(get(dpre, rows * in), l.want_dpre, rows * in, 2e-6, 2);
    op->linear_backward_weight(dev, dw, db, dy, x, rows, in, out, false);
    assert_near_float(get_floats(dw, out * in), l.want_dw, out * in, 1e-6);
    assert_near_float(get_floats(db, out), l.want_db, out, 1e-6);
    op->linear_backward_weight(dev, dw, NULL, dy, x, rows, in, out, false);
    for (int64_t i = 0; i < out * in; i++)
        l.want_dw[i] = 2 * l.want_dw[i] - (double)l.dw[i];
    assert_near_float(get_floats(dw, out * in), l.want_dw, out * in, 1e-6);
    for (int64_t i = 0; i < out * in; i++) { /* whatever was there before */
        l.want_dw[i] = (l.want_dw[i] - (double)l.dw[i]) / 2;
        l.dw[i] = NAN;
    }
    dw = put_floats(l.dw, out * in);
    op->linear_backward_weight(dev, dw, db, dy, x, rows, in, out, true);
    assert_near_float(get_floats(dw, out * in), l.want_dw, out * in, 1e-6);
}

void linear_test(void)
{
    linear_at(1, 16, 33);
    linear_at(7, 5, 3);
    linear_at(150, 65, 97);
    linear_at(301, size_of(48, 8), 1100);
    linear_at(417, 530, size_of(40, 9));
}

/* Without a bias: as with one of zeros. */
void unbiased_test(void)
{
    enum { R = 70, IN = 40, OUT = 90 };
    mu_array_t x = put(noisy(R * IN, 1), R * IN), w = put(noisy(OUT * IN, 1), OUT * IN);
    mu_array_t zeros = put(floats(OUT), OUT), pre[2], y[2];
    for (int i = 0; i < 2; i++) {
        pre[i] = room(R * OUT);
        y[i] = room(R * OUT);
        op->linear_gelu_forward(dev, y[i], pre[i], x, w, i ? MU_NO_ARRAY : zeros, R, IN, OUT, MU_GELU_ERF);
    }
    assert_memory_equal(get(y[0], R * OUT), get(y[1], R * OUT), R * OUT * sizeof(float));
    assert_memory_equal(get(pre[0], R * OUT), get(pre[1], R * OUT), R * OUT * sizeof(float));
}
