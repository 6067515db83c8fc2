/* Labelled examples: what a file may hold, how its texts become tokens, and what counts as right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/file.h"
#include "common/log.h"
#include "dataset/tokenizer/tokenizer_train.h"
#include "worker/infer/bench.h"
#include "worker/infer/likelihood.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char said[4096], path[64];

/* assert_float_equal() is of floats. */
static void assert_near(double found, double wanted, double most)
{
    assert_true(fabs(found - wanted) <= most);
}

static void keep(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    snprintf(said, sizeof said, "%s", line);
}

static mu_status_t read_text(const char *text, mu_labelled_t *out)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    said[0] = '\0';
    return mu_labelled_read(path, " ", out);
}

static void what_a_file_may_hold(void **state)
{
    mu_labelled_t l;
    (void)state;
    assert_int_equal(
        read_text("{\"prompt\": \"a\", \"choices\": [\"x\", \"yy\"], \"answer\": 1, \"id\": 7}\n"
                  "\n  \n"
                  "{\"answer\": \"\xc3\xa4\xc3\xb6\", \"prompt\": \"\", \"choices\": [\"x\", \"y\", "
                  "\"\xc3\xa4\xc3\xb6\"]}",
                  &l),
        MU_OK);
    assert_int_equal(l.count, 2);
    assert_int_equal(l.examples[0].answer, 1);
    assert_int_equal(l.examples[0].choices[1].characters, 2);
    assert_int_equal(l.examples[1].line, 4);
    assert_int_equal(l.examples[1].answer, 2);
    assert_int_equal(l.examples[1].choices[2].characters, 2); /* of Unicode, not bytes */
    mu_labelled_release(&l);
}

static void what_it_may_not(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "no example"},
        {"\n\n", "no example"},
        {"{\"prompt\": \"a\"", ":1:"},
        {"{\"prompt\": \"a\", \"choices\": [\"x\", \"y\"], \"answer\": 0}\n{\"choices\": []}",
         ":2: 'prompt'"},
        {"{\"prompt\": 1, \"choices\": [\"x\", \"y\"], \"answer\": 0}", ":1: 'prompt'"},
        {"{\"prompt\": \"a\", \"choices\": [\"x\"], \"answer\": 0}", "'choices'"},
        {"{\"prompt\": \"a\", \"choices\": [\"x\", \"\"], \"answer\": 0}", "'choices'"},
        {"{\"prompt\": \"a\", \"choices\": [\"x\", 1], \"answer\": 0}", "'choices'"},
        {"{\"prompt\": \"a\", \"choices\": [\"x\", \"y\"]}", "'answer'"},
        {"{\"prompt\": \"a\", \"choices\": [\"x\", \"y\"], \"answer\": 2}", "'answer'"},
        {"{\"prompt\": \"a\", \"choices\": [\"x\", \"y\"], \"answer\": -1}", "'answer'"},
        {"{\"prompt\": \"a\", \"choices\": [\"x\", \"y\"], \"answer\": \"z\"}", "'answer'"},
        {"{\"prompt\": \"a\", \"prompt\": \"a\", \"choices\": [\"x\", \"y\"], \"answer\": 0}", ":1:"},
    };
    mu_labelled_t l;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(read_text(cases[i].text, &l), MU_DATA);
        assert_non_null(strstr(said, path));
        assert_non_null(strstr(said, cases[i].says));
    }
    assert_int_equal(mu_labelled_read("/nowhere/at/all", " ", &l), MU_NOINPUT);
}

static mu_tokenizer_t *bytes_only(void)
{
    mu_tokenizer_t *tok;
    char file[80];
    FILE *out;
    snprintf(file, sizeof file, "%s.json", path);
    out = fopen(file, "w");
    assert_non_null(out);
    /* letters, the space (Ġ), and one merge that joins the space with x: "a x" is not the tokens of "a" and " x"
     * in letters */
    fputs(
        "{\"added_tokens\": [{\"id\": 0, \"content\": \"<|endoftext|>\", \"special\": true}], \"model\": "
        "{\"type\": "
        "\"BPE\", \"vocab\": {\"<|endoftext|>\": 0, \"a\": 1, \"b\": 2, \"x\": 3, \"y\": 4, \"\xc4\xa0\": 5, "
        "\"\xc4\xa0x\": 6}, \"merges\": [\"\xc4\xa0 x\"]}, \"pre_tokenizer\": {\"type\": \"ByteLevel\", "
        "\"add_prefix_space\": false}, \"decoder\": {\"type\": \"ByteLevel\"}}",
        out);
    fclose(out);
    assert_int_equal(mu_tokenizer_load(file, &tok), MU_OK);
    unlink(file);
    return tok;
}

static void assert_ids(const mu_ids_t *ids, const char *wanted)
{
    char text[128] = "";
    for (size_t i = 0; i < ids->len; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d", i ? " " : "", (int)ids->data[i]);
    assert_string_equal(text, wanted);
}

/* As lm-evaluation-harness cuts prompt and continuation. */
static void texts_become_tokens(void **state)
{
    mu_tokenizer_t *tok = bytes_only();
    mu_labelled_t l;
    (void)state;
    assert_int_equal(read_text("{\"prompt\": \"ab\", \"choices\": [\"x\", \"yx\"], \"answer\": 0}\n"
                               "{\"prompt\": \"ab \", \"choices\": [\"x\", \"y\"], \"answer\": 0}\n"
                               "{\"prompt\": \"\", \"choices\": [\"x\", \"y\"], \"answer\": 0}\n",
                               &l),
                     MU_OK);
    assert_int_equal(mu_labelled_encode(&l, tok, 16), MU_OK);
    assert_ids(&l.examples[0].context, "1 2");
    assert_ids(&l.examples[0].choices[0].ids, "6");
    assert_ids(&l.examples[0].choices[1].ids, "5 4 3");
    assert_ids(&l.examples[1].context, "1 2"); /* its space belongs to the continuation: "ab" and "  x" */
    assert_ids(&l.examples[1].choices[0].ids, "5 6");
    assert_ids(&l.examples[2].context, "0");
    assert_ids(&l.examples[2].choices[0].ids, "6");
    assert_int_equal(l.longest, 5);
    mu_labelled_release(&l);
    assert_int_equal(read_text("{\"prompt\": \"a\", \"choices\": [\"xxxxx\", \"y\"], \"answer\": 0}\n", &l),
                     MU_OK);
    assert_int_equal(mu_labelled_encode(&l, tok, 4), MU_DATA); /* longer than the model's positions */
    assert_non_null(strstr(said, ":1:"));
    mu_labelled_release(&l);
    mu_tokenizer_free(tok);
}

static void what_counts_as_right(void **state)
{
    static const double sum[] = {-4, -3, -6}, equal[] = {-2, -2, -2}, bad[] = {-1, (double)NAN, -2};
    static const int64_t characters[] = {2, 1, 6};
    (void)state;
    assert_int_equal(mu_likelihood_choice(sum, characters, 3, false), 1);
    assert_int_equal(mu_likelihood_choice(sum, characters, 3, true), 2); /* -2, -3, -1 */
    assert_int_equal(mu_likelihood_choice(equal, characters, 3, false), 0);
    assert_int_equal(mu_likelihood_choice(bad, characters, 3, false), -1);
}

static void log_probabilities(void **state)
{
    const float logits[] = {1, 2, 3, 1000}, flat[] = {5, 5, 5, 5};
    (void)state;
    assert_near(mu_log_probability(flat, 4, 2), -log(4), 1e-12);
    assert_near(mu_log_probability(logits, 4, 3), 0, 1e-12);
    assert_near(mu_log_probability(logits, 3, 0), 1 - log(exp(1) + exp(2) + exp(3)), 1e-6);
}

static void shares_of_times(void **state)
{
    double ms[20], one = 7;
    (void)state;
    for (int i = 0; i < 20; i++)
        ms[i] = 20 - i;
    mu_times_t times = {ms, 20}, single = {&one, 1}, none = {NULL, 0};
    assert_near(mu_times_share(&times, 0.5), 10, 0);
    assert_near(mu_times_share(&times, 0.95), 19, 0);
    assert_near(mu_times_share(&times, 1), 20, 0);
    assert_near(mu_times_share(&single, 0.5), 7, 0);
    assert_true(isnan(mu_times_share(&none, 0.5)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_file_may_hold), cmocka_unit_test(what_it_may_not),
        cmocka_unit_test(texts_become_tokens),  cmocka_unit_test(what_counts_as_right),
        cmocka_unit_test(log_probabilities),    cmocka_unit_test(shares_of_times),
    };
    snprintf(path, sizeof path, "/tmp/muster-labelled-%ld", (long)getpid());
    mu_log_sink_set(keep, NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
