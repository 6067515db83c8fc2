/* A request's beginning: its prompt in tokens, and the engine's queue. */
#include "launcher/serve/serve_impl.h"
#include "common/clock.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DEFAULT_NEW = 16 }; /* OpenAI's for completions */

static bool refuse(mu_why_t *why, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool refuse(mu_why_t *why, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why->text, sizeof why->text, format, args);
    va_end(args);
    why->status = status;
    return false;
}

/* ---- tokens ---- */

static bool take_ids(const mu_served_t *model, const json_t *list, mu_ids_t *out, mu_why_t *why)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_int_t id = json_integer_value(json_array_get(list, i));
        if (id < 0 || id >= mu_tokenizer_vocab(model->tokenizer))
            return refuse(why, 422, "prompt: token %lld lies outside the vocabulary of %d", (long long)id,
                          mu_tokenizer_vocab(model->tokenizer));
        mu_ids_add(out, (int32_t)id);
    }
    return true;
}

static bool take_chat(mu_call_t *call, mu_job_t *job, mu_why_t *why)
{
    char text[MU_CHAT_WHY];
    if (!call->model->chat)
        return refuse(why, 400, "this model has no chat template that the server knows: use /v1/completions");
    if (!mu_served_encode_chat(call->model, call->asked.messages, &job->ids, text))
        return refuse(why, 422, "messages: %s", text);
    job->decoder = mu_decoder_new(call->model->tokenizer, false);
    return true;
}

/* The prompt in tokens; with echo its text begins the answer. */
static bool take_prompt(mu_call_t *call, mu_job_t *job, const json_t *prompt, mu_why_t *why)
{
    if (call->asked.protocol == MU_PROTOCOL_CHAT)
        return take_chat(call, job, why);
    if (json_is_string(prompt)) {
        const char *text = json_string_value(prompt);
        if (mu_served_encode(call->model, text, json_string_length(prompt), &job->ids) != MU_OK)
            return refuse(why, 422, "prompt: it is empty, or cannot be made tokens of");
        if (call->asked.echo)
            mu_buf_add(&job->text, text, json_string_length(prompt));
        job->decoder = mu_decoder_new(call->model->tokenizer, json_string_length(prompt) > 0);
        return true;
    }
    if (!take_ids(call->model, prompt, &job->ids, why))
        return false;
    if (call->asked.echo &&
        mu_tokenizer_decode(call->model->tokenizer, job->ids.data, job->ids.len, &job->text) != MU_OK)
        return refuse(why, 422, "prompt: a token has no text");
    job->decoder = mu_decoder_new(call->model->tokenizer, true);
    return true;
}

static bool make_jobs(mu_call_t *call, mu_why_t *why)
{
    const mu_asked_t *a = &call->asked;
    call->jobs = call->left = a->prompts * a->n;
    call->job = mu_calloc((size_t)call->jobs, sizeof *call->job);
    for (int i = 0; i < call->jobs; i++) {
        mu_job_t *job = &call->job[i];
        job->call = call;
        job->index = i;
        if (!take_prompt(call, job, a->prompt[i / a->n], why))
            return false;
        job->prompt = (int64_t)job->ids.len;
        job->echoed = job->text.len;
    }
    return true;
}

void mu_call_free(mu_call_t *call)
{
    for (int i = 0; i < call->jobs && call->job; i++) {
        mu_ids_release(&call->job[i].ids);
        mu_decoder_free(call->job[i].decoder);
        mu_buf_release(&call->job[i].text);
        free(call->job[i].scored);
    }
    free(call->job);
    mu_asked_release(&call->asked);
    if (--call->model->users == 0)
        mu_served_free(call->model);
    free(call);
}

/* ---- into the queue ---- */

static uint32_t client_key(const char *client)
{
    uint32_t key = 2166136261U;
    for (; *client; client++)
        key = (key ^ (unsigned char)*client) * 16777619U;
    return key;
}

static bool fits(const mu_serve_t *s, const mu_call_t *call, int64_t *most, mu_why_t *why)
{
    int64_t room = s->current->hello.slot_tokens, longest = 0;
    for (int i = 0; i < call->jobs; i++)
        longest = call->job[i].prompt > longest ? call->job[i].prompt : longest;
    if (longest >= room)
        return refuse(why, 422, "the prompt has %lld tokens, and prompt and answer may have %lld together",
                      (long long)longest, (long long)room);
    if (call->asked.max_new > room - longest)
        return refuse(why, 422, "max_tokens %lld: with a prompt of %lld tokens up to %lld are possible",
                      (long long)call->asked.max_new, (long long)longest, (long long)(room - longest));
    *most = call->asked.max_new;
    if (*most < 0) {
        *most = call->asked.protocol == MU_PROTOCOL_CHAT ? room : DEFAULT_NEW;
        *most = *most < room - longest ? *most : room - longest;
        *most = *most < s->args->max_new_tokens ? *most : s->args->max_new_tokens;
    }
    return true;
}

static void send_job(mu_serve_t *s, mu_call_t *call, mu_job_t *job, uint32_t client, int64_t most,
                     uint64_t seed)
{
    const mu_asked_t *a = &call->asked;
    bool greedy = a->temperature <= 0;
    mu_engine_message_t m = {.type = MU_ENGINE_REQUEST,
                             .id = job->id = ++s->next_id,
                             .request = {.client = client,
                                         .most = (int32_t)most,
                                         .temperature = a->temperature,
                                         .top_p = greedy ? 0 : a->top_p,
                                         .top_k = greedy ? 0 : (int32_t)a->top_k,
                                         .seed = seed,
                                         .top = a->top,
                                         .echo = a->echo && a->top >= 0,
                                         .nends = call->model->nends,
                                         .ids = job->ids.data,
                                         .count = (int32_t)job->ids.len}};
    memcpy(m.request.ends, call->model->ends, (size_t)call->model->nends * sizeof *m.request.ends);
    if (a->protocol == MU_PROTOCOL_CHAT && call->model->chat_end >= 0)
        m.request.ends[m.request.nends++] = call->model->chat_end;
    mu_backend_send(s->current, &m);
    s->current->jobs++;
    s->counts.prompt_tokens += job->prompt;
    job->next = s->jobs;
    s->jobs = job;
}

static void name_call(mu_call_t *call)
{
    uint8_t random[12];
    char hex[2 * sizeof random + 1];
    randombytes_buf(random, sizeof random);
    sodium_bin2hex(hex, sizeof hex, random, sizeof random);
    snprintf(call->id, sizeof call->id, "%s-%s",
             call->asked.protocol == MU_PROTOCOL_CHAT ? "chatcmpl" : "cmpl", hex);
    call->created = (int64_t)time(NULL);
}

/* Under the lock. */
static bool enter(mu_serve_t *s, const mu_http_request_t *request, mu_call_t *call, mu_why_t *why)
{
    int64_t most = 0, room;
    uint64_t seed = (uint64_t)call->asked.seed;
    if (!mu_serve_ready(s))
        return refuse(why, 503, s->draining ? "the server is ending" : "the model is being loaded");
    if (s->current->model != call->model) {
        why->again = true;
        return refuse(why, 503, "the model is being changed: ask again");
    }
    if (!fits(s, call, &most, why))
        return false;
    room = s->current->hello.slots + s->current->hello.waiting - s->current->jobs;
    if (call->jobs > s->current->hello.slots + s->current->hello.waiting)
        return refuse(why, 422, "%d sequences in one request, and at most %lld can wait", call->jobs,
                      (long long)(s->current->hello.slots + s->current->hello.waiting));
    if (call->jobs > room)
        return refuse(why, 429, "too many requests wait: ask again later");
    if (call->asked.seed < 0)
        randombytes_buf(&seed, sizeof seed);
    call->exchange = mu_http_defer(request);
    call->backend = s->current;
    for (int i = 0; i < call->jobs; i++)
        send_job(s, call, &call->job[i], client_key(request->client), most,
                 seed + (uint64_t)(i % call->asked.n));
    call->next = s->calls;
    s->calls = call;
    mu_serve_wake(s);
    return true;
}

bool mu_call_begin(mu_serve_t *s, const mu_http_request_t *request, mu_asked_t *asked, mu_served_t *model,
                   mu_why_t *why)
{
    mu_call_t *call = mu_calloc(1, sizeof *call);
    call->asked = *asked;
    call->model = model;
    call->began_ns = mu_now_ns();
    name_call(call);
    bool good = make_jobs(call, why);
    pthread_mutex_lock(&s->lock);
    good = good && enter(s, request, call, why);
    if (!good)
        mu_call_free(call);
    pthread_mutex_unlock(&s->lock);
    return good;
}
