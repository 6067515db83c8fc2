/* Times the candidates of products on operands of their shapes. */
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/num.h"
#include "kernels/convert.h"
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <time.h>

enum { CANDIDATES = 32 };

static const int64_t most_bytes = (int64_t)1 << 30;

/* x [rows][in], w [out][in], y [rows][out], the second of what y or x is (pre), dw (floats) and db. */
typedef struct operands {
    mu_array_t x, w, y, pre;
    float *dw, *db;
} operands_t;

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

/* Numbers like a model's: a product of zeros may be faster. */
static bool make(mu_device_t *dev, mu_array_t *a, mu_dtype_t type, int64_t n)
{
    float piece[MU_CPU_PIECE];
    uint64_t state = 1;
    *a = (mu_array_t){dev->ops->alloc(dev, n * mu_dtype_size(type)), type};
    for (int64_t at = 0; a->data && at < n; at += MU_CPU_PIECE) {
        int64_t count = mu_min_i64(MU_CPU_PIECE, n - at);
        for (int64_t i = 0; i < count; i++) {
            state = state * 6364136223846793005U + 1442695040888963407U;
            piece[i] = 0.04F * ((float)(state >> 40) * 0x1p-24F - 0.5F);
        }
        mu_convert_from_floats(mu_array_at(*a, at).data, type, piece, count);
    }
    return a->data != NULL;
}

static void give_back(mu_device_t *dev, operands_t *o)
{
    void *const all[] = {o->x.data, o->w.data, o->y.data, o->pre.data, o->dw, o->db};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i])
            dev->ops->free(dev, all[i]);
    *o = (operands_t){0};
}

static bool make_operands(mu_device_t *dev, const mu_product_t *p, operands_t *o)
{
    bool gelu = p->op == MU_PRODUCT_GELU_FORWARD || p->op == MU_PRODUCT_GELU_BACKWARD_INPUT;
    bool weight = p->op == MU_PRODUCT_BACKWARD_WEIGHT;
    int64_t x = p->rows * p->in, w = p->in * p->out, y = p->rows * p->out;
    int64_t pre = p->op == MU_PRODUCT_GELU_FORWARD ? y : x;
    mu_array_t dw = MU_NO_ARRAY, db = MU_NO_ARRAY;
    *o = (operands_t){0};
    if ((x + y + (gelu ? pre : 0)) * mu_dtype_size(p->type) + w * 4 > most_bytes)
        return false;
    bool ok = make(dev, &o->x, p->type, x) && make(dev, &o->y, p->type, y) &&
              (!gelu || make(dev, &o->pre, p->type, pre)) && (weight || make(dev, &o->w, p->type, w)) &&
              (!weight || (make(dev, &dw, MU_DTYPE_F32, w) && make(dev, &db, MU_DTYPE_F32, p->out)));
    o->dw = mu_f32(dw);
    o->db = mu_f32(db);
    return ok;
}

static void compute(mu_device_t *dev, const mu_product_t *p, const operands_t *o)
{
    const mu_device_ops_t *ops = dev->ops;
    int64_t rows = p->rows, in = p->in, out = p->out;
    switch (p->op) {
    case MU_PRODUCT_FORWARD:
        ops->linear_forward(dev, o->y, o->x, o->w, MU_NO_ARRAY, MU_NO_ARRAY, rows, in, out);
        break;
    case MU_PRODUCT_GELU_FORWARD:
        ops->linear_gelu_forward(dev, o->y, o->pre, o->x, o->w, MU_NO_ARRAY, rows, in, out, MU_GELU_TANH);
        break;
    case MU_PRODUCT_BACKWARD_INPUT:
        ops->linear_backward_input(dev, o->x, o->y, o->w, rows, in, out, false);
        break;
    case MU_PRODUCT_GELU_BACKWARD_INPUT:
        ops->linear_gelu_backward_input(dev, o->x, o->y, o->w, o->pre, rows, in, out, MU_GELU_TANH);
        break;
    default:
        ops->linear_backward_weight(dev, o->dw, o->db, o->y, o->x, rows, in, out, false);
        break;
    }
}

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The share of the work that the thread with the most has. */
static double largest_share(int64_t n, int64_t threads)
{
    int64_t units = (n + MU_WAY_GRAIN - 1) / MU_WAY_GRAIN, most = (units + threads - 1) / threads;
    return (double)most / (double)units;
}

/* Seconds that the product takes: from the time of all threads on their cores, which other programs disturb little. */
static double time_one(mu_device_t *dev, const mu_product_t *p, const operands_t *o, const mu_way_t *way)
{
    mu_ways_t *ways = &mu_cpu(dev)->ways;
    bool weight = p->op == MU_PRODUCT_BACKWARD_WEIGHT,
         forward = p->op == MU_PRODUCT_FORWARD || p->op == MU_PRODUCT_GELU_FORWARD;
    int64_t m = weight ? p->out : p->rows, n = forward ? p->out : p->in;
    ways->trial = way;
    int64_t began = cpu_ns();
    compute(dev, p, o);
    ways->trial = NULL;
    return (double)(cpu_ns() - began) * 1e-9 *
           largest_share(way->kind == MU_WAY_COLUMNS ? n : m, dev->threads);
}

/* Rounds over the candidates. */
void mu_cpu_tune_product(mu_device_t *dev, mu_product_t *p, int64_t deadline)
{
    const mu_way_t *way[CANDIDATES];
    double best[CANDIDATES], least = 1e30;
    int count = 0, chosen = 0;
    mu_product_t sample = sample_of(p);
    operands_t o;
    while (count < CANDIDATES && (way[count] = mu_cpu_candidate(dev, p, count)))
        best[count++] = 1e30;
    if (!make_operands(dev, &sample, &o)) {
        give_back(dev, &o);
        return;
    }
    time_one(dev, &sample, &o, way[0]); /* touches memory */
    for (int round = 0; round < MU_TUNE_ROUNDS; round++)
        for (int i = 0; i < count && (mu_now_ns() < deadline || round + i == 0); i++) {
            if (best[i] > MU_TUNE_NEAR * least && round > 0)
                continue;
            best[i] = fmin(best[i], time_one(dev, &sample, &o, way[i]));
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
    give_back(dev, &o);
}
