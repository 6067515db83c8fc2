/* Cross entropy over a slice of the vocabulary. */
#include "kernels/cpu/cpu.h"

#include <math.h>

typedef struct entropy {
    mu_device_t *dev;
    float *logits, *max, *sums;
    const float *weights;
    const int32_t *labels;
    int64_t rows, vocab, first;
    double factor;
} entropy_t;

static void row_max(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    entropy_t *e = arg;
    mu_cpu_vec(e->dev)->row_max(e->max + from, e->logits + from * e->vocab, to - from, e->vocab);
}

void mu_cpu_cross_entropy_max(mu_device_t *dev, float *max, mu_array_t logits, int64_t rows, int64_t vocab)
{
    entropy_t e = {.dev = dev, .logits = mu_f32(logits), .max = max, .vocab = vocab};
    mu_cpu_run(dev, rows, 1, row_max, &e);
}

static void row_exp(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    entropy_t *e = arg;
    for (int64_t r = from; r < to; r++) {
        float *x = e->logits + r * e->vocab;
        int64_t label = e->labels[r] - e->first;
        e->sums[e->rows + r] = label >= 0 && label < e->vocab ? x[label] - e->max[r] : 0;
        mu_cpu_vec(e->dev)->row_exp(x, e->sums + r, e->max + r, 1, e->vocab);
    }
}

void mu_cpu_cross_entropy_exp(mu_device_t *dev, mu_array_t logits, float *sums, const float *max,
                              const int32_t *labels, int64_t rows, int64_t vocab, int64_t first)
{
    entropy_t e = {.dev = dev,
                   .logits = mu_f32(logits),
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
    for (int64_t r = from; r < to; r++) {
        float *x = e->logits + r * e->vocab;
        int64_t label = e->labels[r] - e->first;
        float weight = (float)(e->factor * (double)e->weights[r]);
        mu_cpu_vec(e->dev)->scale(x, e->vocab, weight / e->sums[r]);
        if (label >= 0 && label < e->vocab)
            x[label] -= weight;
    }
}

void mu_cpu_cross_entropy_backward(mu_device_t *dev, mu_array_t logits, const float *sums,
                                   const float *weights, const int32_t *labels, int64_t rows, int64_t vocab,
                                   int64_t first, double factor)
{
    entropy_t e = {.dev = dev,
                   .logits = mu_f32(logits),
                   .sums = (float *)(uintptr_t)sums, /* read only */
                   .weights = weights,
                   .labels = labels,
                   .rows = rows,
                   .vocab = vocab,
                   .first = first,
                   .factor = factor};
    mu_cpu_run(dev, rows, 1, gradient, &e);
}
