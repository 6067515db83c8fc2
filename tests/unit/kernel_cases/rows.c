/* Embeddings, positions, layer norm. */
#include "tests/unit/kernel_cases/support.h"

void embedding_test(void)
{
    enum { ROWS = 90, HIDDEN = 37, FIRST = 10, COUNT = 12, SEQ = 30 };
    int32_t ids[ROWS];
    float *table = noisy(COUNT * HIDDEN, 1), *dx = noisy(ROWS * HIDDEN, 1);
    float *dtable = noisy(COUNT * HIDDEN, 1), *positions = noisy(50 * HIDDEN, 1),
          *dpos = noisy(SEQ * HIDDEN, 1);
    double *want = doubles(ROWS * HIDDEN), *want_d = doubles(COUNT * HIDDEN), *want_p = doubles(SEQ * HIDDEN);
    for (int i = 0; i < COUNT * HIDDEN; i++)
        want_d[i] = (double)dtable[i];
    for (int i = 0; i < SEQ * HIDDEN; i++)
        want_p[i] = (double)dpos[i];
    for (int r = 0; r < ROWS; r++) {
        ids[r] = r < 60 ? r * r * 7 % 31 : r % 31; /* some often, each once */
        bool here = ids[r] >= FIRST && ids[r] < FIRST + COUNT;
        for (int i = 0; i < HIDDEN; i++) {
            want[r * HIDDEN + i] = here ? (double)table[(ids[r] - FIRST) * HIDDEN + i] : 0;
            if (here)
                want_d[(ids[r] - FIRST) * HIDDEN + i] += (double)dx[r * HIDDEN + i];
            want_p[r % SEQ * HIDDEN + i] += (double)dx[r * HIDDEN + i];
        }
    }
    mu_array_t x = room(ROWS * HIDDEN), d = put(dx, ROWS * HIDDEN);
    float *dt = put_floats(dtable, COUNT * HIDDEN), *dp = put_floats(dpos, SEQ * HIDDEN);
    int32_t *device_ids = put_ints(ids, ROWS);
    op->embedding_forward(dev, x, put(table, COUNT * HIDDEN), device_ids, ROWS, HIDDEN, FIRST, COUNT);
    assert_near_float(get(x, ROWS * HIDDEN), want, ROWS * HIDDEN, 0); /* copied */
    op->embedding_backward(dev, dt, d, device_ids, ROWS, HIDDEN, FIRST, COUNT);
    assert_near_float(get_floats(dt, COUNT * HIDDEN), want_d, COUNT * HIDDEN, 1e-6);
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < HIDDEN; i++)
            want[r * HIDDEN + i] += (double)positions[(5 + r % SEQ) * HIDDEN + i];
    op->position_forward(dev, x, put(positions, 50 * HIDDEN), ROWS, SEQ, 5, HIDDEN);
    assert_near(get(x, ROWS * HIDDEN), want, ROWS * HIDDEN, 1e-6, 1);
    op->position_backward(dev, dp, d, ROWS, SEQ, HIDDEN);
    assert_near_float(get_floats(dp, SEQ * HIDDEN), want_p, SEQ * HIDDEN, 1e-6);
}

typedef struct norm {
    int64_t rows, hidden;
    float *x, *w, *b, *dy, *dx, *dw, *db;
    double *want, *want_dx, *want_dw, *want_db;
} norm_t;

static const double eps = 1e-5;

static void formula(norm_t *o)
{
    int64_t hidden = o->hidden;
    double n = (double)hidden;
    for (int64_t i = 0; i < hidden; i++) {
        o->want_dw[i] = (double)o->dw[i];
        o->want_db[i] = (double)o->db[i];
    }
    for (int64_t r = 0; r < o->rows; r++) {
        const float *x = o->x + r * hidden, *g = o->dy + r * hidden, *w = o->w;
        double mu = 0, var = 0, sum_g = 0, sum_gx = 0;
        for (int64_t i = 0; i < hidden; i++)
            mu += (double)x[i] / n;
        for (int64_t i = 0; i < hidden; i++)
            var += pow((double)x[i] - mu, 2) / n;
        double rs = 1 / sqrt(var + eps);
        for (int64_t i = 0; i < hidden; i++) {
            double xhat = ((double)x[i] - mu) * rs, d = (double)g[i] * (double)w[i];
            o->want[r * hidden + i] = xhat * (double)w[i] + (double)o->b[i];
            sum_g += d / n;
            sum_gx += d * xhat / n;
            o->want_dw[i] += (double)g[i] * xhat;
            o->want_db[i] += (double)g[i];
        }
        for (int64_t i = 0; i < hidden; i++) {
            double xhat = ((double)x[i] - mu) * rs;
            o->want_dx[r * hidden + i] =
                (double)o->dx[r * hidden + i] + rs * ((double)g[i] * (double)w[i] - sum_g - xhat * sum_gx);
        }
    }
}

static void norm_at(int64_t rows, int64_t hidden, double offset)
{
    int64_t n = rows * hidden;
    norm_t o = {.rows = rows,
                .hidden = hidden,
                .x = noisy(n, 2),
                .w = noisy(hidden, 1),
                .b = noisy(hidden, 1),
                .dy = noisy(n, 1),
                .dx = noisy(n, 1),
                .dw = noisy(hidden, 1),
                .db = noisy(hidden, 1),
                .want = doubles(n),
                .want_dx = doubles(n),
                .want_dw = doubles(hidden),
                .want_db = doubles(hidden)};
    for (int64_t i = 0; i < n; i++)
        o.x[i] = as_stored((double)o.x[i] + offset);
    formula(&o);
    double limit = 2e-6 * (1 + offset);
    mu_array_t x = put(o.x, n), w = put(o.w, hidden), dy = put(o.dy, n), dx = put(o.dx, n), y = room(n);
    float *mean = put_floats(floats(rows), rows), *rstd = put_floats(floats(rows), rows);
    float *dw = put_floats(o.dw, hidden), *db = put_floats(o.db, hidden);
    op->layernorm_forward(dev, y, mean, rstd, x, w, put(o.b, hidden), rows, hidden, eps);
    assert_near(get(y, n), o.want, n, limit, 1);
    op->layernorm_backward(dev, dx, dw, db, dy, x, w, mean, rstd, rows, hidden, true);
    assert_near(get(dx, n), o.want_dx, n, limit, 1);
    assert_near_float(get_floats(dw, hidden), o.want_dw, hidden, limit);
    assert_near_float(get_floats(db, hidden), o.want_db, hidden, limit);
    /* in place, without accumulation: as added to zeros */
    mu_array_t again = put(o.dy, n), zeros = put(floats(n), n);
    op->layernorm_backward(dev, again, dw, db, again, x, w, mean, rstd, rows, hidden, false);
    op->layernorm_backward(dev, zeros, dw, db, dy, x, w, mean, rstd, rows, hidden, true);
    assert_memory_equal(get(again, n), get(zeros, n), (size_t)n * sizeof(float));
}

void norm_test(void)
{
    norm_at(1, 16, 0);
    norm_at(3, 31, 0);
    norm_at(200, 100, 0);
    norm_at(65, 192, 10);
}
