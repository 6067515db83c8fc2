/* What a file of feedback (feedback.h) says of the model: `muster eval --feedback FILE`. */
#ifndef MU_LAUNCHER_FEEDBACK_MEAN_H
#define MU_LAUNCHER_FEEDBACK_MEAN_H

#include "common/status.h"
#include <stdint.h>

typedef struct mu_feedback_mean {
    int64_t records, rewards; /* lines; those with a reward */
    double mean;              /* of the rewards; NAN: there is none */
} mu_feedback_mean_t;

/* Errors: MU_NOINPUT, MU_IO; MU_DATA, a line is no record (file and line are named). A last line that a crash cut,
 * without its end, is left out and warned of. */
mu_status_t mu_feedback_mean(const char *path, mu_feedback_mean_t *out);

#endif
