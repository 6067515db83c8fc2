/* Initial weights: the generator's published answers, the shape of the values, and what each tensor gets. */
#include "common/philox.h"
#include "worker/model/init.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* From the known-answer file of the authors' library. */
static void philox_gives_the_published_words(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } row[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        uint32_t got[4];
        mu_philox(row[i].counter, row[i].key, got);
        assert_memory_equal(got, row[i].want, sizeof got);
    }
}

static void values_are_normal(void **state)
{
    (void)state;
    enum { N = 400000 };
    double sum[5] = {0}, neighbours = 0, last = 0;
    for (int64_t i = 0; i < N; i++) {
        double x = mu_init_normal(1234, "embed_in.weight", i);
        for (int p = 1; p <= 4; p++)
            sum[p] += pow(x, p) / (double)N;
        neighbours += x * last / (double)N;
        last = x;
    }
    /* five deviations of each estimate */
    double unit = 5 / sqrt(N);
    assert_true(fabs(sum[1]) < unit);
    assert_true(fabs(sum[2] - 1) < unit * sqrt(2));
    assert_true(fabs(sum[3]) < unit * sqrt(15));
    assert_true(fabs(sum[4] - 3) < unit * sqrt(96));
    assert_true(fabs(neighbours) < unit);
}

static void seed_name_and_element_all_count(void **state)
{
    (void)state;
    double x = mu_init_normal(1, "a", 0);
    assert_true(x == mu_init_normal(1, "a", 0));
    assert_true(x != mu_init_normal(2, "a", 0));
    assert_true(x != mu_init_normal((uint64_t)1 << 32 | 1, "a", 0));
    assert_true(x != mu_init_normal(1, "b", 0));
    for (int64_t i = 1; i < 8; i++)
        assert_true(x != mu_init_normal(1, "a", i));
    assert_true(x != mu_init_normal(1, "a", (int64_t)1 << 34));
}

static void every_tensor_gets_its_deviation(void **state)
{
    (void)state;
    mu_model_t model = {.layers = 2,
                        .hidden = 96,
                        .heads = 4,
                        .ffn = 384,
                        .seq_length = 8,
                        .max_positions = 64,
                        .vocab = 300,
                        .residual = MU_RESIDUAL_SEQUENTIAL,
                        .position = MU_POSITION_LEARNED,
                        .norm_eps = 1e-5,
                        .init = MU_INIT_SMALL,
                        .output_init = MU_INIT_WANG,
                        .init_std = 0.02};
    mu_net_options_t options = {.micro_batch = 1, .eod = -1};
    mu_comm_t *tp = mu_comm_self("tp");
    mu_device_t *dev;
    mu_net_t *net;
    assert_int_equal(mu_device_cpu_new(1, &dev), MU_OK);
    assert_int_equal(mu_net_new(dev, &model, tp, &options, &net), MU_OK);
    assert_int_equal(mu_init_weights(net, 5), MU_OK);
    for (int i = 0; i < mu_net_param_count(net); i++) {
        const mu_net_param_t *p = mu_net_param(net, i);
        const float *w = p->weight.data;
        double square = 0;
        for (int64_t j = 0; j < p->elements; j++) {
            square += (double)w[j] * (double)w[j];
            if (p->tensor.init_std <= 0)
                assert_true((double)w[j] == p->tensor.init_value);
        }
        if (p->tensor.init_std > 0) /* at least 6,144 values: 5 % is more than five deviations */
            assert_true(fabs(sqrt(square / (double)p->elements) / p->tensor.init_std - 1) < 0.05);
    }
    mu_net_free(net);
    mu_device_close(dev);
    mu_comm_free(tp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_words),
        cmocka_unit_test(values_are_normal),
        cmocka_unit_test(seed_name_and_element_all_count),
        cmocka_unit_test(every_tensor_gets_its_deviation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
