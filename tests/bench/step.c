/*
 * Where the time of one training step goes on one worker.
 *
 *     bench_step [quick|14m|31m|70m|160m|410m|1.4b|2.8b|gpt2|smollm2] [micro_batch] [threads] [seq] [cpu] [cuda] [bf16]
 *     [fp16] [recompute] [tune] [cudnn] [debug] [decode]
 *
 * Prints a line for each operation and shape: calls a step, milliseconds, share, the rate, and the time that it would
 * take at the rate of a large product, or for what only moves bytes of a large copy, on this machine (the floor);
 * before it the way of each product, and on a GPU what computes attention (docs/cpu-products.md, docs/cuda.md). The
 * last columns are the rate of the fastest call, which other programs disturb least, and for products its share of the
 * best such rate.
 *     cpu        counts the time of the calling thread instead of the wall's, for one thread on a busy machine
 *     cuda       takes the first GPU; its step is timed without a wait between operations, and its operations in steps
 *                of their own with one after each
 *     recompute  keeps each layer's input alone
 *     tune       measures the ways of each product first, as `muster.tune: auto` does, and prints their rates
 *     cudnn      with cuda: attention of cuDNN where it takes it, as `muster.attention: cudnn` does
 *     debug      with tune: the rate of every candidate, on a CPU
 *     decode     a step of generation instead: a token of each of micro_batch sequences that end at seq tokens,
 *                launched kernel by kernel and as a graph (muster.graphs)
 * Not a test: it asserts nothing.
 */
#include "common/log.h"
#include "common/num.h"
#include "kernels/convert.h"
#include "kernels/cuda_load.h"
#include "kernels/products.h"
#include "worker/model/net.h"
#include "worker/model/optimizer.h"

#include <math.h>

enum { LINES = 64, WARM = 3 };

typedef struct line {
    char name[64];
    int calls;
    int64_t ns;
    double flops, bytes; /* of matrix products; of what else must move */
    double fastest;      /* GFLOP/s of the fastest call: what the machine does when nothing else slows it */
} line_t;

static line_t lines[LINES];
static int line_count;
static const mu_device_ops_t *real;
static bool enqueues; /* operations return before they are done */
static int steps = 5;

static clockid_t clock_used = CLOCK_MONOTONIC;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(clock_used, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void note(const char *name, int64_t in, int64_t out, double flops, double bytes, int64_t begin)
{
    char text[64];
    int64_t ns = now_ns() - begin;
    if (out)
        snprintf(text, sizeof text, "%s %lld -> %lld", name, (long long)in, (long long)out);
    else
        snprintf(text, sizeof text, "%s", name);
    int i = 0;
    while (i < line_count && strcmp(lines[i].name, text) != 0)
        i++;
    if (i == LINES)
        return;
    if (i == line_count)
        snprintf(lines[line_count++].name, sizeof lines[i].name, "%s", text);
    lines[i].calls++;
    lines[i].ns += ns;
    lines[i].flops += flops;
    lines[i].bytes += bytes;
    lines[i].fastest = fmax(lines[i].fastest, flops / (double)ns);
}

#define TIMED(op, in, out, flops, bytes, params, args)                                                       \
    static void timed_##op params                                                                            \
    {                                                                                                        \
        int64_t begin = now_ns();                                                                            \
        real->op args;                                                                                       \
        if (enqueues && real->sync(d) != MU_OK)                                                              \
            exit(1);                                                                                         \
        note(#op, in, out, flops, bytes, begin);                                                             \
    }

#define MOVED(a, n) ((double)(n) * (double)mu_dtype_size((a).type))
#define PRODUCT     (2.0 * (double)rows * (double)in * (double)out)
TIMED(linear_forward, in, out, PRODUCT, 0,
      (mu_device_t * d, mu_array_t y, mu_array_t x, mu_array_t w, mu_array_t b, mu_array_t plus, int64_t rows,
       int64_t in, int64_t out),
      (d, y, x, w, b, plus, rows, in, out))
TIMED(linear_gelu_forward, in, out, PRODUCT, 0,
      (mu_device_t * d, mu_array_t y, mu_array_t pre, mu_array_t x, mu_array_t w, mu_array_t b, int64_t rows,
       int64_t in, int64_t out, mu_activation_t act),
      (d, y, pre, x, w, b, rows, in, out, act))
TIMED(linear_backward_input, in, out, PRODUCT, 0,
      (mu_device_t * d, mu_array_t dx, mu_array_t dy, mu_array_t w, int64_t rows, int64_t in, int64_t out,
       bool acc),
      (d, dx, dy, w, rows, in, out, acc))
TIMED(linear_gelu_backward_input, in, out, PRODUCT, 0,
      (mu_device_t * d, mu_array_t dpre, mu_array_t dy, mu_array_t w, mu_array_t pre, int64_t rows,
       int64_t in, int64_t out, mu_activation_t act),
      (d, dpre, dy, w, pre, rows, in, out, act))
TIMED(linear_backward_weight, in, out, PRODUCT, 0,
      (mu_device_t * d, float *dw, float *db, mu_array_t dy, mu_array_t x, int64_t rows, int64_t in,
       int64_t out, bool fresh),
      (d, dw, db, dy, x, rows, in, out, fresh))
TIMED(embedding_forward, 0, 0, 0, MOVED(x, 2 * rows * h),
      (mu_device_t * d, mu_array_t x, mu_array_t t, const int32_t *ids, int64_t rows, int64_t h, int64_t f,
       int64_t c),
      (d, x, t, ids, rows, h, f, c))
TIMED(embedding_backward, 0, 0, 0, MOVED(dx, rows *h) + 8.0 * (double)(rows * h),
      (mu_device_t * d, float *t, mu_array_t dx, const int32_t *ids, int64_t rows, int64_t h, int64_t f,
       int64_t c),
      (d, t, dx, ids, rows, h, f, c))
TIMED(layernorm_forward, 0, 0, 0, MOVED(x, 2 * rows * h),
      (mu_device_t * d, mu_array_t y, float *m, float *r, mu_array_t x, mu_array_t w, mu_array_t b,
       int64_t rows, int64_t h, double eps),
      (d, y, m, r, x, w, b, rows, h, eps))
TIMED(layernorm_backward, 0, 0, 0, MOVED(x, (3 + acc) * rows * h),
      (mu_device_t * d, mu_array_t dx, float *dw, float *db, mu_array_t dy, mu_array_t x, mu_array_t w,
       const float *m, const float *r, int64_t rows, int64_t h, bool acc),
      (d, dx, dw, db, dy, x, w, m, r, rows, h, acc))
TIMED(layernorm_pair_forward, 0, 0, 0, MOVED(x, 3 * rows * h),
      (mu_device_t * d, mu_array_t y1, mu_array_t y2, float *m, float *r, mu_array_t x, mu_array_t w1,
       mu_array_t b1, mu_array_t w2, mu_array_t b2, int64_t rows, int64_t h, double eps),
      (d, y1, y2, m, r, x, w1, b1, w2, b2, rows, h, eps))
TIMED(layernorm_pair_backward, 0, 0, 0, MOVED(x, (4 + acc) * rows * h),
      (mu_device_t * d, mu_array_t dx, float *dw1, float *db1, float *dw2, float *db2, mu_array_t dy1,
       mu_array_t dy2, mu_array_t x, mu_array_t w1, mu_array_t w2, const float *m, const float *r,
       int64_t rows, int64_t h, bool acc),
      (d, dx, dw1, db1, dw2, db2, dy1, dy2, x, w1, w2, m, r, rows, h, acc))
TIMED(residual, 0, 0, 0, MOVED(x, 3 * rows * h),
      (mu_device_t * d, mu_array_t y, mu_array_t x, mu_array_t b, mu_array_t b1, mu_array_t b2, int64_t rows,
       int64_t h),
      (d, y, x, b, b1, b2, rows, h))
TIMED(rotary, 0, 0, 0, MOVED(qkv, 4 * r->rows * r->heads * r->dims),
      (mu_device_t * d, mu_array_t qkv, const mu_rotary_t *r, bool inverse), (d, qkv, r, inverse))
/* Products of attention: half the square, two forward and five backward. */
static double attention_flops(const mu_attention_t *s, double products)
{
    return products * (double)(s->batch * s->heads * s->seq * s->seq * s->head_dim);
}
TIMED(attention_forward, 0, 0, attention_flops(s, 2), 0,
      (mu_device_t * d, mu_array_t o, float *lse, mu_array_t qkv, const mu_attention_t *s),
      (d, o, lse, qkv, s))
TIMED(attention_backward, 0, 0, attention_flops(s, 5), 0,
      (mu_device_t * d, mu_array_t dqkv, mu_array_t dout, mu_array_t qkv, mu_array_t o, const float *lse,
       const mu_attention_t *s),
      (d, dqkv, dout, qkv, o, lse, s))
/* GPUs keep the logits until backward: max has read them for exp too. */
TIMED(cross_entropy_max, 0, 0, 0, MOVED(x, rows *v),
      (mu_device_t * d, float *m, float *s, mu_array_t x, int64_t rows, int64_t v), (d, m, s, x, rows, v))
TIMED(cross_entropy_exp, 0, 0, 0, enqueues ? 24.0 * (double)rows : MOVED(x, 2 * rows * v),
      (mu_device_t * d, mu_array_t x, float *s, const float *m, const int32_t *l, int64_t rows, int64_t v,
       int64_t f),
      (d, x, s, m, l, rows, v, f))
TIMED(cross_entropy_backward, 0, 0, 0, MOVED(x, 2 * rows * v),
      (mu_device_t * d, mu_array_t x, const float *s, const float *m, const float *w, const int32_t *l,
       int64_t rows, int64_t v, int64_t f, double factor),
      (d, x, s, m, w, l, rows, v, f, factor))
TIMED(adamw, 0, 0, 0, (20.0 + (ma ? 8 + MOVED(p, 1) : 8)) * (double)n,
      (mu_device_t * d, mu_array_t p, float *ma, float *m, float *v, const float *g, int64_t n,
       const mu_adamw_t *a),
      (d, p, ma, m, v, g, n, a))
TIMED(sum_squares, 0, 0, 0, 4.0 * (double)n, (mu_device_t * d, double *out, const float *x, int64_t n),
      (d, out, x, n))
TIMED(zero, 0, 0, 0, (double)n, (mu_device_t * d, void *p, int64_t n), (d, p, n))

static mu_device_ops_t timed_table(void)
{
    mu_device_ops_t t = *real;
    t.linear_forward = timed_linear_forward;
    t.linear_gelu_forward = timed_linear_gelu_forward;
    t.linear_backward_input = timed_linear_backward_input;
    t.linear_gelu_backward_input = timed_linear_gelu_backward_input;
    t.linear_backward_weight = timed_linear_backward_weight;
    t.embedding_forward = timed_embedding_forward;
    t.embedding_backward = timed_embedding_backward;
    t.layernorm_forward = timed_layernorm_forward;
    t.layernorm_backward = timed_layernorm_backward;
    t.layernorm_pair_forward = timed_layernorm_pair_forward;
    t.layernorm_pair_backward = timed_layernorm_pair_backward;
    t.residual = timed_residual;
    t.rotary = timed_rotary;
    t.attention_forward = timed_attention_forward;
    t.attention_backward = timed_attention_backward;
    t.cross_entropy_max = timed_cross_entropy_max;
    t.cross_entropy_exp = timed_cross_entropy_exp;
    t.cross_entropy_backward = timed_cross_entropy_backward;
    t.adamw = timed_adamw;
    t.sum_squares = timed_sum_squares;
    t.zero = timed_zero;
    return t;
}

/* Numbers like a model's: a product of zeros is faster. Few enough to be made at once. */
enum { PIECE = 1 << 20 };
static const float *numbers(void)
{
    static float made[PIECE];
    uint64_t state = 1;
    for (int i = 0; i < PIECE && made[PIECE - 1] == 0; i++) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        made[i] = 0.04F * ((float)(state >> 40) * 0x1p-24F - 0.5F);
    }
    return made;
}

static void fill(mu_device_t *dev, void *to, mu_dtype_t type, int64_t n)
{
    static float narrow[PIECE];
    mu_convert_from_floats(narrow, type, numbers(), PIECE);
    for (int64_t at = 0; at < n; at += PIECE)
        real->put(dev, (char *)to + at * mu_dtype_size(type), narrow,
                  mu_min_i64(PIECE, n - at) * mu_dtype_size(type));
}

/* In seconds, where mu_init_weights() takes minutes for a large model. */
static void fill_weights(mu_net_t *net)
{
    static float ones[PIECE];
    for (int i = 0; i < PIECE; i++)
        ones[i] = 1;
    for (int i = 0; i < mu_net_param_count(net); i++) {
        const mu_net_param_t *p = mu_net_param(net, i);
        mu_tensor_kind_t kind = p->tensor.kind;
        bool norm = kind == MU_T_LN1_W || kind == MU_T_LN2_W || kind == MU_T_LNF_W;
        for (int64_t at = 0; at < p->elements; at += PIECE)
            mu_net_put_weight(net, i, at, mu_min_i64(PIECE, p->elements - at), norm ? ones : numbers());
    }
}

/* GFLOP/s of 1024 rows through 512 -> 2048; on a GPU of 8192 through 8192 -> 8192. */
static double product_rate(mu_device_t *dev, mu_dtype_t type)
{
    int64_t rows = enqueues ? 8192 : 1024, in = enqueues ? 8192 : 512, out = enqueues ? 8192 : 2048;
    int64_t best = INT64_MAX, size = mu_dtype_size(type);
    void *x, *w, *y;
    if (mu_device_alloc(dev, MU_MEM_WORKSPACE, rows * in * size, &x) != MU_OK ||
        mu_device_alloc(dev, MU_MEM_WORKSPACE, in * out * size, &w) != MU_OK ||
        mu_device_alloc(dev, MU_MEM_WORKSPACE, rows * out * size, &y) != MU_OK)
        exit(1);
    fill(dev, x, type, rows * in);
    fill(dev, w, type, in * out);
    for (int i = 0; i < 10; i++) {
        int64_t begin = now_ns();
        real->linear_forward(dev, (mu_array_t){y, type}, (mu_array_t){x, type}, (mu_array_t){w, type},
                             MU_NO_ARRAY, MU_NO_ARRAY, rows, in, out);
        if (real->sync(dev) != MU_OK)
            exit(1);
        best = mu_min_i64(best, now_ns() - begin);
    }
    mu_device_free(dev, x);
    mu_device_free(dev, w);
    mu_device_free(dev, y);
    return 2.0 * (double)(rows * in * out) / (double)best;
}

/* GB/s of a copy of 16 MiB; on a GPU of 1 GiB: bytes read and bytes written. */
static double copy_rate(mu_device_t *dev)
{
    int64_t bytes = enqueues ? 1 << 30 : 16 << 20, best = INT64_MAX;
    void *from, *to;
    if (mu_device_alloc(dev, MU_MEM_WORKSPACE, bytes, &from) != MU_OK ||
        mu_device_alloc(dev, MU_MEM_WORKSPACE, bytes, &to) != MU_OK)
        exit(1);
    for (int i = 0; i < 5; i++) {
        int64_t begin = now_ns();
        real->copy(dev, to, from, bytes);
        if (real->sync(dev) != MU_OK)
            exit(1);
        best = mu_min_i64(best, now_ns() - begin);
    }
    mu_device_free(dev, from);
    mu_device_free(dev, to);
    return 2.0 * (double)bytes / (double)best;
}

static int by_time(const void *a, const void *b)
{
    const line_t *x = a, *y = b;
    return (x->ns < y->ns) - (x->ns > y->ns);
}

static mu_model_t shape(const char *name)
{
    static const struct {
        const char *name;
        int64_t layers, hidden, heads, vocab;
    } rows[] = {{"quick", 6, 192, 6, 8192},    {"14m", 6, 128, 4, 50304},    {"31m", 6, 256, 8, 50304},
                {"70m", 6, 512, 8, 50304},     {"160m", 12, 768, 12, 50304}, {"410m", 24, 1024, 16, 50304},
                {"1.4b", 24, 2048, 16, 50304}, {"2.8b", 32, 2560, 32, 50304}};
    if (strcmp(name, "smollm2") == 0)
        return (mu_model_t){.layers = 30,
                            .hidden = 576,
                            .heads = 9,
                            .kv_heads = 3,
                            .ffn = 1536,
                            .seq_length = 512,
                            .max_positions = 2048,
                            .vocab = 49152,
                            .residual = MU_RESIDUAL_SEQUENTIAL,
                            .activation = MU_SWIGLU,
                            .norm = MU_NORM_RMS,
                            .unbiased = MU_UNBIASED_ALL,
                            .tied_head = true,
                            .rotary_dims = 64,
                            .rotary_base = 100000,
                            .norm_eps = 1e-5,
                            .init_std = 0.02};
    if (strcmp(name, "gpt2") == 0)
        return (mu_model_t){.layers = 12,
                            .hidden = 768,
                            .heads = 12,
                            .ffn = 3072,
                            .seq_length = 512,
                            .max_positions = 1024,
                            .vocab = 50304,
                            .residual = MU_RESIDUAL_SEQUENTIAL,
                            .activation = MU_GELU_TANH,
                            .position = MU_POSITION_LEARNED,
                            .tied_head = true,
                            .norm_eps = 1e-5,
                            .init_std = 0.02};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, name) == 0)
            return (mu_model_t){.layers = rows[i].layers,
                                .hidden = rows[i].hidden,
                                .heads = rows[i].heads,
                                .ffn = 4 * rows[i].hidden,
                                .seq_length = 512,
                                .max_positions = 2048,
                                .vocab = rows[i].vocab,
                                .activation = MU_GELU_TANH,
                                .rotary_dims = rows[i].hidden / rows[i].heads / 4,
                                .rotary_base = 10000,
                                .norm_eps = 1e-5,
                                .init_std = 0.02};
    fprintf(stderr, "no shape \"%s\": quick, 14m, 31m, 70m, 160m, 410m, 1.4b, 2.8b, gpt2 or smollm2\n", name);
    exit(2);
}

static int64_t argument(int argc, char **argv, int i, int64_t otherwise)
{
    int64_t value = otherwise;
    if (i < argc && (!mu_parse_i64(argv[i], &value) || value < 1)) {
        fprintf(stderr, "\"%s\" is not a positive number\n", argv[i]);
        exit(2);
    }
    return value;
}

static void step(mu_net_t *net, const int32_t *tokens, int64_t t)
{
    mu_optimizer_t optimizer = {
        .lr = 1e-4, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip = 1};
    mu_net_loss_t loss;
    double norm;
    mu_net_zero_gradients(net);
    if (mu_net_forward_backward(net, tokens, 1) != MU_OK || mu_optimizer_norm(net, &norm) != MU_OK)
        exit(1);
    mu_optimizer_step(net, &optimizer, norm, t);
    if (mu_net_take_loss(net, &loss) != MU_OK)
        exit(1);
}

static bool is_product(const line_t *line)
{
    return strncmp(line->name, "linear_", 7) == 0;
}

static void print(double rate, double copies, int64_t wall_ns, int64_t rows, const mu_model_t *model,
                  int64_t peak)
{
    double inside = 0, floor_ms = 0, best = 0, least = 1;
    const char *slowest = "";
    for (int i = 0; i < line_count; i++)
        if (is_product(&lines[i]))
            best = fmax(best, lines[i].fastest);
    qsort(lines, (size_t)line_count, sizeof *lines, by_time);
    printf("%-48s %7s %9s %7s %9s %9s %9s %5s\n", "operation", "calls", "ms", "share", "GFLOP/s,", "floor ms",
           "fastest", "of");
    printf("%-48s %7s %9s %7s %9s %9s %9s %5s\n", "", "", "", "", "GB/s", "", "GFLOP/s", "best");
    for (int i = 0; i < line_count; i++) {
        double ms = (double)lines[i].ns * 1e-6 / (double)steps, flops = lines[i].flops / (double)steps;
        printf("%-48s %7d %9.3f %6.1f%%", lines[i].name, lines[i].calls / steps, ms,
               100 * (double)lines[i].ns / (double)wall_ns);
        double moved = lines[i].bytes / (double)steps;
        if (flops > 0)
            printf(" %9.1f %9.3f %9.1f", flops / ms * 1e-6, flops / rate * 1e-6, lines[i].fastest);
        else if (moved > 0)
            printf(" %9.1f %9.3f", moved / ms * 1e-6, moved / copies * 1e-6);
        double share = lines[i].fastest / best;
        if (is_product(&lines[i]))
            printf(" %5.2f", share);
        if (is_product(&lines[i]) && share < least) {
            least = share;
            slowest = lines[i].name;
        }
        putchar('\n');
        inside += ms;
        floor_ms += flops / rate * 1e-6;
    }
    double ms = (double)wall_ns * 1e-6 / (double)steps;
    printf("step %.2f ms, operations %.2f, products at full rate %.2f (%.0f %%), %.0f tokens/s, %.1f model "
           "GFLOP/s of %.0f, peak %.2f GiB\n",
           ms, inside, floor_ms, 100 * floor_ms / ms, (double)rows / ms * 1e3,
           mu_model_flops_per_token(model) * (double)rows / ms * 1e-6, rate, (double)peak / 0x1p30);
    printf("slowest product: %s, %.2f of the best\n", slowest, least);
}

static bool has_word(int argc, char **argv, const char *word)
{
    for (int i = 5; i < argc; i++)
        if (strcmp(argv[i], word) == 0)
            return true;
    return false;
}

static int64_t time_steps(mu_net_t *net, const int32_t *tokens, int64_t *t)
{
    int64_t begin = now_ns();
    for (int i = 0; i < steps; i++)
        step(net, tokens, ++*t);
    return now_ns() - begin;
}

/* The ways of the net's products; seconds > 0: measured and taken first. */
static void ways(mu_net_t *net, double seconds)
{
    mu_device_t *dev = mu_net_device(net);
    mu_product_t list[MU_PRODUCTS];
    int n = mu_net_products(net, list);
    if (seconds > 0)
        mu_products_tune(dev, list, n, seconds);
    for (int i = 0; i < n; i++) {
        dev->ops->way_of(dev, &list[i]);
        printf("%-28s %5lld rows, %6lld -> %6lld: %-28s", mu_product_name(list[i].op),
               (long long)list[i].rows, (long long)list[i].in, (long long)list[i].out, list[i].way);
        if (seconds > 0 && list[i].rate > 0)
            printf(" %7.1f GFLOP/s", list[i].rate);
        putchar('\n');
    }
}

/* What computes attention on a GPU. */
static void say_attention(mu_net_t *net, bool cudnn)
{
    mu_device_t *dev = mu_net_device(net);
    const mu_attention_t shape = mu_net_attention(net);
    const mu_cuda_plugin_t *cuda;
    char why[MU_CUDA_WHY];
    int version = 0;
    if (mu_cuda_open(&cuda) != MU_OK || (cudnn && cuda->cudnn_use(dev, &version) != MU_OK))
        exit(1);
    for (int backward = 0; backward < 2; backward++) {
        bool taken =
            cudnn && cuda->cudnn_taken(dev, mu_net_flat(net)->weight.type, &shape, backward != 0, why);
        printf("attention_%-18s %5lld x %lld tokens, %lld heads of %lld: ", backward ? "backward" : "forward",
               (long long)shape.batch, (long long)shape.seq, (long long)shape.heads,
               (long long)shape.head_dim);
        if (taken)
            printf("cuDNN %d.%d.%d\n", version / 10000, version / 100 % 100, version % 100);
        else
            printf("own kernels%s%s\n", cudnn ? ", cuDNN not: " : "", cudnn ? why : "");
    }
}

/* Steps of generation, the last of which makes token `length` of each of n sequences. */
static void decode(mu_device_t *dev, const mu_model_t *model, mu_comm_t *tp, mu_dtype_t type, int64_t n,
                   int64_t length, bool graphs)
{
    enum { SEEN = 3, TIMED = 50 };
    mu_net_options_t options = {
        .micro_batch = n, .seq_length = 1, .dtype = type, .eod = -1, .graphs = graphs};
    mu_net_t *net;
    int64_t began = 0;
    float *logits = malloc((size_t)(n * model->vocab) * sizeof *logits);
    int32_t *ids = calloc((size_t)n, sizeof *ids);
    mu_net_piece_t *piece = calloc((size_t)n, sizeof *piece);
    if (length <= SEEN + TIMED) {
        fprintf(stderr, "decode: sequences of more than %d tokens\n", SEEN + TIMED);
        exit(2);
    }
    if (mu_net_new(dev, model, tp, &options, &net) != MU_OK || mu_net_slots(net, n, length) != MU_OK)
        exit(1);
    fill_weights(net);
    for (int64_t i = 0; i < SEEN + TIMED; i++) {
        for (int64_t s = 0; s < n; s++) {
            piece[s] = (mu_net_piece_t){s, length - SEEN - TIMED + i, 1, 1};
            ids[s] = (int32_t)((s * 7919 + i) % model->vocab);
        }
        if (i == SEEN)
            began = now_ns();
        if (mu_net_step(net, piece, (int)n, ids, logits) != MU_OK)
            exit(1);
    }
    double ms = (double)(now_ns() - began) * 1e-6 / TIMED;
    printf("decode: %lld sequences of %lld tokens, %s: %.3f ms a step, %.0f tokens/s, %lld of %d steps "
           "replayed\n",
           (long long)n, (long long)length, graphs ? "graph" : "launches", ms, (double)n / ms * 1e3,
           (long long)mu_net_graphs(net).replayed, SEEN + TIMED);
    mu_net_free(net);
    free(piece);
    free(ids);
    free(logits);
}

static mu_device_t *make_device(int threads, bool cuda)
{
    mu_device_t *dev;
    if ((cuda ? mu_device_cuda_new(0, &dev) : mu_device_cpu_new(threads, &dev)) != MU_OK)
        exit(1);
    enqueues = cuda;
    steps = cuda ? 20 : 5;
    real = dev->ops;
    return dev;
}

int main(int argc, char **argv)
{
    mu_model_t model = shape(argc > 1 ? argv[1] : "14m");
    int64_t micro = argument(argc, argv, 2, 1), threads = argument(argc, argv, 3, 1), t = 0;
    model.seq_length = argument(argc, argv, 4, 512);
    mu_net_t *net;
    mu_comm_t *tp = mu_comm_self("tp");
    mu_net_options_t options = {.micro_batch = micro,
                                .training = true,
                                .checkpoint_activations = has_word(argc, argv, "recompute"),
                                .dtype = has_word(argc, argv, "bf16")   ? MU_DTYPE_BF16
                                         : has_word(argc, argv, "fp16") ? MU_DTYPE_F16
                                                                        : MU_DTYPE_F32,
                                .eod = -1};
    mu_device_t *dev = make_device((int)threads, has_word(argc, argv, "cuda"));
    if (has_word(argc, argv, "cpu"))
        clock_used = CLOCK_THREAD_CPUTIME_ID;
    if (has_word(argc, argv, "decode")) {
        printf("%s, %s\n", dev->description, mu_dtype_name(options.dtype));
        for (int graphs = 0; graphs < 2; graphs++)
            decode(dev, &model, tp, options.dtype, micro, model.seq_length, graphs != 0);
        mu_comm_free(tp);
        mu_device_close(dev);
        return 0;
    }
    double rate = product_rate(dev, options.dtype), copies = copy_rate(dev);
    mu_device_ops_t table = *real;
    dev->ops = &table;
    if (mu_net_new(dev, &model, tp, &options, &net) != MU_OK)
        return 1;
    fill_weights(net);
    if (has_word(argc, argv, "debug"))
        mu_log_level_set(MU_LOG_DEBUG);
    ways(net, has_word(argc, argv, "tune") ? MU_TUNE_SECONDS : 0);
    if (enqueues)
        say_attention(net, has_word(argc, argv, "cudnn"));
    int64_t count = micro * (model.seq_length + 1);
    int32_t *tokens = malloc((size_t)count * sizeof *tokens);
    for (int64_t i = 0; i < count; i++)
        tokens[i] = (int32_t)(i * i * 7919 % model.vocab);
    while (t < WARM)
        step(net, tokens, ++t);
    int64_t wall = enqueues ? time_steps(net, tokens, &t) : 0;
    table = timed_table();
    int64_t timed = time_steps(net, tokens, &t);
    printf("%s, %s, micro batch %d, sequence %d\n", dev->description, mu_dtype_name(options.dtype),
           (int)micro, (int)model.seq_length);
    print(rate, copies, enqueues ? wall : timed, micro * model.seq_length, &model, dev->total.peak);
    free(tokens);
    mu_net_free(net);
    mu_comm_free(tp);
    mu_device_close(dev);
    return 0;
}
