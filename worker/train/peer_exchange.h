/* Large messages between workers, all at once, beside what the progress thread moves. */
#ifndef MU_WORKER_PEER_EXCHANGE_H
#define MU_WORKER_PEER_EXCHANGE_H

#include "worker/train/run.h"

#define MU_EXCHANGE_BLOCK ((uint64_t)8 << 20) /* bytes of one message */

typedef struct mu_transfer {
    int peer; /* index of a worker */
    bool sends;
    char *bytes; /* of host memory */
    uint64_t size;
    /* of mu_exchange(), zeros before */
    uint64_t done;
    MPI_Request request;
    bool pending;
} mu_transfer_t;

/* Returns when all are done. Two workers have at most one transfer in each direction. Each block shows progress.
 * Errors: MU_NETWORK. */
mu_status_t mu_exchange(const mu_run_t *run, mu_transfer_t *transfers, int n);

#endif
