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
    float *max = floats(rows), *part = put_floats(floats(2 * rows), 2 * rows);
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
        op->cross_entropy_max(dev, part, x[s], rows, e.each);
        float *got = get_floats(part, rows);
        for (int64_t r = 0; r < rows; r++)
            max[r] = fmaxf(max[r], got[r]);
    }
    for (int64_t r = 0; r < rows; r++)
        assert_true((double)max[r] == top_of(&e, r));
    float *top = put_floats(max, rows), *weights = put_floats(e.weights, rows);
    int32_t *ids = put_ints(labels, rows);
    for (int s = 0; s < slices; s++) {
        op->cross_entropy_exp(dev, x[s], part, top, ids, rows, e.each, s * e.each);
        op->add(dev, mu_array_f32(sums), mu_array_f32(part), 2 * rows);
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
        op->cross_entropy_backward(dev, x[s], sums, weights, ids, rows, e.each, s * e.each, 0.25);
        assert_near(get(x[s], rows * e.each), want, rows * e.each, 1e-6, 2); /* as exp, as gradient */
    }
}

void entropy_test(void)
{
    entropy_at(5, 3, 1, 1);
    entropy_at(50, 1000, 1, 5);
    entropy_at(3, 9001, 1, 4); /* rows beyond what a device may stage at once */
    entropy_at(31, 202, 2, 90);
}
