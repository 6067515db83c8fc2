/* What fine-tuning adds, on the CUDA device beside CPUs: packed documents, dropout, adapters. Losses and gradients are
 * the CPU's, draws are its bits, recomputation gives the same bits, and a frozen base stays as it is. Runs against a
 * GPU (label gpu) and against the stand-in (label standin), as tests/cuda/kernels.c does; 77 without either. */
#include "common/buf.h"
#include "common/token_marks.h"
#include "kernels/convert.h"
#include "kernels/cuda_load.h"
#include "tests/unit/worker/model/golden_model.h"
#include "worker/model/init.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

enum { SEQ = 20, BATCH = 2, VOCAB = 32, SEED = 7 };

static mu_device_t *device(bool cuda)
{
    mu_device_t *dev;
    assert_int_equal(cuda ? mu_device_cuda_new(0, &dev) : mu_device_cpu_new(2, &dev), MU_OK);
    return dev;
}

static void *put(mu_device_t *dev, const void *host, int64_t bytes)
{
    void *p;
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WORKSPACE, bytes, &p), MU_OK);
    dev->ops->put(dev, p, host, bytes);
    return p;
}

static mu_array_t put_floats(mu_device_t *dev, mu_dtype_t type, const float *host, int64_t n)
{
    void *narrow = mu_alloc((size_t)(n * mu_dtype_size(type)));
    mu_convert_from_floats(narrow, type, host, n);
    mu_array_t a = {put(dev, narrow, n * mu_dtype_size(type)), type};
    free(narrow);
    return a;
}

/* 1 for each element that is not 0; frees the array. */
static void take_kept(mu_device_t *dev, mu_array_t a, int64_t n, char *kept)
{
    void *narrow = mu_alloc((size_t)(n * mu_dtype_size(a.type)));
    float *host = mu_alloc((size_t)n * sizeof *host);
    assert_int_equal(dev->ops->get(dev, narrow, a.data, n * mu_dtype_size(a.type)), MU_OK);
    mu_convert_to_floats(host, narrow, a.type, n);
    for (int64_t i = 0; i < n; i++)
        kept[i] = host[i] != 0.0F;
    mu_device_free(dev, a.data);
    free(narrow);
    free(host);
}

static const mu_dropout_t draw = {.rate = 0.3,
                                  .factor = 1 / 0.7,
                                  .seed = (uint64_t)9 << 33 | 5,
                                  .place = (uint64_t)3 << 34 | 77,
                                  .first = 1234567891,
                                  .column = 3,
                                  .columns = 7001};

/* Rows and columns that end within four elements, and ones that go by 16 bytes. */
static void elements_are_dropped_as_on_cpus(void **state)
{
    (void)state;
    enum { ROWS = 9, MOST = 400 };
    static float ones[ROWS * MOST];
    static char kept[2][ROWS * MOST];
    for (int i = 0; i < ROWS * MOST; i++)
        ones[i] = 1;
    for (mu_dtype_t type = MU_DTYPE_F32; type <= MU_DTYPE_BF16; type++)
        for (int64_t cols = 397; cols <= MOST; cols += 3) {
            for (int cuda = 0; cuda < 2; cuda++) {
                mu_device_t *dev = device(cuda);
                mu_array_t x = put_floats(dev, type, ones, ROWS * cols);
                dev->ops->dropout(dev, x, x, MU_NO_ARRAY, ROWS, cols, &draw);
                take_kept(dev, x, ROWS * cols, kept[cuda]);
                mu_device_close(dev);
            }
            assert_memory_equal(kept[0], kept[1], (size_t)(ROWS * cols));
        }
}

/* With queries of 0 all scores are equal. With value k = the unit vector of k, element k of a query's output is 0 where
 * probability k is dropped; and with such gradients of the output, element q of value k's gradient. */
static void probabilities_are_dropped_as_on_cpus(void **state)
{
    (void)state;
    enum { HEADS = 2, DIM = 80, N = 70, WIDE = 3 * HEADS * DIM, OUT = HEADS * DIM, ROWS = BATCH * N };
    static float qkv[ROWS * WIDE], dout[ROWS * OUT];
    static char out_kept[2][ROWS * OUT], gradient_kept[2][ROWS * WIDE];
    for (int r = 0; r < ROWS; r++)
        for (int h = 0; h < HEADS; h++) {
            qkv[r * WIDE + (3 * h + 2) * DIM + r % N] = 1;
            dout[r * OUT + h * DIM + r % N] = 1;
        }
    for (mu_dtype_t type = MU_DTYPE_F32; type <= MU_DTYPE_BF16; type++) {
        for (int cuda = 0; cuda < 2; cuda++) {
            mu_device_t *dev = device(cuda);
            mu_attention_t s = {BATCH, N, HEADS, DIM, 1, 0, NULL, &draw};
            mu_array_t x = put_floats(dev, type, qkv, ROWS * WIDE),
                       dy = put_floats(dev, type, dout, ROWS * OUT);
            mu_array_t out = put_floats(dev, type, dout, ROWS * OUT),
                       dx = put_floats(dev, type, qkv, ROWS * WIDE);
            float *lse = put(dev, dout, ROWS * HEADS * (int64_t)sizeof *lse);
            dev->ops->attention_forward(dev, out, lse, x, &s);
            dev->ops->attention_backward(dev, dx, dy, x, out, lse, &s);
            take_kept(dev, out, ROWS * OUT, out_kept[cuda]);
            take_kept(dev, dx, ROWS * WIDE, gradient_kept[cuda]);
            mu_device_free(dev, x.data);
            mu_device_free(dev, dy.data);
            mu_device_free(dev, lse);
            mu_device_close(dev);
        }
        assert_memory_equal(out_kept[0], out_kept[1], sizeof out_kept[0]);
        for (int i = 0; i < ROWS * WIDE; i++)
            if (i / DIM % 3 == 2)
                assert_int_equal(gradient_kept[0][i], gradient_kept[1][i]);
    }
}

/* --- a model --- */

typedef struct form {
    const char *name;
    bool packed, llama, learned;
    double dropout;
    unsigned targets;
} form_t;

static const form_t forms[] = {
    {"packed", true, false, false, 0, 0},
    {"packed, learned positions", true, false, true, 0, 0},
    {"packed, grouped queries", true, true, false, 0, 0},
    {"dropout", false, false, false, 0.2, 0},
    {"adapters", false, false, false, 0,
     1U << MU_LORA_QKV | 1U << MU_LORA_DENSE | 1U << MU_LORA_FC1 | 1U << MU_LORA_FC2},
    {"adapters of a Llama, packed, with dropout", true, true, false, 0.2,
     (1U << MU_LORA_TARGETS) - 1 - (1U << MU_LORA_QKV)},
};
enum { FORMS = sizeof forms / sizeof *forms };

static mu_model_t model_of(const form_t *f)
{
    mu_model_t m = {.layers = 2,
                    .hidden = 32,
                    .heads = 2,
                    .ffn = 64,
                    .seq_length = SEQ,
                    .max_positions = SEQ,
                    .vocab = VOCAB,
                    .residual = f->learned ? MU_RESIDUAL_SEQUENTIAL : MU_RESIDUAL_PARALLEL,
                    .position = f->learned ? MU_POSITION_LEARNED : MU_POSITION_ROTARY,
                    .rotary_dims = f->learned ? 0 : 8,
                    .rotary_base = 10000,
                    .norm_eps = 1e-5,
                    .init_std = 0.02,
                    .hidden_dropout = f->dropout,
                    .attention_dropout = f->dropout};
    if (f->llama) {
        m.residual = MU_RESIDUAL_SEQUENTIAL;
        m.kv_heads = 1;
        m.norm = MU_NORM_RMS;
        m.activation = MU_SWIGLU;
        m.unbiased = MU_UNBIASED_ALL;
    }
    if (f->targets)
        m.lora = (mu_lora_t){.rank = 4, .scale = 1.5, .dropout = f->dropout, .targets = f->targets};
    return m;
}

typedef struct result {
    double loss;
    float *gradient;
    int64_t elements;
    mu_memory_count_t memory[MU_MEM_KINDS];
} result_t;

static void fill(mu_net_t *net)
{
    for (int i = 0; i < mu_net_param_count(net); i++) {
        const mu_net_param_t *p = mu_net_param(net, i);
        float *w = mu_alloc((size_t)p->elements * sizeof *w);
        bool norm = p->tensor.dims == 1 && p->tensor.init_value > 0;
        for (int64_t e = 0; e < p->elements; e++)
            w[e] = (float)(norm + 0.1 * mu_init_normal(SEED, p->tensor.name, e));
        mu_net_put_weight(net, i, 0, p->elements, w);
        free(w);
    }
}

static void *weights_of(mu_net_t *net, const mu_net_flat_t *flat, int64_t *bytes)
{
    *bytes = flat->elements * mu_dtype_size(flat->weight.type);
    void *w = mu_alloc((size_t)*bytes);
    mu_device_t *dev = mu_net_device(net);
    assert_int_equal(dev->ops->get(dev, w, flat->weight.data, *bytes), MU_OK);
    return w;
}

/* An update moves what is trained, and no bit of what is frozen. */
static void update(mu_net_t *net)
{
    const mu_optimizer_t adam = {.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1};
    bool frozen = mu_net_frozen(net)->elements > 0;
    int64_t of_base = 0, of_trained;
    double norm;
    void *base = frozen ? weights_of(net, mu_net_frozen(net), &of_base) : NULL,
         *trained = weights_of(net, mu_net_flat(net), &of_trained);
    assert_int_equal(mu_optimizer_norm(net, &norm), MU_OK);
    mu_optimizer_step(net, &adam, norm, 1);
    void *base_after = frozen ? weights_of(net, mu_net_frozen(net), &of_base) : NULL,
         *trained_after = weights_of(net, mu_net_flat(net), &of_trained);
    if (frozen)
        assert_memory_equal(base, base_after, (size_t)of_base);
    assert_memory_not_equal(trained, trained_after, (size_t)of_trained);
    free(base);
    free(base_after);
    free(trained);
    free(trained_after);
}

static result_t compute(bool cuda, const form_t *f, mu_dtype_t dtype, bool recompute)
{
    result_t out = {0};
    mu_model_t model = model_of(f);
    mu_net_options_t options = {.micro_batch = BATCH,
                                .training = true,
                                .dtype = dtype,
                                .eod = -1,
                                .checkpoint_activations = recompute,
                                .reset_attention = f->packed,
                                .reset_positions = f->packed};
    int32_t tokens[BATCH * (SEQ + 1)];
    mu_device_t *dev = device(cuda);
    mu_comm_t *tp = mu_comm_self("tp");
    mu_net_loss_t loss;
    mu_net_t *net;
    for (int i = 0; i < BATCH * (SEQ + 1); i++)
        tokens[i] = (i * 17 + i * i % 11) % VOCAB | (f->packed && i % 9 == 4 ? MU_TOKEN_BEGINS : 0) |
                    (i % 5 == 3 ? MU_TOKEN_UNCOUNTED : 0);
    assert_int_equal(mu_net_new(dev, &model, tp, &options, &net), MU_OK);
    fill(net);
    mu_net_zero_gradients(net);
    mu_net_draw(net, &(mu_net_draw_t){.seed = 5, .step = 3, .sample = 6});
    assert_int_equal(mu_net_forward_backward(net, tokens, 1), MU_OK);
    assert_int_equal(mu_net_take_loss(net, &loss), MU_OK);
    out.loss = loss.mean_sum;
    out.elements = mu_net_flat(net)->elements;
    out.gradient = mu_alloc((size_t)out.elements * sizeof *out.gradient);
    assert_int_equal(dev->ops->get(dev, out.gradient, mu_net_flat(net)->gradient,
                                   out.elements * (int64_t)sizeof *out.gradient),
                     MU_OK);
    memcpy(out.memory, dev->memory, sizeof out.memory);
    update(net);
    mu_net_free(net);
    mu_comm_free(tp);
    mu_device_close(dev);
    return out;
}

static void assert_near(const form_t *f, const result_t *got, const result_t *want, double limit)
{
    double off = 0, norm = 0;
    assert_int_equal(got->elements, want->elements);
    for (int64_t i = 0; i < got->elements; i++) {
        off += pow((double)got->gradient[i] - (double)want->gradient[i], 2);
        norm += pow((double)want->gradient[i], 2);
    }
    if (!(norm > 0 && sqrt(off / norm) <= limit && fabs(got->loss - want->loss) <= limit * want->loss))
        fail_msg("%s: loss %.9g, on CPUs %.9g; gradients %.3g of their norm apart, limit %.3g", f->name,
                 got->loss, want->loss, sqrt(off / norm), limit);
}

static void losses_and_gradients_are_those_of_cpus(void **state)
{
    (void)state;
    for (int i = 0; i < FORMS; i++) {
        result_t cpu = compute(false, &forms[i], MU_DTYPE_F32, false),
                 card = compute(true, &forms[i], MU_DTYPE_F32, false),
                 again = compute(true, &forms[i], MU_DTYPE_F32, true);
        assert_near(&forms[i], &card, &cpu, 1e-5);
        assert_true(again.loss == card.loss);
        assert_memory_equal(again.gradient, card.gradient, (size_t)card.elements * sizeof *card.gradient);
        free(cpu.gradient);
        free(card.gradient);
        free(again.gradient);
    }
}

/* On the matrix units; and what is frozen has neither gradients nor moments. */
static void in_bf16_too(void **state)
{
    (void)state;
    for (int i = 0; i < FORMS; i++) {
        result_t cpu = compute(false, &forms[i], MU_DTYPE_BF16, false),
                 card = compute(true, &forms[i], MU_DTYPE_BF16, false);
        assert_near(&forms[i], &card, &cpu, 4e-2);
        for (mu_memory_t kind = MU_MEM_WEIGHTS; kind <= MU_MEM_OPTIMIZER; kind++)
            assert_int_equal(card.memory[kind].current, cpu.memory[kind].current);
        free(cpu.gradient);
        free(card.gradient);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_are_dropped_as_on_cpus),
        cmocka_unit_test(probabilities_are_dropped_as_on_cpus),
        cmocka_unit_test(losses_and_gradients_are_those_of_cpus),
        cmocka_unit_test(in_bf16_too),
    };
    mu_device_t *any;
    if (mu_device_cuda_new(0, &any) != MU_OK)
        return 77; /* which has been said */
    mu_device_close(any);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
