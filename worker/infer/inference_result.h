/*
 * What the ranks of `muster eval` and of `muster generate` have in common: a world of 1 + N ranks with a
 * trained model on its workers, which leaves one answer in RUN/result.
 *
 *     mu_answer_load(run, &model, rows)      every active worker: the weights
 *     mu_answer_hear(run)                    the controller, once: says what the model lies on
 *     mu_answer_write(run, &text)            the controller, at the end
 */
#ifndef MU_WORKER_ANSWER_H
#define MU_WORKER_ANSWER_H

#include "worker/infer/inference_model.h"

/* mu_loaded_weights() for calls of `rows` sequences; the first worker tells the controller where. */
mu_status_t mu_answer_load(mu_run_t *run, mu_loaded_t *model, int64_t rows);
mu_status_t mu_answer_hear(mu_run_t *run);
/* Errors: MU_IO. */
mu_status_t mu_answer_write(const mu_run_t *run, const mu_buf_t *text);

#endif
