/*
 * `muster eval`: the mean loss per token over all consecutive, non-overlapping sequences of a split, and the accuracy
 * on labelled examples, in one process (verb_eval.c) or by a world of 1 + N ranks (eval_world.c).
 */
#ifndef MU_WORKER_EVALUATION_H
#define MU_WORKER_EVALUATION_H

#include "dataset/order/pack.h"
#include "worker/infer/inference_model.h"
#include "worker/infer/labelled.h"
#include "worker/train/run.h"

/* Sequences that a worker takes at once. */
enum { MU_EVAL_ROWS = 8 };

/* What is measured: the sequences of a split. Of conversations they are packed by first fit in the order of the data,
 * and what counts is what their labels say. */
typedef struct mu_eval_data {
    mu_dataset_t *set; /* NULL: there is none */
    mu_pack_t *pack;   /* of conversations; else NULL */
    mu_data_split_t split;
    int64_t seq_length;
} mu_eval_data_t;

/* Opens the data that the model is to be measured on, and looks whether it is cut by the model's tokenizer
 * and holds a sequence. ratios: config->split, for .bin/.idx. Errors: those of mu_dataset_open(); MU_CONFIG;
 * MU_DATA. */
mu_status_t mu_eval_open(const mu_inference_model_t *model, const char *path, const char *ratios,
                         mu_data_split_t split, mu_eval_data_t *out);
void mu_eval_close(mu_eval_data_t *data); /* one filled with zeros is nothing */
int64_t mu_eval_sequences(const mu_eval_data_t *data);
/* tokens: seq_length + 1, with marks (common/token_marks.h). */
mu_status_t mu_eval_sequence(const mu_eval_data_t *data, int64_t k, int32_t *tokens);
/* The examples of a file in the model's tokens; delimiter: between prompt and choice. Errors: those of
 * mu_labelled_read() and mu_labelled_encode(); MU_NOINPUT (no tokenizer). */
mu_status_t mu_eval_labelled(const mu_inference_model_t *model, const char *path, const char *delimiter,
                             mu_labelled_t *out);

/* A rank of an evaluating world, in sequences of run->config's seq_length: rank 0 reads the data (config's
 * data_path; none: there is none to measure) and deals it, the workers hold the model (config's load) in the layout of
 * run->groups and divide the examples of run->eval_labelled among the replicas. Rank 0
 * writes the result to RUN/result, and with run->eval_gated its metrics to RUN/result.json, for the launcher to
 * judge. */
mu_status_t mu_eval_rank(mu_run_t *run);

#endif
