/*
 * Model references: how a command or `load` names a model.
 *
 *     CKPT_DIR, RUN            a checkpoint; the newest valid one of a run
 *     RUN@latest               the same as RUN
 *     RUN@best                 the one with the least validation loss (RUN/checkpoints/best)
 *     RUN@1200                 that of a step
 *     RUN/checkpoints/best     and .../latest: the file that names it
 *
 * A path that is there as it is written is taken as that, whatever it is called.
 */
#ifndef MU_COMMON_REFERENCE_H
#define MU_COMMON_REFERENCE_H

#include "common/status.h"
#include <stdbool.h>

/* The path that a reference stands for: a new string; the reference itself where it is no such form. Errors:
 * MU_NOINPUT (the run has no such checkpoint, and which it has), MU_USAGE (what follows the @). */
mu_status_t mu_reference_path(const char *reference, char **out);
/* The run directory RUN of the checkpoint RUN/checkpoints/step-N, absolute, a new string; NULL: it lies in no run. */
char *mu_reference_run(const char *checkpoint);
/* Whether the directory of the reference is on this machine; logs nothing. */
bool mu_reference_here(const char *reference);

#endif
