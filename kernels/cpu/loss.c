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
    float *stage; /* [threads][vocab] */
} entropy_t;

static void run(entropy_t *e, int64_t rows, mu_pool_job_t job)
{
    if (e->logits.type != MU_DTYPE_F32) {
        e->stage = mu_cpu_scratch(e->dev, e->dev->threads * e->vocab);
        if (!e->stage)
            return;
    }
    mu_cpu_run(e->dev, rows, 1, job, e);
}

static float *row_of(entropy_t *e, int thread, int64_t r)
{
    return mu_cpu_change(e->dev, e->logits, r * e->vocab, e->vocab,
                         e->stage ? e->stage + thread * e->vocab : NULL);
}

static void row_max(void *arg, int thread, int64_t from, int64_t to)
{
    entropy_t *e = arg;
    for (int64_t r = from; r < to; r++)
        mu_cpu_vec(e->dev)->row_max(e->max + r, row_of(e, thread, r), 1, e->vocab);
}

void mu_cpu_cross_entropy_max(mu_device_t *dev, float *max, mu_array_t logits, int64_t rows, int64_t vocab)
{
    entropy_t e = {.dev = dev, .logits = logits, .max = max, .vocab = vocab};
    run(&e, rows, row_max);
}

static void row_exp(void *arg, int thread, int64_t from, int64_t to)
{
    entropy_t *e = arg;
    for (int64_t r = from; r < to; r++) {
        float *x = row_of(e, thread, r);
        int64_t label = e->labels[r] - e->first;
        e->sums[e->rows + r] = label >= 0 && label < e->vocab ? x[label] - e->max[r] : 0;
        mu_cpu_vec(e->dev)->row_exp(x, e->sums + r, e->max + r, 1, e->vocab);
        mu_cpu_end(e->dev, e->logits, r * e->vocab, e->vocab, x);
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
    run(&e, rows, row_exp);
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
    entropy_t *e = arg;
    for (int64_t r = from; r < to; r++) {
        float *x = row_of(e, thread, r);
        int64_t label = e->labels[r] - e->first;
        float weight = (float)(e->factor * (double)e->weights[r]);
        mu_cpu_vec(e->dev)->scale(x, e->vocab, weight / e->sums[r]);
        if (label >= 0 && label < e->vocab)
            x[label] -= weight;
        mu_cpu_end(e->dev, e->logits, r * e->vocab, e->vocab, x);
    }
}

void mu_cpu_cross_entropy_backward(mu_device_t *dev, mu_array_t logits, const float *sums,
                                   const float *weights, const int32_t *labels, int64_t rows, int64_t vocab,
                                   int64_t first, double factor)
{
    entropy_t e = {.dev = dev,
                   .logits = logits,
                   .sums = (float *)(uintptr_t)sums, /* read only */
                   .weights = weights,
                   .labels = labels,
                   .rows = rows,
                   .vocab = vocab,
                   .first = first,
                   .factor = factor};
    run(&e, rows, gradient);
}
