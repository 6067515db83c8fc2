/* Flat arrays: activations, sums, AdamW; values that are not numbers or do not fit. */
#include "common/philox.h"
#include "tests/unit/kernels/cases/support.h"

static void gelu_at(mu_activation_t act)
{
    enum { N = 100003 };
    float *x = floats(N), *dy = noisy(N, 1);
    double *want = doubles(N), *want_d = doubles(N);
    double u = unit_roundoff(type), least = type == MU_DTYPE_F16 ? 0x1p-24 : 0;
    for (int i = 0; i < N; i++) {
        x[i] = as_stored(-12.0 + 24.0 * i / (double)N);
        want[i] = gelu((double)x[i], act);
        want_d[i] = (double)dy[i] * gelu_slope((double)x[i], act);
    }
    mu_array_t dx = put(x, N), y = room(N), dd = put(dy, N);
    op->gelu_forward(dev, y, dx, N, act);
    float *got = get(y, N);
    assert_near(got, want, N, 2e-7, 1);
    for (int i = 0; i < N; i++) /* the tail too: each element by its own size */
        if (fabs(want[i]) > 1e-30 &&
            !(fabs((double)got[i] - want[i]) <= (4e-6 + u) * fabs(want[i]) + 1e-9 + least))
            fail_msg("%s: gelu %d of %g is %.9g, want %.9g", dev->description, (int)act, (double)x[i],
                     (double)got[i], want[i]);
    op->gelu_forward(dev, dx, dx, N, act);
    assert_memory_equal(get(dx, N), got, N * sizeof *got);
    op->gelu_backward(dev, dd, dd, put(x, N), N, act);
    assert_near(get(dd, N), want_d, N, 1e-6, 1);
}

static void residual_at(int form)
{
    enum { HIDDEN = 61, ROWS = 40, N = ROWS * HIDDEN };
    float *x = noisy(N, 3), *branch = noisy(N, 1), *b1 = noisy(HIDDEN, 1), *b2 = noisy(HIDDEN, 1);
    double *want = doubles(N);
    for (int i = 0; i < N; i++)
        want[i] = (double)x[i] + (double)branch[i] + (form > 0 ? (double)b1[i % HIDDEN] : 0) +
                  (form > 1 ? (double)b2[i % HIDDEN] : 0);
    mu_array_t dx = put(x, N), db = put(branch, N), y = room(N);
    mu_array_t bias1 = form > 0 ? put(b1, HIDDEN) : MU_NO_ARRAY,
               bias2 = form > 1 ? put(b2, HIDDEN) : MU_NO_ARRAY;
    op->residual(dev, y, dx, db, bias1, bias2, ROWS, HIDDEN);
    assert_near(get(y, N), want, N, 1e-6, 1);
    op->residual(dev, dx, dx, db, bias1, bias2, ROWS, HIDDEN);
    assert_near(get(dx, N), want, N, 1e-6, 1);
}

void elementwise_test(void)
{
    enum { N = 70001 };
    gelu_at(MU_GELU_ERF);
    gelu_at(MU_GELU_TANH);
    for (int form = 0; form < 3; form++)
        residual_at(form);
    float *x = noisy(N, 3);
    double *want = doubles(N), sum = 0;
    for (int i = 0; i < N; i++)
        want[i] = (double)x[i] * 0.3;
    float *y = put_floats(floats(N), N);
    op->copy(dev, y, put_floats(x, N), N * (int64_t)sizeof *y);
    op->scale(dev, y, N, 0.3);
    float *got = get_floats(y, N);
    assert_near_float(got, want, N, 1e-6);
    for (int i = 0; i < N; i++)
        sum += (double)got[i] * (double)got[i];
    double *squares = put_double(1);
    op->sum_squares(dev, squares, y, N);
    assert_true(fabs(get_double(squares) - 1 - sum) < 1e-12 * sum);
    op->zero(dev, y, (N - 1) * (int64_t)sizeof *y);
    op->sum_squares(dev, squares, y, N - 1);
    assert_true(fabs(get_double(squares) - 1 - sum) < 1e-12 * sum);
}

/* to += from, each of float or the element type */
void mixed_add_test(void)
{
    for (int form = 0; form < 8; form++) {
        int64_t N = form & 4 ? 9000 : 9001;
        mu_dtype_t to_type = form & 1 ? MU_DTYPE_F32 : type, from_type = form & 2 ? MU_DTYPE_F32 : type;
        float *a = noisy(N, 1), *b = noisy(N, 0.1);
        double *want = doubles(N);
        for (int i = 0; i < N; i++)
            want[i] = (double)a[i] + (double)b[i];
        mu_array_t to = put_as(to_type, a, N);
        op->add(dev, to, put_as(from_type, b, N), N);
        assert_near(get(to, N), want, N, 1e-7, to_type == MU_DTYPE_F32 ? 0 : 1);
    }
}

static void adamw_at(int64_t N)
{
    mu_adamw_t a = {
        .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .grad_scale = 0.5};
    float *start = noisy(N, 1), *g = noisy(N, 1);
    double *want = doubles(N), *wm = doubles(N), *wv = doubles(N);
    bool narrow = type != MU_DTYPE_F32;
    mu_array_t p = put(start, N);
    float *master = narrow ? put_floats(start, N) : NULL, *m = put_floats(floats(N), N),
          *v = put_floats(floats(N), N);
    for (int64_t i = 0; i < N; i++)
        want[i] = (double)start[i];
    for (a.t = 1; a.t <= 5; a.t++) {
        for (int64_t i = 0; i < N; i++) {
            double gi = 0.5 * (double)g[i];
            wm[i] = 0.9 * wm[i] + 0.1 * gi;
            wv[i] = 0.95 * wv[i] + 0.05 * gi * gi;
            double mh = wm[i] / (1 - pow(0.9, (double)a.t)), vh = wv[i] / (1 - pow(0.95, (double)a.t));
            want[i] -= 1e-2 * (mh / (sqrt(vh) + 1e-8) + 0.1 * want[i]);
        }
        op->adamw(dev, p, master, m, v, put_floats(g, N), N, &a);
        for (int64_t i = 0; i < N; i++)
            g[i] *= -0.7F;
    }
    float *got = get(p, N);
    assert_near_float(narrow ? get_floats(master, N) : got, want, N, 1e-6);
    assert_near_float(get_floats(m, N), wm, N, 1e-6);
    assert_near_float(get_floats(v, N), wv, N, 1e-6);
    if (narrow) { /* the weights are the masters, rounded to nearest */
        float *wide = get_floats(master, N);
        for (int64_t i = 0; i < N; i++)
            assert_true(got[i] == as_stored((double)wide[i]));
    }
}

void adamw_test(void)
{
    adamw_at(9001);
    adamw_at(9000);
}

/* A value that is not a number must reach the loss, or nobody learns that training diverged. */
void nan_test(void)
{
    float *x = noisy(40, 1), one = 1;
    int32_t label = 3;
    x[17] = NAN;
    for (int act = 0; act < 2; act++) {
        mu_array_t y = room(40);
        op->gelu_forward(dev, y, put(x, 40), 40, act ? MU_GELU_TANH : MU_GELU_ERF);
        float *got = get(y, 40);
        assert_true(isnan(got[17]) && !isnan(got[16]));
    }
    float *max = put_floats(floats(1), 1), *sums = put_floats(floats(2), 2);
    double *loss = put_double(0);
    mu_array_t logits = put(x, 40);
    op->cross_entropy_max(dev, max, sums, logits, 1, 40);
    op->cross_entropy_exp(dev, logits, sums, max, put_ints(&label, 1), 1, 40, 0);
    op->cross_entropy_loss(dev, loss, sums, put_floats(&one, 1), 1);
    assert_true(isnan(get_double(loss)));
}

/* What the type cannot hold becomes infinite, and shows in the norm: loss scaling looks for it. */
void overflow_test(void)
{
    float large = type == MU_DTYPE_F32 ? 3e38F : type == MU_DTYPE_BF16 ? 0x1p127F : 60000, three = 3, one = 1;
    mu_array_t y = room(1), a = put(&large, 1);
    op->linear_forward(dev, y, a, put(&three, 1), MU_NO_ARRAY, MU_NO_ARRAY, 1, 1, 1);
    assert_true(isinf(get(y, 1)[0]));
    op->residual(dev, y, a, a, MU_NO_ARRAY, MU_NO_ARRAY, 1, 1);
    assert_true(isinf(get(y, 1)[0]));
    float *dw = put_floats(floats(1), 1);
    op->linear_backward_weight(dev, dw, NULL, y, put(&one, 1), 1, 1, 1, false);
    double *squares = put_double(0);
    op->sum_squares(dev, squares, dw, 1);
    assert_true(!isfinite(get_double(squares)));
}

static void swiglu_at(int64_t n)
{
    float *gate = noisy(n, 6), *up = noisy(n, 2), *dy = noisy(n, 1);
    double *want = doubles(n), *want_gate = doubles(n), *want_up = doubles(n);
    for (int64_t i = 0; i < n; i++) {
        double g = (double)gate[i], s = 1 / (1 + exp(-g));
        want[i] = g * s * (double)up[i];
        want_up[i] = (double)dy[i] * g * s;
        want_gate[i] = (double)dy[i] * (double)up[i] * s * (1 + g * (1 - s));
    }
    mu_array_t y = room(n), dgate = room(n), dup = put(dy, n), in_gate = put(gate, n), in_up = put(up, n);
    op->swiglu_forward(dev, y, in_gate, in_up, n);
    assert_near(get(y, n), want, n, 1e-6, 1);
    op->swiglu_backward(dev, dgate, dup, dup, in_gate, in_up, n); /* in place, as the network does it */
    assert_near(get(dgate, n), want_gate, n, 1e-6, 1);
    assert_near(get(dup, n), want_up, n, 1e-6, 1);
}

void swiglu_test(void)
{
    swiglu_at(5);
    swiglu_at(9001);
}

/* By the definition in kernels/device.h. */
static double keep(const mu_dropout_t *d, int64_t e)
{
    const uint32_t key[2] = {(uint32_t)d->seed, (uint32_t)(d->seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)((uint64_t)e / 4), (uint32_t)((uint64_t)e / 4 >> 32),
                                 (uint32_t)d->place, (uint32_t)(d->place >> 32)};
    uint32_t word[4];
    mu_philox(counter, key, word);
    return d->rate > 0 && (double)word[e % 4] < floor(d->rate * 0x1p32) ? 0 : d->factor;
}

static void dropout_at(int64_t rows, int64_t cols, const mu_dropout_t *d)
{
    int64_t n = rows * cols;
    float *x = noisy(n, 1), *plus = noisy(n, 1);
    double *want = doubles(n), *more = doubles(n);
    for (int64_t i = 0; i < n; i++) {
        want[i] = (double)x[i] * keep(d, (d->first + i / cols) * d->columns + d->column + i % cols);
        more[i] = want[i] + (double)plus[i];
    }
    mu_array_t dx = put(x, n), dp = put(plus, n), y = room(n);
    op->dropout(dev, y, dx, MU_NO_ARRAY, rows, cols, d);
    float *got = get(y, n);
    assert_near(got, want, n, 1e-6, 1);
    for (int64_t i = 0; i < n; i++) /* what is dropped is 0, and no more than that */
        assert_true(x[i] == 0.0F || (got[i] == 0.0F) == (want[i] == 0));
    op->dropout(dev, dp, dx, dp, rows, cols, d);
    assert_near(get(dp, n), more, n, 1e-6, 1);
    op->dropout(dev, dx, dx, MU_NO_ARRAY, rows, cols, d);
    assert_memory_equal(get(dx, n), got, (size_t)n * sizeof *got);
}

void dropout_test(void)
{
    dropout_at(7, 61, &(mu_dropout_t){.factor = 0.75});
    dropout_at(7, 61, &(mu_dropout_t){.rate = 0.3, .factor = 1 / 0.7, .seed = 5, .place = 9, .columns = 61});
    dropout_at(3, 5000,
               &(mu_dropout_t){.rate = 0.1,
                               .factor = 1 / 0.9,
                               .seed = (uint64_t)5 << 33,
                               .place = (uint64_t)7 << 40,
                               .first = 123456789,
                               .column = 5001,
                               .columns = 10001});
}

/* Queries, keys and values as arrays of their own. */
void qkv_test(void)
{
    enum { ROWS = 19, KV = 3, GROUP = 2, D = 12, LINE = (GROUP + 2) * D };
    mu_qkv_t shape = {ROWS, KV * GROUP, KV, D};
    for (int part = 0; part < 3; part++) {
        int64_t wide = part == 0 ? GROUP * D : D, at = part == 0 ? 0 : (GROUP + part - 1) * D,
                n = ROWS * KV * wide;
        float *qkv = noisy(ROWS * KV * LINE, 1), *from = noisy(n, 1);
        double *sum = doubles(ROWS * KV * LINE), *taken = doubles(n);
        for (int64_t i = 0; i < ROWS * KV * LINE; i++)
            sum[i] = (double)qkv[i];
        for (int64_t i = 0; i < n; i++) {
            int64_t of = i / wide * LINE + at + i % wide;
            taken[i] = (double)qkv[of];
            sum[of] += (double)from[i];
        }
        mu_array_t to = put(qkv, ROWS * KV * LINE), out = room(n);
        op->qkv_take(dev, out, to, part, &shape);
        assert_near(get(out, n), taken, n, 0, 0);
        op->qkv_add(dev, to, put(from, n), part, &shape);
        assert_near(get(to, ROWS * KV * LINE), sum, ROWS * KV * LINE, 1e-6, 1);
    }
}
