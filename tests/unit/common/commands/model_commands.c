/* What `muster` reads of an eval or generate and hands on is what muster-worker reads. */
#include "common/commands/model_commands.h"
#include "common/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void keep_silent(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)line;
    (void)arg;
}

static void eval_reaches_the_worker(void **state)
{
    (void)state;
    char *argv[] = {
        "eval", "m1", "--gate", "loss<=2",     "--data=d",     "--workers", "2",           "--gate=tokens>1",
        "k=v",  "m2", "--best", "--hosts=a:2", "--seq-length", "32",        "--delimiter", ""};
    mu_eval_args_t ours = MU_EVAL_ARGS_INIT, its = MU_EVAL_ARGS_INIT;
    mu_args_t words = {0};
    bool help;
    mu_args_add(&words, "eval");
    assert_int_equal(
        mu_options_parse(&mu_eval_command, sizeof argv / sizeof *argv, argv, &ours, &words, &help), MU_OK);
    assert_int_equal(mu_eval_args_finish(&ours), MU_OK);
    assert_true(ours.on.models.count == 2 && ours.on.keys.count == 1 && ours.on.workers == 2);
    mu_args_add(&words, "m1");
    assert_int_equal(mu_options_parse_worker(&mu_eval_command, words.n, words.v, &its, &help), MU_OK);
    assert_int_equal(mu_eval_args_finish(&its), MU_OK);
    assert_true(its.best && its.seq_length == 32 && its.on.workers == 0 && !its.on.hosts);
    assert_int_equal(its.ngates, 2);
    assert_true(its.gates[0].metric == MU_GATE_LOSS && its.gates[1].metric == MU_GATE_TOKENS);
    assert_string_equal(its.delimiter, "");
    assert_string_equal(its.split, "valid");
    mu_options_release(&mu_eval_command, &its);
    mu_options_release(&mu_eval_command, &ours);
    mu_args_free(&words);
}

static void generate_reaches_the_worker(void **state)
{
    (void)state;
    char *argv[] = {"generate",  "m",          "--prompt", "-x --y", "--seed", "9223372036854775807",
                    "--top-k=3", "--workers=2"};
    mu_generate_t ours = MU_GENERATE_INIT, its = MU_GENERATE_INIT;
    mu_args_t words = {0};
    bool help;
    mu_args_add(&words, "generate");
    assert_int_equal(mu_options_parse(&mu_generate_command, 8, argv, &ours, &words, &help), MU_OK);
    mu_args_add(&words, "m");
    assert_int_equal(mu_options_parse_worker(&mu_generate_command, words.n, words.v, &its, &help), MU_OK);
    assert_string_equal(its.prompt, "-x --y");
    assert_true(its.seed == INT64_MAX && its.top_k == 3 && its.top_p < 0 && its.max_new_tokens == -1);
    mu_options_release(&mu_generate_command, &its);
    mu_options_release(&mu_generate_command, &ours);
    mu_args_free(&words);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    char *lines[][4] = {{"eval", "m", "--data=d", "--gate=acc>0"}, /* not measured */
                        {"eval", "m", "--data=d", "--gate=loss"},
                        {"eval", "m", "--json", "--best"}}; /* nothing to measure */
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        mu_eval_args_t args = MU_EVAL_ARGS_INIT;
        bool help;
        assert_int_equal(mu_options_parse(&mu_eval_command, 4, lines[i], &args, NULL, &help), MU_OK);
        assert_int_equal(mu_eval_args_finish(&args), MU_USAGE);
        mu_options_release(&mu_eval_command, &args);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eval_reaches_the_worker),
        cmocka_unit_test(generate_reaches_the_worker),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    mu_log_sink_set(keep_silent, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
