/* One worker against a reference in double precision: losses, gradients, logits, ten steps of AdamW;
 * accumulation, recomputation and generation against the plain pass. On the CPU, or with
 * MUSTER_TEST_DEVICE=cuda on a GPU or its stand-in; exits with 77 where that is asked for and absent. An argument
 * names the one test to run. */
#include "common/buf.h"
#include "kernels/cuda_load.h"
#include "tests/unit/worker/model/golden_llama.h"
#include "tests/unit/worker/model/golden_model.h"
#include "worker/infer/generation.h"
#include "worker/model/init.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

typedef struct bench {
    mu_device_t *dev;
    mu_comm_t *tp;
    mu_net_t *net;
    int32_t tokens[GOLDEN_BATCH * (GOLDEN_SEQ + 1)];
} bench_t;

static bool on_cuda(void)
{
    const char *device = getenv("MUSTER_TEST_DEVICE");
    return device && strcmp(device, "cuda") == 0;
}

/* A stand-in computes as slowly as it is careful: it gets the first of many parts. A card gets all. */
static int sample_step(const mu_device_t *dev, int step)
{
    return strstr(dev->description, "Stand-in") ? step : 1;
}

static mu_device_t *make_device(int threads)
{
    mu_device_t *dev;
    assert_int_equal(on_cuda() ? mu_device_cuda_new(0, &dev) : mu_device_cpu_new(threads, &dev), MU_OK);
    return dev;
}

/* A copy of n floats of the device; the caller frees it. */
static float *host_copy(mu_device_t *dev, const void *from, int64_t n)
{
    float *host = mu_alloc((size_t)n * sizeof *host);
    assert_int_equal(dev->ops->get(dev, host, from, n * (int64_t)sizeof *host), MU_OK);
    return host;
}

/* w + step * gradient, into the device's weights */
static void put_moved(mu_device_t *dev, const mu_net_param_t *p, const float *w, const float *gradient,
                      float step)
{
    float *moved = mu_alloc((size_t)p->elements * sizeof *moved);
    for (int64_t j = 0; j < p->elements; j++)
        moved[j] = w[j] + step * gradient[j];
    dev->ops->put(dev, p->weight.data, moved, p->elements * (int64_t)sizeof *moved);
    free(moved);
}

static mu_net_options_t plain(void)
{
    return (mu_net_options_t){.micro_batch = GOLDEN_BATCH, .training = true};
}

static void set_up(bench_t *b, const golden_variant_t *variant, const mu_net_options_t *options, int threads)
{
    mu_model_t model = golden_model(variant);
    b->dev = make_device(threads);
    b->tp = mu_comm_self("tp");
    assert_int_equal(mu_net_new(b->dev, &model, b->tp, options, &b->net), MU_OK);
    golden_fill(b->net);
    golden_tokens(b->tokens);
}

static void tear_down(bench_t *b)
{
    mu_net_free(b->net);
    mu_comm_free(b->tp);
    for (int kind = 0; kind < MU_MEM_KINDS; kind++)
        if (kind != MU_MEM_WORKSPACE) /* the device's own scratch */
            assert_int_equal(b->dev->memory[kind].current, 0);
    mu_device_close(b->dev);
}

#define assert_close(got, want, tolerance)                                                                   \
    do {                                                                                                     \
        if (!(golden_error(got, want) <= (tolerance)))                                                       \
            fail_msg("%s: got %.12g, want %.12g, relative error %.2g > %.2g", #got, (double)(got),           \
                     (double)(want), golden_error(got, want), (double)(tolerance));                          \
    } while (0)

static double mean_loss(mu_net_t *net)
{
    mu_net_loss_t loss;
    assert_int_equal(mu_net_take_loss(net, &loss), MU_OK);
    return loss.mean_sum / (double)loss.micro_batches;
}

static double gradient_norm(mu_net_t *net)
{
    double norm;
    assert_int_equal(mu_optimizer_norm(net, &norm), MU_OK);
    return norm;
}

static void losses_gradients_and_logits_of_every_block(void **state)
{
    (void)state;
    for (int i = 0; i < GOLDEN_VARIANTS; i++) {
        const golden_variant_t *v = &golden_variants[i];
        mu_net_options_t options = plain();
        bench_t b;
        set_up(&b, v, &options, 1 + i % 2);
        assert_int_equal(mu_net_forward_backward(b.net, b.tokens, 1), MU_OK);
        assert_close(mean_loss(b.net), v->loss, 2e-6);
        assert_close(gradient_norm(b.net), v->gradient, 3e-5);
        assert_int_equal(mu_net_forward_loss(b.net, b.tokens, 2), MU_OK);
        assert_close(mean_loss(b.net), v->loss, 2e-6);

        int32_t input[GOLDEN_BATCH * GOLDEN_SEQ];
        for (int j = 0; j < GOLDEN_BATCH; j++)
            memcpy(input + j * GOLDEN_SEQ, b.tokens + j * (GOLDEN_SEQ + 1), GOLDEN_SEQ * sizeof *input);
        float logits[GOLDEN_BATCH * GOLDEN_SEQ * GOLDEN_VOCAB];
        assert_int_equal(mu_net_logits(b.net, input, logits), MU_OK);
        double difference = 0, size = 0;
        for (int j = 0; j < 4; j++) {
            double first = v->logits_first[j], last = v->logits_last[j];
            difference += pow((double)logits[j] - first, 2);
            difference += pow((double)logits[15 * GOLDEN_VOCAB + 92 + j] - last, 2);
            size += first * first + last * last;
        }
        if (!(sqrt(difference / size) <= 5e-6))
            fail_msg("%s: logits differ by %.3g of their norm", v->name, sqrt(difference / size));
        tear_down(&b);
    }
}

/* The model of a row of golden_llamas, from what differs from the first. */
static mu_model_t llama_model(const golden_llama_t *row)
{
    const mu_model_t *d = &row->differs;
    mu_model_t model = golden_model(&golden_variants[3]);
    model.kv_heads = d->kv_heads > 0 ? d->kv_heads : 2;
    model.head_dim = d->head_dim;
    model.ffn = 96;
    model.norm = MU_NORM_RMS;
    model.activation = MU_SWIGLU;
    model.unbiased = d->unbiased ? d->unbiased : MU_UNBIASED_ALL;
    model.rotary_dims = d->rotary_dims > 0 ? d->rotary_dims : 16;
    model.rotary_base = 5000;
    model.rope = d->rope;
    model.qk_norm = d->qk_norm;
    model.tied_head = d->tied_head;
    return model;
}

/* Element i of tensor k, in the order of our list, is the same sine as above. */
static void fill_llama(mu_net_t *net)
{
    for (int k = 0; k < mu_net_param_count(net); k++) {
        const mu_net_param_t *p = mu_net_param(net, k);
        float *host = mu_alloc((size_t)p->elements * sizeof *host);
        for (int64_t i = 0; i < p->elements; i++) {
            double u = sin((double)i * (1 + 0.1 * k) + 1.3 * k);
            host[i] = (float)(p->tensor.init_value == 1 ? 1 + 0.1 * u : 0.2 * u);
        }
        mu_net_put_weight(net, k, 0, p->elements, host);
        free(host);
    }
}

static void assert_llama_gradients(mu_net_t *net, const golden_llama_t *row)
{
    double whole = 0;
    for (int k = 0; k < row->tensors; k++)
        whole += row->gradients[k] * row->gradients[k];
    assert_int_equal(mu_net_param_count(net), row->tensors);
    for (int k = 0; k < row->tensors; k++) {
        const mu_net_param_t *p = mu_net_param(net, k);
        float *host = host_copy(mu_net_device(net), p->gradient, p->elements);
        double sum = 0, want = row->gradients[k];
        for (int64_t i = 0; i < p->elements; i++)
            sum += (double)host[i] * (double)host[i];
        free(host);
        /* what nearly cancels has the rounding of what cancels */
        if (!(fabs(sqrt(sum) - want) <= 1e-4 * want + 1e-7 * sqrt(whole)))
            fail_msg("%s: %s: gradient norm %.9g, want %.9g", row->name, p->tensor.name, sqrt(sum), want);
    }
}

static void assert_logits(const golden_llama_t *row, const float *got, const double want[4])
{
    for (int j = 0; j < 4; j++)
        if (!(fabs((double)got[j] - want[j]) <= 2e-5))
            fail_msg("%s: logit %d: %.9g, want %.9g", row->name, j, (double)got[j], want[j]);
}

/* The blocks of the Llama family, with and without recomputation, and against the cache. The reference is
 * Transformers in double precision. */
static void llama_blocks(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * GOLDEN_LLAMAS; i++) {
        const golden_llama_t *row = &golden_llamas[i / 2];
        mu_model_t model = llama_model(row);
        mu_net_options_t options = plain();
        options.checkpoint_activations = i % 2 == 1;
        bench_t b = {.dev = make_device(1 + i % 2), .tp = mu_comm_self("tp")};
        assert_int_equal(mu_net_new(b.dev, &model, b.tp, &options, &b.net), MU_OK);
        fill_llama(b.net);
        golden_tokens(b.tokens);
        assert_int_equal(mu_net_forward_backward(b.net, b.tokens, 1), MU_OK);
        assert_close(mean_loss(b.net), row->loss, 2e-6);
        assert_llama_gradients(b.net, row);
        int32_t input[GOLDEN_BATCH * GOLDEN_SEQ];
        for (int j = 0; j < GOLDEN_BATCH; j++)
            memcpy(input + j * GOLDEN_SEQ, b.tokens + j * (GOLDEN_SEQ + 1), GOLDEN_SEQ * sizeof *input);
        float logits[GOLDEN_BATCH * GOLDEN_SEQ * GOLDEN_VOCAB], decoded[GOLDEN_VOCAB];
        assert_int_equal(mu_net_logits(b.net, input, logits), MU_OK);
        assert_logits(row, logits, row->first);
        assert_logits(row, logits + 15 * GOLDEN_VOCAB + 92, row->last);
        /* against the cache: the last row again */
        assert_int_equal(mu_net_decode_begin(b.net, GOLDEN_SEQ), MU_OK);
        assert_int_equal(mu_net_decode(b.net, input + GOLDEN_SEQ, 3, NULL), MU_OK);
        assert_int_equal(mu_net_decode(b.net, input + GOLDEN_SEQ + 3, GOLDEN_SEQ - 3, decoded), MU_OK);
        assert_logits(row, decoded + 92, row->last);
        tear_down(&b);
    }
}

static void gradient_of_every_tensor(void **state)
{
    (void)state;
    mu_net_options_t options = plain();
    bench_t b;
    set_up(&b, &golden_variants[0], &options, 1);
    assert_int_equal(mu_net_forward_backward(b.net, b.tokens, 1), MU_OK);
    int count = mu_net_param_count(b.net);
    assert_int_equal(count, sizeof golden_gradients / sizeof *golden_gradients);
    for (int i = 0; i < count; i++) {
        const mu_net_param_t *p = mu_net_param(b.net, i);
        float *host = host_copy(b.dev, p->gradient, p->elements);
        double sum = 0;
        for (int64_t j = 0; j < p->elements; j++)
            sum += (double)host[j] * (double)host[j];
        free(host);
        if (!(golden_error(sqrt(sum), golden_gradients[i]) <= 3e-5))
            fail_msg("%s: gradient norm %.9g, want %.9g", p->tensor.name, sqrt(sum), golden_gradients[i]);
    }
    tear_down(&b);
}

/* The reference masks positions; ours masks input tokens, so the tokens of the masked positions are one that
 * occurs nowhere else, and the loss is rebuilt from the parts. */
static void masked_positions_have_no_loss(void **state)
{
    (void)state;
    mu_net_options_t options = plain();
    bench_t b;
    double rows[GOLDEN_BATCH * GOLDEN_SEQ], total = 0, masked = 0;
    for (int r = 0; r < GOLDEN_BATCH * GOLDEN_SEQ; r++) {
        /* all input tokens of the golden batch differ, so masking one token masks one position */
        golden_tokens(b.tokens);
        options.eod = b.tokens[r / GOLDEN_SEQ * (GOLDEN_SEQ + 1) + r % GOLDEN_SEQ];
        set_up(&b, &golden_variants[0], &options, 1);
        mu_net_loss_t loss;
        assert_int_equal(mu_net_forward_loss(b.net, b.tokens, 2), MU_OK);
        assert_int_equal(mu_net_take_loss(b.net, &loss), MU_OK);
        assert_int_equal(loss.tokens, 15);
        rows[r] = golden_variants[0].loss * 16 - loss.token_sum;
        assert_close(loss.mean_sum, loss.token_sum / 15, 1e-12);
        tear_down(&b);
        total += rows[r];
        masked += r >= 4 ? rows[r] : 0;
    }
    assert_close(total / 16, golden_variants[0].loss, 2e-6);
    assert_close(masked / 12, golden_masked_loss, 1e-5);
}

static void masked_gradients_are_those_of_the_mean_over_counted_tokens(void **state)
{
    (void)state;
    /* a step along the masked gradient changes the masked loss by its squared norm */
    mu_net_options_t options = plain();
    options.eod = 43;
    bench_t b;
    set_up(&b, &golden_variants[0], &options, 1);
    assert_int_equal(mu_net_forward_backward(b.net, b.tokens, 1), MU_OK);
    double before = mean_loss(b.net), norm = gradient_norm(b.net), step = 1e-4;
    for (int i = 0; i < mu_net_param_count(b.net); i++) {
        const mu_net_param_t *p = mu_net_param(b.net, i);
        float *w = host_copy(b.dev, p->weight.data, p->elements);
        float *gradient = host_copy(b.dev, p->gradient, p->elements);
        put_moved(b.dev, p, w, gradient, -(float)step);
        free(w);
        free(gradient);
    }
    assert_int_equal(mu_net_forward_loss(b.net, b.tokens, 2), MU_OK);
    assert_close((before - mean_loss(b.net)) / step, norm * norm, 0.02);
    tear_down(&b);
}

static void a_batch_of_masked_tokens_adds_nothing(void **state)
{
    (void)state;
    mu_net_options_t options = plain();
    options.eod = 7;
    bench_t b;
    set_up(&b, &golden_variants[0], &options, 1);
    for (size_t i = 0; i < sizeof b.tokens / sizeof *b.tokens; i++)
        b.tokens[i] = 7;
    assert_int_equal(mu_net_forward_backward(b.net, b.tokens, 1), MU_OK);
    mu_net_loss_t loss;
    assert_int_equal(mu_net_take_loss(b.net, &loss), MU_OK);
    assert_int_equal(loss.tokens, 0);
    assert_true(loss.mean_sum == 0);
    assert_true(gradient_norm(b.net) == 0);
    tear_down(&b);
}

static void train(bench_t *b, int64_t micro_batches)
{
    for (int step = 0; step < GOLDEN_STEPS; step++) {
        mu_net_zero_gradients(b->net);
        for (int64_t i = 0; i < micro_batches; i++)
            assert_int_equal(mu_net_forward_backward(
                                 b->net, b->tokens + i * GOLDEN_BATCH / micro_batches * (GOLDEN_SEQ + 1),
                                 1.0 / (double)micro_batches),
                             MU_OK);
        double norm = gradient_norm(b->net);
        mu_optimizer_step(b->net, &golden_optimizer, norm, step + 1);
        assert_close(mean_loss(b->net), golden_losses[step], golden_loss_tolerance(step));
        assert_close(norm, golden_norms[step], golden_norm_tolerance(step));
    }
    assert_int_equal(mu_net_forward_loss(b->net, b->tokens, GOLDEN_BATCH / micro_batches), MU_OK);
}

static void ten_steps(void **state)
{
    (void)state;
    mu_net_options_t options = plain();
    bench_t b;
    set_up(&b, &golden_variants[0], &options, 2);
    train(&b, 1);
    assert_close(mean_loss(b.net), golden_losses[GOLDEN_STEPS], 5e-5);
    tear_down(&b);
}

static void ten_steps_of_two_micro_batches(void **state)
{
    (void)state;
    mu_net_options_t options = plain();
    options.micro_batch = 1;
    bench_t b;
    set_up(&b, &golden_variants[0], &options, 1);
    train(&b, 2);
    assert_int_equal(mu_net_forward_loss(b.net, b.tokens + GOLDEN_SEQ + 1, 1), MU_OK);
    assert_close(mean_loss(b.net), golden_losses[GOLDEN_STEPS], 5e-5);
    tear_down(&b);
}

static void recomputing_gives_the_same_bits(void **state)
{
    (void)state;
    for (int i = 0; i < GOLDEN_VARIANTS; i++) {
        bench_t b[2];
        for (int recompute = 0; recompute < 2; recompute++) {
            mu_net_options_t options = plain();
            options.checkpoint_activations = recompute;
            set_up(&b[recompute], &golden_variants[i], &options, 1);
            assert_int_equal(mu_net_forward_backward(b[recompute].net, b[recompute].tokens, 1), MU_OK);
        }
        const mu_net_flat_t *kept = mu_net_flat(b[0].net), *again = mu_net_flat(b[1].net);
        float *bits[2] = {host_copy(b[0].dev, kept->gradient, kept->elements),
                          host_copy(b[1].dev, again->gradient, kept->elements)};
        assert_memory_equal(bits[0], bits[1], (size_t)kept->elements * sizeof *bits[0]);
        free(bits[0]);
        free(bits[1]);
        assert_true(b[1].dev->memory[MU_MEM_ACTIVATIONS].peak < b[0].dev->memory[MU_MEM_ACTIVATIONS].peak);
        tear_down(&b[0]);
        tear_down(&b[1]);
    }
}

/* A model with everything that the golden one lacks: learned positions, tied head, odd sizes. */
static mu_model_t gpt2_like(void)
{
    return (mu_model_t){.layers = 3,
                        .hidden = 60,
                        .heads = 3,
                        .ffn = 100,
                        .seq_length = 37,
                        .max_positions = 50,
                        .vocab = 101,
                        .residual = MU_RESIDUAL_SEQUENTIAL,
                        .activation = MU_GELU_TANH,
                        .position = MU_POSITION_LEARNED,
                        .tied_head = true,
                        .norm_eps = 1e-5,
                        .init_std = 0.2};
}

static mu_model_t neox_like(void)
{
    mu_model_t m = gpt2_like();
    m.residual = MU_RESIDUAL_PARALLEL;
    m.position = MU_POSITION_ROTARY;
    m.rotary_dims = 6;
    m.rotary_base = 10000;
    m.tied_head = false;
    return m;
}

static void learned_positions_and_a_tied_head_have_true_gradients(void **state)
{
    (void)state;
    mu_model_t models[] = {gpt2_like(), neox_like()};
    for (int k = 0; k < 2; k++) {
        mu_net_options_t options = {.micro_batch = 2, .training = true};
        bench_t b;
        b.dev = make_device(2);
        b.tp = mu_comm_self("tp");
        assert_int_equal(mu_net_new(b.dev, &models[k], b.tp, &options, &b.net), MU_OK);
        assert_int_equal(mu_init_weights(b.net, 7), MU_OK);
        int32_t tokens[2 * 38];
        for (int i = 0; i < 2 * 38; i++)
            tokens[i] = (i * i * 31 + 5 * i) % 101;
        assert_int_equal(mu_net_forward_backward(b.net, tokens, 1), MU_OK);
        mean_loss(b.net);
        for (int i = 0; i < mu_net_param_count(b.net); i += sample_step(b.dev, 100)) {
            /* the loss along one tensor's gradient, by a symmetric difference */
            const mu_net_param_t *p = mu_net_param(b.net, i);
            double square = 0, loss[2];
            float *w = host_copy(b.dev, p->weight.data, p->elements);
            float *gradient = host_copy(b.dev, p->gradient, p->elements);
            for (int64_t j = 0; j < p->elements; j++)
                square += (double)gradient[j] * (double)gradient[j];
            assert_true(square > 0);
            double step = 2e-2 / sqrt(square);
            for (int side = 0; side < 2; side++) {
                put_moved(b.dev, p, w, gradient, (float)(side ? step : -step));
                assert_int_equal(mu_net_forward_loss(b.net, tokens, 2), MU_OK);
                loss[side] = mean_loss(b.net);
            }
            put_moved(b.dev, p, w, gradient, 0);
            free(w);
            free(gradient);
            if (!(golden_error((loss[1] - loss[0]) / (2 * step), square) <= 0.02))
                fail_msg("%s: slope %.6g along a gradient of square %.6g", p->tensor.name,
                         (loss[1] - loss[0]) / (2 * step), square);
        }
        tear_down(&b);
    }
}

static void generation_equals_the_full_pass(void **state)
{
    (void)state;
    mu_model_t models[] = {gpt2_like(), neox_like()};
    for (int k = 0; k < 2; k++) {
        /* a net whose calls hold 37 rows; the cache takes a prompt of 5, single tokens, then pieces */
        mu_net_options_t options = {.micro_batch = 1};
        bench_t b;
        b.dev = make_device(2);
        b.tp = mu_comm_self("tp");
        assert_int_equal(mu_net_new(b.dev, &models[k], b.tp, &options, &b.net), MU_OK);
        assert_int_equal(mu_init_weights(b.net, 3), MU_OK);
        int32_t tokens[37];
        for (int i = 0; i < 37; i++)
            tokens[i] = (i * i * 17 + 3 * i) % 101;
        static float all[37 * 101];
        assert_int_equal(mu_net_logits(b.net, tokens, all), MU_OK);
        static const int pieces[] = {5, 1, 1, 12, 1, 17};
        for (int round = 0; round < 2; round++) {
            assert_int_equal(mu_net_decode_begin(b.net, 40), MU_OK);
            int at = 0;
            for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
                float last[101];
                assert_int_equal(mu_net_decode(b.net, tokens + at, pieces[i], last), MU_OK);
                at += pieces[i];
                double difference = 0, size = 0;
                for (int j = 0; j < 101; j++) {
                    double want = (double)all[(at - 1) * 101 + j];
                    difference += pow((double)last[j] - want, 2);
                    size += want * want;
                }
                assert_true(sqrt(difference / size) < 5e-6);
            }
            assert_int_equal(at, 37);
            assert_int_equal(mu_net_decode(b.net, tokens, 4, NULL), MU_CONFIG);
        }
        tear_down(&b);
    }
}

enum { PROMPT = 5, NEW_TOKENS = 16 };

static mu_status_t keep(void *arg, int32_t id)
{
    mu_ids_add(arg, id);
    return MU_OK;
}

/* Greedy text of the cache is that of computing everything again for each token. */
static void greedy_text_equals_recomputing(void **state)
{
    (void)state;
    mu_model_t models[] = {gpt2_like(), neox_like()};
    for (int k = 0; k < 2; k++) {
        mu_net_options_t options = {.micro_batch = 1};
        mu_sampling_t greedy = {0};
        mu_ids_t text = MU_IDS_INIT;
        bench_t b = {.dev = make_device(2), .tp = mu_comm_self("tp")};
        int count = NEW_TOKENS / sample_step(b.dev, 4);
        mu_generation_t g = {.prompt = MU_IDS_INIT, .most = count};
        assert_int_equal(mu_net_new(b.dev, &models[k], b.tp, &options, &b.net), MU_OK);
        assert_int_equal(mu_init_weights(b.net, 3), MU_OK);
        assert_int_equal(mu_sampler_new(&greedy, 101, &g.sampler), MU_OK);
        int32_t tokens[37] = {0};
        for (int i = 0; i < PROMPT; i++) {
            tokens[i] = 11 * i + 7;
            mu_ids_add(&g.prompt, tokens[i]);
        }
        assert_int_equal(mu_generation_run(&g, b.net, b.tp, keep, &text), MU_OK);
        assert_int_equal(text.len, count);
        static float all[37 * 101];
        for (int i = 0; i < count; i++) { /* what lies after is not seen */
            assert_int_equal(mu_net_logits(b.net, tokens, all), MU_OK);
            tokens[PROMPT + i] = mu_sampler_next(g.sampler, all + (PROMPT + i - 1) * 101);
            assert_int_equal(text.data[i], tokens[PROMPT + i]);
        }
        /* the first token that it chose, as the end of the text */
        g.end[0] = text.data[0];
        g.ends = 1;
        text.len = 0;
        assert_int_equal(mu_generation_run(&g, b.net, b.tp, keep, &text), MU_OK);
        assert_int_equal(text.len, 0);
        mu_ids_release(&text);
        mu_generation_end(&g);
        tear_down(&b);
    }
}

static void bad_input_is_refused(void **state)
{
    (void)state;
    mu_net_options_t options = plain();
    bench_t b;
    set_up(&b, &golden_variants[0], &options, 1);
    b.tokens[8] = GOLDEN_VOCAB;
    assert_int_equal(mu_net_forward_backward(b.net, b.tokens, 1), MU_DATA);
    b.tokens[8] = -1;
    assert_int_equal(mu_net_forward_loss(b.net, b.tokens, 2), MU_DATA);
    mu_net_t *none;
    options.seq_length = GOLDEN_SEQ + 1;
    assert_int_equal(mu_net_new(b.dev, mu_net_model(b.net), b.tp, &options, &none), MU_CONFIG);
    tear_down(&b);
}

/* A worker of a group of two that is never talked to: what it holds does not need the other. */
static void two_workers_hold_half_each(void **state)
{
    (void)state;
    mu_model_t pythia_14m = {.layers = 6,
                             .hidden = 128,
                             .heads = 4,
                             .ffn = 512,
                             .seq_length = 64,
                             .max_positions = 2048,
                             .vocab = 50304,
                             .position = MU_POSITION_ROTARY,
                             .rotary_dims = 8,
                             .rotary_base = 10000,
                             .norm_eps = 1e-5,
                             .init_std = 0.02};
    mu_net_options_t options = {.micro_batch = 1, .training = true};
    int64_t held[2];
    for (int i = 0; i < 2; i++) {
        bench_t b;
        b.dev = make_device(1);
        b.tp = mu_comm_self("tp");
        b.tp->size = i + 1;
        assert_int_equal(mu_net_new(b.dev, &pythia_14m, b.tp, &options, &b.net), MU_OK);
        held[i] = b.dev->memory[MU_MEM_WEIGHTS].peak + b.dev->memory[MU_MEM_GRADIENTS].peak +
                  b.dev->memory[MU_MEM_OPTIMIZER].peak;
        if (i == 0)
            assert_true(held[0] >= 16 * mu_model_parameters(&pythia_14m));
        int64_t widest = 0;
        for (int k = 0; k < mu_net_param_count(b.net); k++)
            widest = mu_net_param(b.net, k)->elements > widest ? mu_net_param(b.net, k)->elements : widest;
        assert_int_equal(widest, 50304 * 128 / (i + 1));
        tear_down(&b);
    }
    assert_true((double)held[1] <= 0.55 * (double)held[0]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_gradients_and_logits_of_every_block),
        cmocka_unit_test(gradient_of_every_tensor),
        cmocka_unit_test(llama_blocks),
        cmocka_unit_test(masked_positions_have_no_loss),
        cmocka_unit_test(masked_gradients_are_those_of_the_mean_over_counted_tokens),
        cmocka_unit_test(a_batch_of_masked_tokens_adds_nothing),
        cmocka_unit_test(ten_steps),
        cmocka_unit_test(ten_steps_of_two_micro_batches),
        cmocka_unit_test(recomputing_gives_the_same_bits),
        cmocka_unit_test(learned_positions_and_a_tied_head_have_true_gradients),
        cmocka_unit_test(generation_equals_the_full_pass),
        cmocka_unit_test(greedy_text_equals_recomputing),
        cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(two_workers_hold_half_each),
    };
    mu_device_t *any;
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (on_cuda()) {
        if (mu_device_cuda_new(0, &any) != MU_OK)
            return 77; /* which has been said */
        mu_device_close(any);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
