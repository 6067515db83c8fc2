/*
 * The opening of a run, on the controller: find out where it starts, have every worker take its state, build
 * the order of samples, print the table of the run, and say GO. The workers' half is in trainer.c; idle ranks
 * follow with mu_handshake_idle().
 */
#ifndef MU_WORKER_STARTUP_HANDSHAKE_H
#define MU_WORKER_STARTUP_HANDSHAKE_H

#include "worker/train/metrics.h"
#include "worker/train/run.h"
#include "worker/train/start.h"

typedef struct mu_handshake {
    int threads;      /* of a worker */
    char device[128]; /* of the first worker: what bits depend on */
    char instruction_set[32];
    int32_t attention;    /* every worker's: mu_attention_choose() */
    mu_ready_t memory;    /* of the worker that holds most */
    bool background;      /* every worker has memory for a copy of its state */
    bool copies;          /* copies in memory are made, */
    int64_t copies_bytes; /* which take so much of a worker's host at most */
} mu_handshake_t;

/* All ranks take part. After an error every worker knows that the run cannot start (run->orderly),
 * except after MU_NETWORK. Errors: those of mu_start_open(), and of the workers taking their state. */
mu_status_t mu_handshake_run(mu_run_t *run, mu_start_t *start, mu_handshake_t *out);
/* What an idle rank does meanwhile. */
mu_status_t mu_handshake_idle(mu_run_t *run);

/* "Open MPI 4.1.4, HDF5 1.10.8": a new string. */
char *mu_handshake_libraries(void);

#endif
