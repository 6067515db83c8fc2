/*
 * The engine of `muster serve`: requests come over a socket of the front's, are computed in common steps, and their
 * tokens go back (common/control/engine_link.h). It ends when the front closes the socket.
 *
 *     one process:   verb_serve.c -> mu_engine_alone()
 *     many ranks:    mu_engine_rank(): the controller has the socket and the schedule, the first replica's workers
 *                    compute
 */
#ifndef MU_WORKER_ENGINE_H
#define MU_WORKER_ENGINE_H

#include "common/commands/serve_commands.h"
#include "worker/infer/inference_model.h"
#include "worker/serve/schedule.h"

/* What the arguments and the model make of each other. */
typedef struct mu_engine_shape {
    mu_schedule_options_t schedule;
    int64_t rows, length, batch; /* of a step; the net's seq_length and micro_batch that give as many */
} mu_engine_shape_t;
/* Errors: MU_USAGE, a slot is to hold more tokens than the model takes; MU_NOINPUT, the model has no tokenizer. */
mu_status_t mu_engine_shape(const mu_serve_args_t *args, const mu_inference_model_t *model,
                            mu_engine_shape_t *out);

/* Computes a plan: mu_stepper_run(), here or elsewhere. */
typedef mu_status_t (*mu_engine_step_t)(void *arg, const mu_plan_t *plan, mu_engine_token_t *result);
/* Called at least every 100 ms; may be NULL. */
typedef void (*mu_engine_tick_t)(void *arg);
/* Connects to the socket at `path`, says hello, serves until the front goes. Errors: MU_IO (there is no front), MU_BUG
 * (it sends no frames), those of step. */
mu_status_t mu_engine_serve(const char *path, const mu_engine_hello_t *hello,
                            const mu_schedule_options_t *options, mu_engine_step_t step,
                            mu_engine_tick_t tick, void *arg);

/* The model in this process. */
mu_status_t mu_engine_alone(const mu_serve_args_t *args);
/* A rank of a serving world; run->serve are its words. */
mu_status_t mu_engine_rank(mu_run_t *run);

#endif
