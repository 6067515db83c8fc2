/*
 * What the run does after each step, as a pure function of the configuration and the step: nothing here
 * depends on time, layout or on where the run was resumed.
 */
#ifndef MU_WORKER_SCHEDULE_H
#define MU_WORKER_SCHEDULE_H

#include "common/config/config.h"

/* Whether a checkpoint is due after `step` updates (checkpoint_factor, linear or log scale; extra_save_iters;
 * the end). Step 0 only by extra_save_iters. */
bool mu_schedule_save(const mu_config_t *config, int64_t step);

/* Whether the run evaluates at all: not with eval_interval 0 or eval_iters 0. */
bool mu_schedule_evaluates(const mu_config_t *config);

/* Whether validation loss is due after `step` updates: multiples of eval_interval, and the end. */
bool mu_schedule_eval(const mu_config_t *config, int64_t step);

/* The first of the eval_iters global batches of the validation order that the evaluation after `step` uses;
 * gpt-neox goes on where the evaluation before stopped (megatron/training.py). */
int64_t mu_schedule_eval_batch(const mu_config_t *config, int64_t step);

/* Global batches of validation that a whole run can ask for: (train_iters / eval_interval + 1) * eval_iters,
 * or 0 when it never evaluates. */
int64_t mu_schedule_eval_batches(const mu_config_t *config);

/* Whether the run ends after `step`: train_iters, or a multiple of exit_interval. */
bool mu_schedule_end(const mu_config_t *config, int64_t step);

#endif
