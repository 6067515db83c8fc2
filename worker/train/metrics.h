/*
 * RUN/metrics.jsonl: one line a step, always, with 17 significant digits (docs/run-directory.md). The
 * controller writes it. After a restart a later line for a step replaces the earlier one.
 */
#ifndef MU_WORKER_METRICS_H
#define MU_WORKER_METRICS_H

#include "common/buf.h"
#include "worker/train/train_protocol.h"

typedef struct mu_metrics mu_metrics_t;

/* Opens for appending; ends a line that a killed run left torn. Errors: MU_RUNDIR, MU_IO. */
mu_status_t mu_metrics_open(const char *run_dir, mu_metrics_t **out);
/* One step: samples and tokens are totals after it; valid_loss is NULL but on evaluation steps. Errors:
 * MU_IO. */
mu_status_t mu_metrics_add(mu_metrics_t *metrics, const mu_report_t *report, int64_t samples, int64_t tokens,
                           const double *valid_loss);
void mu_metrics_close(mu_metrics_t *metrics);

/* "null" for what JSON cannot say (NaN, infinities). */
void mu_json_number(mu_buf_t *out, double value);

#endif
