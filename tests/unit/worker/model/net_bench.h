/* A net on CPUs with the golden tokens, and the slope of its loss along a gradient, for tests of true gradients. */
#ifndef MU_TESTS_NET_BENCH_H
#define MU_TESTS_NET_BENCH_H

#include "tests/unit/worker/model/golden_model.h"

typedef struct bench {
    mu_device_t *dev;
    mu_comm_t *tp;
    mu_net_t *net;
    int32_t tokens[GOLDEN_BATCH * (GOLDEN_SEQ + 1)];
} bench_t;

static inline void tear_down(bench_t *b)
{
    mu_net_free(b->net);
    mu_comm_free(b->tp);
    mu_device_close(b->dev);
}

/* How fast `loss` changes when the weight moves along `gradient`, by a step of h to each side: of a true gradient its
 * square. Two steps and Richardson leave errors of the fourth order. */
static inline double slope(bench_t *b, const mu_net_param_t *p, const float *gradient, double h,
                           double (*loss)(bench_t *))
{
    size_t bytes = (size_t)p->elements * sizeof(float);
    float *w = p->weight.data, *was = mu_alloc(bytes);
    double side[2];
    memcpy(was, w, bytes);
    for (int s = 0; s < 2; s++) {
        for (int64_t e = 0; e < p->elements; e++)
            w[e] = was[e] + (float)(s == 0 ? h : -h) * gradient[e];
        side[s] = loss(b);
    }
    memcpy(w, was, bytes);
    free(was);
    return (side[0] - side[1]) / (2 * h);
}

#endif
