/* Answers as the protocols have them: OpenAI's completions and chats, Seldon's, the Open Inference Protocol's. */
#include "launcher/serve/serve_impl.h"
#include "dataset/tokenizer/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void mu_answer_json(json_t *value, mu_buf_t *out)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(9));
    if (text)
        mu_buf_adds(out, text);
    free(text);
    json_decref(value);
}

/* A string of any bytes: what is not UTF-8 becomes U+FFFD. */
static json_t *string_of(const char *bytes, size_t n)
{
    if (mu_utf8_valid(bytes, n) == n)
        return json_stringn(bytes, n);
    mu_buf_t repaired = MU_BUF_INIT;
    mu_utf8_repair(bytes, n, &repaired);
    json_t *string = json_stringn(repaired.data, repaired.len);
    mu_buf_release(&repaired);
    return string;
}

static json_t *part_of(const mu_buf_t *text, size_t from, size_t to)
{
    return string_of(text->data ? text->data + from : "", to - from);
}

void mu_answer_error(mu_protocol_t protocol, int status, const char *text, mu_buf_t *out)
{
    static const char *const types[] = {"invalid_request_error", "server_error"};
    const char *type = status == 401   ? "authentication_error"
                       : status == 429 ? "rate_limit_error"
                                       : types[status >= 500];
    if (protocol >= MU_PROTOCOL_V2)
        mu_answer_json(json_pack("{s:s}", "error", text), out);
    else if (protocol == MU_PROTOCOL_SELDON)
        mu_answer_json(json_pack("{s:{s:i,s:s,s:i,s:s}}", "status", "code", status, "info", text, "status", 1,
                                 "reason", type),
                       out);
    else
        mu_answer_json(json_pack("{s:{s:s,s:s,s:n,s:i}}", "error", "message", text, "type", type, "param",
                                 "code", status),
                       out);
    mu_buf_addc(out, '\n');
}

/* ---- probabilities ---- */

static json_t *token_text(const mu_call_t *call, int32_t id, mu_buf_t *bytes)
{
    mu_buf_clear(bytes);
    if (mu_tokenizer_decode(call->model->tokenizer, &id, 1, bytes) != MU_OK)
        return json_string("");
    return string_of(bytes->data ? bytes->data : "", bytes->len);
}

static json_t *logprob_of(float value)
{
    return isnan(value) ? json_null() : json_real((double)value);
}

static json_t *top_as_object(const mu_call_t *call, const mu_engine_token_t *t)
{
    mu_buf_t bytes = MU_BUF_INIT;
    if (isnan(t->logprob))
        return json_null();
    json_t *top = json_object();
    for (int i = 0; i < t->ntop; i++) {
        json_t *name = token_text(call, t->top[i].id, &bytes);
        if (!json_object_get(top, json_string_value(name)))
            json_object_set_new(top, json_string_value(name), json_real((double)t->top[i].logprob));
        json_decref(name);
    }
    mu_buf_release(&bytes);
    return top;
}

static json_t *completion_logprobs(const mu_call_t *call, const mu_job_t *job, int64_t from)
{
    json_t *tokens = json_array(), *values = json_array(), *tops = json_array(), *offsets = json_array();
    mu_buf_t bytes = MU_BUF_INIT;
    for (int64_t i = from; i < job->scores; i++) {
        const mu_scored_t *s = &job->scored[i];
        json_array_append_new(tokens, token_text(call, s->token.id, &bytes));
        json_array_append_new(values, logprob_of(s->token.logprob));
        json_array_append_new(tops, top_as_object(call, &s->token));
        json_array_append_new(offsets, json_integer((json_int_t)s->at));
    }
    mu_buf_release(&bytes);
    if (call->asked.top == 0) {
        json_decref(tops);
        tops = json_null();
    }
    return json_pack("{s:o,s:o,s:o,s:o}", "tokens", tokens, "token_logprobs", values, "top_logprobs", tops,
                     "text_offset", offsets);
}

static json_t *chat_token(const mu_call_t *call, int32_t id, float logprob)
{
    mu_buf_t bytes = MU_BUF_INIT;
    json_t *list = json_array(), *text = token_text(call, id, &bytes);
    for (size_t i = 0; i < bytes.len; i++)
        json_array_append_new(list, json_integer((unsigned char)bytes.data[i]));
    mu_buf_release(&bytes);
    return json_pack("{s:o,s:o,s:o}", "token", text, "logprob", logprob_of(logprob), "bytes", list);
}

static json_t *chat_logprobs(const mu_call_t *call, const mu_job_t *job, int64_t from)
{
    json_t *content = json_array();
    for (int64_t i = from; i < job->scores; i++) {
        const mu_engine_token_t *t = &job->scored[i].token;
        json_t *one = chat_token(call, t->id, t->logprob), *tops = json_array();
        for (int k = 0; k < t->ntop; k++)
            json_array_append_new(tops, chat_token(call, t->top[k].id, t->top[k].logprob));
        json_object_set_new(one, "top_logprobs", tops);
        json_array_append_new(content, one);
    }
    return json_pack("{s:o}", "content", content);
}

static json_t *logprobs(const mu_call_t *call, const mu_job_t *job, int64_t from)
{
    if (call->asked.top < 0)
        return json_null();
    return call->asked.protocol == MU_PROTOCOL_CHAT ? chat_logprobs(call, job, from)
                                                    : completion_logprobs(call, job, from);
}

/* ---- whole answers ---- */

static json_t *reason_of(const mu_job_t *job, bool ends)
{
    return ends && job->reason ? json_string(job->reason) : json_null();
}

static json_t *usage_of(const mu_call_t *call)
{
    json_int_t prompt = 0, made = 0;
    for (int i = 0; i < call->jobs; i++) {
        prompt += i % call->asked.n == 0 ? call->job[i].prompt : 0;
        made += call->job[i].tokens;
    }
    return json_pack("{s:I,s:I,s:I}", "prompt_tokens", prompt, "completion_tokens", made, "total_tokens",
                     prompt + made);
}

static json_t *frame(const mu_call_t *call, const char *object)
{
    return json_pack("{s:s,s:s,s:I,s:s,s:s}", "id", call->id, "object", object, "created",
                     (json_int_t)call->created, "model", call->model->name, "system_fingerprint",
                     call->model->version);
}

static json_t *openai_whole(const mu_call_t *call)
{
    bool chat = call->asked.protocol == MU_PROTOCOL_CHAT;
    json_t *choices = json_array(), *all = frame(call, chat ? "chat.completion" : "text_completion");
    for (int i = 0; i < call->jobs; i++) {
        const mu_job_t *job = &call->job[i];
        json_t *choice = json_pack("{s:i,s:o,s:o}", "index", job->index, "logprobs", logprobs(call, job, 0),
                                   "finish_reason", reason_of(job, true));
        json_t *text = part_of(&job->text, 0, job->text.len);
        if (chat)
            json_object_set_new(choice, "message",
                                json_pack("{s:s,s:o}", "role", "assistant", "content", text));
        else
            json_object_set_new(choice, "text", text);
        json_array_append_new(choices, choice);
    }
    json_object_set_new(all, "choices", choices);
    json_object_set_new(all, "usage", usage_of(call));
    return all;
}

static json_t *seldon_whole(const mu_call_t *call)
{
    json_t *rows = json_array();
    for (int i = 0; i < call->jobs; i++)
        json_array_append_new(rows, part_of(&call->job[i].text, 0, call->job[i].text.len));
    return json_pack("{s:{s:[],s:o},s:{s:s,s:{s:s,s:s}}}", "data", "names", "ndarray", rows, "meta", "puid",
                     call->id, "tags", "model", call->model->name, "version", call->model->version);
}

static json_t *v2_answer(const mu_call_t *call, json_t *text)
{
    return json_pack("{s:o,s:s,s:s,s:s}", "text_output", text, "model_name", call->model->name,
                     "model_version", call->model->version, "id", call->id);
}

static json_t *v2_tensor(const mu_call_t *call)
{
    json_t *rows = json_array();
    for (int i = 0; i < call->jobs; i++)
        json_array_append_new(rows, part_of(&call->job[i].text, 0, call->job[i].text.len));
    return json_pack("{s:s,s:s,s:s,s:[{s:s,s:s,s:[i],s:o}]}", "model_name", call->model->name,
                     "model_version", call->model->version, "id", call->id, "outputs", "name", "text_output",
                     "datatype", "BYTES", "shape", call->jobs, "data", rows);
}

void mu_answer_whole(const mu_call_t *call, mu_buf_t *out)
{
    const mu_buf_t *text = &call->job[0].text;
    switch (call->asked.protocol) {
    case MU_PROTOCOL_OPENAI:
    case MU_PROTOCOL_CHAT:
        mu_answer_json(openai_whole(call), out);
        break;
    case MU_PROTOCOL_SELDON:
        mu_answer_json(seldon_whole(call), out);
        break;
    case MU_PROTOCOL_V2:
    case MU_PROTOCOL_V2_STREAM:
        mu_answer_json(v2_answer(call, part_of(text, 0, text->len)), out);
        break;
    case MU_PROTOCOL_V2_INFER:
        mu_answer_json(v2_tensor(call), out);
        break;
    }
    mu_buf_addc(out, '\n');
}

/* ---- streams ---- */

static void event(json_t *value, mu_buf_t *out)
{
    mu_buf_adds(out, "data: ");
    mu_answer_json(value, out);
    mu_buf_adds(out, "\n\n");
}

void mu_answer_event(const mu_call_t *call, mu_job_t *job, size_t upto, bool ends, mu_buf_t *out)
{
    bool chat = call->asked.protocol == MU_PROTOCOL_CHAT, first = job->sent == 0 && job->scores_sent == 0;
    json_t *text = part_of(&job->text, job->sent, upto);
    if (call->asked.protocol == MU_PROTOCOL_V2_STREAM) {
        event(v2_answer(call, text), out);
        job->sent = upto;
        return;
    }
    json_t *choice = json_pack("{s:i,s:o,s:o}", "index", job->index, "logprobs",
                               logprobs(call, job, job->scores_sent), "finish_reason", reason_of(job, ends));
    json_t *all = frame(call, chat ? "chat.completion.chunk" : "text_completion"), *delta = NULL;
    if (!chat) {
        json_object_set_new(choice, "text", text);
    } else {
        delta = json_pack("{s:o}", "content", text);
        if (first)
            json_object_set_new(delta, "role", json_string("assistant"));
        json_object_set_new(choice, "delta", delta);
    }
    json_object_set_new(all, "choices", json_pack("[o]", choice));
    event(all, out);
    job->sent = upto;
    job->scores_sent = job->scores;
}

void mu_answer_end(const mu_call_t *call, mu_buf_t *out)
{
    bool chat = call->asked.protocol == MU_PROTOCOL_CHAT;
    if (call->asked.protocol == MU_PROTOCOL_V2_STREAM)
        return;
    if (call->asked.usage) {
        json_t *all = frame(call, chat ? "chat.completion.chunk" : "text_completion");
        json_object_set_new(all, "choices", json_array());
        json_object_set_new(all, "usage", usage_of(call));
        event(all, out);
    }
    mu_buf_adds(out, "data: [DONE]\n\n");
}
