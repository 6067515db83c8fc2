#include "launcher/serve/asked.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool wrong(mu_why_t *why, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool wrong(mu_why_t *why, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why->text, sizeof why->text, format, args);
    va_end(args);
    why->status = status;
    return false;
}

/* ---- values; an absent one and null leave what is there ---- */

static const json_t *member(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

static bool number(const json_t *from, const char *name, double least, double most, double *out,
                   mu_why_t *why)
{
    const json_t *value = member(from, name);
    if (!value)
        return true;
    double x = json_is_number(value) ? json_number_value(value) : NAN;
    if (!(x >= least && x <= most))
        return wrong(why, 422, "%s: wanted a number from %g to %g", name, least, most);
    *out = x;
    return true;
}

static bool integer(const json_t *from, const char *name, int64_t least, int64_t most, int64_t *out,
                    mu_why_t *why)
{
    const json_t *value = member(from, name);
    if (!value)
        return true;
    if (!json_is_integer(value) || json_integer_value(value) < least || json_integer_value(value) > most)
        return wrong(why, 422, "%s: wanted a whole number from %lld to %lld", name, (long long)least,
                     (long long)most);
    *out = json_integer_value(value);
    return true;
}

static bool boolean(const json_t *from, const char *name, bool *out, mu_why_t *why)
{
    const json_t *value = member(from, name);
    if (value && !json_is_boolean(value))
        return wrong(why, 422, "%s: wanted true or false", name);
    if (value)
        *out = json_is_true(value);
    return true;
}

static bool text(const json_t *from, const char *name, const char **out, mu_why_t *why)
{
    const json_t *value = member(from, name);
    if (value && !json_is_string(value))
        return wrong(why, 422, "%s: wanted a string", name);
    if (value)
        *out = json_string_value(value);
    return true;
}

/* What is there, but not done: an answer that leaves it out would be another one than was asked for. */
static bool absent(const json_t *from, const char *const *names, mu_why_t *why)
{
    for (int i = 0; names[i]; i++) {
        const json_t *value = member(from, names[i]);
        bool neutral = !value || json_is_false(value) ||
                       (json_is_number(value) && json_number_value(value) == 0) ||
                       (json_is_object(value) && json_object_size(value) == 0) ||
                       (json_is_array(value) && json_array_size(value) == 0);
        if (!neutral)
            return wrong(why, 422, "%s: this server does not do that", names[i]);
    }
    return true;
}

static bool add_stop(mu_asked_t *a, const json_t *value, mu_why_t *why)
{
    size_t n = json_is_string(value) ? json_string_length(value) : 0;
    if (n == 0 || n > MU_ASKED_STOP_BYTES || strlen(json_string_value(value)) != n ||
        a->stops == MU_ASKED_STOPS)
        return wrong(why, 422, "stop: wanted up to %d strings of 1 to %d bytes", MU_ASKED_STOPS,
                     MU_ASKED_STOP_BYTES);
    a->stop[a->stops++] = mu_strdup(json_string_value(value));
    return true;
}

static bool stops(mu_asked_t *a, const json_t *from, mu_why_t *why)
{
    const json_t *value = member(from, "stop");
    if (!value)
        return true;
    if (!json_is_array(value))
        return add_stop(a, value, why);
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!add_stop(a, json_array_get(value, i), why))
            return false;
    return true;
}

static bool add_prompt(mu_asked_t *a, const json_t *value, mu_why_t *why)
{
    if (a->prompts == MU_ASKED_PROMPTS)
        return wrong(why, 422, "more than %d prompts in one request", MU_ASKED_PROMPTS);
    a->prompt[a->prompts++] = value;
    return true;
}

static bool is_ids(const json_t *value)
{
    if (!json_is_array(value) || json_array_size(value) == 0)
        return false;
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!json_is_integer(json_array_get(value, i)))
            return false;
    return true;
}

/* A string, a list of strings, token ids, or a list of those. */
static bool prompts(mu_asked_t *a, const json_t *value, const char *name, mu_why_t *why)
{
    if (json_is_string(value) || is_ids(value))
        return add_prompt(a, value, why);
    if (!json_is_array(value) || json_array_size(value) == 0)
        return wrong(why, 422, "%s: wanted a string or a list of strings", name);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *one = json_array_get(value, i);
        if (!json_is_string(one) && !is_ids(one))
            return wrong(why, 422, "%s[%zu]: wanted a string", name, i);
        if (!add_prompt(a, one, why))
            return false;
    }
    return true;
}

/* ---- the protocols ---- */

static bool sampling(mu_asked_t *a, const json_t *from, const mu_asked_limits_t *limits, mu_why_t *why)
{
    return integer(from, "max_tokens", 0, limits->max_new, &a->max_new, why) &&
           number(from, "temperature", 0, 100, &a->temperature, why) &&
           number(from, "top_p", 0, 1, &a->top_p, why) &&
           integer(from, "top_k", 0, INT32_MAX, &a->top_k, why) &&
           integer(from, "seed", 0, INT64_MAX, &a->seed, why) && stops(a, from, why);
}

static bool stream_options(mu_asked_t *a, const json_t *from, mu_why_t *why)
{
    const json_t *options = member(from, "stream_options");
    if (options && !json_is_object(options))
        return wrong(why, 422, "stream_options: wanted an object");
    return boolean(from, "stream", &a->stream, why) && boolean(options, "include_usage", &a->usage, why);
}

static bool openai(mu_asked_t *a, const mu_asked_limits_t *limits, mu_why_t *why)
{
    static const char *const undone[] = {"suffix", "logit_bias", "frequency_penalty", "presence_penalty",
                                         NULL};
    int64_t n = 1, best = 1, top = -1;
    const json_t *prompt = member(a->body, "prompt");
    a->temperature = 1;
    if (!prompt)
        return wrong(why, 422, "prompt: there is none");
    if (!prompts(a, prompt, "prompt", why) || !sampling(a, a->body, limits, why) ||
        !absent(a->body, undone, why) || !text(a->body, "model", &a->model, why) ||
        !integer(a->body, "n", 1, MU_ASKED_CHOICES, &n, why) ||
        !integer(a->body, "best_of", 1, MU_ASKED_CHOICES, &best, why) ||
        !integer(a->body, "logprobs", 0, 5, &top, why) || !boolean(a->body, "echo", &a->echo, why) ||
        !stream_options(a, a->body, why))
        return false;
    if (best != 1 && best != n)
        return wrong(why, 422, "best_of: this server draws n texts and returns n");
    a->n = (int)n;
    a->top = (int)top;
    return true;
}

static bool chat(mu_asked_t *a, const mu_asked_limits_t *limits, mu_why_t *why)
{
    static const char *const undone[] = {
        "tools", "functions", "logit_bias", "frequency_penalty", "response_format", "presence_penalty", NULL};
    int64_t n = 1, top = 0;
    bool logprobs = false;
    a->temperature = 1;
    a->messages = member(a->body, "messages");
    if (!json_is_array(a->messages) || json_array_size(a->messages) == 0)
        return wrong(why, 422, "messages: wanted a list of {\"role\", \"content\"}");
    if (!sampling(a, a->body, limits, why) || !absent(a->body, undone, why) ||
        !integer(a->body, "max_completion_tokens", 0, limits->max_new, &a->max_new, why) ||
        !text(a->body, "model", &a->model, why) || !integer(a->body, "n", 1, MU_ASKED_CHOICES, &n, why) ||
        !boolean(a->body, "logprobs", &logprobs, why) ||
        !integer(a->body, "top_logprobs", 0, 20, &top, why) || !stream_options(a, a->body, why))
        return false;
    a->n = (int)n;
    a->top = logprobs ? (int)top : -1;
    a->prompts = 1;
    return true;
}

/* {"data": {"ndarray": ["text"]}}; one string and rows of one string are taken as well. Its answer has up to 100
 * tokens at temperature 0.7, as the set-up that made these paths known; a "parameters" object changes that. */
static bool seldon(mu_asked_t *a, const mu_asked_limits_t *limits, mu_why_t *why)
{
    const json_t *data = member(a->body, "data"), *rows = member(data, "ndarray");
    const json_t *parameters = member(a->body, "parameters");
    a->temperature = 0.7;
    a->max_new = limits->max_new < 100 ? limits->max_new : 100;
    if (!rows && json_is_string(member(a->body, "strData")))
        rows = member(a->body, "strData");
    if (!rows)
        return wrong(why, 422, "data.ndarray: wanted a list of strings");
    if (parameters && !json_is_object(parameters))
        return wrong(why, 422, "parameters: wanted an object");
    if (!json_is_array(rows))
        return prompts(a, rows, "data.ndarray", why) && sampling(a, parameters, limits, why);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        if (json_is_array(row) && json_array_size(row) == 1)
            row = json_array_get(row, 0);
        if (!json_is_string(row))
            return wrong(why, 422, "data.ndarray[%zu]: wanted a string", i);
        if (!add_prompt(a, row, why))
            return false;
    }
    if (a->prompts == 0)
        return wrong(why, 422, "data.ndarray: it is empty");
    return sampling(a, parameters, limits, why);
}

static bool v2(mu_asked_t *a, const mu_asked_limits_t *limits, mu_why_t *why)
{
    const json_t *input = member(a->body, "text_input"), *parameters = member(a->body, "parameters");
    a->temperature = 0;
    if (!json_is_string(input))
        return wrong(why, 422, "text_input: wanted a string");
    if (parameters && !json_is_object(parameters))
        return wrong(why, 422, "parameters: wanted an object");
    a->stream = a->protocol == MU_PROTOCOL_V2_STREAM;
    return add_prompt(a, input, why) && sampling(a, parameters, limits, why);
}

/* {"inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [N], "data": ["text", ...]}], "parameters": {...}};
 * the binary form of an extension is not taken. */
static bool v2_infer(mu_asked_t *a, const mu_asked_limits_t *limits, mu_why_t *why)
{
    const json_t *inputs = member(a->body, "inputs"), *input = json_array_get(inputs, 0);
    const json_t *data = member(input, "data"), *type = member(input, "datatype");
    const json_t *parameters = member(a->body, "parameters");
    if (json_array_size(inputs) != 1 || !json_is_string(type) ||
        strcmp(json_string_value(type), "BYTES") != 0)
        return wrong(why, 422, "inputs: wanted one of datatype BYTES");
    if (!json_is_array(data) || json_array_size(data) == 0)
        return wrong(why, 422, "inputs[0].data: wanted a list of strings (binary data is not taken)");
    if (parameters && !json_is_object(parameters))
        return wrong(why, 422, "parameters: wanted an object");
    for (size_t i = 0; i < json_array_size(data); i++) {
        if (!json_is_string(json_array_get(data, i)))
            return wrong(why, 422, "inputs[0].data[%zu]: wanted a string", i);
        if (!add_prompt(a, json_array_get(data, i), why))
            return false;
    }
    return sampling(a, parameters, limits, why);
}

bool mu_asked_read(mu_protocol_t protocol, const char *body, size_t n, const mu_asked_limits_t *limits,
                   mu_asked_t *out, mu_why_t *why)
{
    json_error_t error;
    mu_asked_t a = {.protocol = protocol, .max_new = -1, .seed = -1, .n = 1, .top = -1};
    bool good = false;
    a.body = mu_json_parse_nul(body, n, MU_ASKED_VALUES, &error);
    if (!a.body)
        return wrong(why, 400, "line %d, column %d: %s", error.line, error.column, error.text);
    if (!json_is_object(a.body)) {
        json_decref(a.body);
        return wrong(why, 422, "wanted a JSON object");
    }
    switch (protocol) {
    case MU_PROTOCOL_OPENAI:
        good = openai(&a, limits, why);
        break;
    case MU_PROTOCOL_CHAT:
        good = chat(&a, limits, why);
        break;
    case MU_PROTOCOL_SELDON:
        good = seldon(&a, limits, why);
        break;
    case MU_PROTOCOL_V2:
    case MU_PROTOCOL_V2_STREAM:
        good = v2(&a, limits, why);
        break;
    case MU_PROTOCOL_V2_INFER:
        good = v2_infer(&a, limits, why);
        break;
    }
    if (good && a.prompts * a.n > MU_ASKED_CHOICES)
        good = wrong(why, 422, "prompts times n: at most %d", MU_ASKED_CHOICES);
    if (good)
        *out = a;
    else
        mu_asked_release(&a);
    return good;
}

void mu_asked_release(mu_asked_t *a)
{
    for (int i = 0; i < a->stops; i++)
        free(a->stop[i]);
    json_decref(a->body);
    memset(a, 0, sizeof *a);
}
