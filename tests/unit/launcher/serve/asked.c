/* Requests of all protocols: what they say, and what is wrong with them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "launcher/serve/asked.h"
#include "launcher/serve/feedback.h"

#include <math.h>
#include <string.h>

static const mu_asked_limits_t limits = {.max_new = 1000};

static void good_requests(void **state)
{
    (void)state;
    mu_asked_t a;
    mu_why_t why = {0};
    const char *text =
        "{\"model\":\"m\",\"prompt\":[\"a\",\"b\"],\"max_tokens\":7,\"temperature\":0.5,\"top_p\":0.9,"
        "\"seed\":3,\"n\":2,\"logprobs\":4,\"echo\":true,\"stream\":true,\"stop\":[\"x\",\"yz\"],"
        "\"stream_options\":{\"include_usage\":true},\"suffix\":null,\"user\":\"u\",\"logit_bias\":{}}";
    assert_true(mu_asked_read(MU_PROTOCOL_OPENAI, text, strlen(text), &limits, &a, &why));
    assert_true(a.prompts == 2 && a.n == 2 && a.max_new == 7 && a.seed == 3 && a.top == 4 && a.echo &&
                a.stream);
    assert_true(a.usage && a.stops == 2 && strcmp(a.stop[1], "yz") == 0 && strcmp(a.model, "m") == 0);
    mu_asked_release(&a);

    static const struct {
        mu_protocol_t protocol;
        const char *text;
        int prompts;
        int64_t most;
        double temperature;
    } row[] = {
        {MU_PROTOCOL_OPENAI, "{\"prompt\":\"a\"}", 1, -1, 1},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":[1,2]}", 1, -1, 1},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":[[1,2],[3]],\"max_tokens\":null}", 2, -1, 1},
        {MU_PROTOCOL_CHAT,
         "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"max_completion_tokens\":9}", 1, 9, 1},
        {MU_PROTOCOL_SELDON, "{\"data\":{\"ndarray\":[\"a\",\"b\"]}}", 2, 100, 0.7},
        {MU_PROTOCOL_SELDON, "{\"data\":{\"names\":[],\"ndarray\":[[\"a\"],[\"b\"]]},\"meta\":{}}", 2, 100,
         0.7},
        {MU_PROTOCOL_SELDON, "{\"strData\":\"a\",\"parameters\":{\"max_tokens\":3}}", 1, 3, 0.7},
        {MU_PROTOCOL_V2, "{\"text_input\":\"a\",\"parameters\":{\"max_tokens\":5,\"temperature\":0.25}}", 1,
         5, 0.25},
        {MU_PROTOCOL_V2_INFER,
         "{\"inputs\":[{\"name\":\"text_input\",\"datatype\":\"BYTES\",\"shape\":[2],\"data\":[\"a\",\"b\"]}]"
         "}",
         2, -1, 0},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        if (!mu_asked_read(row[i].protocol, row[i].text, strlen(row[i].text), &limits, &a, &why))
            fail_msg("%s: %s", row[i].text, why.text);
        assert_int_equal(a.prompts, row[i].prompts);
        assert_int_equal(a.max_new, row[i].most);
        assert_true(fabs(a.temperature - row[i].temperature) < 1e-9);
        mu_asked_release(&a);
    }
}

/* The status and the member are named. */
static void bad_requests(void **state)
{
    (void)state;
    static const struct {
        mu_protocol_t protocol;
        const char *text;
        int status;
        const char *word;
    } row[] = {
        {MU_PROTOCOL_OPENAI, "", 400, "line 1"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":\"a\"", 400, "line 1"},
        {MU_PROTOCOL_OPENAI, "[1]", 422, "object"},
        {MU_PROTOCOL_OPENAI, "{}", 422, "prompt"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":3}", 422, "prompt"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":[]}", 422, "prompt"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":[\"a\",3]}", 422, "prompt[1]"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":\"a\",\"prompt\":\"b\"}", 400, "duplicate"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":\"a\",\"max_tokens\":1001}", 422, "max_tokens"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":\"a\",\"max_tokens\":1.5}", 422, "max_tokens"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":\"a\",\"max_tokens\":-1}", 422, "max_tokens"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":\"a\",\"temperature\":\"hot\"}", 422, "temperature"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":\"a\",\"top_p\":2}", 422, "top_p"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":\"a\",\"n\":0}", 422, "n:"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":\"a\",\"n\":129}", 422, "n:"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":[\"a\",\"b\"],\"n\":128}", 422, "prompts times n"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":\"a\",\"logprobs\":6}", 422, "logprobs"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":\"a\",\"stop\":\"\"}", 422, "stop"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":\"a\",\"stop\":[1]}", 422, "stop"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":\"a\",\"echo\":1}", 422, "echo"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":\"a\",\"suffix\":\"b\"}", 422, "suffix"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":\"a\",\"frequency_penalty\":0.5}", 422, "frequency_penalty"},
        {MU_PROTOCOL_OPENAI, "{\"prompt\":\"a\",\"best_of\":3}", 422, "best_of"},
        {MU_PROTOCOL_CHAT, "{\"messages\":[]}", 422, "messages"},
        {MU_PROTOCOL_CHAT, "{\"messages\":[{}],\"tools\":[{}]}", 422, "tools"},
        {MU_PROTOCOL_SELDON, "{\"data\":{\"ndarray\":[1]}}", 422, "ndarray[0]"},
        {MU_PROTOCOL_SELDON, "{\"data\":{\"ndarray\":[]}}", 422, "ndarray"},
        {MU_PROTOCOL_SELDON, "{\"data\":{}}", 422, "ndarray"},
        {MU_PROTOCOL_SELDON, "{\"data\":{\"ndarray\":[\"a\"]},\"parameters\":1}", 422, "parameters"},
        {MU_PROTOCOL_V2, "{\"inputs\":[]}", 422, "text_input"},
        {MU_PROTOCOL_V2_INFER, "{\"inputs\":[]}", 422, "BYTES"},
        {MU_PROTOCOL_V2_INFER, "{\"inputs\":[{\"datatype\":\"FP32\",\"data\":[1]}]}", 422, "BYTES"},
        {MU_PROTOCOL_V2_INFER, "{\"inputs\":[{\"datatype\":\"BYTES\"}]}", 422, "binary"},
        {MU_PROTOCOL_V2_INFER, "{\"inputs\":[{\"datatype\":\"BYTES\",\"data\":[1]}]}", 422, "data[0]"},
        {MU_PROTOCOL_V2, "{\"text_input\":\"a\",\"parameters\":[]}", 422, "parameters"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_asked_t a;
        mu_why_t why = {0};
        assert_false(mu_asked_read(row[i].protocol, row[i].text, strlen(row[i].text), &limits, &a, &why));
        if (why.status != row[i].status || !strstr(why.text, row[i].word))
            fail_msg("%s: %d %s", row[i].text, why.status, why.text);
    }
    mu_buf_t stops = MU_BUF_INIT;
    mu_buf_adds(&stops, "{\"prompt\":\"a\",\"stop\":[\"0\"");
    for (int i = 0; i < MU_ASKED_STOPS; i++)
        mu_buf_adds(&stops, ",\"1\"");
    mu_buf_adds(&stops, "]}");
    mu_asked_t a;
    mu_why_t why = {0};
    assert_false(mu_asked_read(MU_PROTOCOL_OPENAI, stops.data, stops.len, &limits, &a, &why));
    assert_int_equal(why.status, 422);
    mu_buf_release(&stops);
}

static void feedback_becomes_a_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want; /* want NULL: refused */
    } row[] = {
        {"{\"reward\":1,\"response\":{\"meta\":{\"puid\":\"p\",\"tags\":{\"version\":\"v\"}}}}",
         "\"id\":\"p\",\"version\":\"v\",\"reward\":1,\"truth\":null"},
        {"{\"reward\":0.5,\"response\":{\"id\":\"cmpl-1\"}}",
         "\"id\":\"cmpl-1\",\"version\":\"now\",\"reward\":0.5"},
        {"{\"truth\":{\"data\":1},\"request\":[\"a\\nb\"]}",
         "\"reward\":null,\"truth\":{\"data\":1},\"request\":[\"a\\nb\"]"},
        {"{}", NULL},
        {"{\"reward\":\"1\"}", NULL},
        {"{\"reward\":null}", NULL},
        {"{\"reward\":", NULL},
        {"[]", NULL},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_buf_t line = MU_BUF_INIT;
        mu_why_t why = {0};
        double reward;
        bool good = mu_feedback_read(row[i].text, strlen(row[i].text), "now", &line, &reward, &why);
        assert_int_equal(good, row[i].want != NULL);
        if (good && (!strstr(line.data, row[i].want) || strchr(line.data, '\n') != line.data + line.len - 1))
            fail_msg("%s: %s", row[i].text, line.data);
        if (!good)
            assert_true(why.status == 422 || why.status == 400);
        mu_buf_release(&line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_requests),
        cmocka_unit_test(bad_requests),
        cmocka_unit_test(feedback_becomes_a_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
