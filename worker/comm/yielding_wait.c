#include "worker/comm/yielding_wait.h"
#include "common/clock.h"
#include "worker/comm/comm_mpi.h"

mu_status_t mu_yielding_wait(MPI_Request *request, const char *what)
{
    for (;;) {
        int done = 0;
        MU_TRY(mu_mpi_check(MPI_Test(request, &done, MPI_STATUS_IGNORE), what));
        if (done)
            return MU_OK;
        mu_sleep_ms(1);
    }
}

mu_status_t mu_yielding_broadcast(void *buf, int bytes, MPI_Comm comm, const char *what)
{
    MPI_Request request;
    MU_TRY(mu_mpi_check(MPI_Ibcast(buf, bytes, MPI_BYTE, 0, comm, &request), what));
    return mu_yielding_wait(&request, what);
}

mu_status_t mu_yielding_barrier(MPI_Comm comm, const char *what)
{
    MPI_Request request;
    MU_TRY(mu_mpi_check(MPI_Ibarrier(comm, &request), what));
    return mu_yielding_wait(&request, what);
}
