#include "worker/comm.h"
#include "common/buf.h"
#include "common/clock.h"
#include "worker/page.h"

int64_t mu_type_size(mu_type_t type)
{
    static const int64_t size[] = {
        [MU_TYPE_F32] = 4, [MU_TYPE_F64] = 8, [MU_TYPE_I32] = 4, [MU_TYPE_I64] = 8, [MU_TYPE_BYTE] = 1};
    return size[type];
}

mu_status_t mu_comm_allreduce(mu_comm_t *comm, mu_reduce_t op, mu_type_t type, void *buf, int64_t count)
{
    comm->sequence++;
    if (comm->size == 1 || count == 0)
        return MU_OK;
    int64_t before = mu_now_ns();
    mu_page_collective_begin(comm->page, comm->name, comm->sequence, "allreduce", count * mu_type_size(type));
    mu_status_t status = comm->ops->allreduce(comm, op, type, buf, count);
    mu_page_collective_end(comm->page);
    comm->wait_ns += mu_now_ns() - before;
    return status;
}

mu_status_t mu_comm_broadcast(mu_comm_t *comm, int root, void *buf, int64_t bytes)
{
    comm->sequence++;
    if (comm->size == 1 || bytes == 0)
        return MU_OK;
    int64_t before = mu_now_ns();
    mu_page_collective_begin(comm->page, comm->name, comm->sequence, "broadcast", bytes);
    mu_status_t status = comm->ops->broadcast(comm, root, buf, bytes);
    mu_page_collective_end(comm->page);
    comm->wait_ns += mu_now_ns() - before;
    return status;
}

void mu_comm_free(mu_comm_t *comm)
{
    if (!comm)
        return;
    if (comm->ops->free)
        comm->ops->free(comm);
    free(comm);
}

static const mu_comm_ops_t self_ops = {.name = "self"};

mu_comm_t *mu_comm_self(const char *name)
{
    mu_comm_t *comm = mu_calloc(1, sizeof *comm);
    comm->ops = &self_ops;
    comm->size = 1;
    snprintf(comm->name, sizeof comm->name, "%s", name);
    return comm;
}
