/* Dropout: true gradients of what was left, the same draws however a step is cut, rates and scales. */
#include "common/buf.h"
#include "tests/unit/worker/model/net_bench.h"
#include "worker/model/init.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { FORMS = 4, SEED = 7 };

/* The three residuals, and a Llama; the last two with adapters. */
static mu_model_t form(int i)
{
    static const int variant[FORMS] = {0, 2, 3, 3};
    mu_model_t m = golden_model(&golden_variants[variant[i]]);
    m.hidden_dropout = 0.2;
    m.attention_dropout = 0.15;
    if (i >= 2) {
        m.lora = (mu_lora_t){.rank = 3, .scale = 1.5, .dropout = 0.25};
        m.lora.targets = 1U << MU_LORA_QKV | 1U << MU_LORA_DENSE | 1U << MU_LORA_FC1 | 1U << MU_LORA_FC2;
    }
    if (i == 3) {
        m.kv_heads = 2;
        m.norm = MU_NORM_RMS;
        m.activation = MU_SWIGLU;
        m.unbiased = MU_UNBIASED_ALL;
        m.lora.targets = (1U << MU_LORA_TARGETS) - 1 - (1U << MU_LORA_QKV);
    }
    return m;
}

static void set_up(bench_t *b, const mu_model_t *model, int micro, bool recompute)
{
    mu_net_options_t options = {
        .micro_batch = micro, .training = true, .eod = -1, .checkpoint_activations = recompute};
    assert_int_equal(mu_device_cpu_new(2, &b->dev), MU_OK);
    b->tp = mu_comm_self("tp");
    assert_int_equal(mu_net_new(b->dev, model, b->tp, &options, &b->net), MU_OK);
    for (int i = 0; i < mu_net_param_count(b->net); i++) { /* every tensor away from 0, adapters' B too */
        const mu_net_param_t *p = mu_net_param(b->net, i);
        float *w = mu_alloc((size_t)p->elements * sizeof *w);
        bool norm = p->tensor.dims == 1 && p->tensor.init_value > 0;
        for (int64_t e = 0; e < p->elements; e++)
            w[e] = (float)(norm + 0.1 * mu_init_normal(SEED, p->tensor.name, e));
        mu_net_put_weight(b->net, i, 0, p->elements, w);
        free(w);
    }
    golden_tokens(b->tokens);
}

/* The whole batch in micro batches of `micro`; its mean loss. */
static double gradients(bench_t *b, int micro, int64_t step)
{
    mu_net_loss_t loss;
    mu_net_zero_gradients(b->net);
    for (int i = 0; i < GOLDEN_BATCH; i += micro) {
        mu_net_draw(b->net, &(mu_net_draw_t){.seed = 5, .step = step, .sample = i});
        assert_int_equal(
            mu_net_forward_backward(b->net, b->tokens + i * (GOLDEN_SEQ + 1), (double)micro / GOLDEN_BATCH),
            MU_OK);
    }
    assert_int_equal(mu_net_take_loss(b->net, &loss), MU_OK);
    return loss.mean_sum / (double)loss.micro_batches;
}

static double whole_loss(bench_t *b)
{
    return gradients(b, GOLDEN_BATCH, 1);
}

static void gradients_are_true_of_what_was_left(void **state)
{
    (void)state;
    for (int i = 0; i < FORMS; i++) {
        mu_model_t model = form(i);
        bench_t b;
        set_up(&b, &model, GOLDEN_BATCH, false);
        gradients(&b, GOLDEN_BATCH, 1);
        for (int k = mu_model_saved_first(&model); k < mu_net_param_count(b.net); k++) {
            const mu_net_param_t *p = mu_net_param(b.net, k);
            float *gradient = mu_alloc((size_t)p->elements * sizeof *gradient);
            double square = 0;
            gradients(&b, GOLDEN_BATCH, 1);
            memcpy(gradient, p->gradient, (size_t)p->elements * sizeof *gradient);
            for (int64_t e = 0; e < p->elements; e++)
                square += (double)gradient[e] * (double)gradient[e];
            double h = 0.02 / sqrt(square);
            double found =
                (4 * slope(&b, p, gradient, h / 2, whole_loss) - slope(&b, p, gradient, h, whole_loss)) / 3;
            free(gradient);
            if (!(fabs(found - square) <= 5e-3 * square))
                fail_msg("form %d, %s: slope %.6g, gradient squared %.6g", i, p->tensor.name, found, square);
        }
        tear_down(&b);
    }
}

static float *copy_of_gradients(mu_net_t *net)
{
    const mu_net_flat_t *f = mu_net_flat(net);
    float *copy = mu_alloc((size_t)f->elements * sizeof *copy);
    memcpy(copy, f->gradient, (size_t)f->elements * sizeof *copy);
    return copy;
}

/* Recomputation and a second run of the same step: the same bits. One sequence at a time: the same numbers. Another
 * step: others. */
static void draws_follow_from_seed_step_layer_and_element(void **state)
{
    (void)state;
    for (int i = 0; i < FORMS; i++) {
        mu_model_t model = form(i);
        bench_t b, again, single;
        set_up(&b, &model, GOLDEN_BATCH, false);
        set_up(&again, &model, GOLDEN_BATCH, true);
        set_up(&single, &model, 1, i % 2);
        int64_t n = mu_net_flat(b.net)->elements;
        double loss = gradients(&b, GOLDEN_BATCH, 4), other = gradients(&b, GOLDEN_BATCH, 5);
        assert_true(fabs(loss - other) > 1e-4);
        assert_true(gradients(&b, GOLDEN_BATCH, 4) == loss);
        assert_true(gradients(&again, GOLDEN_BATCH, 4) == loss);
        float *whole = copy_of_gradients(b.net), *made_again = copy_of_gradients(again.net);
        assert_memory_equal(whole, made_again, (size_t)n * sizeof *whole);
        double cut = gradients(&single, 1, 4);
        if (!(fabs(cut - loss) <= 1e-6 * loss))
            fail_msg("form %d: loss %.9g, of single sequences %.9g", i, loss, cut);
        float *parts = copy_of_gradients(single.net);
        double off = 0, size = 0;
        for (int64_t e = 0; e < n; e++) {
            off += pow((double)parts[e] - (double)whole[e], 2);
            size += pow((double)whole[e], 2);
        }
        assert_true(off <= 1e-10 * size);
        free(whole);
        free(made_again);
        free(parts);
        tear_down(&b);
        tear_down(&again);
        tear_down(&single);
    }
}

/* Evaluation and logits draw nothing, and rates of 0 are the model without dropout, bit for bit. */
static void without_training_or_rate_nothing_is_dropped(void **state)
{
    (void)state;
    mu_model_t with = form(0), off = form(0);
    mu_net_loss_t a, b;
    bench_t x, y;
    off.hidden_dropout = off.attention_dropout = 0;
    set_up(&x, &with, GOLDEN_BATCH, false);
    set_up(&y, &off, GOLDEN_BATCH, false);
    double trained = gradients(&x, GOLDEN_BATCH, 1);
    assert_int_equal(mu_net_forward_loss(x.net, x.tokens, GOLDEN_BATCH), MU_OK);
    assert_int_equal(mu_net_take_loss(x.net, &a), MU_OK);
    assert_int_equal(mu_net_forward_loss(y.net, y.tokens, GOLDEN_BATCH), MU_OK);
    assert_int_equal(mu_net_take_loss(y.net, &b), MU_OK);
    assert_true(a.mean_sum == b.mean_sum && trained != a.mean_sum);
    assert_true(gradients(&y, GOLDEN_BATCH, 1) == b.mean_sum);
    tear_down(&x);
    tear_down(&y);
}

/* Of a million elements as many are dropped as the rate says, within five deviations, in every layer, kind and step,
 * and neighbours know nothing of each other. */
static void rate_and_scale_are_what_they_shall_be(void **state)
{
    (void)state;
    enum { ROWS = 1000, COLUMNS = 1000, N = ROWS * COLUMNS };
    static const double rates[] = {0.01, 0.1, 0.5, 0.9};
    mu_device_t *dev;
    float *x = mu_alloc(N * sizeof *x), *last = mu_calloc(N, sizeof *last);
    assert_int_equal(mu_device_cpu_new(2, &dev), MU_OK);
    for (int k = 0; k < 16; k++) {
        double rate = rates[k % 4], kept = 0, side = 0, below = 0, before = 0, sum = 0;
        mu_dropout_t d = {.rate = rate,
                          .factor = 1 / (1 - rate),
                          .seed = 1234,
                          .place =
                              (uint64_t)(k / 8 + 1) << 32 | (uint64_t)(k / 2 % 4) << 8 | (uint64_t)(k % 2),
                          .columns = COLUMNS};
        for (int i = 0; i < N; i++)
            x[i] = 1;
        dev->ops->dropout(dev, mu_array_f32(x), mu_array_f32(x), MU_NO_ARRAY, ROWS, COLUMNS, &d);
        for (int i = 0; i < N; i++) {
            bool is = x[i] != 0.0F;
            kept += is;
            sum += (double)x[i];
            side += i > 0 && is && x[i - 1] != 0.0F;
            below += i >= COLUMNS && is && x[i - COLUMNS] != 0.0F;
            before += k > 0 && is && last[i] != 0.0F; /* another kind, layer or step, of another rate */
            assert_true(!is || x[i] == (float)d.factor);
        }
        double p = 1 - rate, five = 5 * sqrt(p * rate * N), of_pairs = 5 * sqrt(p * p * (1 - p * p) * 3 * N);
        assert_true(fabs(kept - p * N) < five);
        assert_true(fabs(sum - N) < five * d.factor);
        assert_true(fabs(side - p * p * N) < of_pairs && fabs(below - p * p * N) < of_pairs + COLUMNS);
        if (k > 0)
            assert_true(fabs(before - p * (1 - rates[(k - 1) % 4]) * N) < 5 * sqrt((double)N));
        memcpy(last, x, N * sizeof *x);
    }
    mu_device_close(dev);
    free(x);
    free(last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_true_of_what_was_left),
        cmocka_unit_test(draws_follow_from_seed_step_layer_and_element),
        cmocka_unit_test(without_training_or_rate_nothing_is_dropped),
        cmocka_unit_test(rate_and_scale_are_what_they_shall_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
