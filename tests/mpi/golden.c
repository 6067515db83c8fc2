/* ranks: 1 2 4 */
/* The golden model over groups of workers: every (tp, dp) that the ranks make gives the one worker's numbers.
 */
#include "tests/mpi/golden_worker.h"

/* The L2 norm of one tensor's gradient over the whole group. */
static double tensor_norm(worker_t *w, const mu_net_param_t *p)
{
    double sum = 0;
    for (int64_t i = p->own; i < p->own + p->owned && i < p->counted; i++)
        sum += (double)p->gradient[i] * (double)p->gradient[i];
    if (mu_net_shard(w->net) && p->tensor.dims == 2)
        assert_int_equal(mu_comm_allreduce(w->dp, MU_SUM, MU_TYPE_F64, &sum, 1), MU_OK);
    if (p->tensor.split != MU_SPLIT_NONE)
        assert_int_equal(mu_comm_allreduce(w->tp, MU_SUM, MU_TYPE_F64, &sum, 1), MU_OK);
    return sqrt(sum);
}

static void every_block_in_every_layout(void **state)
{
    (void)state;
    for (int i = 0; i < GOLDEN_VARIANTS; i++) {
        const golden_variant_t *v = &golden_variants[i];
        mu_model_t model = golden_model(v);
        FOR_EACH_LAYOUT(tp, stage, micro)
        {
            worker_t worker, *w = &worker;
            mu_net_options_t options = {
                .micro_batch = micro, .training = true, .eod = -1, .checkpoint_activations = micro == 1};
            set_up(w, tp, stage, &model, &options);
            golden_fill(w->net);
            gradients(w, micro);
            assert_close(mean_loss(w), v->loss, 2e-6);
            assert_close(norm(w), v->gradient, 3e-5);
            for (int k = 0; i == 0 && k < mu_net_param_count(w->net); k++)
                assert_close(tensor_norm(w, mu_net_param(w->net, k)), golden_gradients[k], 3e-5);
            tear_down(w);
        }
    }
}

static void ten_steps_in_every_layout(void **state)
{
    (void)state;
    mu_model_t model = golden_model(&golden_variants[0]);
    FOR_EACH_LAYOUT(tp, stage, micro)
    {
        worker_t worker, *w = &worker;
        mu_net_options_t options = {.micro_batch = micro, .training = true, .eod = -1};
        set_up(w, tp, stage, &model, &options);
        golden_fill(w->net);
        for (int step = 0; step <= GOLDEN_STEPS; step++) {
            gradients(w, micro);
            assert_close(mean_loss(w), golden_losses[step], golden_loss_tolerance(step));
            if (step == GOLDEN_STEPS)
                break;
            double n = norm(w);
            assert_close(n, golden_norms[step], golden_norm_tolerance(step));
            update(w, n, step);
        }
        tear_down(w);
    }
}

/* After an update the copies of keys and values have the same bits. */
static void assert_copies_agree(worker_t *w)
{
    int k = 0;
    while (mu_net_param(w->net, k)->tensor.kind != MU_T_QKV_W)
        k++;
    const mu_net_param_t *p = mu_net_param(w->net, k);
    const mu_model_t *model = mu_net_model(w->net);
    int64_t copies = mu_model_kv_copies(model, w->tp_size), n = 2 * mu_model_head_dim(model) * p->count[1];
    update(w, norm(w), 0);
    assert_int_equal(mu_replicas_settle(&w->replicas), MU_OK);
    float *all = calloc((size_t)(n * w->tp_size), sizeof *all);
    memcpy(all + n * w->tp->rank, (const float *)p->weight.data + p->elements - n, (size_t)n * sizeof *all);
    assert_int_equal(mu_comm_allreduce(w->tp, MU_SUM, MU_TYPE_F32, all, n * w->tp_size), MU_OK);
    for (int64_t rank = 0; rank < w->tp_size && copies > 1; rank++)
        assert_memory_equal(all + n * rank, all + n * (rank / copies * copies), (size_t)n * sizeof *all);
    free(all);
}

/* B as well as A, so that no gradient is 0; elements are those of the whole tensor. */
static void fill_adapters(mu_net_t *net)
{
    for (int k = mu_model_saved_first(mu_net_model(net)); k < mu_net_param_count(net); k++) {
        const mu_net_param_t *p = mu_net_param(net, k);
        float *w = p->weight.data;
        for (int64_t i = 0; mu_net_model(net)->lora.rank > 0 && i < p->elements; i++) {
            int64_t row = p->offset[0] + i / p->count[1], column = p->offset[1] + i % p->count[1];
            w[i] = (float)(0.1 * mu_init_normal(9, p->tensor.name, row * p->tensor.shape[1] + column));
        }
    }
}

/* Each layout's loss and gradients are the lone worker's, also where workers hold copies of one key/value head. */
static void as_the_lone_worker(const mu_model_t *model)
{
    mu_device_t *dev;
    mu_net_t *alone;
    mu_net_loss_t loss;
    mu_comm_t *self = mu_comm_self("tp");
    int32_t tokens[GOLDEN_BATCH * (GOLDEN_SEQ + 1)];
    mu_net_options_t whole = {.micro_batch = GOLDEN_BATCH, .training = true, .eod = -1};
    golden_tokens(tokens);
    assert_int_equal(mu_device_cpu_new(1, &dev), MU_OK);
    assert_int_equal(mu_net_new(dev, model, self, &whole, &alone), MU_OK);
    assert_int_equal(mu_init_weights(alone, 5), MU_OK);
    fill_adapters(alone);
    mu_net_draw(alone, &(mu_net_draw_t){.seed = 11, .step = 3});
    assert_int_equal(mu_net_forward_backward(alone, tokens, 1), MU_OK);
    assert_int_equal(mu_net_take_loss(alone, &loss), MU_OK);
    FOR_EACH_LAYOUT(tp, stage, micro)
    {
        worker_t worker, *w = &worker;
        mu_net_options_t options = {
            .micro_batch = micro, .training = true, .eod = -1, .checkpoint_activations = micro == 1};
        set_up(w, tp, stage, model, &options);
        assert_int_equal(mu_init_weights(w->net, 5), MU_OK);
        fill_adapters(w->net);
        gradients(w, micro);
        assert_close(mean_loss(w), loss.mean_sum, 1e-6);
        double whole_square = 0;
        for (int k = mu_model_saved_first(model); k < mu_net_param_count(w->net); k++) {
            const mu_net_param_t *p = mu_net_param(alone, k);
            double sum = 0;
            for (int64_t i = 0; i < p->elements; i++)
                sum += (double)p->gradient[i] * (double)p->gradient[i];
            assert_close(tensor_norm(w, mu_net_param(w->net, k)), sqrt(sum), 3e-5);
            whole_square += sum;
        }
        assert_close(norm(w), sqrt(whole_square), 3e-5);
        if (model->lora.rank == 0)
            assert_copies_agree(w);
        tear_down(w);
    }
    mu_net_free(alone);
    mu_device_close(dev);
    mu_comm_free(self);
}

/* The blocks of a Llama, with norms of queries and keys. */
static mu_model_t llama_model(int64_t kv_heads)
{
    mu_model_t model = golden_model(&golden_variants[3]);
    model.kv_heads = kv_heads;
    model.heads = 8;
    model.head_dim = model.rotary_dims = 12;
    model.ffn = 96;
    model.norm = MU_NORM_RMS;
    model.activation = MU_SWIGLU;
    model.unbiased = MU_UNBIASED_DENSE | MU_UNBIASED_MLP;
    model.qk_norm = true;
    return model;
}

static void llama_blocks_in_every_layout(void **state)
{
    (void)state;
    for (int64_t kv_heads = 4; kv_heads >= 1; kv_heads /= 2) {
        mu_model_t model = llama_model(kv_heads);
        as_the_lone_worker(&model);
    }
}

static void adapters_in_every_layout(void **state)
{
    (void)state;
    mu_model_t llama = llama_model(4), few = llama_model(1), neox = golden_model(&golden_variants[0]);
    llama.lora = (mu_lora_t){.rank = 4, .scale = 1.5};
    llama.lora.targets = (1U << MU_LORA_TARGETS) - 1 - (1U << MU_LORA_QKV);
    neox.lora = (mu_lora_t){.rank = 4, .scale = 0.5};
    neox.lora.targets = 1U << MU_LORA_QKV | 1U << MU_LORA_DENSE | 1U << MU_LORA_FC1 | 1U << MU_LORA_FC2;
    few.lora = llama.lora;
    few.lora.targets &= ~(1U << MU_LORA_K | 1U << MU_LORA_V);
    as_the_lone_worker(&llama);
    as_the_lone_worker(&few);
    as_the_lone_worker(&neox);
}

/* Each layout drops the same elements; micro batches of one do so too. */
static void dropout_in_every_layout(void **state)
{
    (void)state;
    static const int variant[] = {0, 2, 3};
    for (int i = 0; i < 5; i++) {
        mu_model_t model = i >= 3 ? llama_model(i == 3 ? 4 : 1) : golden_model(&golden_variants[variant[i]]);
        model.hidden_dropout = 0.2;
        model.attention_dropout = 0.1;
        if (i & 1) {
            model.lora = (mu_lora_t){.rank = 4, .scale = 1.5, .dropout = 0.3};
            model.lora.targets = 1U << MU_LORA_DENSE | 1U << MU_LORA_FC1 | 1U << MU_LORA_FC2;
        }
        as_the_lone_worker(&model);
    }
}

/* Parameters with and without decay, and with learning rates of their own. */
static void set_groups(mu_net_t *net)
{
    static const double scale[] = {1, 0.25, 0, 3};
    for (int i = 0; i < mu_net_param_count(net); i++)
        mu_net_set_update(net, i, i % 3 != 0, scale[i % 4]);
}

static void groups_of_parameters_in_every_layout(void **state)
{
    (void)state;
    enum { STEPS = 4 };
    mu_model_t model = golden_model(&golden_variants[0]);
    mu_net_options_t whole = {.micro_batch = GOLDEN_BATCH, .training = true, .eod = -1};
    mu_comm_t *self = mu_comm_self("tp");
    mu_device_t *dev;
    mu_net_t *alone;
    double want[STEPS], n;
    int32_t tokens[GOLDEN_BATCH * (GOLDEN_SEQ + 1)];
    golden_tokens(tokens);
    assert_int_equal(mu_device_cpu_new(1, &dev), MU_OK);
    assert_int_equal(mu_net_new(dev, &model, self, &whole, &alone), MU_OK);
    golden_fill(alone);
    set_groups(alone);
    for (int step = 0; step < STEPS; step++) {
        mu_net_loss_t loss;
        mu_net_zero_gradients(alone);
        assert_int_equal(mu_net_forward_backward(alone, tokens, 1), MU_OK);
        assert_int_equal(mu_net_take_loss(alone, &loss), MU_OK);
        assert_int_equal(mu_optimizer_norm(alone, &n), MU_OK);
        mu_optimizer_step(alone, &golden_optimizer, n, step + 1);
        want[step] = loss.mean_sum;
    }
    assert_true(golden_error(want[STEPS - 1], golden_losses[STEPS - 1]) > 1e-3);
    FOR_EACH_LAYOUT(tp, stage, micro)
    {
        worker_t worker, *w = &worker;
        mu_net_options_t options = {.micro_batch = micro, .training = true, .eod = -1};
        set_up(w, tp, stage, &model, &options);
        golden_fill(w->net);
        set_groups(w->net);
        for (int step = 0; step < STEPS; step++) {
            gradients(w, micro);
            assert_close(mean_loss(w), want[step], golden_loss_tolerance(step));
            update(w, norm(w), step);
        }
        tear_down(w);
    }
    mu_net_free(alone);
    mu_device_close(dev);
    mu_comm_free(self);
}

/* What every worker of a group holds whole must stay the same bits on each. */
static void replicated_parameters_stay_equal(void **state)
{
    (void)state;
    mu_model_t model = golden_model(&golden_variants[3]);
    worker_t worker, *w = &worker;
    mu_net_options_t options = {.micro_batch = 2, .training = true, .eod = -1};
    set_up(w, world_size, 0, &model, &options);
    golden_fill(w->net);
    for (int step = 0; step < 3; step++) {
        gradients(w, 2);
        update(w, norm(w), step);
    }
    for (int i = 0; i < mu_net_param_count(w->net); i++) {
        const mu_net_param_t *p = mu_net_param(w->net, i);
        if (p->tensor.split != MU_SPLIT_NONE)
            continue;
        size_t bytes = (size_t)p->elements * sizeof(float);
        float *first = malloc(bytes);
        memcpy(first, p->weight.data, bytes);
        assert_int_equal(mu_comm_broadcast(w->tp, 0, first, (int64_t)bytes), MU_OK);
        assert_memory_equal(first, p->weight.data, bytes);
        free(first);
    }
    tear_down(w);
}

static void logits_and_generation_see_the_whole_vocabulary(void **state)
{
    (void)state;
    const golden_variant_t *v = &golden_variants[0];
    mu_model_t model = golden_model(v);
    worker_t worker, *w = &worker;
    mu_net_options_t options = {.micro_batch = 2, .eod = -1};
    set_up(w, world_size, 0, &model, &options);
    golden_fill(w->net);
    int32_t input[GOLDEN_BATCH * GOLDEN_SEQ];
    for (int j = 0; j < GOLDEN_BATCH; j++)
        memcpy(input + j * GOLDEN_SEQ, w->tokens + j * (GOLDEN_SEQ + 1), GOLDEN_SEQ * sizeof *input);
    float logits[GOLDEN_BATCH * GOLDEN_SEQ][GOLDEN_VOCAB], last[GOLDEN_VOCAB];
    assert_int_equal(mu_net_logits(w->net, input, logits[0]), MU_OK);
    for (int j = 0; j < 4; j++) {
        assert_true(fabs((double)logits[0][j] - v->logits_first[j]) < 5e-6);
        assert_true(fabs((double)logits[15][92 + j] - v->logits_last[j]) < 5e-6);
    }
    assert_int_equal(mu_net_decode_begin(w->net, GOLDEN_SEQ), MU_OK);
    assert_int_equal(mu_net_decode(w->net, input + GOLDEN_SEQ, GOLDEN_SEQ - 1, NULL), MU_OK);
    assert_int_equal(mu_net_decode(w->net, input + 2 * GOLDEN_SEQ - 1, 1, last), MU_OK);
    for (int j = 0; j < GOLDEN_VOCAB; j++)
        assert_true(fabs((double)last[j] - (double)logits[15][j]) < 5e-6);
    tear_down(w);
}

/* Initial weights: each worker's slice is cut from one tensor, whatever the layout. */
static void initial_weights_do_not_know_the_layout(void **state)
{
    (void)state;
    mu_model_t model = golden_model(&golden_variants[0]);
    worker_t worker, *w = &worker;
    mu_net_options_t options = {.micro_batch = 1, .eod = -1};
    set_up(w, world_size, 0, &model, &options);
    assert_int_equal(mu_init_weights(w->net, 1234), MU_OK);
    for (int i = 0; i < mu_net_param_count(w->net); i++) {
        const mu_net_param_t *p = mu_net_param(w->net, i);
        const float *weight = p->weight.data;
        for (int64_t r = 0; r < p->count[0]; r++) {
            for (int64_t c = 0; c < p->count[1]; c++) {
                int64_t e = (p->offset[0] + r) * p->tensor.shape[1] + p->offset[1] + c;
                double want = p->tensor.init_std > 0
                                  ? p->tensor.init_std * mu_init_normal(1234, p->tensor.name, e)
                                  : p->tensor.init_value;
                assert_true(weight[r * p->count[1] + c] == (float)want);
            }
        }
    }
    tear_down(w);
}

int main(int argc, char **argv)
{
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
    MPI_Comm_size(MPI_COMM_WORLD, &world_size);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_in_every_layout),
        cmocka_unit_test(ten_steps_in_every_layout),
        cmocka_unit_test(llama_blocks_in_every_layout),
        cmocka_unit_test(adapters_in_every_layout),
        cmocka_unit_test(dropout_in_every_layout),
        cmocka_unit_test(groups_of_parameters_in_every_layout),
        cmocka_unit_test(replicated_parameters_stay_equal),
        cmocka_unit_test(logits_and_generation_see_the_whole_vocabulary),
        cmocka_unit_test(initial_weights_do_not_know_the_layout),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    /* a failed rank must not leave the others in a collective */
    if (failed)
        MPI_Abort(MPI_COMM_WORLD, 1);
    MPI_Finalize();
    return 0;
}
