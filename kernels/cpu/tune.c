/* Times the candidates of products on operands of their shapes. */
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/num.h"
#include "kernels/cpu/cpu.h"

#include <math.h>

enum { CANDIDATES = 32 };

static const int64_t most_bytes = (int64_t)1 << 30;

/* What is timed of a product: as many rows, and as much of a long `out`, as show its rate. A row of `out` stays as far
 * from a power of two as it is. */
enum { MOST_ROWS = 1024, MOST_OUT = 8192, LINE = 512 };

static mu_product_t sample_of(const mu_product_t *p)
{
    mu_product_t sample = *p;
    sample.rows = mu_min_i64(p->rows, MOST_ROWS);
    if (p->out > MOST_OUT + LINE)
        sample.out = MOST_OUT + p->out % LINE;
    return sample;
}

static double flops(const mu_product_t *p)
{
    return 2.0 * (double)p->rows * (double)p->in * (double)p->out;
}

/* Seconds that the product takes: of the thread that it takes longest, on its core. */
static double time_one(mu_device_t *dev, const mu_product_t *p, const mu_product_operands_t *o,
                       const mu_way_t *way, int64_t *ns)
{
    mu_cpu_t *cpu = mu_cpu(dev);
    int64_t longest = 0;
    memset(ns, 0, (size_t)dev->threads * sizeof *ns);
    cpu->ways.trial = way;
    mu_pool_time(cpu->pool, ns);
    mu_product_compute(dev, p, o);
    mu_pool_time(cpu->pool, NULL);
    cpu->ways.trial = NULL;
    for (int i = 0; i < dev->threads; i++)
        longest = mu_max_i64(longest, ns[i]);
    return (double)longest * 1e-9;
}

/* Rounds over the candidates. */
void mu_cpu_tune_product(mu_device_t *dev, mu_product_t *p, int64_t deadline)
{
    const mu_way_t *way[CANDIDATES];
    double best[CANDIDATES], least = 1e30;
    int count = 0, chosen = 0;
    mu_product_t sample = sample_of(p);
    mu_product_operands_t o;
    while (count < CANDIDATES && (way[count] = mu_cpu_candidate(dev, p, count)))
        best[count++] = 1e30;
    if (!mu_product_operands_make(dev, &sample, most_bytes, false, false, &o))
        return;
    int64_t *ns = mu_calloc((size_t)dev->threads, sizeof *ns);
    time_one(dev, &sample, &o, way[0], ns); /* touches memory */
    for (int round = 0; round < MU_TUNE_ROUNDS; round++)
        for (int i = 0; i < count && (mu_now_ns() < deadline || round + i == 0); i++) {
            if (best[i] > MU_TUNE_NEAR * least && round > 0)
                continue;
            best[i] = fmin(best[i], time_one(dev, &sample, &o, way[i], ns));
            least = fmin(least, best[i]);
        }
    for (int i = 1; i < count; i++)
        chosen = best[i] < best[chosen] * (chosen == 0 ? MU_TUNE_WORTH : 1) ? i : chosen;
    for (int i = 0; i < count; i++)
        mu_debug("%s %s %lld: %lld -> %lld: %s: %.1f GFLOP/s", mu_product_name(p->op), mu_dtype_name(p->type),
                 (long long)p->rows, (long long)p->in, (long long)p->out, way[i]->name,
                 best[i] < 1e30 ? flops(&sample) / best[i] * 1e-9 : 0);
    snprintf(p->way, sizeof p->way, "%s", way[chosen]->name);
    p->rate = flops(&sample) / best[chosen] * 1e-9;
    mu_product_operands_free(dev, &o);
    free(ns);
}
