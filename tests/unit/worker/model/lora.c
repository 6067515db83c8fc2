/* Adapters: true gradients, the merged model's logits, a base that stays as it is, memory for what is trained alone. */
#include "common/buf.h"
#include "common/digest.h"
#include "tests/unit/worker/model/net_bench.h"
#include "worker/model/init.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { FAMILIES = 4, SEED = 7 };

/* GPT-NeoX with one adapter for query_key_value; GPT-2's blocks; a Llama with grouped queries and norms of queries and
 * keys; and one whose adapters are few. */
static mu_model_t family(int i)
{
    static const int variant[FAMILIES] = {0, 3, 3, 2};
    mu_model_t m = golden_model(&golden_variants[variant[i]]);
    m.lora = (mu_lora_t){.rank = 3, .scale = 1.5};
    m.lora.targets = 1U << MU_LORA_QKV | 1U << MU_LORA_DENSE | 1U << MU_LORA_FC1 | 1U << MU_LORA_FC2;
    if (i == 2) {
        m.kv_heads = 2;
        m.norm = MU_NORM_RMS;
        m.activation = MU_SWIGLU;
        m.unbiased = MU_UNBIASED_ALL;
        m.qk_norm = true;
        m.lora.targets = (1U << MU_LORA_TARGETS) - 1 - (1U << MU_LORA_QKV);
    }
    if (i == 3)
        m.lora.targets = 1U << MU_LORA_QKV;
    return m;
}

/* B as well as A, so that no gradient is 0. */
static void fill_adapters(mu_net_t *net)
{
    for (int i = mu_model_saved_first(mu_net_model(net)); i < mu_net_param_count(net); i++) {
        const mu_net_param_t *p = mu_net_param(net, i);
        float *w = mu_alloc((size_t)p->elements * sizeof *w);
        for (int64_t e = 0; e < p->elements; e++)
            w[e] = (float)(0.1 * mu_init_normal(SEED, p->tensor.name, e));
        mu_net_put_weight(net, i, 0, p->elements, w);
        free(w);
    }
}

static void set_up(bench_t *b, const mu_model_t *model, const mu_net_options_t *options)
{
    assert_int_equal(mu_device_cpu_new(2, &b->dev), MU_OK);
    b->tp = mu_comm_self("tp");
    assert_int_equal(mu_net_new(b->dev, model, b->tp, options, &b->net), MU_OK);
    assert_int_equal(mu_init_weights(b->net, SEED), MU_OK);
    fill_adapters(b->net);
    golden_tokens(b->tokens);
}

static mu_net_options_t training(void)
{
    return (mu_net_options_t){.micro_batch = GOLDEN_BATCH, .training = true, .eod = -1};
}

static double loss_of(bench_t *b)
{
    mu_net_loss_t loss;
    assert_int_equal(mu_net_forward_loss(b->net, b->tokens, GOLDEN_BATCH), MU_OK);
    assert_int_equal(mu_net_take_loss(b->net, &loss), MU_OK);
    return loss.mean_sum;
}

static double gradients(bench_t *b)
{
    mu_net_loss_t loss;
    mu_net_zero_gradients(b->net);
    assert_int_equal(mu_net_forward_backward(b->net, b->tokens, 1), MU_OK);
    assert_int_equal(mu_net_take_loss(b->net, &loss), MU_OK);
    return loss.mean_sum;
}

static void adapters_have_true_gradients(void **state)
{
    (void)state;
    for (int i = 0; i < FAMILIES; i++) {
        mu_model_t model = family(i);
        mu_net_options_t options = training();
        bench_t b;
        set_up(&b, &model, &options);
        double loss = gradients(&b);
        assert_true(fabs(loss - loss_of(&b)) <= 1e-6 * loss);
        for (int k = 0; k < mu_net_param_count(b.net); k++) {
            const mu_net_param_t *p = mu_net_param(b.net, k);
            assert_int_equal(p->tensor.trained, k >= mu_model_saved_first(&model));
            if (!p->tensor.trained) {
                assert_null(p->gradient);
                assert_null(p->m);
                continue;
            }
            double square = 0;
            for (int64_t e = 0; e < p->elements; e++)
                square += (double)p->gradient[e] * (double)p->gradient[e];
            assert_true(square > 1e-8);
            double h = 0.02 / sqrt(square);
            double found =
                (4 * slope(&b, p, p->gradient, h / 2, loss_of) - slope(&b, p, p->gradient, h, loss_of)) / 3;
            if (!(fabs(found - square) <= 4e-3 * square))
                fail_msg("family %d, %s: slope %.6g, gradient squared %.6g", i, p->tensor.name, found,
                         square);
        }
        tear_down(&b);
    }
}

static void recomputing_gives_the_same_bits(void **state)
{
    (void)state;
    for (int i = 0; i < FAMILIES; i++) {
        mu_model_t model = family(i);
        mu_net_options_t kept = training(), again = training();
        bench_t a, b;
        again.checkpoint_activations = true;
        set_up(&a, &model, &kept);
        set_up(&b, &model, &again);
        assert_true(gradients(&a) == gradients(&b));
        const mu_net_flat_t *x = mu_net_flat(a.net), *y = mu_net_flat(b.net);
        assert_memory_equal(x->gradient, y->gradient, (size_t)x->elements * sizeof *x->gradient);
        tear_down(&a);
        tear_down(&b);
    }
}

/* Row `row` of B's layer is this row of the weight that it adapts. */
static int64_t row_of(const mu_model_t *m, mu_lora_target_t target, int64_t row)
{
    int64_t d = mu_model_head_dim(m), group = m->heads / mu_model_kv_heads(m), head = row / d;
    if (target == MU_LORA_Q)
        return (head / group * (group + 2) + head % group) * d + row % d;
    if (target == MU_LORA_K || target == MU_LORA_V)
        return (head * (group + 2) + group + (target == MU_LORA_V)) * d + row % d;
    return row;
}

/* What a target adapts. */
static mu_tensor_kind_t kind_of(mu_lora_target_t target)
{
    static const mu_tensor_kind_t kinds[MU_LORA_TARGETS] = {
        MU_T_QKV_W, MU_T_QKV_W, MU_T_QKV_W, MU_T_QKV_W, MU_T_DENSE_W, MU_T_GATE_W, MU_T_FC1_W, MU_T_FC2_W};
    return kinds[target];
}

static const mu_net_param_t *param_of(mu_net_t *net, int layer, mu_tensor_kind_t kind,
                                      mu_lora_target_t target)
{
    for (int i = 0; i < mu_net_param_count(net); i++) {
        const mu_net_param_t *p = mu_net_param(net, i);
        if (p->tensor.kind == kind && p->tensor.layer == layer && p->tensor.target == target)
            return p;
    }
    return NULL;
}

/* The weights of `whole` become those of `adapted`, with scale B A added. */
static void merge(mu_net_t *adapted, mu_net_t *whole)
{
    const mu_model_t *m = mu_net_model(adapted);
    for (int i = 0; i < mu_net_param_count(whole); i++)
        memcpy(mu_net_param(whole, i)->weight.data, mu_net_param(adapted, i)->weight.data,
               (size_t)mu_net_param(whole, i)->elements * sizeof(float));
    for (int l = 0; l < m->layers; l++) {
        for (int t = 0; t < MU_LORA_TARGETS; t++) {
            mu_lora_target_t target = (mu_lora_target_t)t;
            const mu_net_param_t *a = param_of(adapted, l, MU_T_LORA_A, target),
                                 *b = param_of(adapted, l, MU_T_LORA_B, target);
            const mu_net_param_t *w = param_of(whole, l, kind_of(target), MU_LORA_QKV);
            for (int64_t r = 0; a && r < b->count[0]; r++)
                for (int64_t c = 0; c < a->count[1]; c++)
                    for (int64_t k = 0; k < m->lora.rank; k++)
                        ((float *)w->weight.data)[row_of(m, target, r) * a->count[1] + c] +=
                            (float)m->lora.scale * ((float *)b->weight.data)[r * m->lora.rank + k] *
                            ((float *)a->weight.data)[k * a->count[1] + c];
        }
    }
}

static void an_adapter_is_the_merged_model(void **state)
{
    (void)state;
    for (int i = 0; i < FAMILIES; i++) {
        mu_model_t model = family(i), base = mu_model_base(&model);
        mu_net_options_t options = {.micro_batch = GOLDEN_BATCH, .eod = -1};
        bench_t a, w;
        float logits[2][GOLDEN_BATCH * GOLDEN_SEQ * GOLDEN_VOCAB];
        set_up(&a, &model, &options);
        set_up(&w, &base, &options);
        merge(a.net, w.net);
        assert_int_equal(mu_net_logits(a.net, a.tokens, logits[0]), MU_OK);
        assert_int_equal(mu_net_logits(w.net, a.tokens, logits[1]), MU_OK);
        for (int j = 0; j < GOLDEN_BATCH * GOLDEN_SEQ * GOLDEN_VOCAB; j++)
            if (!(fabs((double)logits[0][j] - (double)logits[1][j]) <= 3e-6))
                fail_msg("family %d: logit %d is %.8g, merged %.8g", i, j, (double)logits[0][j],
                         (double)logits[1][j]);
        /* new adapters change no bit */
        assert_int_equal(mu_init_weights(w.net, SEED), MU_OK);
        assert_int_equal(mu_init_weights(a.net, SEED), MU_OK);
        assert_int_equal(mu_net_logits(a.net, a.tokens, logits[0]), MU_OK);
        assert_int_equal(mu_net_logits(w.net, a.tokens, logits[1]), MU_OK);
        for (int j = 0; j < GOLDEN_BATCH * GOLDEN_SEQ * GOLDEN_VOCAB; j++)
            assert_true(logits[0][j] == logits[1][j]);
        tear_down(&a);
        tear_down(&w);
    }
}

static void digest_of_frozen(mu_net_t *net, char out[MU_DIGEST_HEX])
{
    const mu_net_flat_t *f = mu_net_frozen(net);
    mu_digest_bytes(f->weight.data, (size_t)(f->elements * mu_dtype_size(f->weight.type)), out);
}

/* In fp32 and bf16: training lowers the loss, and the base keeps its bits. */
static void the_base_stays_as_it_is(void **state)
{
    (void)state;
    for (int i = 0; i < FAMILIES; i++) {
        mu_model_t model = family(i);
        mu_net_options_t options = training();
        char before[MU_DIGEST_HEX], after[MU_DIGEST_HEX];
        bench_t b;
        options.dtype = i % 2 ? MU_DTYPE_BF16 : MU_DTYPE_F32;
        set_up(&b, &model, &options);
        digest_of_frozen(b.net, before);
        double first = gradients(&b), last = first, norm;
        for (int64_t t = 1; t <= 5; t++) {
            mu_optimizer_t adam = {.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1};
            assert_int_equal(mu_optimizer_norm(b.net, &norm), MU_OK);
            mu_optimizer_step(b.net, &adam, norm, t);
            last = gradients(&b);
        }
        if (!(last < first - 0.05))
            fail_msg("family %d: loss %.4f, then %.4f", i, first, last);
        digest_of_frozen(b.net, after);
        assert_string_equal(before, after);
        tear_down(&b);
    }
}

/* Gradients, moments and masters are those of the adapters; a bf16 base takes two bytes an element. */
static void memory_is_for_what_is_trained(void **state)
{
    (void)state;
    for (int half = 0; half < 2; half++) {
        mu_model_t model = family(2);
        mu_net_options_t options = training();
        bench_t b;
        options.dtype = half ? MU_DTYPE_BF16 : MU_DTYPE_F32;
        set_up(&b, &model, &options);
        int64_t trained = mu_model_trained_parameters(&model), all = mu_model_parameters(&model);
        int64_t most = trained + MU_NET_ALIGN * mu_net_param_count(b.net);
        const mu_memory_count_t *m = b.dev->memory;
        assert_true(trained < all / 4);
        assert_in_range(m[MU_MEM_GRADIENTS].current, 4 * trained, 4 * most);
        assert_in_range(m[MU_MEM_OPTIMIZER].current, (half ? 12 : 8) * trained, (half ? 12 : 8) * most);
        assert_in_range(m[MU_MEM_WEIGHTS].current, (half ? 2 : 4) * all,
                        (half ? 2 : 4) * (all + MU_NET_ALIGN * mu_net_param_count(b.net)));
        tear_down(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters_have_true_gradients),   cmocka_unit_test(recomputing_gives_the_same_bits),
        cmocka_unit_test(an_adapter_is_the_merged_model), cmocka_unit_test(the_base_stays_as_it_is),
        cmocka_unit_test(memory_is_for_what_is_trained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
