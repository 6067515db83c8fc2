/*
 * Waiting inside MPI without burning a core: Test and a short sleep, where a blocking call would spin for as
 * long as a peer reads a checkpoint or builds an index. For waits that may be long; never inside a step.
 */
#ifndef MU_WORKER_YIELDING_WAIT_H
#define MU_WORKER_YIELDING_WAIT_H

#include <mpi.h>

#include "common/status.h"

/* Completes `request`. Errors: MU_NETWORK, with `what`. */
mu_status_t mu_yielding_wait(MPI_Request *request, const char *what);
/* Broadcasts `bytes` from rank 0 of `comm`; every member calls it. */
mu_status_t mu_yielding_broadcast(void *buf, int bytes, MPI_Comm comm, const char *what);
/* Leaves MPI once every rank of `comm` has come here. */
mu_status_t mu_yielding_barrier(MPI_Comm comm, const char *what);

#endif
