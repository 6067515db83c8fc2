/* Embeddings, positions, layer norm. */
#include "tests/unit/kernels/cases/support.h"

static void embedding_at(int64_t hidden)
{
    enum { ROWS = 90, FIRST = 10, COUNT = 12, SEQ = 30 };
    int32_t ids[ROWS];
    float *table = noisy(COUNT * hidden, 1), *dx = noisy(ROWS * hidden, 1);
    float *dtable = noisy(COUNT * hidden, 1), *positions = noisy(50 * hidden, 1),
          *dpos = noisy(SEQ * hidden, 1);
    double *want = doubles(ROWS * hidden), *want_d = doubles(COUNT * hidden), *want_p = doubles(SEQ * hidden);
    for (int64_t i = 0; i < COUNT * hidden; i++)
        want_d[i] = (double)dtable[i];
    for (int64_t i = 0; i < SEQ * hidden; i++)
        want_p[i] = (double)dpos[i];
    for (int r = 0; r < ROWS; r++) {
        ids[r] = r < 60 ? r * r * 7 % 31 : r % 31; /* some often, each once */
        bool here = ids[r] >= FIRST && ids[r] < FIRST + COUNT;
        for (int64_t i = 0; i < hidden; i++) {
            want[r * hidden + i] = here ? (double)table[(ids[r] - FIRST) * hidden + i] : 0;
            if (here)
                want_d[(ids[r] - FIRST) * hidden + i] += (double)dx[r * hidden + i];
            want_p[r % SEQ * hidden + i] += (double)dx[r * hidden + i];
        }
    }
    mu_array_t x = room(ROWS * hidden), d = put(dx, ROWS * hidden);
    float *dt = put_floats(dtable, COUNT * hidden), *dp = put_floats(dpos, SEQ * hidden);
    int32_t *device_ids = put_ints(ids, ROWS);
    op->embedding_forward(dev, x, put(table, COUNT * hidden), device_ids, ROWS, hidden, FIRST, COUNT);
    assert_near_float(get(x, ROWS * hidden), want, ROWS * hidden, 0); /* copied */
    op->embedding_backward(dev, dt, d, device_ids, ROWS, hidden, FIRST, COUNT);
    assert_near_float(get_floats(dt, COUNT * hidden), want_d, COUNT * hidden, 1e-6);
    for (int r = 0; r < ROWS; r++)
        for (int64_t i = 0; i < hidden; i++)
            want[r * hidden + i] += (double)positions[(5 + r % SEQ) * hidden + i];
    op->position_forward(dev, x, put(positions, 50 * hidden), NULL, ROWS, SEQ, 5, hidden);
    assert_near(get(x, ROWS * hidden), want, ROWS * hidden, 1e-6, 1);
    op->position_backward(dev, dp, d, NULL, ROWS, SEQ, hidden);
    assert_near_float(get_floats(dp, SEQ * hidden), want_p, SEQ * hidden, 1e-6);
}

/* Positions that begin again within a sequence. */
static void positions_at(int64_t hidden)
{
    enum { ROWS = 60, SEQ = 30 };
    float *x = noisy(ROWS * hidden, 1), *table = noisy(SEQ * hidden, 1), *dx = noisy(ROWS * hidden, 1),
          *dtable = noisy(SEQ * hidden, 1);
    double *want = doubles(ROWS * hidden), *want_d = doubles(SEQ * hidden);
    int32_t start[ROWS];
    for (int64_t i = 0; i < SEQ * hidden; i++)
        want_d[i] = (double)dtable[i];
    for (int r = 0; r < ROWS; r++) {
        int t = r % SEQ;
        start[r] = r < SEQ ? t / 11 * 11 : t < 7 ? 0 : 7;
        for (int64_t i = 0; i < hidden; i++) {
            want[r * hidden + i] = (double)x[r * hidden + i] + (double)table[(t - start[r]) * hidden + i];
            want_d[(t - start[r]) * hidden + i] += (double)dx[r * hidden + i];
        }
    }
    const int32_t *starts = put_ints(start, ROWS);
    mu_array_t sum = put(x, ROWS * hidden);
    float *dt = put_floats(dtable, SEQ * hidden);
    op->position_forward(dev, sum, put(table, SEQ * hidden), starts, ROWS, SEQ, 0, hidden);
    assert_near(get(sum, ROWS * hidden), want, ROWS * hidden, 1e-6, 1);
    op->position_backward(dev, dt, put(dx, ROWS * hidden), starts, ROWS, SEQ, hidden);
    assert_near_float(get_floats(dt, SEQ * hidden), want_d, SEQ * hidden, 1e-6);
}

void embedding_test(void)
{
    embedding_at(37);
    embedding_at(64);
    positions_at(37);
    positions_at(64);
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

/* Two norms of one input are what each is alone. */
static void pair_at(int64_t rows, int64_t hidden)
{
    int64_t n = rows * hidden;
    norm_t o[2];
    double *want_dx = doubles(n);
    float *x = noisy(n, 2), *dx = noisy(n, 1), *dw[2], *db[2];
    mu_array_t w[2], b[2], dy[2], y[2] = {room(n), room(n)};
    for (int i = 0; i < 2; i++) {
        o[i] = (norm_t){rows,
                        hidden,
                        x,
                        noisy(hidden, 1),
                        noisy(hidden, 1),
                        noisy(n, 1),
                        i == 0 ? dx : floats(n),
                        noisy(hidden, 1),
                        noisy(hidden, 1),
                        doubles(n),
                        doubles(n),
                        doubles(hidden),
                        doubles(hidden)};
        formula(&o[i]);
        w[i] = put(o[i].w, hidden);
        b[i] = put(o[i].b, hidden);
        dy[i] = put(o[i].dy, n);
        dw[i] = put_floats(o[i].dw, hidden);
        db[i] = put_floats(o[i].db, hidden);
        for (int64_t c = 0; c < n; c++)
            want_dx[c] += o[i].want_dx[c];
    }
    mu_array_t in = put(x, n), to = put(dx, n);
    float *mean = put_floats(floats(rows), rows), *rstd = put_floats(floats(rows), rows);
    op->layernorm_pair_forward(dev, y[0], y[1], mean, rstd, in, w[0], b[0], w[1], b[1], rows, hidden, eps);
    op->layernorm_pair_backward(dev, to, dw[0], db[0], dw[1], db[1], dy[0], dy[1], in, w[0], w[1], mean, rstd,
                                rows, hidden, true);
    assert_near(get(to, n), want_dx, n, 2e-6, 2);
    for (int i = 0; i < 2; i++) {
        assert_near(get(y[i], n), o[i].want, n, 2e-6, 1);
        assert_near_float(get_floats(dw[i], hidden), o[i].want_dw, hidden, 2e-6);
        assert_near_float(get_floats(db[i], hidden), o[i].want_db, hidden, 2e-6);
    }
    for (int64_t c = 0; c < n; c++)
        want_dx[c] -= (double)dx[c];
    op->layernorm_pair_backward(dev, to, dw[0], db[0], dw[1], db[1], dy[0], dy[1], in, w[0], w[1], mean, rstd,
                                rows, hidden, false);
    assert_near(get(to, n), want_dx, n, 2e-6, 2);
}

void norm_test(void)
{
    norm_at(1, 16, 0);
    norm_at(3, 31, 0);
    norm_at(size_of(200, 70), 100, 0);
    norm_at(65, 192, 10);
    norm_at(2, 6144, 0); /* sums of 48 KiB, as in a pair half as wide */
    pair_at(70, 31);
    pair_at(33, 200);
    pair_at(2, 3072);
}

static void rmsnorm_at(int64_t rows, int64_t hidden)
{
    int64_t n = rows * hidden;
    float *x = noisy(n, 2), *w = noisy(hidden, 1), *dy = noisy(n, 1), *dx = noisy(n, 1),
          *dw = noisy(hidden, 1);
    double *want = doubles(n), *want_dx = doubles(n), *want_dw = doubles(hidden);
    for (int64_t i = 0; i < hidden; i++)
        want_dw[i] = (double)dw[i];
    for (int64_t r = 0; r < rows; r++) {
        double square = 0, with = 0;
        for (int64_t i = r * hidden; i < (r + 1) * hidden; i++)
            square += (double)x[i] * (double)x[i] / (double)hidden;
        double rs = 1 / sqrt(square + eps);
        for (int64_t c = 0, i = r * hidden; c < hidden; c++, i++) {
            double xhat = (double)x[i] * rs;
            want[i] = xhat * (double)w[c];
            want_dw[c] += (double)dy[i] * xhat;
            with += (double)dy[i] * (double)w[c] * xhat / (double)hidden;
        }
        for (int64_t c = 0, i = r * hidden; c < hidden; c++, i++)
            want_dx[i] = (double)dx[i] + rs * ((double)dy[i] * (double)w[c] - (double)x[i] * rs * with);
    }
    mu_array_t in = put(x, n), weight = put(w, hidden), out_dy = put(dy, n), out_dx = put(dx, n), y = room(n);
    float *rstd = put_floats(floats(rows), rows), *out_dw = put_floats(dw, hidden);
    op->rmsnorm_forward(dev, y, rstd, in, weight, rows, hidden, eps);
    assert_near(get(y, n), want, n, 2e-6, 1);
    op->rmsnorm_backward(dev, out_dx, out_dw, out_dy, in, weight, rstd, rows, hidden, true);
    assert_near(get(out_dx, n), want_dx, n, 2e-6, 1);
    assert_near_float(get_floats(out_dw, hidden), want_dw, hidden, 2e-6);
    /* in place, without accumulation: as added to zeros */
    mu_array_t again = put(dy, n), zeros = put(floats(n), n);
    op->rmsnorm_backward(dev, again, out_dw, again, in, weight, rstd, rows, hidden, false);
    op->rmsnorm_backward(dev, zeros, out_dw, out_dy, in, weight, rstd, rows, hidden, true);
    assert_memory_equal(get(again, n), get(zeros, n), (size_t)n * sizeof(float));
}

void rmsnorm_test(void)
{
    rmsnorm_at(1, 16);
    rmsnorm_at(3, 31);
    rmsnorm_at(size_of(200, 70), 100);
    rmsnorm_at(2, 6144);
}

/* Of one head with weight w: y, and what dy does to x and to the weight. */
static void qk_head(const float *x, const float *w, const float *dy, int64_t d, double *y, double *dx,
                    double *dw)
{
    double square = 0, with = 0;
    for (int64_t c = 0; c < d; c++)
        square += (double)x[c] * (double)x[c] / (double)d;
    double rs = 1 / sqrt(square + eps);
    for (int64_t c = 0; c < d; c++) {
        y[c] = (double)x[c] * rs * (double)w[c];
        dw[c] += (double)dy[c] * (double)x[c] * rs;
        with += (double)dy[c] * (double)w[c] * (double)x[c] * rs / (double)d;
    }
    for (int64_t c = 0; c < d; c++)
        dx[c] = rs * ((double)dy[c] * (double)w[c] - (double)x[c] * rs * with);
}

static void qk_norm_at(int64_t rows, int64_t heads, int64_t kv, int64_t d)
{
    int64_t group = heads / kv, n = rows * kv * (group + 2) * d;
    mu_qk_norm_t s = {rows, heads, kv, d, eps};
    float *x = noisy(n, 2), *dy = noisy(n, 1), *w[2] = {noisy(d, 1), noisy(d, 1)}, *dw[2];
    double *want = doubles(n), *want_dx = doubles(n), *want_dw[2] = {doubles(d), doubles(d)};
    mu_array_t raw = put(x, n), y = room(n), dx = put(dy, n), weight[2];
    float *rstd = put_floats(floats(rows * (heads + kv)), rows * (heads + kv));
    for (int i = 0; i < 2; i++) {
        float *was = noisy(d, 1);
        dw[i] = put_floats(was, d);
        weight[i] = put(w[i], d);
        for (int64_t c = 0; c < d; c++)
            want_dw[i][c] = (double)was[c];
    }
    for (int64_t at = 0, part = 0; at < n; at += d, part = (part + 1) % (group + 2)) {
        int key = part == group;
        if (part <= group)
            qk_head(x + at, w[key], dy + at, d, want + at, want_dx + at, want_dw[key]);
        for (int64_t c = at; part > group && c < at + d; c++) { /* values pass */
            want[c] = (double)x[c];
            want_dx[c] = (double)dy[c];
        }
    }
    op->qk_norm_forward(dev, y, rstd, raw, weight[0], weight[1], &s);
    assert_near(get(y, n), want, n, 2e-6, 1);
    op->qk_norm_backward(dev, dx, dw[0], dw[1], raw, weight[0], weight[1], rstd, &s);
    assert_near(get(dx, n), want_dx, n, 2e-6, 1);
    for (int i = 0; i < 2; i++)
        assert_near_float(get_floats(dw[i], d), want_dw[i], d, 2e-6);
}

void qk_norm_test(void)
{
    qk_norm_at(1, 1, 1, 8);
    qk_norm_at(70, 9, 3, 20);
    qk_norm_at(33, 4, 1, 80);
}
