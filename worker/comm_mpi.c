#include "worker/comm_mpi.h"
#include "common/buf.h"
#include "common/log.h"

static const int64_t most = 1 << 28; /* elements of one MPI call, whose counts are ints */

mu_status_t mu_mpi_check(int rc, const char *what)
{
    if (rc == MPI_SUCCESS)
        return MU_OK;
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(rc, text, &length);
    return mu_fail(MU_NETWORK, "%s failed: %.*s", what, length, text);
}

static MPI_Datatype mpi_type(mu_type_t type)
{
    switch (type) {
    case MU_TYPE_F32:
        return MPI_FLOAT;
    case MU_TYPE_F64:
        return MPI_DOUBLE;
    case MU_TYPE_I32:
        return MPI_INT32_T;
    case MU_TYPE_I64:
        return MPI_INT64_T;
    case MU_TYPE_BYTE:
        break;
    }
    return MPI_BYTE;
}

static mu_status_t allreduce(mu_comm_t *comm, mu_reduce_t op, mu_type_t type, void *buf, int64_t count)
{
    MPI_Comm group = *(MPI_Comm *)comm->impl;
    for (int64_t at = 0; at < count; at += most) {
        int64_t n = count - at < most ? count - at : most;
        MU_TRY(mu_mpi_check(MPI_Allreduce(MPI_IN_PLACE, (char *)buf + at * mu_type_size(type), (int)n,
                                          mpi_type(type), op == MU_SUM ? MPI_SUM : MPI_MAX, group),
                            "MPI_Allreduce"));
    }
    return MU_OK;
}

static mu_status_t broadcast(mu_comm_t *comm, int root, void *buf, int64_t bytes)
{
    MPI_Comm group = *(MPI_Comm *)comm->impl;
    for (int64_t at = 0; at < bytes; at += most) {
        int64_t n = bytes - at < most ? bytes - at : most;
        MU_TRY(mu_mpi_check(MPI_Bcast((char *)buf + at, (int)n, MPI_BYTE, root, group), "MPI_Bcast"));
    }
    return MU_OK;
}

static void release(mu_comm_t *comm)
{
    MPI_Comm_free(comm->impl);
    free(comm->impl);
}

static const mu_comm_ops_t mpi_ops = {
    .name = "mpi", .allreduce = allreduce, .broadcast = broadcast, .free = release};

mu_comm_t *mu_comm_mpi(MPI_Comm group, const char *name, struct mu_page *page)
{
    mu_comm_t *comm = mu_comm_self(name);
    comm->ops = &mpi_ops;
    comm->page = page;
    comm->impl = mu_alloc(sizeof(MPI_Comm));
    *(MPI_Comm *)comm->impl = group;
    MPI_Comm_set_errhandler(group, MPI_ERRORS_RETURN);
    MPI_Comm_rank(group, &comm->rank);
    MPI_Comm_size(group, &comm->size);
    return comm;
}
