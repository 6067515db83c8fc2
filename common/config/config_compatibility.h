/*
 * What must be the same when a run goes on from a checkpoint, and what may change (docs/run-directory.md).
 */
#ifndef MU_CONFIG_COMPATIBILITY_H
#define MU_CONFIG_COMPATIBILITY_H

#include "common/config/config.h"

/* Of the configuration that a checkpoint was made with. */
typedef struct mu_former {
    mu_lr_course_t course;
    int64_t train_batch_size; /* 0: it was not trained, as an imported one */
} mu_former_t;

/* Compares the settings that decide the model between `config` and the effective configuration `was` (YAML)
 * that the checkpoint at `path` was made with; `optimizer`: also those that the optimizer's state belongs to.
 * All differences are logged. The vocabulary is compared by the caller. Errors: MU_CONFIG; MU_DATA
 * when `was` is unreadable. */
mu_status_t mu_compatibility_check(const mu_config_t *config, const char *path, const char *was,
                                   bool optimizer, mu_former_t *former);

#endif
