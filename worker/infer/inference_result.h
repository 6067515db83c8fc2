/*
 * What the ranks of `muster eval` and of `muster generate` have in common: a world of 1 + N ranks with a
 * trained model on its workers, which leaves one answer in RUN/result.
 *
 *     mu_inference_result_load(run, &model, rows)      every active worker: the weights
 *     mu_inference_result_receive(run)                    the controller, once: says what the model lies on
 *     mu_inference_result_write(run, &text)            the controller, at the end
 */
#ifndef MU_WORKER_INFERENCE_RESULT_H
#define MU_WORKER_INFERENCE_RESULT_H

#include "worker/infer/inference_model.h"

/* mu_inference_model_weights() for calls of `rows` sequences; the first worker tells the controller where. */
mu_status_t mu_inference_result_load(mu_run_t *run, mu_inference_model_t *model, int64_t rows);
mu_status_t mu_inference_result_receive(mu_run_t *run);
/* Errors: MU_IO. */
mu_status_t mu_inference_result_write(const mu_run_t *run, const mu_buf_t *text);

#endif
