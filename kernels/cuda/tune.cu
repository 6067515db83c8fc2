/* Times the candidates of a product on operands of its shape: the algorithms that cuBLASLt proposes, with the
 * operation's epilogue and with kernels of their own after the product. */
#include "kernels/cuda/product.h"

#include <time.h>

static const int64_t most_bytes = (int64_t)2 << 30;

typedef struct candidate {
    bool alone;
    int number;
    float ms;
    char way[sizeof mu_product_t().way];
} candidate_t;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Milliseconds that the GPU takes; 0: it could not be measured. */
static float time_one(mu_device_t *dev, const mu_product_t *p, const mu_product_operands_t *o,
                      const candidate_t *c, const cudaEvent_t mark[2])
{
    mu_cuda_trial_t *trial = mu_cuda_trial(dev);
    float ms = 0;
    trial->on = true;
    trial->alone = c->alone;
    trial->candidate = c->number;
    trial->beyond = false;
    trial->ran[0] = '\0';
    bool ok = cudaEventRecord(mark[0], mu_stream(dev)) == cudaSuccess;
    mu_cuda_host->product_compute(dev, p, o);
    trial->on = false;
    ok = ok && cudaEventRecord(mark[1], mu_stream(dev)) == cudaSuccess &&
         cudaEventSynchronize(mark[1]) == cudaSuccess &&
         cudaEventElapsedTime(&ms, mark[0], mark[1]) == cudaSuccess;
    mu_cuda_check(dev, "timing a product");
    return ok && dev->status == MU_OK ? ms : 0;
}

/* Those that differ, each run once, so that it is planned and loaded; at least the first. */
static int list_candidates(mu_device_t *dev, const mu_product_t *p, const mu_product_operands_t *o,
                           int64_t deadline, const cudaEvent_t mark[2], candidate_t *list)
{
    const mu_cuda_trial_t *trial = mu_cuda_trial(dev);
    int count = 0;
    for (int alone = 0; alone < 2; alone++)
        for (int i = 0; i < MU_CUDA_CANDIDATES && (count == 0 || now_ns() < deadline); i++) {
            candidate_t c = {alone != 0, i, 1e30F, ""};
            float ms = time_one(dev, p, o, &c, mark);
            if (trial->beyond)
                break;
            memcpy(c.way, trial->ran, sizeof c.way);
            bool known = ms == 0 || c.way[0] == '\0';
            for (int k = 0; k < count; k++)
                known = known || strcmp(list[k].way, c.way) == 0;
            if (!known)
                list[count++] = c;
        }
    return count;
}

/* Rounds over the candidates. */
static void time_candidates(mu_device_t *dev, mu_product_t *p, const mu_product_operands_t *o,
                            int64_t deadline, const cudaEvent_t mark[2])
{
    candidate_t list[2 * MU_CUDA_CANDIDATES];
    int count = list_candidates(dev, p, o, deadline, mark, list), chosen = 0;
    float least = 1e30F;
    for (int round = 0; round < MU_TUNE_ROUNDS; round++)
        for (int i = 0; i < count && (now_ns() < deadline || round + i == 0); i++) {
            if (round > 0 && list[i].ms > (float)MU_TUNE_NEAR * least)
                continue;
            float ms = time_one(dev, p, o, &list[i], mark);
            if (ms > 0)
                list[i].ms = fminf(list[i].ms, ms);
            least = fminf(least, list[i].ms);
        }
    for (int i = 1; i < count; i++)
        chosen = list[i].ms < list[chosen].ms * (chosen == 0 ? (float)MU_TUNE_WORTH : 1) ? i : chosen;
    if (count == 0 || list[chosen].ms >= 1e30F)
        return;
    memcpy(p->way, list[chosen].way, sizeof p->way);
    p->rate = 2.0 * (double)p->rows * (double)p->in * (double)p->out / (double)list[chosen].ms * 1e-6;
}

void mu_cuda_tune_product(mu_device_t *dev, mu_product_t *p, int64_t deadline)
{
    cudaEvent_t mark[2] = {};
    mu_product_operands_t o;
    if (!mu_cuda_host->product_operands_make(dev, p, most_bytes, true, true, &o))
        return;
    if (cudaEventCreate(&mark[0]) == cudaSuccess && cudaEventCreate(&mark[1]) == cudaSuccess)
        time_candidates(dev, p, &o, deadline, mark);
    mu_cuda_plans_forget(dev);
    for (cudaEvent_t m : mark)
        if (m)
            (void)cudaEventDestroy(m);
    mu_cuda_host->product_operands_free(dev, &o);
}
