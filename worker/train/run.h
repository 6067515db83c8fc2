/* What one rank knows about the run it belongs to. */
#ifndef MU_WORKER_RUN_H
#define MU_WORKER_RUN_H

#include "common/config/config.h"
#include "dataset/store/dataset.h"
#include "worker/comm/layout.h"

typedef struct mu_run {
    const mu_config_t *config; /* resolved; the start replaces it by one with what it finds out */
    const char *dir;           /* the run directory */
    const char *copies_dir;    /* of copies in memory (common/checkpoint/copies.h); NULL: none are made */
    int attempt;               /* of the launcher; 0 without one */
    bool watched;              /* a launcher draws progress and listens to RUN/stop */
    mu_groups_t *groups;
    mu_page_t *page;      /* may be NULL */
    bool eval_gated;      /* its launcher judges the result */
    bool eval, eval_json; /* `muster eval` on this split instead of training; the result is to be JSON */
    mu_data_split_t eval_split;
    const char *eval_labelled,
        *eval_delimiter;          /* examples to measure too, NULL: none; between prompt and choice */
    struct mu_generate *generate; /* what `muster generate` asks instead; NULL: nothing */
    struct mu_serve_args *serve;  /* what `muster serve` asks; NULL: nothing */
    bool orderly;                 /* set by the controller: every worker has been asked to end */
    /* set by the controller: updates done before this attempt and now, step of the newest checkpoint (-1: none) */
    int64_t begun, step, checkpoint;
} mu_run_t;

/* "RUN/checkpoints"; free() it. */
char *mu_run_checkpoints(const mu_run_t *run);

#endif
