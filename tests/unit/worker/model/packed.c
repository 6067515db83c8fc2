/* Documents packed into one sample have the loss and the gradients that they have in samples of their own. */
#include "common/buf.h"
#include "common/token_marks.h"
#include "worker/model/init.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

enum { SEQ = 150, ROOM = SEQ + 1, DOCUMENTS = 5, SAMPLES = 2 };
static const int lengths[DOCUMENTS] = {70, 9, 40, 120, 25}; /* 70 + 9 + 40 + 25 fit one sample */
static const int packed_as[SAMPLES][DOCUMENTS] = {{0, 1, 2, 4, -1}, {3, -1}};

/* Token t of a document, with its label mask: every third does not count. */
static int32_t token_of(int document, int t)
{
    return (document * 31 + t * 17 + t * t % 7) % 90 | (t == 0 ? MU_TOKEN_BEGINS | MU_TOKEN_UNCOUNTED : 0) |
           (t % 3 == 1 ? MU_TOKEN_UNCOUNTED : 0);
}

static void fill(int32_t *sample, const int *documents)
{
    int at = 0;
    for (; *documents >= 0; documents++)
        for (int t = 0; t < lengths[*documents]; t++)
            sample[at++] = token_of(*documents, t);
    while (at < ROOM)
        sample[at++] = MU_TOKEN_PADDING;
}

typedef struct result {
    mu_net_loss_t loss;
    float *gradient;
    int64_t elements;
} result_t;

static result_t compute(const mu_model_t *model, mu_dtype_t dtype, bool checkpoint, bool packed, double each)
{
    result_t out;
    mu_net_options_t options = {.micro_batch = 1,
                                .training = true,
                                .dtype = dtype,
                                .checkpoint_activations = checkpoint,
                                .reset_attention = true,
                                .reset_positions = true,
                                .eod = -1};
    mu_comm_t *tp = mu_comm_self("tp");
    mu_device_t *dev;
    mu_net_t *net;
    assert_int_equal(mu_device_cpu_new(2, &dev), MU_OK);
    assert_int_equal(mu_net_new(dev, model, tp, &options, &net), MU_OK);
    assert_int_equal(mu_init_weights(net, 5), MU_OK);
    mu_net_zero_gradients(net);
    for (int i = 0; i < (packed ? SAMPLES : DOCUMENTS); i++) {
        int32_t sample[ROOM];
        int alone[2] = {i, -1};
        fill(sample, packed ? packed_as[i] : alone);
        assert_int_equal(mu_net_forward_backward_sum(net, sample, each), MU_OK);
    }
    assert_int_equal(mu_net_take_loss(net, &out.loss), MU_OK);
    out.elements = mu_net_flat(net)->elements;
    out.gradient = mu_alloc((size_t)out.elements * sizeof *out.gradient);
    memcpy(out.gradient, mu_net_flat(net)->gradient, (size_t)out.elements * sizeof *out.gradient);
    mu_net_free(net);
    mu_device_close(dev);
    mu_comm_free(tp);
    return out;
}

static void assert_the_same(const mu_model_t *model, mu_dtype_t dtype, bool checkpoint, double limit)
{
    result_t a = compute(model, dtype, checkpoint, true, 0.01),
             b = compute(model, dtype, checkpoint, false, 0.01);
    double off = 0, norm = 0;
    assert_int_equal(a.loss.tokens, b.loss.tokens);
    assert_true(a.loss.tokens > 100);
    assert_true(fabs(a.loss.token_sum - b.loss.token_sum) <= limit * b.loss.token_sum);
    for (int64_t i = 0; i < a.elements; i++) {
        off += pow((double)a.gradient[i] - (double)b.gradient[i], 2);
        norm += pow((double)b.gradient[i], 2);
    }
    assert_true(norm > 0);
    if (!(sqrt(off / norm) <= limit))
        fail_msg("gradients are %.3g of their norm apart, limit %.3g", sqrt(off / norm), limit);
    free(a.gradient);
    free(b.gradient);
}

static mu_model_t model_of(mu_position_t position)
{
    return (mu_model_t){.layers = 2,
                        .hidden = 48,
                        .heads = 4,
                        .ffn = 96,
                        .seq_length = SEQ,
                        .max_positions = 160,
                        .vocab = 96,
                        .residual = MU_RESIDUAL_SEQUENTIAL,
                        .position = position,
                        .rotary_dims = position == MU_POSITION_ROTARY ? 12 : 0,
                        .rotary_base = 10000,
                        .norm_eps = 1e-5,
                        .init_std = 0.1};
}

static void learned_positions(void **state)
{
    mu_model_t model = model_of(MU_POSITION_LEARNED);
    (void)state;
    assert_the_same(&model, MU_DTYPE_F32, false, 1e-5);
}

static void rotary_and_grouped_queries(void **state)
{
    mu_model_t model = model_of(MU_POSITION_ROTARY);
    (void)state;
    model.norm = MU_NORM_RMS;
    model.activation = MU_SWIGLU;
    model.kv_heads = 2;
    model.unbiased = MU_UNBIASED_QKV | MU_UNBIASED_DENSE | MU_UNBIASED_MLP;
    model.qk_norm = true;
    assert_the_same(&model, MU_DTYPE_F32, false, 1e-5);
    assert_the_same(&model, MU_DTYPE_F32, true, 1e-5);
}

static void sixteen_bits(void **state)
{
    mu_model_t model = model_of(MU_POSITION_ROTARY);
    (void)state;
    assert_the_same(&model, MU_DTYPE_BF16, false, 3e-2);
}

/* What another document says must not reach a token. */
static void nothing_crosses_a_border(void **state)
{
    mu_model_t model = model_of(MU_POSITION_ROTARY);
    mu_net_options_t options = {
        .micro_batch = 1, .reset_attention = true, .reset_positions = true, .eod = -1};
    mu_comm_t *tp = mu_comm_self("tp");
    mu_device_t *dev;
    mu_net_t *net;
    double sums[3];
    (void)state;
    assert_int_equal(mu_device_cpu_new(1, &dev), MU_OK);
    for (int i = 0; i < 3; i++) { /* as it is; the first document is another; the same without borders */
        int32_t sample[ROOM];
        mu_net_loss_t loss;
        options.reset_attention = i < 2;
        assert_int_equal(mu_net_new(dev, &model, tp, &options, &net), MU_OK);
        assert_int_equal(mu_init_weights(net, 5), MU_OK);
        fill(sample, packed_as[0]);
        for (int t = 0; t < lengths[0]; t++)
            sample[t] = (sample[t] + (i > 0 && t > 0)) | MU_TOKEN_UNCOUNTED;
        assert_int_equal(mu_net_forward_loss(net, sample, 1), MU_OK);
        assert_int_equal(mu_net_take_loss(net, &loss), MU_OK);
        sums[i] = loss.token_sum;
        mu_net_free(net);
    }
    assert_true(sums[0] == sums[1]);
    assert_true(sums[0] != sums[2]);
    mu_device_close(dev);
    mu_comm_free(tp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learned_positions),
        cmocka_unit_test(rotary_and_grouped_queries),
        cmocka_unit_test(sixteen_bits),
        cmocka_unit_test(nothing_crosses_a_border),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
