/* A request's life: tokens, the engine's queue, text as it comes, stop strings, the end. */
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

static void free_call(mu_call_t *call)
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
        free_call(call);
    pthread_mutex_unlock(&s->lock);
    return good;
}

/* ---- what the engine says ---- */

static void end_call(mu_serve_t *s, mu_call_t *call)
{
    for (mu_call_t **at = &s->calls; *at; at = &(*at)->next)
        if (*at == call) {
            *at = call->next;
            break;
        }
    mu_http_end(call->exchange);
    mu_histogram_add(&s->counts.whole, (double)(mu_now_ns() - call->began_ns) * 1e-9);
    free_call(call);
}

/* The engine knows the job no more. */
static void forget_job(mu_serve_t *s, mu_job_t *job)
{
    if (job->done)
        return;
    job->done = true;
    job->call->left--;
    if (job->call->backend)
        job->call->backend->jobs--;
    for (mu_job_t **at = &s->jobs; *at; at = &(*at)->next)
        if (*at == job) {
            *at = job->next;
            break;
        }
}

static void send_cancel(const mu_job_t *job)
{
    mu_engine_message_t m = {.type = MU_ENGINE_CANCEL, .id = job->id};
    if (!job->done && job->call->backend)
        mu_backend_send(job->call->backend, &m);
}

static void cancel_jobs(mu_serve_t *s, mu_call_t *call)
{
    for (int i = 0; i < call->jobs; i++) {
        send_cancel(&call->job[i]);
        forget_job(s, &call->job[i]);
    }
}

/* Bytes of the text that no stop string can still take back, at the border of a character. */
static size_t settled(const mu_job_t *job)
{
    const mu_asked_t *a = &job->call->asked;
    size_t hold = 0, n = job->text.len;
    for (int i = 0; i < a->stops; i++)
        for (size_t part = strlen(a->stop[i]) - 1; part > hold; part--)
            if (part <= n && memcmp(job->text.data + n - part, a->stop[i], part) == 0) {
                hold = part;
                break;
            }
    n -= hold;
    while (n > job->sent && n < job->text.len && ((unsigned char)job->text.data[n] & 0xc0) == 0x80)
        n--;
    return n > job->sent ? n : job->sent;
}

/* Looks for a stop string in what is new, of which `from` is the first byte; cuts the text there. */
static bool stopped(mu_job_t *job, size_t from)
{
    const mu_asked_t *a = &job->call->asked;
    size_t found = SIZE_MAX;
    for (int i = 0; i < a->stops; i++) {
        size_t n = strlen(a->stop[i]), begin = from + 1 > n + job->echoed ? from + 1 - n : job->echoed;
        const char *at = job->text.len > begin
                             ? memmem(job->text.data + begin, job->text.len - begin, a->stop[i], n)
                             : NULL;
        if (at && (size_t)(at - job->text.data) < found)
            found = (size_t)(at - job->text.data);
    }
    if (found == SIZE_MAX)
        return false;
    job->text.len = found;
    job->text.data[found] = '\0';
    while (job->scores > 0 && job->scored[job->scores - 1].at >= found)
        job->scores--;
    return true;
}

static void note_score(mu_job_t *job, const mu_engine_token_t *token, size_t at)
{
    if (job->call->asked.top < 0)
        return;
    if (job->scores == job->score_room) {
        job->score_room = job->score_room ? 2 * job->score_room : 64;
        job->scored = mu_realloc(job->scored, (size_t)job->score_room * sizeof *job->scored);
    }
    job->scored[job->scores++] = (mu_scored_t){*token, at};
}

/* A token of the prompt. */
static void take_score(mu_job_t *job, const mu_engine_token_t *token)
{
    mu_buf_t text = MU_BUF_INIT;
    note_score(job, token, job->scored_bytes);
    if (mu_tokenizer_decode(job->call->model->tokenizer, &token->id, 1, &text) == MU_OK)
        job->scored_bytes += text.len;
    mu_buf_release(&text);
}

static void flush_stream(mu_job_t *job, bool ends)
{
    mu_call_t *call = job->call;
    mu_buf_t out = MU_BUF_INIT;
    size_t upto = ends ? job->text.len : settled(job);
    if (!call->asked.stream || (upto == job->sent && !ends))
        return;
    if (!call->begun)
        mu_http_begin(call->exchange, 200, "text/event-stream");
    call->begun = true;
    mu_answer_event(call, job, upto, ends, &out);
    mu_http_write(call->exchange, out.data, out.len);
    mu_buf_release(&out);
}

static void finish_job(mu_serve_t *s, mu_job_t *job, const char *reason)
{
    mu_call_t *call = job->call;
    mu_buf_t out = MU_BUF_INIT;
    job->reason = reason;
    forget_job(s, job);
    flush_stream(job, true);
    if (call->left > 0)
        return;
    if (call->asked.stream) {
        mu_answer_end(call, &out);
    } else {
        mu_answer_whole(call, &out);
        mu_http_begin(call->exchange, 200, "application/json");
    }
    mu_http_write(call->exchange, out.data, out.len);
    mu_buf_release(&out);
    s->counts.requests[2]++;
    end_call(s, call);
}

static void take_token(mu_serve_t *s, mu_job_t *job, const mu_engine_token_t *token)
{
    mu_call_t *call = job->call;
    size_t from = job->text.len;
    if (call->first_ns == 0) {
        call->first_ns = mu_now_ns();
        mu_histogram_add(&s->counts.first, (double)(call->first_ns - call->began_ns) * 1e-9);
    }
    job->tokens++;
    s->counts.new_tokens++;
    mu_decoder_add(job->decoder, &token->id, 1, &job->text);
    note_score(job, token, from);
    if (stopped(job, from)) {
        send_cancel(job);
        finish_job(s, job, "stop");
    } else {
        flush_stream(job, false);
    }
}

static void fail_call(mu_serve_t *s, mu_call_t *call, int status, const char *text)
{
    mu_buf_t out = MU_BUF_INIT;
    cancel_jobs(s, call);
    if (call->begun)
        mu_buf_adds(&out, "data: ");
    else
        mu_http_begin(call->exchange, status, "application/json");
    mu_answer_error(call->asked.protocol, status, text, &out);
    if (call->begun)
        mu_buf_addc(&out, '\n');
    mu_http_write(call->exchange, out.data, out.len);
    mu_buf_release(&out);
    s->counts.requests[5]++;
    end_call(s, call);
}

static void take_done(mu_serve_t *s, mu_job_t *job, mu_engine_reason_t reason)
{
    if (reason == MU_ENGINE_FAILED)
        fail_call(s, job->call, 500, "the model's logits are no numbers");
    else if (reason == MU_ENGINE_REFUSED)
        fail_call(s, job->call, 503, "the engine takes no more requests");
    else {
        size_t from = job->text.len;
        mu_decoder_end(job->decoder, &job->text);
        bool stop = stopped(job, from);
        finish_job(s, job, stop || reason == MU_ENGINE_END ? "stop" : "length");
    }
}

void mu_call_take(void *serve, mu_backend_t *backend, const mu_engine_message_t *m)
{
    mu_serve_t *s = serve;
    mu_job_t *job = s->jobs;
    (void)backend;
    while (job && job->id != m->id)
        job = job->next;
    if (!job)
        return; /* cancelled while this was on its way */
    if (m->type == MU_ENGINE_TOKEN)
        take_token(s, job, &m->token);
    else if (m->type == MU_ENGINE_SCORE)
        take_score(job, &m->token);
    else
        take_done(s, job, m->done);
}

/* ---- ends from outside ---- */

void mu_calls_fail(mu_serve_t *s, const mu_backend_t *backend, const char *text)
{
    for (mu_call_t *call = s->calls, *next; call; call = next) {
        next = call->next;
        if (backend && call->backend != backend)
            continue;
        if (backend)
            call->backend = NULL; /* nobody to cancel at */
        fail_call(s, call, 503, text);
    }
}

void mu_calls_drop_gone(mu_serve_t *s)
{
    for (mu_call_t *call = s->calls, *next; call; call = next) {
        next = call->next;
        if (!mu_http_gone(call->exchange))
            continue;
        cancel_jobs(s, call);
        s->counts.cancelled++;
        end_call(s, call);
    }
}
