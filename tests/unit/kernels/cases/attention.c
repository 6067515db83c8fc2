/* Attention and rotary positions. */
#include "common/philox.h"
#include "tests/unit/kernels/cases/support.h"

typedef struct plain {
    double *out, *lse, *dqkv;
} plain_t;

/* What dropout makes of a probability, by the definition in kernels/device.h. */
static double kept(const mu_attention_t *s, int64_t b, int64_t h, int64_t query, int64_t key)
{
    const mu_dropout_t *d = s->dropout;
    if (!d)
        return 1;
    uint64_t e = (uint64_t)((((d->first + b) * d->columns + d->column + h) * s->seq + query) * s->seq + key);
    const uint32_t seed[2] = {(uint32_t)d->seed, (uint32_t)(d->seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)(e / 4), (uint32_t)(e / 4 >> 32), (uint32_t)d->place,
                                 (uint32_t)(d->place >> 32)};
    uint32_t word[4];
    mu_philox(counter, seed, word);
    return (double)word[e % 4] < floor(d->rate * 0x1p32) ? 0 : d->factor;
}

/* softmax(scale q k^T) v of one head, its log-sums, and the gradients, from the definition. */
static void plain_head(const mu_attention_t *s, const float *qkv, const float *dout, int64_t b, int64_t h,
                       plain_t *o)
{
    int64_t n = s->seq, d = s->head_dim, stride = 3 * s->heads * d, ostride = s->heads * d;
    const float *q = qkv + b * n * stride + h * 3 * d, *k = q + d, *v = k + d;
    const float *go = dout + b * n * ostride + h * d;
    double *out = o->out + b * n * ostride + h * d, *dq = o->dqkv + (q - qkv), *dk = dq + d, *dv = dk + d;
    double *p = doubles(n), *keep = doubles(n);
    for (int64_t i = 0; i < n; i++) {
        double sum = 0, delta = 0, top = -INFINITY;
        for (int64_t j = 0; j <= i; j++) {
            double score = 0;
            for (int64_t c = 0; c < d; c++)
                score += (double)q[i * stride + c] * (double)k[j * stride + c];
            p[j] = score * s->scale;
            top = fmax(top, p[j]);
        }
        for (int64_t j = 0; j <= i; j++) {
            p[j] = exp(p[j] - top);
            sum += p[j];
        }
        o->lse[(b * s->heads + h) * n + i] = top + log(sum);
        for (int64_t j = 0; j <= i; j++) {
            p[j] /= sum;
            keep[j] = kept(s, b, h, i, j);
            for (int64_t c = 0; c < d; c++)
                out[i * ostride + c] += p[j] * keep[j] * (double)v[j * stride + c];
        }
        for (int64_t c = 0; c < d; c++)
            delta += (double)go[i * ostride + c] * out[i * ostride + c];
        for (int64_t j = 0; j <= i; j++) {
            double dp = 0;
            for (int64_t c = 0; c < d; c++) {
                dp += keep[j] * (double)go[i * ostride + c] * (double)v[j * stride + c];
                dv[j * stride + c] += p[j] * keep[j] * (double)go[i * ostride + c];
            }
            double ds = p[j] * (dp - delta) * s->scale;
            for (int64_t c = 0; c < d; c++) {
                dq[i * stride + c] += ds * (double)k[j * stride + c];
                dk[j * stride + c] += ds * (double)q[i * stride + c];
            }
        }
    }
}

static void attention_with(int64_t batch, int64_t seq, int64_t heads, int64_t d, double size,
                           const mu_dropout_t *dropout)
{
    mu_attention_t s = {batch, seq, heads, d, 1 / sqrt((double)d), 0, NULL, dropout};
    int64_t rows = batch * seq, wide = 3 * heads * d, width = heads * d;
    float *host = noisy(rows * wide, size), *host_dout = noisy(rows * width, 1);
    plain_t want = {doubles(rows * width), doubles(rows * heads), doubles(rows * wide)};
    for (int64_t b = 0; b < batch; b++)
        for (int64_t h = 0; h < heads; h++)
            plain_head(&s, host, host_dout, b, h, &want);
    mu_array_t qkv = put(host, rows * wide), out = room(rows * width), dqkv = room(rows * wide);
    float *lse = put_floats(floats(rows * heads), rows * heads);
    op->attention_forward(dev, out, lse, qkv, &s);
    assert_near(get(out, rows * width), want.out, rows * width, 2e-6, 1 + slack);
    assert_near_float(get_floats(lse, rows * heads), want.lse, rows * heads, 2e-6);
    /* out as stored may stand in for what is summed again: one rounding more */
    op->attention_backward(dev, dqkv, put(host_dout, rows * width), qkv, out, lse, &s);
    assert_near(get(dqkv, rows * wide), want.dqkv, rows * wide, 5e-6, 2 + 2 * slack);

    if (dropout)
        return;
    /* the first sequence again, in pieces against a cache */
    mu_array_t cache = put(noisy(seq * heads * 2 * d, 9), seq * heads * 2 * d), pieces = room(seq * width);
    for (int64_t at = 0, n = 1; at < seq; at += n, n = 2 * n + 1) {
        n = at + n > seq ? seq - at : n;
        mu_attention_t part = {1, n, heads, d, s.scale, 0, NULL, NULL};
        op->attention_cached(dev, mu_array_at(pieces, at * width), cache, mu_array_at(qkv, at * wide), at,
                             &part);
    }
    assert_near(get(pieces, seq * width), want.out, seq * width, 2e-6, 1 + slack);
}

static void attention_at(int64_t batch, int64_t seq, int64_t heads, int64_t d, double size)
{
    attention_with(batch, seq, heads, d, size, NULL);
}

void attention_test(void)
{
    attention_at(1, 1, 1, 8, 1);
    attention_at(2, 17, 3, 20, 1);
    attention_at(1, 64, 2, 16, 3);
    attention_at(2, size_of(145, 70), 1, 32, 1);
    attention_at(1, size_of(200, 70), size_of(2, 1), 80, 2);
    attention_at(1, size_of(140, 66), 1, 128, 1);
    attention_at(1, 33, 1, 96, 1);
    attention_at(1, 70, 1, 256, 1);
}

/* Scores far apart: nothing overflows, and a token may attend to one key alone. */
void steep_test(void)
{
    attention_at(1, size_of(130, 70), 1, 16, 12);
}

void rotary_test(void)
{
    enum { ROWS = 33, SEQ = 11, FIRST = 4, HEADS = 3, D = 24, N = ROWS * HEADS * 3 * D };
    static const int64_t dims[] = {2, 6, 8, 20, 24};
    for (int k = 0; k < 5; k++) {
        int64_t r = dims[k];
        float *host = noisy(N, 1), *table = floats(20 * r);
        double *want = doubles(N), *same = doubles(N);
        plain_table(20, r, table);
        for (int64_t i = 0; i < N; i++) {
            int64_t row = i / (HEADS * 3 * D), part = i / D % 3, c = i % D;
            double x = (double)host[i],
                   angle = (double)(FIRST + row % SEQ) * pow(10000, -2.0 * (double)(c % (r / 2)) / (double)r);
            same[i] = want[i] = x;
            if (part == 2 || c >= r)
                continue;
            double other = c < r / 2 ? -(double)host[i + r / 2] : (double)host[i - r / 2];
            want[i] = x * cos(angle) + other * sin(angle);
        }
        mu_array_t qkv = put(host, N);
        mu_rotary_t turn = {put_floats(table, 20 * r), ROWS, SEQ, FIRST, HEADS, D, r, 0, NULL};
        op->rotary(dev, qkv, &turn, false);
        assert_near(get(qkv, N), want, N, 2e-7, 1);
        op->rotary(dev, qkv, &turn, true);
        assert_near(get(qkv, N), same, N, 2e-7, 2);
    }
}

/* Grouped queries are single ones whose keys and values are copies: rotary, forward, backward (the gradients of
 * the copies are summed), and against a cache. */
static void grouped_with(int64_t batch, int64_t seq, int64_t heads, int64_t kv, int64_t d,
                         const mu_dropout_t *dropout)
{
    int64_t group = heads / kv, rows = batch * seq, wide = (heads + 2 * kv) * d, single = 3 * heads * d;
    int64_t width = heads * d, n = rows * wide, capacity = seq * kv * 2 * d;
    mu_attention_t s = {batch, seq, heads, d, 1 / sqrt((double)d), kv, NULL, dropout};
    float *host = noisy(n, 1), *dout = noisy(rows * width, 1), *table = floats(seq * d);
    plain_table(seq, d, table);
    mu_array_t qkv = put(host, n), out = room(rows * width), dqkv = room(n);
    float *lse = put_floats(floats(rows * heads), rows * heads);
    mu_rotary_t turn = {put_floats(table, seq * d), rows, seq, 0, heads, d, d, kv, NULL};
    op->rotary(dev, qkv, &turn, false);
    float *turned = get(qkv, n), *copies = floats(rows * single);
    double *want_turned = doubles(n), *want_dqkv = doubles(n);
    for (int64_t i = 0; i < n; i++) {
        int64_t row = i / wide, part = i % wide / d % (group + 2), c = i % d;
        double angle = (double)(row % seq) * pow(10000, -2.0 * (double)(c % (d / 2)) / (double)d);
        double other = c < d / 2 ? -(double)host[i + d / 2] : (double)host[i - d / 2];
        want_turned[i] = part > group ? (double)host[i] : (double)host[i] * cos(angle) + other * sin(angle);
    }
    assert_near(turned, want_turned, n, 3e-7, 1);
    for (int64_t i = 0; i < rows * single; i++) {
        int64_t row = i / single, h = i % single / (3 * d), part = i / d % 3, c = i % d;
        int64_t at = part == 0 ? h % group : group + part - 1;
        copies[i] = turned[row * wide + (h / group * (group + 2) + at) * d + c];
    }
    plain_t want = {doubles(rows * width), doubles(rows * heads), doubles(rows * single)};
    for (int64_t b = 0; b < batch; b++)
        for (int64_t h = 0; h < heads; h++)
            plain_head(&s, copies, dout, b, h, &want);
    for (int64_t i = 0; i < rows * single; i++) {
        int64_t row = i / single, h = i % single / (3 * d), part = i / d % 3, c = i % d;
        int64_t at = part == 0 ? h % group : group + part - 1;
        want_dqkv[row * wide + (h / group * (group + 2) + at) * d + c] += want.dqkv[i];
    }
    op->attention_forward(dev, out, lse, qkv, &s);
    assert_near(get(out, rows * width), want.out, rows * width, 2e-6, 1 + slack);
    assert_near_float(get_floats(lse, rows * heads), want.lse, rows * heads, 2e-6);
    op->attention_backward(dev, dqkv, put(dout, rows * width), qkv, out, lse, &s);
    assert_near(get(dqkv, n), want_dqkv, n, 5e-6, 2 + 2 * slack);
    if (dropout)
        return;
    mu_array_t cache = put(noisy(capacity, 9), capacity), pieces = room(seq * width);
    for (int64_t at = 0, m = 1; at < seq; at += m, m = 2 * m + 1) {
        m = at + m > seq ? seq - at : m;
        mu_attention_t part = {1, m, heads, d, s.scale, kv, NULL, NULL};
        op->attention_cached(dev, mu_array_at(pieces, at * width), cache, mu_array_at(qkv, at * wide), at,
                             &part);
    }
    assert_near(get(pieces, seq * width), want.out, seq * width, 2e-6, 1 + slack);
}

static void grouped_at(int64_t batch, int64_t seq, int64_t heads, int64_t kv, int64_t d)
{
    grouped_with(batch, seq, heads, kv, d, NULL);
}

void grouped_test(void)
{
    grouped_at(size_of(2, 1), 17, 9, 3, 20);
    grouped_at(1, size_of(70, 34), 4, 1, 80);
    grouped_at(size_of(2, 1), size_of(130, 70), 4, 2, 16);
}

/* Documents side by side in one sequence are those documents in sequences of their own: rotary positions, attention
 * forward and backward. */
static void borders_at(const int64_t *lengths, int count, int64_t heads, int64_t kv, int64_t d)
{
    int64_t seq = 0, wide = (heads + 2 * kv) * d, width = heads * d;
    for (int i = 0; i < count; i++)
        seq += lengths[i];
    int32_t host_start[512];
    assert_true(seq <= 512);
    for (int64_t i = 0, at = 0; i < count; at += lengths[i++])
        for (int64_t t = 0; t < lengths[i]; t++)
            host_start[at + t] = (int32_t)at;
    float *table = floats(seq * d), *host = noisy(seq * wide, 3), *dout = noisy(seq * width, 4);
    plain_table(seq, d, table);
    float *turns = put_floats(table, seq * d);
    const int32_t *start = put_ints(host_start, seq);
    mu_array_t qkv = put(host, seq * wide), out = room(seq * width), dqkv = room(seq * wide),
               dy = put(dout, seq * width);
    mu_array_t own = put(host, seq * wide), own_out = room(seq * width), own_dqkv = room(seq * wide);
    float *lse = put_floats(floats(seq * heads), seq * heads),
          *own_lse = put_floats(floats(seq * heads), seq * heads);
    mu_attention_t s = {1, seq, heads, d, 1 / sqrt((double)d), kv, start, NULL};
    mu_rotary_t turn = {turns, seq, seq, 0, heads, d, d, kv, start};
    op->rotary(dev, qkv, &turn, false);
    op->attention_forward(dev, out, lse, qkv, &s);
    op->attention_backward(dev, dqkv, dy, qkv, out, lse, &s);
    op->rotary(dev, dqkv, &turn, true);
    for (int64_t i = 0, at = 0; i < count; at += lengths[i++]) {
        int64_t n = lengths[i];
        mu_attention_t one = {1, n, heads, d, s.scale, kv, NULL, NULL};
        mu_rotary_t one_turn = {turns, n, n, 0, heads, d, d, kv, NULL};
        mu_array_t q = mu_array_at(own, at * wide), o = mu_array_at(own_out, at * width),
                   dq = mu_array_at(own_dqkv, at * wide);
        op->rotary(dev, q, &one_turn, false);
        op->attention_forward(dev, o, own_lse, q, &one);
        op->attention_backward(dev, dq, mu_array_at(dy, at * width), q, o, own_lse, &one);
        op->rotary(dev, dq, &one_turn, true);
    }
    float *want = get(own_out, seq * width), *want_dqkv = get(own_dqkv, seq * wide);
    double *want_out = doubles(seq * width), *want_gradient = doubles(seq * wide);
    for (int64_t i = 0; i < seq * width; i++)
        want_out[i] = (double)want[i];
    for (int64_t i = 0; i < seq * wide; i++)
        want_gradient[i] = (double)want_dqkv[i];
    assert_near(get(out, seq * width), want_out, seq * width, 2e-6, 1);
    assert_near(get(dqkv, seq * wide), want_gradient, seq * wide, 5e-6, 2);
}

/* Borders before, at and after those of the tiles, documents of one token, and blocks that see nothing of others. */
void borders_test(void)
{
    static const int64_t many[] = {1, 5, 58, 1, 33, 2, 29, 12, 1, 1}, two[] = {50, 28}, one[] = {30};
    borders_at(many, 10, 2, 2, 20);
    borders_at(two, 2, 4, 2, 16);
    borders_at(one, 1, 2, 2, 64);
    if (type == MU_DTYPE_F32)
        return; /* wide heads are others' kernels in narrow types alone */
    borders_at(many, 10, 2, 1, 128);
    borders_at(two, 2, 1, 1, 144);
}

/* Dropped probabilities, drawn as those of a part of the sequences and heads of a larger call. */
void attention_dropout_test(void)
{
    mu_dropout_t d = {.rate = 0.3, .factor = 1 / 0.7, .seed = 77, .place = (uint64_t)3 << 34, .columns = 12};
    attention_with(2, 17, 3, 20, 1, &d);
    d.first = 5;
    d.column = 8;
    attention_with(1, size_of(145, 70), 1, 32, 1, &d);
    if (type != MU_DTYPE_F32)
        attention_with(1, 70, 1, 144, 1, &d);
    grouped_with(1, 70, 4, 2, 16, &d);
}
