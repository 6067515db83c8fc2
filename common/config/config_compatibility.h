/*
 * What must be the same when a run goes on from a checkpoint, and what may change (docs/run-directory.md).
 */
#ifndef MU_CONFIG_COMPATIBILITY_H
#define MU_CONFIG_COMPATIBILITY_H

#include "common/config/config.h"

/* Compares the settings that decide the model between `config` and the effective configuration `was` (YAML)
 * that the checkpoint at `path` was made with; `optimizer`: also those that the optimizer's state belongs to.
 * All differences are logged. The vocabulary is compared by the caller. course: of `was`. Errors: MU_CONFIG; MU_DATA
 * when `was` is unreadable. */
mu_status_t mu_compatibility_check(const mu_config_t *config, const char *path, const char *was,
                                   bool optimizer, mu_lr_course_t *course);

#endif
