/*
 * Collectives over MPI, for buffers in host memory. MPI's errors come back as MU_NETWORK; with the default
 * error handler of the world set to MPI_ERRORS_RETURN a broken peer is usually seen by its guard first.
 *
 * Begun operations are cut into pieces, some of which are in flight at a time, in an order that all members
 * share. MPI moves them only inside its calls. So that they move while the owner computes, a progress_thread, one
 * thread, makes such calls for all communicators attached to it:
 *     mu_progress_thread_new(&progress_thread);                      wants MPI_THREAD_SERIALIZED
 *     mu_comm_mpi_attach(tp, progress_thread);  mu_comm_mpi_attach(dp, progress_thread);
 *     mu_comm_start_...(dp, ...);  compute, and operations on tp;  mu_comm_wait(dp);
 *     mu_comm_free(...);  mu_progress_thread_free(progress_thread);
 * Calls of attached communicators exclude the progress_thread. From a begin to its wait the owner makes no MPI call but
 * through them and mu_progress_thread_send(), mu_progress_thread_recv(). Without a progress_thread begun operations
 * move in begin and wait alone; the bits are the same.
 */
#ifndef MU_WORKER_COMM_MPI_H
#define MU_WORKER_COMM_MPI_H

#include "worker/comm/comm.h"
#include <mpi.h>

typedef struct mu_progress_thread mu_progress_thread_t;

/* Before MPI_Init, by every rank: says in the environment, where the user has not, which of Open MPI's
 * algorithms begun operations take. Its own choice cuts a message into 32 KiB which go one after the other,
 * and each waits until somebody looks: five times as long between two ranks (docs/measured.md). */
void mu_comm_mpi_prepare(void);
/* Takes over `group` (freed by mu_comm_free). Every member calls it. A group of one needs no MPI call later.
 */
mu_comm_t *mu_comm_mpi(MPI_Comm group, const char *name, struct mu_page *page);
/* The MPI communicator of one made by mu_comm_mpi(): borrowed. */
MPI_Comm mu_comm_mpi_group(const mu_comm_t *comm);

/* Errors: MU_NOMEM (no thread could be made). */
mu_status_t mu_progress_thread_new(mu_progress_thread_t **out);
void mu_progress_thread_free(
    mu_progress_thread_t *progress_thread); /* after the communicators; NULL is fine */
/* MPI_Send and MPI_Recv of the owner's, which wait while the progress_thread's operations move on. progress_thread
 * NULL: nothing but the call. Return what MPI does, for mu_mpi_check(). */
int mu_progress_thread_send(mu_progress_thread_t *progress_thread, const void *buf, int count,
                            MPI_Datatype type, int to, int tag, MPI_Comm comm);
int mu_progress_thread_recv(mu_progress_thread_t *progress_thread, void *buf, int count, MPI_Datatype type,
                            int from, int tag, MPI_Comm comm);
/* progress_thread NULL: nothing changes. Nothing is pending on `comm`. */
void mu_comm_mpi_attach(mu_comm_t *comm, mu_progress_thread_t *progress_thread);

/* MU_OK, or MU_NETWORK after logging `what` with MPI's own text. */
mu_status_t mu_mpi_check(int rc, const char *what);

#endif
