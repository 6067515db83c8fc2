/* Cross entropy over a slice of the vocabulary. */
#include "kernels/cpu/cpu.h"

#include <math.h>

typedef struct entropy {
    mu_device_t *dev;
    mu_array_t logits;
    float *max, *sums;
    const float *weights;
    const int32_t *labels;
    int64_t rows, vocab, first;
    double factor;
} entropy_t;

/* Row r goes through the loops in pieces that stay in the first cache, or whole when it is float already. */
static int64_t piece_of(const entropy_t *e, int64_t at)
{
    return mu_cpu_step(e->logits.type, e->vocab - at, MU_CPU_PIECE);
}

static void row_max(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    entropy_t *e = arg;
    float stage[MU_CPU_PIECE], top;
    for (int64_t r = from; r < to; r++) {
        e->max[r] = -INFINITY;
        for (int64_t at = 0, n; at < e->vocab; at += n) {
            n = piece_of(e, at);
            mu_cpu_vec(e->dev)->row_max(&top, mu_cpu_read(e->dev, e->logits, r * e->vocab + at, n, stage), 1,
                                        n);
            e->max[r] = top > e->max[r] ? top : e->max[r];
        }
    }
}

/* What exponentials cost here makes it worth to write them: exp leaves them in the logits, and sums are its own. */
void mu_cpu_cross_entropy_max(mu_device_t *dev, float *max, float *sums, mu_array_t logits, int64_t rows,
                              int64_t vocab)
{
    (void)sums;
    entropy_t e = {.dev = dev, .logits = logits, .max = max, .vocab = vocab};
    mu_cpu_run(dev, rows, 1, row_max, &e);
}

static void row_exp(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    entropy_t *e = arg;
    float stage[MU_CPU_PIECE], sum;
    for (int64_t r = from; r < to; r++) {
        int64_t label = e->labels[r] - e->first;
        e->sums[r] = e->sums[e->rows + r] = 0;
        for (int64_t at = 0, n; at < e->vocab; at += n) {
            n = piece_of(e, at);
            float *x = mu_cpu_change(e->dev, e->logits, r * e->vocab + at, n, stage);
            if (label >= at && label < at + n)
                e->sums[e->rows + r] = x[label - at] - e->max[r];
            mu_cpu_vec(e->dev)->row_exp(x, &sum, e->max + r, 1, n);
            e->sums[r] += sum;
            mu_cpu_end(e->dev, e->logits, r * e->vocab + at, n, x);
        }
    }
}

void mu_cpu_cross_entropy_exp(mu_device_t *dev, mu_array_t logits, float *sums, const float *max,
                              const int32_t *labels, int64_t rows, int64_t vocab, int64_t first)
{
    entropy_t e = {.dev = dev,
                   .logits = logits,
                   .max = (float *)(uintptr_t)max, /* read only */
                   .sums = sums,
                   .labels = labels,
                   .rows = rows,
                   .vocab = vocab,
                   .first = first};
    mu_cpu_run(dev, rows, 1, row_exp, &e);
}

void mu_cpu_cross_entropy_loss(mu_device_t *dev, double *loss, const float *sums, const float *weights,
                               int64_t rows)
{
    (void)dev;
    double sum = 0;
    for (int64_t r = 0; r < rows; r++)
        if (weights[r] != 0)
            sum += (double)weights[r] * (log((double)sums[r]) - (double)sums[rows + r]);
    *loss += sum;
}

static void gradient(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    entropy_t *e = arg;
    float stage[MU_CPU_PIECE];
    for (int64_t r = from; r < to; r++) {
        int64_t label = e->labels[r] - e->first;
        float weight = (float)(e->factor * (double)e->weights[r]);
        for (int64_t at = 0, n; at < e->vocab; at += n) {
            n = piece_of(e, at);
            float *x = mu_cpu_change(e->dev, e->logits, r * e->vocab + at, n, stage);
            mu_cpu_vec(e->dev)->scale(x, n, weight / e->sums[r]);
            if (label >= at && label < at + n)
                x[label - at] -= weight;
            mu_cpu_end(e->dev, e->logits, r * e->vocab + at, n, x);
        }
    }
}

void mu_cpu_cross_entropy_backward(mu_device_t *dev, mu_array_t logits, const float *sums, const float *max,
                                   const float *weights, const int32_t *labels, int64_t rows, int64_t vocab,
                                   int64_t first, double factor)
{
    (void)max;
    entropy_t e = {.dev = dev,
                   .logits = logits,
                   .sums = (float *)(uintptr_t)sums, /* read only */
                   .weights = weights,
                   .labels = labels,
                   .rows = rows,
                   .vocab = vocab,
                   .first = first,
                   .factor = factor};
    mu_cpu_run(dev, rows, 1, gradient, &e);
}
