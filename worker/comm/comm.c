#include "worker/comm/comm.h"
#include "common/buf.h"
#include "common/clock.h"
#include "worker/guard/page.h"

int64_t mu_type_size(mu_type_t type)
{
    static const int64_t size[] = {
        [MU_TYPE_F32] = 4,  [MU_TYPE_F64] = 8,  [MU_TYPE_I32] = 4, [MU_TYPE_I64] = 8,
        [MU_TYPE_BYTE] = 1, [MU_TYPE_BF16] = 2, [MU_TYPE_F16] = 2};
    return size[type];
}

mu_type_t mu_type_of(mu_dtype_t dtype)
{
    return dtype == MU_DTYPE_F32 ? MU_TYPE_F32 : dtype == MU_DTYPE_BF16 ? MU_TYPE_BF16 : MU_TYPE_F16;
}

const char *mu_nonblocking_name(mu_nonblocking_kind_t kind)
{
    static const char *const name[] = {[MU_BEGUN_ALLREDUCE] = "allreduce",
                                       [MU_BEGUN_REDUCE_SCATTER] = "reduce_scatter",
                                       [MU_BEGUN_ALL_GATHER] = "all_gather"};
    return name[kind];
}

int64_t mu_nonblocking_bytes(const mu_nonblocking_t *what, int size)
{
    int last = what->kind == MU_BEGUN_ALLREDUCE ? 1 : size;
    return (what->part[last] - what->part[0]) * mu_type_size(what->type);
}

/* What was begun comes first: members call in the same order, and so the group carries it out. */
static mu_status_t settle(mu_comm_t *comm)
{
    if (!comm->pending)
        return MU_OK;
    comm->pending = false;
    return comm->ops->wait(comm, UINT64_MAX);
}

void mu_comm_progress(mu_comm_t *comm)
{
    mu_page_progress(comm->page);
}

mu_status_t mu_comm_allreduce(mu_comm_t *comm, mu_reduce_t op, mu_type_t type, void *buf, int64_t count)
{
    comm->sequence++;
    if (comm->size == 1)
        mu_comm_progress(comm); /* a layer may take long where one worker has all of it */
    if (comm->size == 1 || count == 0)
        return MU_OK;
    int64_t before = mu_now_ns();
    mu_status_t status = settle(comm);
    mu_page_collective_begin(comm->page, comm->name, comm->sequence, "allreduce", count * mu_type_size(type));
    if (status == MU_OK)
        status = comm->ops->allreduce(comm, op, type, buf, count);
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
    mu_status_t status = settle(comm);
    mu_page_collective_begin(comm->page, comm->name, comm->sequence, "broadcast", bytes);
    if (status == MU_OK)
        status = comm->ops->broadcast(comm, root, buf, bytes);
    mu_page_collective_end(comm->page);
    comm->wait_ns += mu_now_ns() - before;
    return status;
}

static mu_status_t begin(mu_comm_t *comm, mu_nonblocking_t what)
{
    what.sequence = ++comm->sequence;
    if (comm->size == 1 || mu_nonblocking_bytes(&what, comm->size) == 0)
        return MU_OK;
    int64_t before = mu_now_ns();
    comm->pending = true;
    mu_status_t status = comm->ops->begin(comm, &what);
    comm->wait_ns += mu_now_ns() - before;
    return status;
}

mu_status_t mu_comm_start_allreduce(mu_comm_t *comm, mu_type_t type, void *buf, int64_t count)
{
    const int64_t part[2] = {0, count};
    return begin(comm,
                 (mu_nonblocking_t){.kind = MU_BEGUN_ALLREDUCE, .type = type, .buf = buf, .part = part});
}

mu_status_t mu_comm_start_reduce_scatter(mu_comm_t *comm, mu_type_t type, void *buf, const int64_t *part)
{
    return begin(comm,
                 (mu_nonblocking_t){.kind = MU_BEGUN_REDUCE_SCATTER, .type = type, .buf = buf, .part = part});
}

mu_status_t mu_comm_start_all_gather(mu_comm_t *comm, mu_type_t type, void *buf, const int64_t *part)
{
    return begin(comm,
                 (mu_nonblocking_t){.kind = MU_BEGUN_ALL_GATHER, .type = type, .buf = buf, .part = part});
}

mu_status_t mu_comm_wait(mu_comm_t *comm)
{
    int64_t before = mu_now_ns();
    mu_status_t status = settle(comm);
    comm->wait_ns += mu_now_ns() - before;
    return status;
}

mu_status_t mu_comm_wait_until(mu_comm_t *comm, uint64_t last)
{
    if (!comm->pending)
        return MU_OK;
    int64_t before = mu_now_ns();
    mu_status_t status = comm->ops->wait(comm, last);
    comm->wait_ns += mu_now_ns() - before;
    return status;
}

mu_status_t mu_comm_sync(mu_comm_t *const *comms, int count)
{
    static const struct timespec between = {.tv_nsec = 20000};
    mu_status_t status = MU_OK;
    for (bool all = false; status == MU_OK && !all;) {
        all = true;
        for (int i = 0; status == MU_OK && i < count; i++) {
            bool idle = true;
            if (comms[i] && comms[i]->ops->poll)
                status = comms[i]->ops->poll(comms[i], &idle);
            all = all && idle;
        }
        if (status == MU_OK && !all)
            nanosleep(&between, NULL);
    }
    /* one group's operations may stand after another's on the device */
    for (int i = 0; status != MU_OK && i < count; i++)
        mu_comm_abandon(comms[i]);
    return status;
}

void mu_comm_abandon(mu_comm_t *comm)
{
    if (comm && comm->ops->abandon)
        comm->ops->abandon(comm);
}

int64_t mu_comm_take_wait_ns(mu_comm_t *comm)
{
    int64_t ns = comm->wait_ns;
    comm->wait_ns = 0;
    return comm->ops->take_wait_ns ? comm->ops->take_wait_ns(comm) : ns;
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
