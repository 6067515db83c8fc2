/* Attention of cuDNN beside muster's own: the oracles of unit/kernels/cases/, what it takes, what keeps it from that,
 * and a model trained with both. On the stand-in it is made old, refusing and nondeterministic. Label gpu: the same
 * on a card with cuDNN, without what only the stand-in can be made to do; 77 without one of them. */
#include "common/buf.h"
#include "common/log.h"
#include "kernels/cuda_load.h"
#include "tests/unit/kernels/cases/cases.h"
#include "tests/unit/worker/model/golden_model.h"
#include "worker/comm/comm.h"
#include "worker/train/attention_choice.h"

static bool stand_in;
static const mu_cuda_plugin_t *cuda;
static mu_device_t *dev;
static char last_line[1024];

static void keep_line(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    snprintf(last_line, sizeof last_line, "%s", line);
}

static void machine(const char *words)
{
    if (stand_in)
        setenv("CUDNN_STAND_IN", words, 1);
}

static mu_device_t *make_own(void)
{
    mu_device_t *made;
    assert_int_equal(mu_device_cuda_new(0, &made), MU_OK);
    return made;
}

static mu_device_t *make(const void *arg)
{
    int version;
    mu_device_t *made = make_own();
    (void)arg;
    assert_int_equal(cuda->cudnn_use(made, &version), MU_OK);
    return made;
}

static bool taken(mu_dtype_t type, mu_attention_t shape, bool backward, char why[MU_CUDA_WHY])
{
    return cuda->cudnn_taken(dev, type, &shape, backward, why);
}

/* --- what it takes --- */

static void what_cudnn_computes_is_known(void **state)
{
    (void)state;
    static const int32_t start[2] = {0, 0};
    static const mu_dropout_t drop = {.rate = 0.1, .factor = 1 / 0.9};
    static const struct {
        mu_dtype_t type;
        mu_attention_t shape;
        const char *why; /* NULL: it does */
    } row[] = {
        {MU_DTYPE_BF16, {2, 64, 4, 64, 0.125, 0, NULL, NULL}, NULL},
        {MU_DTYPE_F16, {2, 64, 4, 128, 0.1, 0, NULL, NULL}, NULL},
        {MU_DTYPE_BF16, {1, 128, 4, 80, 0.1, 2, NULL, NULL}, NULL},
        {MU_DTYPE_BF16, {3, 128, 4, 64, 0.1, 1, NULL, NULL}, NULL},
        {MU_DTYPE_F32, {2, 64, 4, 64, 0.125, 0, NULL, NULL}, "fp32"},
        {MU_DTYPE_BF16, {1, 2, 4, 64, 0.1, 0, start, NULL}, "borders"},
        {MU_DTYPE_BF16, {1, 64, 4, 64, 0.1, 0, NULL, &drop}, "dropout"},
        {MU_DTYPE_BF16, {1, 64, 4, 20, 0.1, 0, NULL, NULL}, "multiple of 8"},
        {MU_DTYPE_BF16, {1, 64, 4, 264, 0.1, 0, NULL, NULL}, "multiple of 8"},
        {MU_DTYPE_BF16, {1, 1, 4, 64, 0.1, 0, NULL, NULL}, "two tokens"},
    };
    char why[MU_CUDA_WHY];
    dev = make_own();
    assert_false(taken(row[0].type, row[0].shape, false, why)); /* before it is asked for */
    mu_device_close(dev);
    dev = make(NULL);
    for (size_t i = 0; i < 2 * sizeof row / sizeof *row; i++) {
        bool yes = taken(row[i / 2].type, row[i / 2].shape, i % 2, why);
        if (yes != !row[i / 2].why || (!yes && !strstr(why, row[i / 2].why)))
            fail_msg("row %zu, backward %zu: %s", i / 2, i % 2, yes ? "taken" : why);
    }
    mu_device_close(dev);
}

/* The workspace is within what the plan of memory counts, is reserved when the step is planned, and not twice. */
static void its_memory_is_counted(void **state)
{
    (void)state;
    const mu_attention_t shape = {2, 256, 4, 64, 0.125, 0, NULL, NULL};
    char why[MU_CUDA_WHY];
    dev = make(NULL);
    int64_t before = dev->memory[MU_MEM_WORKSPACE].current;
    assert_true(taken(MU_DTYPE_BF16, shape, false, why) && taken(MU_DTYPE_BF16, shape, true, why));
    int64_t more = dev->memory[MU_MEM_WORKSPACE].current - before;
    assert_true(more >= 4 * 2 * 256 * 4);
    assert_true(more <= mu_model_cudnn_workspace(2, 4, 4, 256, 64) + 4 * 2 * 256 * 4 + 256);
    assert_true(taken(MU_DTYPE_BF16, shape, true, why));
    assert_int_equal(dev->memory[MU_MEM_WORKSPACE].current - before, more);
    mu_device_close(dev);
}

/* --- what keeps it from that: of the stand-in --- */

static void refuses(const char *words, mu_status_t want, const char *said)
{
    int version;
    machine(words);
    dev = make_own();
    assert_int_equal(cuda->cudnn_use(dev, &version), want);
    if (!strstr(last_line, said))
        fail_msg("%s: %s", words, last_line);
    mu_device_close(dev);
    machine("");
}

static void a_library_that_will_not_do_is_named(void **state)
{
    (void)state;
    const char *library = getenv("MUSTER_CUDNN_LIBRARY");
    char *kept = library ? strdup(library) : NULL;
    setenv("MUSTER_CUDNN_LIBRARY", "/nowhere/libcudnn.so.9", 1);
    refuses("", MU_CONFIG, "/nowhere/libcudnn.so.9");
    setenv("MUSTER_CUDNN_LIBRARY", "libz.so.1", 1);
    refuses("", MU_CONFIG, "libz.so.1");
    if (kept)
        setenv("MUSTER_CUDNN_LIBRARY", kept, 1);
    else
        unsetenv("MUSTER_CUDNN_LIBRARY");
    free(kept);
    if (!stand_in)
        return;
    refuses("version=8907", MU_CONFIG, "9.2 or a later 9");
    refuses("version=90100", MU_CONFIG, "cuDNN 9.1.0");
    refuses("version=91001", MU_CONFIG, "cuDNN 9.10.1");
    refuses("version=100000", MU_CONFIG, "cuDNN 10.0.0");
    refuses("fail=cudnnCreate", MU_GPU, "cannot start cuDNN 9.19");
}

static void does_not_take(const char *words, const char *card, bool backward, int64_t seq, const char *said)
{
    char why[MU_CUDA_WHY], *was = getenv("STAND_IN_CUDA") ? strdup(getenv("STAND_IN_CUDA")) : NULL;
    machine(words);
    setenv("STAND_IN_CUDA", card, 1);
    dev = make(NULL);
    const mu_attention_t shape = {1, seq, 2, 64, 0.125, 0, NULL, NULL};
    bool yes = taken(MU_DTYPE_F16, shape, backward, why);
    if (yes != (said == NULL) || (!yes && !strstr(why, said)))
        fail_msg("%s %s: %s", words, card, yes ? "taken" : why);
    assert_int_equal(dev->ops->sync(dev), MU_OK); /* a refusal is no error */
    mu_device_close(dev);
    machine("");
    if (was)
        setenv("STAND_IN_CUDA", was, 1);
    else
        unsetenv("STAND_IN_CUDA");
    free(was);
}

static void what_it_refuses_is_said(void **state)
{
    (void)state;
    if (!stand_in)
        return;
    for (int backward = 0; backward < 2; backward++) {
        does_not_take("", "", backward != 0, 64, NULL);
        does_not_take("refuse", "", backward != 0, 64, "no engine for it: no engine for the graph");
        does_not_take("nondeterministic", "", backward != 0, 64, "same bits");
        does_not_take("workspace=3", "", backward != 0, 64, "3072 MiB");
        does_not_take("", "sm=75", backward != 0, 64, "8.0");
    }
    does_not_take("version=91500", "", false, 70, NULL);
    does_not_take("version=91500", "", true, 70, "multiple of 128");
    does_not_take("version=91500", "", true, 256, NULL);
    does_not_take("version=91600", "", true, 70, NULL);
    does_not_take("version=91800", "sm=100", true, 256, "9.18.1");
    does_not_take("version=91801", "sm=100", true, 256, NULL);
}

/* A run that fails is the device's error, and not computed by others. */
static void a_run_that_fails_is_an_error(void **state)
{
    (void)state;
    const mu_attention_t shape = {1, 64, 2, 64, 0.125, 0, NULL, NULL};
    void *p;
    if (!stand_in)
        return;
    dev = make(NULL);
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WORKSPACE, 1 << 20, &p), MU_OK);
    machine("fail=cudnnBackendExecute");
    const mu_array_t qkv = {p, MU_DTYPE_BF16};
    dev->ops->attention_forward(dev, mu_array_at(qkv, 1 << 17), (float *)p + (1 << 17), qkv, &shape);
    machine("");
    assert_int_equal(dev->ops->sync(dev), MU_GPU);
    assert_non_null(strstr(last_line, "attention of cuDNN: CUDNN_STATUS_EXECUTION_FAILED"));
    mu_device_free(dev, p);
    mu_device_close(dev);
}

/* --- a model --- */

typedef struct step {
    double loss, norm;
} step_t;

/* The golden model in a narrow type, its forward and backward. */
static step_t one_step(mu_device_t *(*device)(void), mu_dtype_t type, int64_t kv_heads)
{
    mu_model_t model = golden_model(&golden_variants[0]);
    const mu_net_options_t options = {
        .micro_batch = GOLDEN_BATCH, .training = true, .dtype = type, .eod = -1};
    mu_comm_t *alone = mu_comm_self("tp");
    int32_t tokens[GOLDEN_BATCH * (GOLDEN_SEQ + 1)];
    mu_net_loss_t loss;
    mu_net_t *net;
    step_t step;
    model.kv_heads = kv_heads;
    dev = device();
    assert_int_equal(mu_net_new(dev, &model, alone, &options, &net), MU_OK);
    const mu_attention_t shape = mu_net_attention(net);
    assert_true(shape.batch == GOLDEN_BATCH && shape.seq == GOLDEN_SEQ && shape.heads == 4 &&
                shape.head_dim == 16);
    golden_fill(net);
    golden_tokens(tokens);
    mu_net_zero_gradients(net);
    assert_int_equal(mu_net_forward_backward(net, tokens, 1), MU_OK);
    assert_int_equal(mu_optimizer_norm(net, &step.norm), MU_OK);
    assert_int_equal(mu_net_take_loss(net, &loss), MU_OK);
    step.loss = loss.mean_sum;
    mu_net_free(net);
    mu_device_close(dev);
    mu_comm_free(alone);
    return step;
}

static mu_device_t *with_cudnn(void)
{
    return make(NULL);
}

static void a_model_learns_the_same(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        const mu_dtype_t type = i % 2 ? MU_DTYPE_BF16 : MU_DTYPE_F16;
        const int64_t kv_heads = i / 2 ? 2 : 0;
        const step_t own = one_step(make_own, type, kv_heads), theirs = one_step(with_cudnn, type, kv_heads),
                     again = one_step(with_cudnn, type, kv_heads);
        assert_memory_equal(&theirs, &again, sizeof again);
        assert_true(golden_error(theirs.loss, own.loss) < 2e-3);
        assert_true(golden_error(theirs.norm, own.norm) < 2e-2);
        if (kv_heads == 0) { /* the reference is in double: weights in 8 bits move the norm by some percent */
            assert_true(golden_error(theirs.loss, golden_variants[0].loss) < 2e-3);
            assert_true(golden_error(theirs.norm, golden_variants[0].gradient) < (i % 2 ? 6e-2 : 5e-3));
        }
        if (stand_in) /* other kernels, so other last bits */
            assert_true(memcmp(&own, &theirs, sizeof own) != 0);
    }
}

/* --- muster.attention --- */

static mu_status_t choose(mu_attention_choice_t asked, mu_dtype_t type, bool reset, int32_t *choice)
{
    const mu_config_t config = {.muster = {.attention = asked}};
    const mu_model_t model = golden_model(&golden_variants[0]);
    const mu_net_options_t options = {
        .micro_batch = GOLDEN_BATCH, .training = true, .dtype = type, .eod = -1};
    mu_comm_t *alone = mu_comm_self("tp");
    mu_net_t *net;
    dev = make_own();
    mu_device_context_t context = {.device = dev, .cuda = cuda};
    assert_int_equal(mu_net_new(dev, &model, alone, &options, &net), MU_OK);
    mu_status_t status = mu_attention_choose(&config, &context, net, reset, choice);
    mu_net_free(net);
    mu_device_close(dev);
    mu_comm_free(alone);
    return status;
}

static void the_choice_is_followed_or_an_error(void **state)
{
    (void)state;
    char words[MU_ATTENTION_WORDS];
    int32_t choice = 7;
    assert_int_equal(choose(MU_ATTENTION_AUTO, MU_DTYPE_BF16, false, &choice), MU_OK);
    assert_int_equal(choice, MU_ATTENTION_KERNELS);
    assert_int_equal(choose(MU_ATTENTION_OWN, MU_DTYPE_BF16, false, &choice), MU_OK);
    assert_int_equal(choice, MU_ATTENTION_KERNELS);
    assert_int_equal(choose(MU_ATTENTION_CUDNN, MU_DTYPE_F16, false, &choice), MU_OK);
    assert_true(choice >= 90200);
    mu_attention_words(91900, words);
    assert_string_equal(words, "cuDNN 9.19.0");
    assert_int_equal(choose(MU_ATTENTION_CUDNN, MU_DTYPE_F32, false, &choice), MU_CONFIG);
    assert_non_null(strstr(last_line, "fp32"));
    assert_int_equal(choose(MU_ATTENTION_CUDNN, MU_DTYPE_F16, true, &choice), MU_CONFIG);
    assert_non_null(strstr(last_line, "borders"));
    if (!stand_in)
        return;
    machine("nondeterministic");
    assert_int_equal(choose(MU_ATTENTION_CUDNN, MU_DTYPE_F16, false, &choice), MU_CONFIG);
    assert_non_null(strstr(last_line, "same bits"));
    machine("version=90100");
    assert_int_equal(choose(MU_ATTENTION_CUDNN, MU_DTYPE_F16, false, &choice), MU_CONFIG);
    assert_int_equal(choose(MU_ATTENTION_AUTO, MU_DTYPE_F16, false, &choice), MU_OK);
    machine("");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cudnn_computes_is_known),        cmocka_unit_test(its_memory_is_counted),
        cmocka_unit_test(a_library_that_will_not_do_is_named), cmocka_unit_test(what_it_refuses_is_said),
        cmocka_unit_test(a_run_that_fails_is_an_error),        cmocka_unit_test(a_model_learns_the_same),
        cmocka_unit_test(the_choice_is_followed_or_an_error),
    };
    static const char *const cases[] = {"attention*", "grouped_queries", "borders_of_documents"};
    const mu_case_device_t device = {make, NULL, 1};
    mu_device_t *any;
    int version, failed = 0;
    if (mu_device_cuda_new(0, &any) != MU_OK)
        return 77; /* which has been said */
    stand_in = strstr(any->description, "Stand-in") != NULL;
    mu_status_t status = mu_cuda_open(&cuda);
    status = status == MU_OK ? cuda->cudnn_use(any, &version) : status;
    mu_device_close(any);
    if (status != MU_OK)
        return stand_in ? 1 : 77;
    printf("cuDNN %d.%d.%d\n", version / 10000, version / 100 % 100, version % 100);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cmocka_set_test_filter(cases[i]);
        failed += mu_kernel_cases(&device, 1);
    }
    cmocka_set_test_filter(NULL);
    mu_log_sink_set(keep_line, NULL);
    return failed + cmocka_run_group_tests_name("attention of cuDNN", tests, NULL, NULL);
}
