#include "launcher/plan/plan_scale.h"
#include "dataset/order/order.h"

#include <math.h>

enum { SEED = 1234, STEPS = 20000, SEGMENTS = 100000, FAILURES = 4 * SEGMENTS };

/* Within 0 .. 1, neither of them. */
static double uniform(mu_mt19937_t *rng)
{
    return ((double)mu_mt19937_next(rng) + 0.5) / 4294967296.0;
}

/* The z below which a normal variable stays with probability exp(log_p), by Newton's method from a bound of its
 * tail. */
static double normal_quantile(double log_p)
{
    double tail = -expm1(log_p); /* of being above */
    double z = tail < 0.5 ? sqrt(-2 * log(tail)) : -sqrt(-2 * log_p);
    for (int i = 0; i < 60; i++) {
        double above = 0.5 * erfc(z / sqrt(2)), density = 0.3989422804014327 * exp(-0.5 * z * z);
        double step = tail < 0.5 ? (above - tail) / density : (exp(log_p) - (1 - above)) / density;
        z += fmax(-1, fmin(1, step));
        if (fabs(step) < 1e-9)
            break;
    }
    return z;
}

double mu_scale_step(const mu_scale_figures_t *f, int64_t gpus)
{
    mu_mt19937_t rng;
    double sum = 0, dp = (double)gpus / (double)f->tp;
    mu_mt19937_seed(&rng, SEED);
    for (int i = 0; i < STEPS && f->spread > 0; i++) /* the largest of `gpus` deviations */
        sum += normal_quantile(log(uniform(&rng)) / (double)gpus);
    double compute = f->step * (1 + f->spread * fmax(0, sum / STEPS));
    double exchange = f->bandwidth > 0 && dp > 1 ? 2 * (dp - 1) / dp * f->bytes / f->bandwidth : 0;
    return compute + fmax(0, exchange - 2.0 / 3 * f->step);
}

double mu_scale_mtbf(const mu_scale_figures_t *f, int64_t gpus)
{
    return f->failures > 0 ? 86400 / (f->failures * (double)gpus) : INFINITY;
}

/* Event by event: each segment is steps and the checkpoint after them, unless a failure comes first. Where restarts
 * hardly ever come through, so many failures are enough to see it. */
double mu_scale_goodput(const mu_scale_figures_t *f, int64_t gpus, double interval)
{
    mu_mt19937_t rng;
    double mtbf = mu_scale_mtbf(f, gpus), now = 0, kept = 0;
    if (!isfinite(mtbf))
        return interval / (interval + f->checkpoint);
    mu_mt19937_seed(&rng, SEED);
    double failure = -mtbf * log(uniform(&rng));
    for (int i = 0, failures = 0; i < SEGMENTS && failures < FAILURES; i++) {
        if (now + interval + f->checkpoint <= failure) {
            now += interval + f->checkpoint;
            kept += interval;
            continue;
        }
        bool running = false; /* a restart came through */
        for (; !running && failures < FAILURES; failures++) {
            now = failure;
            failure = now - mtbf * log(uniform(&rng));
            running = now + f->restart <= failure;
        }
        now += f->restart;
    }
    return kept / now;
}

double mu_scale_best(const mu_scale_figures_t *f, int64_t gpus)
{
    double best = 10, most = 0;
    for (double interval = 10; interval <= 86400; interval *= 1.05) {
        double goodput = mu_scale_goodput(f, gpus, interval);
        if (goodput > most) {
            most = goodput;
            best = interval;
        }
    }
    return best;
}

double mu_scale_young(double checkpoint, double mtbf)
{
    return sqrt(2 * checkpoint * mtbf);
}

double mu_scale_daly(double checkpoint, double mtbf)
{
    double part = checkpoint / (2 * mtbf);
    return part >= 1 ? mtbf : mu_scale_young(checkpoint, mtbf) * (1 + sqrt(part) / 3 + part / 9) - checkpoint;
}
