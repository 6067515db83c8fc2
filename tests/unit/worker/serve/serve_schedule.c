/* The schedule of a server: nothing is computed here. A made-up model writes the number of tokens that a sequence
 * has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/buf.h"
#include "worker/serve/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 64 };

/* What came of the requests. */
typedef struct heard {
    int64_t tokens[REQUESTS], scores[REQUESTS];
    int32_t last[REQUESTS];
    bool done[REQUESTS];
    mu_engine_reason_t reason[REQUESTS];
    int order[REQUESTS], finished; /* ids in the order in which they were done */
} heard_t;

static void hear(void *arg, const mu_engine_message_t *m)
{
    heard_t *h = arg;
    assert_false(h->done[m->id]);
    if (m->type == MU_ENGINE_TOKEN) {
        h->tokens[m->id]++;
        h->last[m->id] = m->token.id;
    } else if (m->type == MU_ENGINE_SCORE) {
        h->scores[m->id]++;
    } else {
        assert_int_equal(m->type, MU_ENGINE_DONE);
        h->done[m->id] = true;
        h->reason[m->id] = m->done;
        h->order[h->finished++] = (int)m->id;
    }
}

static bool add(mu_schedule_t *s, int id, uint32_t client, int32_t prompt, int32_t most, bool echo)
{
    mu_engine_request_t r = {
        .client = client, .most = most, .top = echo ? 0 : -1, .echo = echo, .count = prompt};
    r.ends[0] = 50;
    r.nends = 1;
    r.ids = mu_calloc((size_t)prompt, sizeof *r.ids);
    for (int32_t i = 0; i < prompt; i++)
        r.ids[i] = i;
    return mu_schedule_add(s, (uint64_t)id, &r);
}

/* One step; what is drawn is the number of tokens before it. Checks what must hold for every plan. */
static bool step(mu_schedule_t *s, const mu_schedule_options_t *o, heard_t *h)
{
    const mu_plan_t *plan;
    int64_t rows = 0, wanted = 0, prompts = 0;
    bool used[REQUESTS] = {false};
    if (!mu_schedule_plan(s, &plan))
        return false;
    mu_engine_token_t *result = mu_calloc((size_t)plan->wanted + 1, sizeof *result);
    for (int i = 0; i < plan->pieces; i++) {
        const mu_net_piece_t *p = &plan->piece[i].net;
        assert_true(p->slot >= 0 && p->slot < o->slots && !used[p->slot]);
        assert_true(p->first + p->count <= o->capacity);
        assert_int_equal(plan->piece[i].begins, p->first == 0);
        used[p->slot] = true;
        for (int64_t k = 0; k < p->count; k++)
            assert_int_equal(plan->token[rows + k], p->first + k);
        for (int64_t k = 0; k < p->wanted; k++) {
            int32_t next = plan->next[wanted + k];
            result[wanted + k] = (mu_engine_token_t){.id = next >= 0 ? next : (int32_t)(p->first + p->count)};
        }
        rows += p->count;
        wanted += p->wanted;
        prompts += p->count > 1 || p->first == 0 ? p->count : 0;
    }
    assert_true(rows == plan->rows && wanted == plan->wanted && prompts <= o->chunk);
    mu_schedule_done(s, result, hear, h);
    free(result);
    return true;
}

static void every_request_gets_its_own_tokens(void **state)
{
    (void)state;
    mu_schedule_options_t o = {.slots = 3, .capacity = 64, .chunk = 7, .waiting = 40};
    mu_schedule_t *s = mu_schedule_new(&o);
    heard_t h = {0};
    for (int i = 0; i < 40; i++)
        assert_true(add(s, i, (uint32_t)(i % 4), 1 + i % 30, 1 + i % 9, i % 3 == 0));
    while (step(s, &o, &h)) {
    }
    assert_int_equal(h.finished, 40);
    for (int i = 0; i < 40; i++) {
        int64_t prompt = 1 + i % 30, most = 1 + i % 9;
        assert_int_equal(h.tokens[i], most);
        assert_int_equal(h.last[i], prompt + most - 1);
        assert_int_equal(h.reason[i], MU_ENGINE_LENGTH);
        assert_int_equal(h.scores[i], i % 3 == 0 ? prompt : 0);
    }
    assert_true(mu_schedule_running(s) == 0 && mu_schedule_waiting(s) == 0);
    mu_schedule_free(s);
}

static void ends_scores_alone_and_what_does_not_fit(void **state)
{
    (void)state;
    mu_schedule_options_t o = {.slots = 2, .capacity = 64, .chunk = 16, .waiting = 2};
    mu_schedule_t *s = mu_schedule_new(&o);
    heard_t h = {0};
    assert_true(add(s, 0, 0, 48, 10, false)); /* writes 48, 49, and 50 ends it */
    assert_true(add(s, 1, 0, 20, 0, true));   /* scores, and nothing new */
    assert_false(add(s, 2, 0, 60, 5, false)); /* no slot is so long */
    assert_true(add(s, 3, 0, 60, 4, false));
    assert_true(add(s, 4, 0, 1, 1, false));
    assert_false(add(s, 5, 0, 1, 1, false)); /* more than can wait */
    while (step(s, &o, &h)) {
    }
    assert_true(h.tokens[0] == 2 && h.reason[0] == MU_ENGINE_END);
    assert_true(h.tokens[1] == 0 && h.scores[1] == 20 && h.reason[1] == MU_ENGINE_LENGTH);
    assert_true(h.tokens[3] == 4 && h.tokens[4] == 1);
    mu_schedule_free(s);
}

/* A prompt of a thousand tokens holds up a running answer by no step. */
static void a_long_prompt_stops_nobody(void **state)
{
    (void)state;
    mu_schedule_options_t o = {.slots = 3, .capacity = 2000, .chunk = 16, .waiting = 4};
    mu_schedule_t *s = mu_schedule_new(&o);
    heard_t h = {0};
    add(s, 0, 0, 1, 30, false);
    step(s, &o, &h);
    add(s, 1, 1, 1000, 5, false);
    for (int64_t i = h.tokens[0]; i < 30; i++) {
        assert_int_equal(h.tokens[0], i);
        step(s, &o, &h);
    }
    assert_true(h.done[0] && h.tokens[1] == 0);
    add(s, 2, 2, 16, 1, false); /* and a short prompt waits for the long one's chunk at most */
    step(s, &o, &h);
    step(s, &o, &h);
    assert_true(h.done[2] && h.tokens[1] == 0);
    mu_schedule_free(s);
}

/* A client with twenty requests does not keep one with a single request waiting until they are done. */
static void clients_take_turns(void **state)
{
    (void)state;
    mu_schedule_options_t o = {.slots = 2, .capacity = 64, .chunk = 64, .waiting = 40};
    mu_schedule_t *s = mu_schedule_new(&o);
    heard_t h = {0};
    for (int i = 0; i < 20; i++)
        add(s, i, 1, 4, 8, false);
    step(s, &o, &h);
    add(s, 20, 2, 4, 8, false);
    add(s, 21, 3, 4, 8, false);
    while (step(s, &o, &h)) {
    }
    for (int i = 0; i < h.finished; i++)
        if (h.order[i] >= 20)
            assert_true(i < 6);
    mu_schedule_free(s);
}

static void what_is_cancelled_is_gone(void **state)
{
    (void)state;
    mu_schedule_options_t o = {.slots = 2, .capacity = 64, .chunk = 8, .waiting = 8};
    mu_schedule_t *s = mu_schedule_new(&o);
    heard_t h = {0};
    for (int i = 0; i < 6; i++)
        add(s, i, 0, 10, 10, false);
    step(s, &o, &h);
    mu_schedule_cancel(s, 0); /* reads its prompt */
    mu_schedule_cancel(s, 5); /* waits, the last one */
    mu_schedule_cancel(s, 3); /* waits, in the middle */
    mu_schedule_cancel(s, 99);
    add(s, 6, 0, 2, 2, false); /* the list still has its end */
    while (step(s, &o, &h))
        if (h.tokens[1] == 3)
            mu_schedule_cancel(s, 1); /* writes */
    static const bool done[] = {false, false, true, false, true, false, true};
    for (int i = 0; i < 7; i++)
        assert_int_equal(h.done[i], done[i]);
    assert_true(mu_schedule_running(s) == 0 && mu_schedule_waiting(s) == 0);
    add(s, 7, 0, 2, 2, false);
    mu_schedule_free(s); /* with what waits */
}

static void logits_that_are_no_numbers_end_one_request(void **state)
{
    (void)state;
    mu_schedule_options_t o = {.slots = 2, .capacity = 64, .chunk = 8, .waiting = 8};
    mu_schedule_t *s = mu_schedule_new(&o);
    const mu_plan_t *plan;
    heard_t h = {0};
    add(s, 0, 0, 2, 4, false);
    add(s, 1, 0, 2, 4, false);
    assert_true(mu_schedule_plan(s, &plan) && plan->wanted == 2);
    mu_engine_token_t result[2] = {{.id = -1}, {.id = 2}};
    mu_schedule_done(s, result, hear, &h);
    assert_true(h.done[0] && h.reason[0] == MU_ENGINE_FAILED);
    while (step(s, &o, &h)) {
    }
    assert_int_equal(h.tokens[1], 4);
    mu_schedule_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_gets_its_own_tokens),
        cmocka_unit_test(ends_scores_alone_and_what_does_not_fit),
        cmocka_unit_test(a_long_prompt_stops_nobody),
        cmocka_unit_test(clients_take_turns),
        cmocka_unit_test(what_is_cancelled_is_gone),
        cmocka_unit_test(logits_that_are_no_numbers_end_one_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
