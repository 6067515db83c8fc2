/*
 * What can be known of a run's start before a host is contacted: the data and its split, the checkpoint that the
 * start rule would take, and whether vocabulary, data and tp fit each other. `run`, `check`, `config`, `plan` and
 * `render` ask it, so that all of them say the same; the controller decides again from what it sees itself.
 */
#ifndef MU_LAUNCHER_START_CHECK_H
#define MU_LAUNCHER_START_CHECK_H

#include "common/buf.h"
#include "common/config/config.h"

typedef struct mu_start_question {
    const mu_config_t *config; /* resolved, for a known world or none */
    const char *run_dir;       /* NULL: the config's `save`; without one only `load` counts */
    bool here;                 /* the run takes place on this machine alone: what is not here is missing */
} mu_start_question_t;

/* What is not on this machine may be on the hosts': it is passed over, with a line in `notes`, unless `here`. Other
 * things a person wants to know (no validation) are lines there too. Writes nothing. Errors: MU_CONFIG (what does
 * not fit), MU_NOINPUT (data or `load` missing, or in another format), MU_DATA (damaged, or a part without tokens),
 * MU_NOVALID, MU_IO. */
mu_status_t mu_start_check(const mu_start_question_t *question, mu_buf_t *notes);

#endif
