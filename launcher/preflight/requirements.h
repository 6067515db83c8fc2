/*
 * What a run needs of every host before it starts, for preflight: room for a checkpoint, memory for a rank.
 * From the config and, where it is on this machine, the tokenizer; formulas: launcher/plan/plan_memory.h.
 */
#ifndef MU_LAUNCHER_REQUIREMENTS_H
#define MU_LAUNCHER_REQUIREMENTS_H

#include "common/config/config.h"

typedef struct mu_requirements {
    uint64_t checkpoint; /* bytes of one checkpoint; 0: the vocabulary is not known here */
    uint64_t rank;       /* bytes of memory of one rank; 0: not known */
    uint64_t
        copies; /* of that host's memory, in /dev/shm, for copies of a rank's state; 0: none, or not known */
} mu_requirements_t;

/* `config` is resolved, for an unknown world at least. `trains`: else the model is only used, and nothing saved.
 * Errors: those of reading vocab_file. */
mu_status_t mu_requirements_of(const mu_config_t *config, bool trains, mu_requirements_t *out);

#endif
