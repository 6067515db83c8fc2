#include "worker/comm/comm_mpi.h"
#include "common/log.h"

mu_status_t mu_mpi_check(int rc, const char *what)
{
    if (rc == MPI_SUCCESS)
        return MU_OK;
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(rc, text, &length);
    return mu_fail(MU_NETWORK, "%s failed: %.*s", what, length, text);
}
