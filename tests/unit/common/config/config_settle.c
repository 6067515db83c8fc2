/* What a run finds out makes another config: the one before it stays as it was. */
#include "tests/unit/common/config/config_test.h"

#define EPOCHS                                                                                               \
    SMALL_MODEL "optimizer: {type: Adam, params: {lr: 0.001}}\ntrain_micro_batch_size_per_gpu: 4\n"          \
                "data_path: data\ntrain_epochs: 3\nlr_decay_fraction: 0.5\nmuster: {end_tokens: \"7\"}\n"

static char *yaml_of(const mu_config_t *config)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_config_write_yaml(config, true, &text);
    return mu_buf_detach(&text);
}

static mu_config_t *load_epochs(void)
{
    mu_config_t *config = load_good(EPOCHS, NULL);
    assert_int_equal(mu_config_resolve(config, &(mu_world_t){.workers = 1}), MU_OK);
    return config;
}

static void facts_take_their_places(void **state)
{
    (void)state;
    const mu_config_t *config = load_epochs(), *before = config;
    char *was = yaml_of(config);
    mu_config_settle(
        &config,
        &(mu_config_facts_t){
            .vocab = 384,
            .padded_vocab_size = 512,
            .seq_length = 11,
            .train_iters = 90,
            .threads = 5,
            .course = {.style = MU_DECAY_LINEAR, .iters = 40, .lr = 0.25, .min_lr = 0.125, .warmup = 0.5},
            .never_evaluates = true,
            .end_tokens = "8, 9",
            .chat_template = "plain",
            .chat_prefix = {NULL, "Q: ", NULL}});
    assert_int_equal(config->model.vocab, 384);
    assert_int_equal(config->padded_vocab_size, 512);
    assert_int_equal(config->model.seq_length, 11);
    assert_int_equal(config->train_iters, 90);
    assert_int_equal(config->train_epochs, 0);
    assert_int_equal(config->muster.threads_per_worker, 5);
    assert_int_equal(config->eval_iters, 0);
    assert_string_equal(config->muster.end_tokens, "8, 9");
    assert_string_equal(config->muster.chat_template, "plain");
    assert_string_equal(config->muster.chat_prefix[1], "Q: ");
    assert_null(config->muster.chat_prefix[0]);
    mu_lr_course_t course = mu_config_lr_course(config);
    assert_int_equal(course.style, MU_DECAY_LINEAR);
    assert_int_equal(course.iters, 40);
    assert_true(course.lr == 0.25 && course.min_lr == 0.125 && course.warmup == 0.5);

    char *is = yaml_of(before); /* the one before: not a byte */
    assert_string_equal(is, was);
    free(is);
    free(was);

    char *settled = yaml_of(config); /* what a checkpoint keeps reads back to the same */
    mu_config_t *again = load_good(settled, NULL);
    assert_int_equal(again->train_iters, 90);
    assert_int_equal(again->train_epochs, 0);
    assert_int_equal(again->lr_decay_iters, 40);
    assert_string_equal(again->muster.end_tokens, "8, 9");
    mu_config_free(again);
    free(settled);
    mu_config_free(config);
}

static void no_fact_changes_nothing(void **state)
{
    (void)state;
    const mu_config_t *config = load_epochs();
    char *was = yaml_of(config);
    for (int i = 0; i < 3; i++)
        mu_config_settle(&config, &(mu_config_facts_t){0});
    char *is = yaml_of(config);
    assert_string_equal(is, was);
    assert_true(mu_config_given(config, "train_epochs"));
    assert_null(mu_config_missing(config));
    mu_config_notes(config);
    free(is);
    free(was);
    mu_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_take_their_places),
        cmocka_unit_test(no_fact_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
