/*
 * A plan (schedule.h) on the net: rows through the layers, then for each wanted row a token drawn or the probability of
 * one.
 *
 *     mu_stepper_new(net, group, slots, vocab, &stepper);
 *     mu_stepper_run(stepper, plan, result);             every worker of the replica, with the same plan
 *     mu_stepper_free(stepper);
 */
#ifndef MU_WORKER_STEPPER_H
#define MU_WORKER_STEPPER_H

#include "worker/serve/schedule.h"

typedef struct mu_stepper mu_stepper_t;

/* vocab: of the tokenizer, from which is drawn. The net has its slots already. */
mu_stepper_t *mu_stepper_new(mu_net_t *net, mu_comm_t *group, int64_t slots, int64_t vocab);
/* result[plan->wanted] is filled on the group's first member. tp-collective. Errors: those of mu_net_step(). */
mu_status_t mu_stepper_run(mu_stepper_t *stepper, const mu_plan_t *plan, mu_engine_token_t *result);
void mu_stepper_free(mu_stepper_t *stepper); /* NULL is fine */

#endif
