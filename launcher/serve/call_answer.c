/* A request's answer: what the engine says of it, text as it comes, stop strings, the end. */
#include "launcher/serve/serve_impl.h"
#include "common/clock.h"

#include <stdlib.h>
#include <string.h>

static void end_call(mu_serve_t *s, mu_call_t *call)
{
    for (mu_call_t **at = &s->calls; *at; at = &(*at)->next)
        if (*at == call) {
            *at = call->next;
            break;
        }
    mu_http_end(call->exchange);
    mu_histogram_add(&s->counts.whole, (double)(mu_now_ns() - call->began_ns) * 1e-9);
    mu_call_free(call);
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
