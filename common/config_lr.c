#include "common/config.h"

#include <math.h>

double mu_config_lr(const mu_config_t *c, int64_t done)
{
    double iters = c->lr_decay_iters > 0      ? (double)c->lr_decay_iters
                   : c->lr_decay_fraction > 0 ? floor((double)c->train_iters * c->lr_decay_fraction)
                                              : (double)c->train_iters;
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
