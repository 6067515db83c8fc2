/* Batch and layout, the padded vocabulary, and the learning rate: tables of numbers. */
#include "tests/unit/common/config/config_test.h"
#include <math.h>

/* T, m, g as written (0: not), tp, workers -> T, m, g, dp; T 0: refused, with `said`. */
static void batches_add_up(void **state)
{
    (void)state;
    static const struct {
        int64_t T, m, g, tp;
        int workers;
        int64_t want_T, want_m, want_g;
        int dp;
        const char *said;
    } row[] = {
        {0, 4, 0, 1, 1, 4, 4, 1, 1, ""},
        {0, 4, 0, 1, 8, 32, 4, 1, 8, ""},
        {0, 4, 3, 1, 8, 96, 4, 3, 8, ""},
        {0, 4, 3, 2, 8, 48, 4, 3, 4, ""},
        {0, 4, 0, 3, 8, 8, 4, 1, 2, "2 of 8 workers stay idle"},
        {64, 4, 0, 1, 1, 64, 4, 16, 1, "gradient_accumulation_steps 16 inferred: 64 = 4 x 16 x 1"},
        {64, 4, 0, 1, 4, 64, 4, 4, 4, "gradient_accumulation_steps 4 inferred"},
        {64, 4, 0, 1, 16, 64, 4, 1, 16, ""},
        {64, 4, 0, 1, 17, 64, 4, 1, 16, "1 of 17 workers stay idle"},
        {64, 4, 0, 1, 7, 64, 4, 4, 4, "3 of 7 workers stay idle"},
        {64, 4, 0, 2, 7, 64, 4, 8, 2, "3 of 7 workers stay idle"},
        {64, 0, 0, 1, 8, 64, 8, 1, 8, ""},
        {64, 0, 0, 1, 6, 64, 16, 1, 4, "2 of 6 workers stay idle"},
        {64, 0, 4, 1, 8, 64, 2, 4, 8, ""},
        {64, 0, 4, 1, 5, 64, 4, 4, 4, "1 of 5 workers stay idle"},
        {64, 4, 4, 1, 4, 64, 4, 4, 4, ""},
        {64, 4, 4, 1, 9, 64, 4, 4, 4, "5 of 9 workers stay idle"},
        {64, 4, 4, 1, 3, 0, 0, 0, 0, "needs 4 replicas of 1 workers, there are 3 workers"},
        {64, 4, 4, 2, 7, 0, 0, 0, 0, "needs 4 replicas of 2 workers, there are 7 workers"},
        {64, 3, 0, 1, 4, 0, 0, 0, 0, "the batch does not add up for any number of replicas"},
        {1, 1, 0, 1, 1000, 1, 1, 1, 1, "999 of 1000 workers stay idle"},
        {0, 4, 0, 6, 4, 0, 0, 0, 0,
         "exceeds the 4 workers: start more (--workers, slots of hosts) or lower it; what fits: "
         "tp 1 x dp 4, tp 2 x dp 2, tp 3 x dp 1"},
        /* no known world: what depends on it stays open */
        {64, 4, 0, 1, 0, 64, 4, 0, 0, ""},
        {0, 4, 2, 1, 0, 0, 4, 2, 0, NULL},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_buf_t text = MU_BUF_INIT;
        mu_buf_addf(&text, "%smodel_parallel_size: %d\n", SMALL_RUN, (int)row[i].tp);
        if (row[i].T)
            mu_buf_addf(&text, "train_batch_size: %d\n", (int)row[i].T);
        if (row[i].m)
            mu_buf_addf(&text, "train_micro_batch_size_per_gpu: %d\n", (int)row[i].m);
        if (row[i].g)
            mu_buf_addf(&text, "gradient_accumulation_steps: %d\n", (int)row[i].g);
        mu_config_t *c = load_good(text.data, NULL);
        mu_world_t world = {.workers = row[i].workers, .device_has_fp16 = true};
        for (int again = 0; again < 2; again++) { /* a second time changes nothing */
            hear();
            mu_status_t status = mu_config_resolve(c, &world);
            bool refused = row[i].want_m == 0;
            if (status != (refused ? MU_CONFIG : MU_OK))
                fail_msg("row %zu: %s: %s", i, mu_status_name(status), said.data ? said.data : "");
            if (refused) {
                assert_said(row[i].said);
                continue;
            }
            assert_int_equal(c->train_batch_size, row[i].want_T);
            assert_int_equal(c->micro_batch, row[i].want_m);
            assert_int_equal(c->accumulation, row[i].want_g);
            assert_int_equal(c->dp, row[i].dp);
            assert_int_equal(c->tp, row[i].tp);
            assert_int_equal(c->workers, row[i].dp * row[i].tp);
            if (row[i].said && !strstr(mu_config_notes(c), row[i].said))
                fail_msg("row %zu: wanted \"%s\" in:\n%s", i, row[i].said, mu_config_notes(c));
        }
        mu_config_free(c);
        mu_buf_release(&text);
    }
}

static void tensor_parallelism_stays_in_a_host(void **state)
{
    (void)state;
    mu_config_t *c = load_good(SMALL "pipe_parallel_size: 3\nmodel_parallel_size: 2\n", NULL);
    mu_world_t world = {.workers = 12, .slots_per_host = 4};
    hear();
    assert_int_equal(mu_config_resolve(c, &world), MU_CONFIG);
    assert_said("a.yml:11:1: tensor parallelism 6 (model_parallel_size 2, pipe_parallel_size 3) exceeds the "
                "4 slots of "
                "a host; what fits: tp 1 x dp 12, tp 2 x dp 6, tp 3 x dp 4");
    world.slots_per_host = 6;
    assert_int_equal(mu_config_resolve(c, &world), MU_OK);
    assert_int_equal(c->tp, 6);
    assert_int_equal(c->dp, 2);
    c->model.vocab = 4094; /* known only later */
    assert_int_equal(mu_config_resolve(c, &world), MU_CONFIG);
    assert_said("does not divide the padded vocabulary 4094; what fits: tp 1 x dp 12, tp 2 x dp 6");
    mu_config_free(c);
}

static void fp16_becomes_bf16_where_there_is_none(void **state)
{
    (void)state;
    mu_config_t *c = load_good(SMALL "precision: fp16\n", NULL);
    assert_int_equal(mu_config_resolve(c, &(mu_world_t){.workers = 1, .device_has_fp16 = true}), MU_OK);
    assert_int_equal(c->precision, MU_FP16);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(mu_config_resolve(c, &(mu_world_t){.workers = 1}), MU_OK);
        assert_int_equal(c->precision, MU_BF16);
        assert_non_null(strstr(mu_config_notes(c), "fp16 runs as bf16"));
    }
    mu_config_free(c);
}

static void vocabularies_are_padded_as_gpt_neox_pads(void **state)
{
    (void)state;
    static const struct {
        const char *overrides;
        int64_t vocab, want; /* want 0: refused */
    } row[] = {
        {"", 50277, 50304},
        {"", 50257, 50304},
        {"", 50304, 50304},
        {"", 1, 128},
        {"muster.vocab_parallel_size=2", 50277, 50432},
        {"muster.vocab_parallel_size=4", 50277, 50688},
        {"muster.vocab_parallel_size=8", 50277, 51200},
        {"model_parallel_size=8", 50277, 50304},
        {"pipe_parallel_size=8", 50277, 50304},
        {"make_vocab_size_divisible_by=1", 50277, 50277},
        {"padded_vocab_size=50277", 50277, 50277},
        {"padded_vocab_size=50276", 50277, 0},
        {"", 0, 0},
        {"", -5, 0},
        {"", INT64_MAX, 0},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_config_t *c = load_good(SMALL, row[i].overrides);
        int64_t rows = 0;
        hear();
        assert_int_equal(mu_config_padded_vocab(c, row[i].vocab, &rows), row[i].want ? MU_OK : MU_CONFIG);
        assert_int_equal(rows, row[i].want);
        mu_config_free(c);
    }
    mu_config_t *c = load_good(SMALL "model_parallel_size: 2\n", "model_parallel_size=1");
    int64_t rows;
    assert_int_equal(mu_config_padded_vocab(c, 50277, &rows), MU_OK);
    assert_int_equal(rows, 50432); /* as the file writes it, whatever the command line does to the layout */
    mu_config_free(c);
}

static void learning_rates_are_those_of_gpt_neox(void **state)
{
    (void)state;
    static const struct {
        const char *style;
        int64_t done;
        double lr;
    } row[] = {
        {"cosine", 0, 6e-5},
        {"cosine", 1, 6e-5},
        {"cosine", 2, 1.2e-4},
        {"cosine", 5, 3e-4},
        {"cosine", 10, 6e-4},
        {"cosine", 11, 5.999986406e-4},
        {"cosine", 100, 5.890631029e-4},
        {"cosine", 500, 3.342838102e-4},
        {"cosine", 999, 6.000135945e-5},
        {"cosine", 1000, 6e-5},
        {"cosine", 1001, 6e-5}, /* gpt-neox's rises again from here */
        {"cosine", 1500, 6e-5},
        {"linear", 0, 6e-5},
        {"linear", 1, 6e-5},
        {"linear", 2, 1.2e-4},
        {"linear", 5, 3e-4},
        {"linear", 10, 6e-4},
        {"linear", 11, 5.993939394e-4},
        {"linear", 100, 5.454545455e-4},
        {"linear", 500, 3.030303030e-4},
        {"linear", 999, 6e-5},
        {"linear", 1000, 6e-5},
        {"linear", 1001, 6e-5},
        {"linear", 1500, 6e-5},
        {"exponential", 0, 6e-5},
        {"exponential", 1, 6e-5},
        {"exponential", 2, 1.2e-4},
        {"exponential", 5, 3e-4},
        {"exponential", 10, 6e-4},
        {"exponential", 11, 5.995801470e-4},
        {"exponential", 100, 5.633660842e-4},
        {"exponential", 500, 4.257829269e-4},
        {"exponential", 999, 3.002542619e-4},
        {"exponential", 1000, 3.000441574e-4},
        {"exponential", 1500, 2.114375441e-4},
        {"constant", 5, 3e-4},
        {"constant", 11, 6e-4},
        {"constant", 5000, 6e-4},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *text =
            mu_format("optimizer: {params: {lr: 6.0e-4}}\nmin_lr: 6.0e-5\nwarmup: 0.01\nlr_decay_style: %s\n"
                      "lr_decay_iters: 1000\ntrain_iters: 77\n",
                      row[i].style);
        mu_config_t *c = load_good(text, NULL);
        double lr = mu_config_lr(c, row[i].done);
        if (!(fabs(lr - row[i].lr) <= 1e-9 * row[i].lr))
            fail_msg("%s after %d: %.12g instead of %.12g", row[i].style, (int)row[i].done, lr, row[i].lr);
        mu_config_free(c);
        free(text);
    }
}

static void the_decay_is_as_long_as_the_keys_say(void **state)
{
    (void)state;
    static const struct {
        const char *keys;
        int64_t done;
        double lr;
    } row[] = {
        {"train_iters: 200\nwarmup: 0.0\n", 0, 1.0},
        {"train_iters: 200\nwarmup: 0.0\n", 100, 0.5},
        {"train_iters: 200\nwarmup: 0.0\nlr_decay_fraction: 0.5\n", 50, 0.5},
        {"train_iters: 201\nwarmup: 0.0\nlr_decay_fraction: 0.5\n", 50, 0.5}, /* floor(100.5) */
        {"train_iters: 200\nwarmup: 0.0\nlr_decay_iters: 400\n", 100, 0.75},
        {"train_iters: 250\n", 0, 0.4}, /* 2.5 steps of warm-up, not rounded */
        {"train_iters: 250\n", 2, 0.8},
        {"train_iters: 10\nwarmup: 1.0\n", 10, 1.0},
        {"train_iters: 10\nwarmup: 1.0\n", 11, 0.0},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *text = mu_format("optimizer: {params: {lr: 1.0}}\n%s", row[i].keys);
        mu_config_t *c = load_good(text, NULL);
        double lr = mu_config_lr(c, row[i].done);
        if (!(fabs(lr - row[i].lr) <= 1e-12))
            fail_msg("%s after %d: %.12g instead of %.12g", row[i].keys, (int)row[i].done, lr, row[i].lr);
        mu_config_free(c);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_add_up),
        cmocka_unit_test(tensor_parallelism_stays_in_a_host),
        cmocka_unit_test(fp16_becomes_bf16_where_there_is_none),
        cmocka_unit_test(vocabularies_are_padded_as_gpt_neox_pads),
        cmocka_unit_test(learning_rates_are_those_of_gpt_neox),
        cmocka_unit_test(the_decay_is_as_long_as_the_keys_say),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
