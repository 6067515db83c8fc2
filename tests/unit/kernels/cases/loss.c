/* Cross entropy, whole and in slices. */
#include "tests/unit/kernels/cases/support.h"

typedef struct entropy {
    int64_t rows, vocab, each;
    float *logits, *weights; /* [rows][vocab] */
    int32_t *labels;
} entropy_t;

static double sum_of(const entropy_t *e, int64_t r, double top)
{
    double sum = 0;
    for (int64_t j = 0; j < e->vocab; j++)
        sum += exp((double)e->logits[r * e->vocab + j] - top);
    return sum;
}

static double top_of(const entropy_t *e, int64_t r)
{
    double top = -INFINITY;
    for (int64_t j = 0; j < e->vocab; j++)
        top = fmax(top, (double)e->logits[r * e->vocab + j]);
    return top;
}

static mu_array_t slice(const entropy_t *e, int s)
{
    float *x = floats(e->rows * e->each);
    for (int64_t i = 0; i < e->rows * e->each; i++)
        x[i] = e->logits[i / e->each * e->vocab + s * e->each + i % e->each];
    return put(x, e->rows * e->each);
}

static void entropy_at(int64_t rows, int64_t vocab, int slices, double size)
{
    entropy_t e = {rows, vocab, vocab / slices, noisy(rows * vocab, size), floats(rows), NULL};
    int32_t labels[64];
    mu_array_t x[2];
    float *max = floats(rows), *part[2], *largest = put_floats(floats(rows), rows);
    float *sums = put_floats(floats(2 * rows), 2 * rows);
    double *loss = put_double(0), *want = doubles(rows * e.each), want_loss = 0;
    e.labels = labels;
    for (int64_t r = 0; r < rows; r++) {
        labels[r] = (int32_t)(r * 37 % vocab);
        e.weights[r] = r % 3 == 1 ? 0.0F : 1.0F;
        max[r] = -INFINITY;
        double top = top_of(&e, r);
        want_loss +=
            (double)e.weights[r] * (log(sum_of(&e, r, top)) + top - (double)e.logits[r * vocab + labels[r]]);
    }
    for (int s = 0; s < slices; s++) {
        x[s] = slice(&e, s);
        part[s] = put_floats(floats(2 * rows), 2 * rows);
        op->cross_entropy_max(dev, largest, part[s], x[s], rows, e.each);
        float *got = get_floats(largest, rows);
        for (int64_t r = 0; r < rows; r++)
            max[r] = fmaxf(max[r], got[r]);
    }
    for (int64_t r = 0; r < rows; r++)
        assert_true((double)max[r] == top_of(&e, r));
    float *top = put_floats(max, rows), *weights = put_floats(e.weights, rows);
    int32_t *ids = put_ints(labels, rows);
    for (int s = 0; s < slices; s++) {
        op->cross_entropy_exp(dev, x[s], part[s], top, ids, rows, e.each, s * e.each);
        op->add(dev, mu_array_f32(sums), mu_array_f32(part[s]), 2 * rows);
    }
    op->cross_entropy_loss(dev, loss, sums, weights, rows);
    double got_loss = get_double(loss);
    assert_true(fabs(got_loss - want_loss) <= 1e-6 * fabs(want_loss));
    for (int s = 0; s < slices; s++) {
        for (int64_t r = 0; r < rows; r++) {
            double sum = sum_of(&e, r, (double)max[r]);
            for (int64_t j = 0; j < e.each; j++)
                want[r * e.each + j] =
                    0.25 * (double)e.weights[r] *
                    (exp((double)e.logits[r * vocab + s * e.each + j] - (double)max[r]) / sum -
                     (labels[r] == s * e.each + j));
        }
        op->cross_entropy_backward(dev, x[s], sums, top, weights, ids, rows, e.each, s * e.each, 0.25);
        assert_near(get(x[s], rows * e.each), want, rows * e.each, 1e-6, 2); /* as exp, as gradient */
    }
}

/* A slice with no finite logit beside one with the label. */
static void masked_slice(void)
{
    enum { N = 40 };
    float *none = floats(N), *some = noisy(N, 3), zero = 0, one = 1;
    for (int i = 0; i < N; i++)
        none[i] = -INFINITY;
    int32_t label = N + 5;
    mu_array_t x[2] = {put(none, N), put(some, N)};
    float *part[2], max = -INFINITY, *largest = put_floats(&zero, 1), *sums = put_floats(floats(2), 2);
    double want = 0, *loss = put_double(0);
    for (int s = 0; s < 2; s++) {
        part[s] = put_floats(floats(2), 2);
        op->cross_entropy_max(dev, largest, part[s], x[s], 1, N);
        max = fmaxf(max, get_floats(largest, 1)[0]);
    }
    float *top = put_floats(&max, 1), *weight = put_floats(&one, 1);
    int32_t *labels = put_ints(&label, 1);
    for (int i = 0; i < N; i++)
        want += exp((double)some[i] - (double)some[5]);
    for (int s = 0; s < 2; s++) {
        op->cross_entropy_exp(dev, x[s], part[s], top, labels, 1, N, s * N);
        op->add(dev, mu_array_f32(sums), mu_array_f32(part[s]), 2);
    }
    op->cross_entropy_loss(dev, loss, sums, weight, 1);
    assert_true(fabs(get_double(loss) - log(want)) <= 1e-6 * log(want));
    op->cross_entropy_backward(dev, x[0], sums, top, weight, labels, 1, N, 0, 1);
    float *gradient = get(x[0], N);
    for (int i = 0; i < N; i++)
        assert_true(gradient[i] == 0);
}

void entropy_test(void)
{
    masked_slice();
    entropy_at(5, 3, 1, 1);
    entropy_at(50, 1000, 1, 5);
    entropy_at(3, 9001, 1, 4); /* rows beyond what a device may stage at once */
    entropy_at(31, 202, 2, 90);
}
