/*
 * `muster eval`: the mean loss per token over all consecutive, non-overlapping sequences of a split, in one
 * process (verb_eval.c) or by a world of 1 + N ranks (eval_world.c).
 */
#ifndef MU_WORKER_EVALUATION_H
#define MU_WORKER_EVALUATION_H

#include "common/buf.h"
#include "common/gate.h"
#include "dataset/store/dataset.h"
#include "worker/infer/inference_model.h"
#include "worker/train/run.h"

/* Sequences that a worker takes at once. */
enum { MU_EVAL_ROWS = 8 };

mu_status_t mu_eval_length_parse(const char *text, int64_t *out); /* MU_USAGE */
/* Opens the data that the model is to be measured on, and looks whether it is cut by the model's tokenizer
 * and holds a sequence. ratios: config->split, for .bin/.idx. Errors: those of mu_dataset_open(); MU_CONFIG; MU_DATA. */
mu_status_t mu_eval_open(const mu_inference_model_t *model, const char *path, const char *ratios,
                         mu_data_split_t split, mu_dataset_t **out);
/* What goes to stdout: text, or one JSON object. */
void mu_eval_result(const mu_inference_model_t *model, const mu_dataset_t *data, mu_data_split_t split,
                    const mu_net_loss_t *sum, bool json, mu_buf_t *out);
/* After the result was given: MU_DATA when the loss is no finite number. */
mu_status_t mu_eval_finite(const mu_inference_model_t *model, const mu_net_loss_t *sum);

/* The same as the metrics of gates. */
void mu_eval_values(const mu_dataset_t *data, mu_data_split_t split, const mu_net_loss_t *sum,
                    double value[MU_GATE_METRICS]);
/* Keeps the result as RUN/eval/SPLIT-DATAVERSION.json when the model is a checkpoint of a run, with the digests of
 * model and configuration, and the time. One that cannot be written is a warning: the answer is not less true. */
void mu_eval_keep(const mu_inference_model_t *model, const mu_dataset_t *data, mu_data_split_t split,
                  const mu_net_loss_t *sum);

/* A rank of an evaluating world, in sequences of run->config's seq_length: rank 0 reads the data (config's
 * data_path) and deals it, the workers hold the model (config's load) in the layout of run->groups. Rank 0
 * writes the result to RUN/result, and with run->eval_gated its metrics to RUN/result.json, for the launcher to
 * judge. */
mu_status_t mu_eval_rank(mu_run_t *run);

#endif
