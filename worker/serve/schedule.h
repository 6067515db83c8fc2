/*
 * Which tokens of which requests the next step computes: continuous batching. Nothing here computes or waits.
 *
 *     mu_schedule_t *s = mu_schedule_new(&options);
 *     mu_schedule_add(s, id, &request);  mu_schedule_cancel(s, id);          whenever they come
 *     while (mu_schedule_plan(s, &plan)) {
 *         ... compute the plan's pieces; one result for each wanted row ...
 *         mu_schedule_done(s, &plan, results, emit, arg);
 *     }
 *
 * A request waits until a slot is free; of those that wait the next one is the oldest of the client that has the fewest
 * slots, and of equal ones of that which was served longest ago. A step holds one row of every sequence that writes,
 * and up to `chunk` rows of prompts: of the sequences that still read theirs, each has the first claim in turn. So no
 * prompt holds up the others for more than a chunk, and no client the other clients.
 */
#ifndef MU_WORKER_SCHEDULE_H
#define MU_WORKER_SCHEDULE_H

#include "common/control/engine_link.h"
#include "worker/infer/sample.h"
#include "worker/model/net.h"

typedef struct mu_schedule mu_schedule_t;

typedef struct mu_schedule_options {
    int64_t slots, capacity; /* sequences at once, tokens of each */
    int64_t chunk;           /* rows of prompts in a step, >= 1 */
    int64_t waiting;         /* requests that may wait beside those with a slot */
} mu_schedule_options_t;

/* What a step is to do with a piece beside its rows. */
typedef struct mu_plan_piece {
    mu_net_piece_t net;
    bool begins; /* a new sequence in this slot: it draws by `how` */
    mu_sampling_t how;
    int32_t top; /* mu_engine_request_t.top */
} mu_plan_piece_t;

typedef struct mu_plan {
    mu_plan_piece_t *piece; /* [slots at most] */
    int pieces;
    int32_t *token; /* [rows]: of the pieces one after the other */
    int32_t *
        next; /* [wanted]: of each wanted row the token whose probability is asked for; -1: one is to be drawn */
    int64_t rows, wanted;
    int64_t piece_room, row_room; /* how long the arrays are */
} mu_plan_t;

/* Called with what goes to whoever asked. */
typedef void (*mu_schedule_emit_t)(void *arg, const mu_engine_message_t *message);

mu_schedule_t *mu_schedule_new(const mu_schedule_options_t *options);
void mu_schedule_free(mu_schedule_t *schedule);
/* Takes request->ids over. False: it is refused, since too many wait or it fits no slot, and its ids are freed. */
bool mu_schedule_add(mu_schedule_t *schedule, uint64_t id, mu_engine_request_t *request);
void mu_schedule_cancel(mu_schedule_t *schedule, uint64_t id); /* an id that is not there is nothing */
/* False: nothing to do. The plan belongs to the schedule and stays until the next call. Nothing may be added or
 * cancelled before mu_schedule_done(). */
bool mu_schedule_plan(mu_schedule_t *schedule, const mu_plan_t **plan);
/* result[plan->wanted]; an id of -1 where a token was to be drawn: the logits are no numbers. */
void mu_schedule_done(mu_schedule_t *schedule, const mu_engine_token_t *result, mu_schedule_emit_t emit,
                      void *arg);
/* Requests that have a slot; that wait. */
int64_t mu_schedule_running(const mu_schedule_t *schedule);
int64_t mu_schedule_waiting(const mu_schedule_t *schedule);

#endif
