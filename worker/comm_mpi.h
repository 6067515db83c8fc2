/*
 * Collectives over MPI, for buffers in host memory. One thread owns MPI (MPI_THREAD_FUNNELED).
 *
 * Counts above 2^28 elements are cut into several MPI calls. MPI's errors come back as MU_NETWORK; with the
 * default error handler of the world set to MPI_ERRORS_RETURN a broken peer is usually seen by its guard
 * first.
 */
#ifndef MU_WORKER_COMM_MPI_H
#define MU_WORKER_COMM_MPI_H

#include "worker/comm.h"
#include <mpi.h>

/* Takes over `group` (freed by mu_comm_free). Every member calls it. A group of one needs no MPI call later.
 */
mu_comm_t *mu_comm_mpi(MPI_Comm group, const char *name, struct mu_page *page);

/* MU_OK, or MU_NETWORK after logging `what` with MPI's own text. */
mu_status_t mu_mpi_check(int rc, const char *what);

#endif
