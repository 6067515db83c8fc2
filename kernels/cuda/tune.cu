/* Times the candidates of a product on operands of its shape: the algorithms that cuBLASLt proposes, with the
 * operation's epilogue and with kernels of their own after the product. */
#include "kernels/cuda/product.h"

#include <time.h>

static const int64_t most_bytes = (int64_t)2 << 30;

/* x [rows][in], w [out][in], y [rows][out], pre: the second of what y or x is; bias [out]; dw and db of floats. */
typedef struct operands {
    mu_array_t x, w, y, pre, bias;
    float *dw, *db;
} operands_t;

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

/* Numbers like a model's: a product of zeros takes less power, and so less time. A piece from the host, copied on. */
static bool make(mu_device_t *dev, mu_array_t *a, mu_dtype_t type, int64_t n)
{
    enum { PIECE = 1 << 16 };
    *a = MU_NO_ARRAY;
    a->type = type;
    a->data = dev->ops->alloc(dev, n * mu_dtype_size(type));
    if (!a->data)
        return false;
    int64_t first = mu_min_i64(PIECE, n);
    mu_by_type(type, [&](auto t) {
        using T = decltype(t);
        T *piece = (T *)malloc((size_t)first * sizeof(T));
        uint64_t state = 1;
        for (int64_t i = 0; piece && i < first; i++) {
            state = state * 6364136223846793005U + 1442695040888963407U;
            piece[i] = T(0.04F * ((float)(state >> 40) * 0x1p-24F - 0.5F));
        }
        if (piece)
            dev->ops->put(dev, a->data, piece, first * (int64_t)sizeof(T));
        free(piece);
    });
    for (int64_t at = first; at < n; at += first)
        dev->ops->copy(dev, mu_array_at(*a, at).data, a->data,
                       mu_min_i64(first, n - at) * mu_dtype_size(type));
    return true;
}

static void give_back(mu_device_t *dev, const operands_t *o)
{
    void *const all[] = {o->x.data, o->w.data, o->y.data, o->pre.data, o->bias.data, o->dw, o->db};
    for (void *p : all)
        if (p)
            dev->ops->free(dev, p);
}

static bool make_operands(mu_device_t *dev, const mu_product_t *p, operands_t *o)
{
    bool gelu = p->op == MU_PRODUCT_GELU_FORWARD || p->op == MU_PRODUCT_GELU_BACKWARD_INPUT;
    bool weight = p->op == MU_PRODUCT_BACKWARD_WEIGHT;
    int64_t x = p->rows * p->in, w = p->in * p->out, y = p->rows * p->out;
    int64_t pre = p->op == MU_PRODUCT_GELU_FORWARD ? y : x;
    mu_array_t dw = MU_NO_ARRAY, db = MU_NO_ARRAY;
    memset(o, 0, sizeof *o);
    if ((x + y + (gelu ? pre : 0)) * mu_dtype_size(p->type) + w * 4 > most_bytes)
        return false;
    bool ok = make(dev, &o->x, p->type, x) && make(dev, &o->y, p->type, y) &&
              make(dev, &o->bias, p->type, p->out) && (!gelu || make(dev, &o->pre, p->type, pre)) &&
              (weight || make(dev, &o->w, p->type, w)) &&
              (!weight || (make(dev, &dw, MU_DTYPE_F32, w) && make(dev, &db, MU_DTYPE_F32, p->out)));
    o->dw = (float *)dw.data;
    o->db = (float *)db.data;
    return ok;
}

static void compute(mu_device_t *dev, const mu_product_t *p, const operands_t *o)
{
    int64_t rows = p->rows, in = p->in, out = p->out;
    switch (p->op) {
    case MU_PRODUCT_FORWARD:
        mu_cuda_linear_forward(dev, o->y, o->x, o->w, o->bias, MU_NO_ARRAY, rows, in, out);
        break;
    case MU_PRODUCT_GELU_FORWARD:
        mu_cuda_linear_gelu_forward(dev, o->y, o->pre, o->x, o->w, o->bias, rows, in, out, MU_GELU_TANH);
        break;
    case MU_PRODUCT_BACKWARD_INPUT:
        mu_cuda_linear_backward_input(dev, o->x, o->y, o->w, rows, in, out, false);
        break;
    case MU_PRODUCT_GELU_BACKWARD_INPUT:
        mu_cuda_linear_gelu_backward_input(dev, o->x, o->y, o->w, o->pre, rows, in, out, MU_GELU_TANH);
        break;
    default:
        mu_cuda_linear_backward_weight(dev, o->dw, o->db, o->y, o->x, rows, in, out, true);
        break;
    }
}

/* Milliseconds that the GPU takes; 0: it could not be measured. */
static float time_one(mu_device_t *dev, const mu_product_t *p, const operands_t *o, const candidate_t *c,
                      const cudaEvent_t mark[2])
{
    mu_cuda_trial_t *trial = mu_cuda_trial(dev);
    float ms = 0;
    trial->on = true;
    trial->alone = c->alone;
    trial->candidate = c->number;
    trial->beyond = false;
    trial->ran[0] = '\0';
    bool ok = cudaEventRecord(mark[0], mu_stream(dev)) == cudaSuccess;
    compute(dev, p, o);
    trial->on = false;
    ok = ok && cudaEventRecord(mark[1], mu_stream(dev)) == cudaSuccess &&
         cudaEventSynchronize(mark[1]) == cudaSuccess &&
         cudaEventElapsedTime(&ms, mark[0], mark[1]) == cudaSuccess;
    mu_cuda_check(dev, "timing a product");
    return ok && dev->status == MU_OK ? ms : 0;
}

/* Those that differ, each run once, so that it is planned and loaded; at least the first. */
static int list_candidates(mu_device_t *dev, const mu_product_t *p, const operands_t *o, int64_t deadline,
                           const cudaEvent_t mark[2], candidate_t *list)
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
static void time_candidates(mu_device_t *dev, mu_product_t *p, const operands_t *o, int64_t deadline,
                            const cudaEvent_t mark[2])
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
    operands_t o;
    if (make_operands(dev, p, &o) && cudaEventCreate(&mark[0]) == cudaSuccess &&
        cudaEventCreate(&mark[1]) == cudaSuccess)
        time_candidates(dev, p, &o, deadline, mark);
    mu_cuda_plans_forget(dev);
    for (cudaEvent_t m : mark)
        if (m)
            (void)cudaEventDestroy(m);
    give_back(dev, &o);
}
