/* Every operation of the CPU device against the plain formula in double precision, at sizes that leave tails,
 * for each instruction set that this processor has, and for 1 and 3 threads. */
#include "common/buf.h"
#include "kernels/cpu/vec.h"
#include "kernels/device.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* One test asks for more memory than there is; under a sanitizer malloc shall say no as elsewhere. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static mu_device_t *dev;
static const mu_device_ops_t *op;

/* --- arrays: floats of the device, which for the CPU are the host's --- */

static uint64_t noise_state;

static double noise(void) /* uniform in (-1, 1) */
{
    noise_state = noise_state * 6364136223846793005U + 1442695040888963407U;
    return (double)(noise_state >> 11) / 4503599627370496.0 - 1.0;
}

static float *array(int64_t n)
{
    void *p;
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WORKSPACE, n * (int64_t)sizeof(float), &p), MU_OK);
    return p;
}

static float *noisy(int64_t n, double size)
{
    float *p = array(n);
    for (int64_t i = 0; i < n; i++)
        p[i] = (float)(size * noise());
    return p;
}

static double *doubles(int64_t n)
{
    return mu_calloc((size_t)n, sizeof(double));
}

static mu_array_t f32(float *p)
{
    return mu_array_f32(p);
}

/* The distance of two arrays as a part of the wanted one's norm. */
static double distance(const float *got, const double *want, int64_t n)
{
    double d = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        d += pow((double)got[i] - want[i], 2);
        size += want[i] * want[i];
    }
    return sqrt(d / (size > 0 ? size : 1));
}

#define assert_near(got, want, n, limit)                                                                     \
    do {                                                                                                     \
        double near_ = distance(got, want, n);                                                               \
        if (!(near_ <= (limit)))                                                                             \
            fail_msg("%s: %s is %.3g of its norm away, limit %.3g", dev->description, #got, near_,           \
                     (double)(limit));                                                                       \
    } while (0)

/* Runs a test on every device: each instruction set, one thread and three. */
static void on_every_device(void (*test)(void))
{
    static const char *const isa[] = {"base", "avx2", "avx512"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(mu_vec_choose(isa[i])->name, isa[i]) != 0)
            continue;
        setenv("MUSTER_CPU_ISA", isa[i], 1);
        for (int threads = 1; threads <= 3; threads += 2) {
            noise_state = 42;
            assert_int_equal(mu_device_cpu_new(threads, &dev), MU_OK);
            op = dev->ops;
            test();
            assert_int_equal(op->sync(dev), MU_OK);
            mu_device_close(dev);
        }
    }
    unsetenv("MUSTER_CPU_ISA");
}

static void release(float *const *p, int n)
{
    for (int i = 0; i < n; i++)
        mu_device_free(dev, p[i]);
}
#define RELEASE(...)                                                                                         \
    release((float *const[]){__VA_ARGS__}, sizeof((float *[]){__VA_ARGS__}) / sizeof(float *))

/* --- linear layers --- */

static double gelu(double x, mu_activation_t act)
{
    if (act == MU_GELU_TANH)
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    return 0.5 * x * erfc(-x / sqrt(2));
}

static double gelu_slope(double x, mu_activation_t act)
{
    double h = 1e-5;
    return (gelu(x + h, act) - gelu(x - h, act)) / (2 * h);
}

static void linear_at(int64_t rows, int64_t in, int64_t out)
{
    float *x = noisy(rows * in, 1), *w = noisy(out * in, 0.3), *b = noisy(out, 1), *y = noisy(rows * out, 1);
    float *pre = array(rows * out), *act = array(rows * out), *dy = noisy(rows * out, 1),
          *dx = noisy(rows * in, 1);
    float *dw = noisy(out * in, 1), *db = noisy(out, 1), *dpre = array(rows * in), *old = noisy(rows * in, 2);
    double *want_y = doubles(rows * out), *want_acc = doubles(rows * out), *want_act = doubles(rows * out);
    double *want_dx = doubles(rows * in), *want_dpre = doubles(rows * in), *want_dw = doubles(out * in);
    double *want_db = doubles(out);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t o = 0; o < out; o++) {
            double sum = 0;
            for (int64_t i = 0; i < in; i++)
                sum += (double)x[r * in + i] * (double)w[o * in + i];
            want_y[r * out + o] = sum + (double)b[o];
            want_acc[r * out + o] = sum + (double)y[r * out + o];
            want_act[r * out + o] = gelu(sum + (double)b[o], MU_GELU_ERF);
            want_db[o] += (double)dy[r * out + o];
        }
        for (int64_t i = 0; i < in; i++) {
            double sum = 0;
            for (int64_t o = 0; o < out; o++) {
                sum += (double)dy[r * out + o] * (double)w[o * in + i];
                want_dw[o * in + i] += (double)dy[r * out + o] * (double)x[r * in + i];
            }
            want_dx[r * in + i] = sum + (double)dx[r * in + i];
            want_dpre[r * in + i] = sum * gelu_slope((double)old[r * in + i], MU_GELU_TANH);
        }
    }
    for (int64_t i = 0; i < out * in; i++)
        want_dw[i] += (double)dw[i];
    for (int64_t i = 0; i < out; i++)
        want_db[i] += (double)db[i];
    op->linear_forward(dev, f32(y), f32(x), f32(w), MU_NO_ARRAY, rows, in, out, true);
    assert_near(y, want_acc, rows * out, 1e-6);
    op->linear_forward(dev, f32(y), f32(x), f32(w), f32(b), rows, in, out, false);
    assert_near(y, want_y, rows * out, 1e-6);
    op->linear_gelu_forward(dev, f32(act), f32(pre), f32(x), f32(w), f32(b), rows, in, out, MU_GELU_ERF);
    assert_near(pre, want_y, rows * out, 1e-6);
    assert_near(act, want_act, rows * out, 1e-6);
    op->linear_backward_input(dev, f32(dx), f32(dy), f32(w), rows, in, out, true);
    assert_near(dx, want_dx, rows * in, 1e-6);
    op->linear_gelu_backward_input(dev, f32(dpre), f32(dy), f32(w), f32(old), rows, in, out, MU_GELU_TANH);
    assert_near(dpre, want_dpre, rows * in, 2e-6);
    op->linear_backward_weight(dev, dw, db, f32(dy), f32(x), rows, in, out);
    assert_near(dw, want_dw, out * in, 1e-6);
    assert_near(db, want_db, out, 1e-6);
    RELEASE(x, w, b, y, pre, act, dy, dx, dw, db, dpre, old);
    free(want_y), free(want_acc), free(want_act), free(want_dx), free(want_dpre), free(want_dw),
        free(want_db);
}

static void linear_test(void)
{
    linear_at(1, 16, 33);
    linear_at(7, 5, 3);
    linear_at(150, 65, 97);
    linear_at(301, 48, 1100);
}

static void linear_layers(void **state)
{
    (void)state;
    on_every_device(linear_test);
}

/* --- embeddings and positions --- */

static void embedding_test(void)
{
    enum { ROWS = 90, HIDDEN = 37, FIRST = 10, COUNT = 12, SEQ = 30 };
    int32_t ids[ROWS];
    float *table = noisy(COUNT * HIDDEN, 1), *x = noisy(ROWS * HIDDEN, 1), *dx = noisy(ROWS * HIDDEN, 1);
    float *dtable = noisy(COUNT * HIDDEN, 1), *positions = noisy(50 * HIDDEN, 1),
          *dpos = noisy(SEQ * HIDDEN, 1);
    double want[ROWS * HIDDEN], want_d[COUNT * HIDDEN], want_p[SEQ * HIDDEN];
    for (int i = 0; i < COUNT * HIDDEN; i++)
        want_d[i] = (double)dtable[i];
    for (int i = 0; i < SEQ * HIDDEN; i++)
        want_p[i] = (double)dpos[i];
    for (int r = 0; r < ROWS; r++) {
        ids[r] = r * r * 7 % 31;
        bool here = ids[r] >= FIRST && ids[r] < FIRST + COUNT;
        for (int i = 0; i < HIDDEN; i++) {
            want[r * HIDDEN + i] = here ? (double)table[(ids[r] - FIRST) * HIDDEN + i] : 0;
            if (here)
                want_d[(ids[r] - FIRST) * HIDDEN + i] += (double)dx[r * HIDDEN + i];
            want_p[r % SEQ * HIDDEN + i] += (double)dx[r * HIDDEN + i];
        }
    }
    op->embedding_forward(dev, f32(x), f32(table), ids, ROWS, HIDDEN, FIRST, COUNT);
    assert_near(x, want, ROWS * HIDDEN, 0);
    op->embedding_backward(dev, dtable, f32(dx), ids, ROWS, HIDDEN, FIRST, COUNT);
    assert_near(dtable, want_d, COUNT * HIDDEN, 1e-6);
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < HIDDEN; i++)
            want[r * HIDDEN + i] += (double)positions[(5 + r % SEQ) * HIDDEN + i];
    op->position_forward(dev, f32(x), f32(positions), ROWS, SEQ, 5, HIDDEN);
    assert_near(x, want, ROWS * HIDDEN, 1e-6);
    op->position_backward(dev, dpos, f32(dx), ROWS, SEQ, HIDDEN);
    assert_near(dpos, want_p, SEQ * HIDDEN, 1e-6);
    RELEASE(table, x, dx, dtable, positions, dpos);
}

static void embeddings(void **state)
{
    (void)state;
    on_every_device(embedding_test);
}

/* --- layer norm --- */

static void norm_at(int64_t rows, int64_t hidden, double offset)
{
    double eps = 1e-5;
    float *x = noisy(rows * hidden, 2), *w = noisy(hidden, 1), *b = noisy(hidden, 1),
          *y = array(rows * hidden);
    float *mean = array(rows), *rstd = array(rows), *dy = noisy(rows * hidden, 1),
          *dx = noisy(rows * hidden, 1);
    float *dw = noisy(hidden, 1), *db = noisy(hidden, 1);
    double *want = doubles(rows * hidden), *want_dx = doubles(rows * hidden), *want_dw = doubles(hidden);
    double *want_db = doubles(hidden), n = (double)hidden;
    for (int64_t i = 0; i < rows * hidden; i++)
        x[i] += (float)offset;
    for (int64_t i = 0; i < hidden; i++) {
        want_dw[i] = (double)dw[i];
        want_db[i] = (double)db[i];
    }
    for (int64_t r = 0; r < rows; r++) {
        const float *xr = x + r * hidden, *g = dy + r * hidden;
        double mu = 0, var = 0, sum_g = 0, sum_gx = 0;
        for (int64_t i = 0; i < hidden; i++)
            mu += (double)xr[i] / n;
        for (int64_t i = 0; i < hidden; i++)
            var += pow((double)xr[i] - mu, 2) / n;
        double rs = 1 / sqrt(var + eps);
        for (int64_t i = 0; i < hidden; i++) {
            double xhat = ((double)xr[i] - mu) * rs, d = (double)g[i] * (double)w[i];
            want[r * hidden + i] = xhat * (double)w[i] + (double)b[i];
            sum_g += d / n;
            sum_gx += d * xhat / n;
            want_dw[i] += (double)g[i] * xhat;
            want_db[i] += (double)g[i];
        }
        for (int64_t i = 0; i < hidden; i++) {
            double xhat = ((double)xr[i] - mu) * rs;
            want_dx[r * hidden + i] =
                (double)dx[r * hidden + i] + rs * ((double)g[i] * (double)w[i] - sum_g - xhat * sum_gx);
        }
    }
    double limit = 2e-6 * (1 + offset);
    op->layernorm_forward(dev, f32(y), mean, rstd, f32(x), f32(w), f32(b), rows, hidden, eps);
    assert_near(y, want, rows * hidden, limit);
    op->layernorm_backward(dev, f32(dx), dw, db, f32(dy), f32(x), f32(w), mean, rstd, rows, hidden, true);
    assert_near(dx, want_dx, rows * hidden, limit);
    assert_near(dw, want_dw, hidden, limit);
    assert_near(db, want_db, hidden, limit);
    /* in place, without accumulation: the same minus what was there */
    float *again = array(rows * hidden);
    memcpy(again, dy, (size_t)(rows * hidden) * sizeof *dy);
    op->layernorm_backward(dev, f32(again), dw, db, f32(again), f32(x), f32(w), mean, rstd, rows, hidden,
                           false);
    float *zeros = array(rows * hidden);
    op->layernorm_backward(dev, f32(zeros), dw, db, f32(dy), f32(x), f32(w), mean, rstd, rows, hidden, true);
    assert_memory_equal(again, zeros, (size_t)(rows * hidden) * sizeof *dy);
    RELEASE(x, w, b, y, mean, rstd, dy, dx, dw, db, again, zeros);
    free(want), free(want_dx), free(want_dw), free(want_db);
}

static void norm_test(void)
{
    norm_at(1, 16, 0);
    norm_at(3, 31, 0);
    norm_at(200, 100, 0);
    norm_at(65, 192, 10);
}

static void layer_norms(void **state)
{
    (void)state;
    on_every_device(norm_test);
}

/* --- elementwise --- */

static void elementwise_test(void)
{
    enum { N = 100003, HIDDEN = 61, ROWS = 40 };
    float *x = array(N), *y = array(N), *dy = noisy(N, 1);
    double *want = doubles(N), *want_d = doubles(N);
    for (int act = 0; act < 2; act++) {
        mu_activation_t a = act ? MU_GELU_TANH : MU_GELU_ERF;
        for (int i = 0; i < N; i++) {
            x[i] = (float)(-12.0 + 24.0 * i / (double)N);
            want[i] = gelu((double)x[i], a);
            want_d[i] = (double)dy[i] * gelu_slope((double)x[i], a);
        }
        op->gelu_forward(dev, f32(y), f32(x), N, a);
        assert_near(y, want, N, 2e-7);
        for (int i = 0; i < N; i++) /* the tail too: each element by its own size */
            if (fabs(want[i]) > 1e-30 && !(fabs((double)y[i] - want[i]) <= 4e-6 * fabs(want[i]) + 1e-9))
                fail_msg("%s: gelu %d of %g is %.9g, want %.9g", dev->description, act, (double)x[i],
                         (double)y[i], want[i]);
        memcpy(y, dy, N * sizeof *y);
        op->gelu_backward(dev, f32(y), f32(y), f32(x), N, a);
        assert_near(y, want_d, N, 1e-6);
    }
    float *branch = noisy(ROWS * HIDDEN, 1), *b1 = noisy(HIDDEN, 1), *b2 = noisy(HIDDEN, 1);
    for (int form = 0; form < 3; form++) {
        for (int i = 0; i < ROWS * HIDDEN; i++)
            want[i] = (double)x[i] + (double)branch[i] + (form > 0 ? (double)b1[i % HIDDEN] : 0) +
                      (form > 1 ? (double)b2[i % HIDDEN] : 0);
        op->residual(dev, f32(y), f32(x), f32(branch), form > 0 ? f32(b1) : MU_NO_ARRAY,
                     form > 1 ? f32(b2) : MU_NO_ARRAY, ROWS, HIDDEN);
        assert_near(y, want, ROWS * HIDDEN, 1e-6);
    }
    for (int i = 0; i < N; i++)
        want[i] = ((double)x[i] + (double)dy[i]) * 0.3;
    op->copy(dev, y, x, N * (int64_t)sizeof *y);
    op->add(dev, f32(y), f32(dy), N);
    op->scale(dev, y, N, 0.3);
    assert_near(y, want, N, 1e-6);
    double sum = 0, *squares;
    void *p;
    for (int i = 0; i < N; i++)
        sum += (double)y[i] * (double)y[i];
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WORKSPACE, sizeof *squares, &p), MU_OK);
    squares = p;
    *squares = 1;
    op->sum_squares(dev, squares, y, N);
    assert_true(fabs(*squares - 1 - sum) < 1e-12 * sum);
    mu_device_free(dev, squares);
    RELEASE(x, y, dy, branch, b1, b2);
    free(want), free(want_d);
}

static void elementwise(void **state)
{
    (void)state;
    on_every_device(elementwise_test);
}

static void adamw_test(void)
{
    enum { N = 1001 };
    mu_adamw_t a = {
        .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .grad_scale = 0.5};
    float *p = noisy(N, 1), *m = array(N), *v = array(N), *g = noisy(N, 1);
    double *want = doubles(N), *wm = doubles(N), *wv = doubles(N);
    for (int i = 0; i < N; i++)
        want[i] = (double)p[i];
    for (a.t = 1; a.t <= 5; a.t++) {
        for (int i = 0; i < N; i++) {
            double gi = 0.5 * (double)g[i];
            wm[i] = 0.9 * wm[i] + 0.1 * gi;
            wv[i] = 0.95 * wv[i] + 0.05 * gi * gi;
            double mh = wm[i] / (1 - pow(0.9, (double)a.t)), vh = wv[i] / (1 - pow(0.95, (double)a.t));
            want[i] -= 1e-2 * (mh / (sqrt(vh) + 1e-8) + 0.1 * want[i]);
        }
        op->adamw(dev, f32(p), NULL, m, v, g, N, &a);
        for (int i = 0; i < N; i++)
            g[i] *= -0.7F;
    }
    assert_near(p, want, N, 1e-6);
    assert_near(m, wm, N, 1e-6);
    assert_near(v, wv, N, 1e-6);
    RELEASE(p, m, v, g);
    free(want), free(wm), free(wv);
}

static void adamw(void **state)
{
    (void)state;
    on_every_device(adamw_test);
}

/* --- attention --- */

typedef struct plain {
    double *out, *lse, *dqkv;
} plain_t;

/* softmax(scale q k^T) v of one head, its log-sums, and the gradients, from the definition. */
static void plain_head(const mu_attention_t *s, const float *qkv, const float *dout, int64_t b, int64_t h,
                       plain_t *o)
{
    int64_t n = s->seq, d = s->head_dim, stride = 3 * s->heads * d, ostride = s->heads * d;
    const float *q = qkv + b * n * stride + h * 3 * d, *k = q + d, *v = k + d;
    const float *go = dout + b * n * ostride + h * d;
    double *out = o->out + b * n * ostride + h * d, *dq = o->dqkv + (q - qkv), *dk = dq + d, *dv = dk + d;
    double *p = doubles(n);
    for (int64_t i = 0; i < n; i++) {
        double sum = 0, delta = 0;
        for (int64_t j = 0; j <= i; j++) {
            double score = 0;
            for (int64_t c = 0; c < d; c++)
                score += (double)q[i * stride + c] * (double)k[j * stride + c];
            p[j] = exp(score * s->scale);
            sum += p[j];
        }
        o->lse[(b * s->heads + h) * n + i] = log(sum);
        for (int64_t j = 0; j <= i; j++) {
            p[j] /= sum;
            for (int64_t c = 0; c < d; c++)
                out[i * ostride + c] += p[j] * (double)v[j * stride + c];
        }
        for (int64_t c = 0; c < d; c++)
            delta += (double)go[i * ostride + c] * out[i * ostride + c];
        for (int64_t j = 0; j <= i; j++) {
            double dp = 0;
            for (int64_t c = 0; c < d; c++) {
                dp += (double)go[i * ostride + c] * (double)v[j * stride + c];
                dv[j * stride + c] += p[j] * (double)go[i * ostride + c];
            }
            double ds = p[j] * (dp - delta) * s->scale;
            for (int64_t c = 0; c < d; c++) {
                dq[i * stride + c] += ds * (double)k[j * stride + c];
                dk[j * stride + c] += ds * (double)q[i * stride + c];
            }
        }
    }
    free(p);
}

static void attention_at(int64_t batch, int64_t seq, int64_t heads, int64_t d, double size)
{
    mu_attention_t s = {batch, seq, heads, d, 1 / sqrt((double)d)};
    int64_t rows = batch * seq, wide = 3 * heads * d;
    float *qkv = noisy(rows * wide, size), *out = noisy(rows * heads * d, 9), *lse = array(rows * heads);
    float *dout = noisy(rows * heads * d, 1), *dqkv = noisy(rows * wide, 9);
    plain_t want = {doubles(rows * heads * d), doubles(rows * heads), doubles(rows * wide)};
    for (int64_t b = 0; b < batch; b++)
        for (int64_t h = 0; h < heads; h++)
            plain_head(&s, qkv, dout, b, h, &want);
    op->attention_forward(dev, f32(out), lse, f32(qkv), &s);
    assert_near(out, want.out, rows * heads * d, 2e-6);
    assert_near(lse, want.lse, rows * heads, 2e-6);
    op->attention_backward(dev, f32(dqkv), f32(dout), f32(qkv), f32(out), lse, &s);
    assert_near(dqkv, want.dqkv, rows * wide, 5e-6);

    /* the first sequence again, in pieces against a cache */
    float *cache = noisy(seq * heads * 2 * d, 9), *pieces = array(seq * heads * d);
    for (int64_t at = 0, n = 1; at < seq; at += n, n = 2 * n + 1) {
        n = at + n > seq ? seq - at : n;
        mu_attention_t part = {1, n, heads, d, s.scale};
        op->attention_cached(dev, f32(pieces + at * heads * d), f32(cache), f32(qkv + at * wide), at, &part);
    }
    assert_near(pieces, want.out, seq * heads * d, 2e-6);
    RELEASE(qkv, out, lse, dout, dqkv, cache, pieces);
    free(want.out), free(want.lse), free(want.dqkv);
}

static void attention_test(void)
{
    attention_at(1, 1, 1, 8, 1);
    attention_at(2, 17, 3, 20, 1);
    attention_at(1, 64, 2, 16, 3);
    attention_at(2, 65, 1, 32, 1);
    attention_at(1, 200, 2, 80, 2);
}

static void attention(void **state)
{
    (void)state;
    on_every_device(attention_test);
}

/* Scores far apart: nothing overflows, and a token may attend to one key alone. */
static void steep_test(void)
{
    attention_at(1, 130, 1, 16, 12);
}

static void attention_with_steep_scores(void **state)
{
    (void)state;
    on_every_device(steep_test);
}

static void rotary_test(void)
{
    static const int64_t dims[] = {2, 6, 8, 20, 24};
    for (int k = 0; k < 5; k++) {
        enum { ROWS = 33, SEQ = 11, FIRST = 4, HEADS = 3, D = 24 };
        int64_t r = dims[k];
        float *qkv = noisy(ROWS * HEADS * 3 * D, 1), *table = array(20 * r),
              *before = array(ROWS * HEADS * 3 * D);
        double *want = doubles(ROWS * HEADS * 3 * D), *same = doubles(ROWS * HEADS * 3 * D);
        mu_rotary_table(20, r, 10000, table);
        memcpy(before, qkv, sizeof *qkv * ROWS * HEADS * 3 * D);
        for (int64_t i = 0; i < ROWS * HEADS * 3 * D; i++) {
            int64_t row = i / (HEADS * 3 * D), part = i / D % 3, c = i % D;
            double x = (double)qkv[i],
                   angle = (double)(FIRST + row % SEQ) * pow(10000, -2.0 * (double)(c % (r / 2)) / (double)r);
            same[i] = want[i] = x;
            if (part == 2 || c >= r)
                continue;
            double other = c < r / 2 ? -(double)qkv[i + r / 2] : (double)qkv[i - r / 2];
            want[i] = x * cos(angle) + other * sin(angle);
        }
        mu_rotary_t turn = {table, ROWS, SEQ, FIRST, HEADS, D, r};
        op->rotary(dev, f32(qkv), &turn, false);
        assert_near(qkv, want, ROWS * HEADS * 3 * D, 2e-7);
        op->rotary(dev, f32(qkv), &turn, true);
        assert_near(qkv, same, ROWS * HEADS * 3 * D, 2e-7);
        RELEASE(qkv, table, before);
        free(want), free(same);
    }
}

static void rotary(void **state)
{
    (void)state;
    on_every_device(rotary_test);
}

/* --- cross entropy, whole and in two slices --- */

static void entropy_at(int64_t rows, int64_t vocab, int slices, double size)
{
    int64_t each = vocab / slices;
    double *logits = doubles(rows * vocab), *want = doubles(rows * each), want_loss = 0, loss = 0;
    int32_t *labels = mu_calloc((size_t)rows, sizeof *labels);
    float *weights = array(rows), *max = array(rows), *sums = array(2 * rows),
          *part = array(2 * rows * slices);
    float **x = mu_calloc((size_t)slices, sizeof *x);
    for (int s = 0; s < slices; s++)
        x[s] = array(rows * each);
    for (int64_t r = 0; r < rows; r++) {
        labels[r] = (int32_t)(r * 37 % vocab);
        weights[r] = r % 3 == 1 ? 0.0F : 1.0F;
        for (int64_t j = 0; j < vocab; j++) {
            x[j / each][r * each + j % each] = (float)(size * noise());
            logits[r * vocab + j] = (double)x[j / each][r * each + j % each];
        }
    }
    for (int64_t r = 0; r < rows; r++)
        max[r] = -INFINITY;
    for (int s = 0; s < slices; s++) {
        op->cross_entropy_max(dev, part, f32(x[s]), rows, each);
        for (int64_t r = 0; r < rows; r++)
            max[r] = fmaxf(max[r], part[r]);
    }
    for (int s = 0; s < slices; s++) {
        op->cross_entropy_exp(dev, f32(x[s]), part, max, labels, rows, each, s * each);
        op->add(dev, f32(sums), f32(part), 2 * rows);
    }
    op->cross_entropy_loss(dev, &loss, sums, weights, rows);
    for (int s = 0; s < slices; s++) {
        for (int64_t r = 0; r < rows; r++) {
            double sum = 0, top = (double)max[r];
            for (int64_t j = 0; j < vocab; j++)
                sum += exp(logits[r * vocab + j] - top);
            if (s == 0)
                want_loss += (double)weights[r] * (log(sum) + top - logits[r * vocab + labels[r]]);
            for (int64_t j = 0; j < each; j++)
                want[r * each + j] =
                    0.25 * (double)weights[r] *
                    (exp(logits[r * vocab + s * each + j] - top) / sum - (labels[r] == s * each + j));
        }
        op->cross_entropy_backward(dev, f32(x[s]), sums, weights, labels, rows, each, s * each, 0.25);
        assert_near(x[s], want, rows * each, 1e-6);
        mu_device_free(dev, x[s]);
    }
    assert_true(fabs(loss - want_loss) <= 1e-6 * fabs(want_loss));
    RELEASE(weights, max, sums, part);
    free(logits), free(want), free(labels), free(x);
}

static void entropy_test(void)
{
    entropy_at(5, 3, 1, 1);
    entropy_at(50, 1000, 1, 5);
    entropy_at(31, 202, 2, 90);
}

static void cross_entropy(void **state)
{
    (void)state;
    on_every_device(entropy_test);
}

/* A value that is not a number must reach the loss, or nobody learns that training diverged. */
static void nan_test(void)
{
    float *x = noisy(40, 1), *y = array(40), *max = array(1), *sums = array(2), *one = array(1);
    int32_t label = 3;
    double loss = 0;
    x[17] = NAN;
    *one = 1;
    op->gelu_forward(dev, f32(y), f32(x), 40, MU_GELU_TANH);
    assert_true(isnan(y[17]) && !isnan(y[16]));
    op->gelu_forward(dev, f32(y), f32(x), 40, MU_GELU_ERF);
    assert_true(isnan(y[17]) && !isnan(y[16]));
    op->cross_entropy_max(dev, max, f32(x), 1, 40);
    op->cross_entropy_exp(dev, f32(x), sums, max, &label, 1, 40, 0);
    op->cross_entropy_loss(dev, &loss, sums, one, 1);
    assert_true(isnan(loss));
    RELEASE(x, y, max, sums, one);
}

static void nan_is_not_lost(void **state)
{
    (void)state;
    on_every_device(nan_test);
}

/* --- the device itself --- */

static void bits_do_not_depend_on_threads(void **state)
{
    (void)state;
    enum { ROWS = 200, IN = 96, OUT = 160 };
    float result[2][IN * OUT + OUT + ROWS * IN];
    for (int i = 0; i < 2; i++) {
        noise_state = 9;
        assert_int_equal(mu_device_cpu_new(i ? 3 : 1, &dev), MU_OK);
        op = dev->ops;
        float *x = noisy(ROWS * IN, 1), *dy = noisy(ROWS * OUT, 1), *dw = array(IN * OUT), *db = array(OUT);
        float *w = noisy(IN, 1), *mean = noisy(ROWS, 1), *rstd = noisy(ROWS, 1), *dx = array(ROWS * IN);
        op->linear_backward_weight(dev, dw, db, f32(dy), f32(x), ROWS, IN, OUT);
        op->layernorm_backward(dev, f32(dx), db, db + IN / 2, f32(x), f32(x), f32(w), mean, rstd, ROWS,
                               IN / 2, false);
        memcpy(result[i], dw, sizeof *dw * IN * OUT);
        memcpy(result[i] + IN * OUT, db, sizeof *db * OUT);
        memcpy(result[i] + IN * OUT + OUT, dx, sizeof *dx * ROWS * IN);
        RELEASE(x, dy, dw, db, w, mean, rstd, dx);
        mu_device_close(dev);
    }
    assert_memory_equal(result[0], result[1], sizeof result[0]);
}

static void memory_is_counted_by_kind(void **state)
{
    (void)state;
    void *a, *b;
    assert_int_equal(mu_device_cpu_new(1, &dev), MU_OK);
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WEIGHTS, 1000, &a), MU_OK);
    assert_int_equal(mu_device_alloc(dev, MU_MEM_GRADIENTS, 3 << 20, &b), MU_OK);
    assert_int_equal((uintptr_t)a % 64 + (uintptr_t)b % 64, 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(((char *)a)[i], 0);
    mu_device_free(dev, a);
    assert_int_equal(dev->memory[MU_MEM_WEIGHTS].current, 0);
    assert_int_equal(dev->memory[MU_MEM_WEIGHTS].peak, 1000);
    assert_int_equal(dev->memory[MU_MEM_GRADIENTS].current, 3 << 20);
    assert_int_equal(dev->total.peak, 1000 + (3 << 20));
    mu_device_free(dev, b);
    assert_int_equal(dev->total.current, 0);
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WEIGHTS, INT64_MAX / 2, &a), MU_NOMEM);
    mu_device_close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_layers),
        cmocka_unit_test(embeddings),
        cmocka_unit_test(layer_norms),
        cmocka_unit_test(elementwise),
        cmocka_unit_test(adamw),
        cmocka_unit_test(attention),
        cmocka_unit_test(attention_with_steep_scores),
        cmocka_unit_test(rotary),
        cmocka_unit_test(cross_entropy),
        cmocka_unit_test(nan_is_not_lost),
        cmocka_unit_test(bits_do_not_depend_on_threads),
        cmocka_unit_test(memory_is_counted_by_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
