#include "common/control/engine_link.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

static void put_token(const mu_engine_token_t *t, mu_buf_t *out)
{
    mu_buf_add(out, &t->id, sizeof t->id);
    mu_buf_add(out, &t->logprob, sizeof t->logprob);
    mu_buf_add(out, &t->ntop, sizeof t->ntop);
    for (int i = 0; i < t->ntop; i++) {
        mu_buf_add(out, &t->top[i].id, sizeof t->top[i].id);
        mu_buf_add(out, &t->top[i].logprob, sizeof t->top[i].logprob);
    }
}

static void put_request(const mu_engine_request_t *r, mu_buf_t *out)
{
    uint8_t echo = r->echo;
    mu_buf_add(out, &r->client, sizeof r->client);
    mu_buf_add(out, &r->most, sizeof r->most);
    mu_buf_add(out, &r->temperature, sizeof r->temperature);
    mu_buf_add(out, &r->top_p, sizeof r->top_p);
    mu_buf_add(out, &r->top_k, sizeof r->top_k);
    mu_buf_add(out, &r->seed, sizeof r->seed);
    mu_buf_add(out, &r->top, sizeof r->top);
    mu_buf_add(out, &echo, sizeof echo);
    mu_buf_add(out, &r->nends, sizeof r->nends);
    mu_buf_add(out, r->ends, (size_t)r->nends * sizeof *r->ends);
    mu_buf_add(out, &r->count, sizeof r->count);
    mu_buf_add(out, r->ids, (size_t)r->count * sizeof *r->ids);
}

static void put_hello(const mu_engine_hello_t *h, mu_buf_t *out)
{
    mu_buf_add(out, &h->version, sizeof h->version);
    mu_buf_add(out, &h->slots, sizeof h->slots);
    mu_buf_add(out, &h->slot_tokens, sizeof h->slot_tokens);
    mu_buf_add(out, &h->waiting, sizeof h->waiting);
    mu_buf_add(out, &h->cache_bytes, sizeof h->cache_bytes);
    mu_buf_add(out, h->words, sizeof h->words);
}

void mu_engine_write(const mu_engine_message_t *m, mu_buf_t *out)
{
    size_t at = out->len;
    uint32_t length = 0;
    uint8_t type = (uint8_t)m->type;
    int32_t reason = (int32_t)m->done;
    mu_buf_add(out, &length, sizeof length);
    mu_buf_add(out, &type, sizeof type);
    mu_buf_add(out, &m->id, sizeof m->id);
    switch (m->type) {
    case MU_ENGINE_HELLO:
        put_hello(&m->hello, out);
        break;
    case MU_ENGINE_REQUEST:
        put_request(&m->request, out);
        break;
    case MU_ENGINE_SCORE:
    case MU_ENGINE_TOKEN:
        put_token(&m->token, out);
        break;
    case MU_ENGINE_DONE:
        mu_buf_add(out, &reason, sizeof reason);
        break;
    case MU_ENGINE_CANCEL:
        break;
    }
    length = (uint32_t)(out->len - at - sizeof length);
    memcpy(out->data + at, &length, sizeof length);
}

/* ---- reading ---- */

typedef struct cursor {
    const char *at, *end;
    bool bad;
} cursor_t;

static void take(cursor_t *c, void *to, size_t n)
{
    if (c->bad || (size_t)(c->end - c->at) < n) {
        c->bad = true;
        memset(to, 0, n);
        return;
    }
    memcpy(to, c->at, n);
    c->at += n;
}

static void range(cursor_t *c, int64_t value, int64_t least, int64_t most)
{
    if (value < least || value > most)
        c->bad = true;
}

static void take_hello(cursor_t *c, mu_engine_hello_t *h)
{
    take(c, &h->version, sizeof h->version);
    take(c, &h->slots, sizeof h->slots);
    take(c, &h->slot_tokens, sizeof h->slot_tokens);
    take(c, &h->waiting, sizeof h->waiting);
    take(c, &h->cache_bytes, sizeof h->cache_bytes);
    take(c, h->words, sizeof h->words);
    range(c, h->slots, 1, INT32_MAX);
    range(c, h->slot_tokens, 1, INT32_MAX);
    range(c, h->waiting, 0, INT32_MAX);
    h->words[sizeof h->words - 1] = '\0';
}

static void take_request(cursor_t *c, mu_engine_request_t *r)
{
    uint8_t echo;
    r->ids = NULL;
    take(c, &r->client, sizeof r->client);
    take(c, &r->most, sizeof r->most);
    take(c, &r->temperature, sizeof r->temperature);
    take(c, &r->top_p, sizeof r->top_p);
    take(c, &r->top_k, sizeof r->top_k);
    take(c, &r->seed, sizeof r->seed);
    take(c, &r->top, sizeof r->top);
    take(c, &echo, sizeof echo);
    take(c, &r->nends, sizeof r->nends);
    range(c, r->most, 0, INT32_MAX);
    range(c, r->top_k, 0, INT32_MAX);
    range(c, r->top, -1, MU_ENGINE_TOP);
    range(c, echo, 0, r->top >= 0);
    range(c, r->nends, 0, MU_ENGINE_ENDS);
    if (!(r->temperature >= 0) || isinf(r->temperature) || !(r->top_p >= 0 && r->top_p <= 1))
        c->bad = true;
    r->echo = echo;
    if (!c->bad)
        take(c, r->ends, (size_t)r->nends * sizeof *r->ends);
    take(c, &r->count, sizeof r->count);
    range(c, r->count, 1, MU_ENGINE_FRAME / (int)sizeof *r->ids);
    if (c->bad || (size_t)(c->end - c->at) != (size_t)r->count * sizeof *r->ids) {
        c->bad = true;
        return;
    }
    r->ids = mu_alloc((size_t)r->count * sizeof *r->ids);
    take(c, r->ids, (size_t)r->count * sizeof *r->ids);
}

static void take_token(cursor_t *c, mu_engine_token_t *t)
{
    take(c, &t->id, sizeof t->id);
    take(c, &t->logprob, sizeof t->logprob);
    take(c, &t->ntop, sizeof t->ntop);
    range(c, t->ntop, 0, MU_ENGINE_TOP);
    for (int i = 0; i < t->ntop && !c->bad; i++) {
        take(c, &t->top[i].id, sizeof t->top[i].id);
        take(c, &t->top[i].logprob, sizeof t->top[i].logprob);
    }
}

mu_engine_read_t mu_engine_read(const void *bytes, size_t n, size_t *used, mu_engine_message_t *out)
{
    uint32_t length;
    uint8_t type;
    int32_t reason = 0;
    if (n < sizeof length)
        return MU_ENGINE_MORE;
    memcpy(&length, bytes, sizeof length);
    if (length < sizeof type + sizeof out->id || length > MU_ENGINE_FRAME)
        return MU_ENGINE_BAD;
    if (n - sizeof length < length)
        return MU_ENGINE_MORE;
    cursor_t c = {(const char *)bytes + sizeof length, (const char *)bytes + sizeof length + length, false};
    memset(out, 0, sizeof *out);
    take(&c, &type, sizeof type);
    take(&c, &out->id, sizeof out->id);
    range(&c, type, MU_ENGINE_HELLO, MU_ENGINE_DONE);
    out->type = (mu_engine_type_t)type;
    switch (out->type) {
    case MU_ENGINE_HELLO:
        take_hello(&c, &out->hello);
        break;
    case MU_ENGINE_REQUEST:
        take_request(&c, &out->request);
        break;
    case MU_ENGINE_SCORE:
    case MU_ENGINE_TOKEN:
        take_token(&c, &out->token);
        break;
    case MU_ENGINE_DONE:
        take(&c, &reason, sizeof reason);
        range(&c, reason, MU_ENGINE_END, MU_ENGINE_REFUSED);
        out->done = (mu_engine_reason_t)reason;
        break;
    case MU_ENGINE_CANCEL:
    default:
        break;
    }
    *used = sizeof length + length;
    if (!c.bad && c.at == c.end)
        return MU_ENGINE_GOT;
    mu_engine_release(out);
    return MU_ENGINE_BAD;
}

void mu_engine_release(mu_engine_message_t *m)
{
    if (m->type != MU_ENGINE_REQUEST)
        return;
    free(m->request.ids);
    m->request.ids = NULL;
}
