#include "worker/serve/schedule.h"
#include "common/buf.h"
#include "common/num.h"

#include <math.h>
#include <stdlib.h>

typedef struct sequence {
    uint64_t id;
    mu_engine_request_t request; /* ids: prompt, then what was drawn */
    int64_t length;              /* tokens there are: prompt and drawn */
    int64_t room;                /* of request.ids */
    int64_t done;                /* tokens that the slot holds */
    int64_t drawn;
    struct sequence *next; /* of those that wait, in order of arrival */
} sequence_t;

typedef struct client {
    uint32_t key;
    int64_t running;
    uint64_t served; /* when it last got a slot; counts up */
} client_t;

struct mu_schedule {
    mu_schedule_options_t options;
    sequence_t **slot; /* [slots]; NULL: free */
    sequence_t *first, **last;
    int64_t waiting, running;
    client_t *client; /* those with a running or waiting request, [slots + waiting + 1] */
    int clients;
    uint64_t clock;
    int64_t turn; /* the slot whose prompt has the first claim */
    mu_plan_t plan;
};

mu_schedule_t *mu_schedule_new(const mu_schedule_options_t *options)
{
    mu_schedule_t *s = mu_calloc(1, sizeof *s);
    s->options = *options;
    s->slot = mu_calloc((size_t)options->slots, sizeof *s->slot);
    s->last = &s->first;
    s->client = mu_calloc((size_t)(options->slots + options->waiting + 1), sizeof *s->client);
    s->plan.piece_room = options->slots;
    s->plan.row_room = options->slots + options->chunk;
    s->plan.piece = mu_calloc((size_t)s->plan.piece_room, sizeof *s->plan.piece);
    s->plan.token = mu_calloc((size_t)s->plan.row_room, sizeof *s->plan.token);
    s->plan.next = mu_calloc((size_t)s->plan.row_room, sizeof *s->plan.next);
    return s;
}

static void free_sequence(sequence_t *q)
{
    if (q)
        free(q->request.ids);
    free(q);
}

void mu_schedule_free(mu_schedule_t *s)
{
    if (!s)
        return;
    for (int64_t i = 0; i < s->options.slots; i++)
        free_sequence(s->slot[i]);
    for (sequence_t *q = s->first, *next; q; q = next) {
        next = q->next;
        free_sequence(q);
    }
    free(s->slot);
    free(s->client);
    free(s->plan.piece);
    free(s->plan.token);
    free(s->plan.next);
    free(s);
}

int64_t mu_schedule_running(const mu_schedule_t *s)
{
    return s->running;
}

int64_t mu_schedule_waiting(const mu_schedule_t *s)
{
    return s->waiting;
}

/* ---- clients ---- */

static client_t *client_of(mu_schedule_t *s, uint32_t key)
{
    for (int i = 0; i < s->clients; i++)
        if (s->client[i].key == key)
            return &s->client[i];
    client_t *c = &s->client[s->clients++];
    *c = (client_t){key, 0, ++s->clock};
    return c;
}

static bool client_waits(const mu_schedule_t *s, uint32_t key)
{
    for (const sequence_t *q = s->first; q; q = q->next)
        if (q->request.client == key)
            return true;
    return false;
}

static void forget_clients(mu_schedule_t *s)
{
    for (int i = 0; i < s->clients;)
        if (s->client[i].running == 0 && !client_waits(s, s->client[i].key))
            s->client[i] = s->client[--s->clients];
        else
            i++;
}

/* ---- requests ---- */

bool mu_schedule_add(mu_schedule_t *s, uint64_t id, mu_engine_request_t *request)
{
    int64_t most = (int64_t)request->count + request->most;
    if (s->waiting + s->running >= s->options.waiting + s->options.slots || most > s->options.capacity) {
        free(request->ids);
        request->ids = NULL;
        return false;
    }
    sequence_t *q = mu_calloc(1, sizeof *q);
    *q = (sequence_t){.id = id, .request = *request, .length = request->count, .room = most};
    q->request.ids = mu_realloc(request->ids, (size_t)most * sizeof *request->ids);
    request->ids = NULL;
    *s->last = q;
    s->last = &q->next;
    s->waiting++;
    client_of(s, q->request.client);
    return true;
}

static void leave(mu_schedule_t *s, int64_t slot)
{
    client_of(s, s->slot[slot]->request.client)->running--;
    free_sequence(s->slot[slot]);
    s->slot[slot] = NULL;
    s->running--;
    forget_clients(s);
}

static sequence_t *unlink_waiting(mu_schedule_t *s, sequence_t **at)
{
    sequence_t *q = *at;
    *at = q->next;
    if (!q->next)
        s->last = at;
    q->next = NULL;
    s->waiting--;
    return q;
}

void mu_schedule_cancel(mu_schedule_t *s, uint64_t id)
{
    for (int64_t i = 0; i < s->options.slots; i++)
        if (s->slot[i] && s->slot[i]->id == id) {
            leave(s, i);
            return;
        }
    for (sequence_t **at = &s->first; *at; at = &(*at)->next)
        if ((*at)->id == id) {
            free_sequence(unlink_waiting(s, at));
            forget_clients(s);
            return;
        }
}

/* The oldest request of the client whose turn it is. */
static sequence_t **next_waiting(mu_schedule_t *s)
{
    sequence_t **best = NULL;
    const client_t *of = NULL;
    for (sequence_t **at = &s->first; *at; at = &(*at)->next) {
        const client_t *c = client_of(s, (*at)->request.client);
        if (!best || c->running < of->running || (c->running == of->running && c->served < of->served)) {
            best = at;
            of = c;
        }
    }
    return best;
}

static void fill_slots(mu_schedule_t *s)
{
    for (int64_t i = 0; i < s->options.slots && s->first; i++) {
        if (s->slot[i])
            continue;
        sequence_t *q = unlink_waiting(s, next_waiting(s));
        client_t *c = client_of(s, q->request.client);
        c->running++;
        c->served = ++s->clock;
        s->slot[i] = q;
        s->running++;
    }
}

/* ---- a step ---- */

/* `count` rows of the sequence in a slot. The last row of what is known draws; with echo those of the prompt score. */
static void add_piece(mu_schedule_t *s, int64_t slot, int64_t count)
{
    mu_plan_t *plan = &s->plan;
    const sequence_t *q = s->slot[slot];
    const mu_engine_request_t *r = &q->request;
    int64_t end = q->done + count, wanted = 0;
    for (int64_t i = q->done; i < end; i++) {
        bool draws = i + 1 == q->length && r->most > 0, scores = r->echo && i + 1 < r->count;
        plan->token[plan->rows++] = r->ids[i];
        if (!draws && !scores)
            continue;
        plan->next[plan->wanted++] = draws ? -1 : r->ids[i + 1];
        wanted++;
    }
    plan->piece[plan->pieces++] = (mu_plan_piece_t){
        .net = {slot, q->done, count, wanted},
        .begins = q->done == 0,
        .how = {.seed = r->seed, .temperature = r->temperature, .top_k = r->top_k, .top_p = r->top_p},
        .top = r->top};
}

bool mu_schedule_plan(mu_schedule_t *s, const mu_plan_t **plan)
{
    int64_t left = s->options.chunk, slots = s->options.slots, next = s->turn;
    fill_slots(s);
    s->plan.pieces = 0;
    s->plan.rows = s->plan.wanted = 0;
    for (int64_t i = 0; i < slots; i++)
        if (s->slot[i] && s->slot[i]->length - s->slot[i]->done == 1 && s->slot[i]->done > 0)
            add_piece(s, i, 1);
    for (int64_t k = 0; k < slots && left > 0; k++) {
        int64_t i = (s->turn + k) % slots;
        const sequence_t *q = s->slot[i];
        if (!q || (q->length - q->done == 1 && q->done > 0))
            continue;
        int64_t count = mu_min_i64(left, q->length - q->done);
        add_piece(s, i, count);
        left -= count;
        if (next == s->turn) /* the first that was served goes to the end */
            next = (i + 1) % slots;
    }
    s->turn = next;
    *plan = &s->plan;
    return s->plan.pieces > 0;
}

static bool is_end(const mu_engine_request_t *r, int32_t id)
{
    for (int i = 0; i < r->nends; i++)
        if (r->ends[i] == id)
            return true;
    return false;
}

static void finish(mu_schedule_t *s, int64_t slot, mu_engine_reason_t reason, mu_schedule_emit_t emit,
                   void *arg)
{
    mu_engine_message_t m = {.type = MU_ENGINE_DONE, .id = s->slot[slot]->id, .done = reason};
    leave(s, slot);
    emit(arg, &m);
}

/* A drawn token. False: the sequence has ended. */
static bool take_drawn(mu_schedule_t *s, int64_t slot, const mu_engine_token_t *token,
                       mu_schedule_emit_t emit, void *arg)
{
    sequence_t *q = s->slot[slot];
    mu_engine_message_t m = {.type = MU_ENGINE_TOKEN, .id = q->id, .token = *token};
    if (token->id < 0 || is_end(&q->request, token->id)) {
        finish(s, slot, token->id < 0 ? MU_ENGINE_FAILED : MU_ENGINE_END, emit, arg);
        return false;
    }
    q->request.ids[q->length++] = token->id;
    q->drawn++;
    emit(arg, &m);
    if (q->drawn < q->request.most)
        return true;
    finish(s, slot, MU_ENGINE_LENGTH, emit, arg);
    return false;
}

/* What a piece brought. */
static void take_piece(mu_schedule_t *s, const mu_plan_piece_t *piece, const int32_t *next,
                       const mu_engine_token_t *result, mu_schedule_emit_t emit, void *arg)
{
    int64_t slot = piece->net.slot;
    sequence_t *q = s->slot[slot];
    if (q->request.echo && q->done == 0) {
        mu_engine_message_t m = {
            .type = MU_ENGINE_SCORE, .id = q->id, .token = {.id = q->request.ids[0], .logprob = NAN}};
        emit(arg, &m);
    }
    q->done += piece->net.count;
    for (int64_t i = 0; i < piece->net.wanted; i++) {
        mu_engine_message_t m = {.type = MU_ENGINE_SCORE, .id = q->id, .token = result[i]};
        if (next[i] >= 0)
            emit(arg, &m);
        else if (!take_drawn(s, slot, &result[i], emit, arg))
            return;
    }
    if (q->done == q->length) /* no new token is wished */
        finish(s, slot, MU_ENGINE_LENGTH, emit, arg);
}

void mu_schedule_done(mu_schedule_t *s, const mu_engine_token_t *result, mu_schedule_emit_t emit, void *arg)
{
    int64_t at = 0;
    for (int i = 0; i < s->plan.pieces; i++) {
        take_piece(s, &s->plan.piece[i], s->plan.next + at, result + at, emit, arg);
        at += s->plan.piece[i].net.wanted;
    }
}
