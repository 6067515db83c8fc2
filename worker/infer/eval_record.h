/*
 * What `muster eval` found of one model: as text, as JSON, as the values of gates, and as files of the run directory.
 */
#ifndef MU_WORKER_EVAL_RECORD_H
#define MU_WORKER_EVAL_RECORD_H

#include "common/buf.h"
#include "common/gate.h"
#include "dataset/store/dataset.h"
#include "worker/infer/inference_model.h"
#include "worker/infer/likelihood.h"

typedef struct mu_measured {
    const mu_dataset_t *data; /* NULL: no data set was measured */
    mu_data_split_t split;
    mu_net_loss_t sum;
    const mu_labelled_t *labelled; /* NULL: no labelled examples were */
    mu_accuracy_t accuracy;
} mu_measured_t;

/* The same as the metrics of gates; NAN what was not measured. */
void mu_eval_values(const mu_measured_t *measured, double value[MU_GATE_METRICS]);
/* What goes to stdout: text, or one JSON object on a line. */
void mu_eval_result(const mu_inference_model_t *model, const mu_measured_t *measured, bool json,
                    mu_buf_t *out);
/* After the result was given: MU_DATA when a loss or a likelihood is no finite number. */
mu_status_t mu_eval_finite(const mu_inference_model_t *model, const mu_measured_t *measured);
/* Keeps the result as RUN/eval/SPLIT-DATAVERSION.json and RUN/eval/labelled-DIGEST.json when the model is a checkpoint
 * of a run, with the digests of model and configuration, and the time. One that cannot be written is a warning: the
 * answer is not less true. */
void mu_eval_keep(const mu_inference_model_t *model, const mu_measured_t *measured);

#endif
