#include "common/config/config.h"

#include <math.h>

static int64_t decay_iters(const mu_config_t *c)
{
    return c->lr_decay_iters > 0      ? c->lr_decay_iters
           : c->lr_decay_fraction > 0 ? (int64_t)floor((double)c->train_iters * c->lr_decay_fraction)
                                      : c->train_iters;
}

mu_lr_course_t mu_config_lr_course(const mu_config_t *c)
{
    return (mu_lr_course_t){.style = (int32_t)c->lr_decay_style,
                            .iters = decay_iters(c),
                            .lr = c->lr,
                            .min_lr = c->min_lr,
                            .warmup = c->warmup};
}

double mu_config_lr(const mu_config_t *c, int64_t done)
{
    double iters = (double)decay_iters(c);
    double warmup = c->warmup * iters, n = (double)done;
    if (warmup > 0 && n <= warmup)
        return fmax(c->lr * fmax(1, n) / warmup, c->min_lr);

    /* how far through the decay, from 0; 1 at its end and beyond for the cosine, which would rise again */
    double part = iters > warmup ? (n - warmup) / (iters - warmup) : 1, lr = c->lr;
    switch (c->lr_decay_style) {
    case MU_DECAY_LINEAR:
        lr = c->lr * (1 - part);
        break;
    case MU_DECAY_COSINE:
        lr = c->min_lr + (c->lr - c->min_lr) / 2 * (cos(acos(-1.0) * fmin(part, 1)) + 1);
        break;
    case MU_DECAY_EXPONENTIAL:
        lr = c->lr * exp(-0.693 * part);
        break;
    case MU_DECAY_CONSTANT:
        break;
    }
    return fmax(lr, c->min_lr);
}
