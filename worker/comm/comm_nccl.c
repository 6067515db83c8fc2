#include "worker/comm/comm_nccl.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "worker/comm/nccl_watch.h"
#include "worker/guard/page.h"

#include <sched.h>

static void give_up(mu_comm_t *comm)
{
    (void)mu_nccl_give_up(((mu_nccl_group_t *)comm->impl)->watch, MU_NETWORK);
}

/* A communicator made without blocking answers "in progress" until a call has taken effect: NCCL's own thread
 * enqueues it, which takes tens of microseconds, or makes connections. Without the lock. */
static mu_status_t taken(mu_comm_t *comm, int result, const char *what)
{
    static const struct timespec between = {.tv_nsec = 200000};
    static const int64_t soon_ns = 2000000;
    mu_nccl_group_t *g = comm->impl;
    double meet = mu_nccl_limits(g->watch)->meet;
    int64_t began = mu_now_ns(), end = began + (int64_t)(meet * 1e9);
    while (result == MU_NCCL_IN_PROGRESS) {
        MU_TRY(mu_nccl_lock(g->watch));
        int error = g->nccl.async_error(g->comm, &result);
        mu_nccl_unlock(g->watch);
        if (error != MU_NCCL_SUCCESS)
            result = error;
        if (result != MU_NCCL_IN_PROGRESS)
            break;
        int64_t now = mu_now_ns();
        if (now > end)
            return mu_nccl_give_up(
                g->watch, mu_fail(MU_NETWORK,
                                  "NCCL: %s: the %d workers of group %s did not come together in %g s; "
                                  "see that NCCL's ports are open between the hosts (NCCL_DEBUG=INFO "
                                  "makes it say more)",
                                  what, comm->size, comm->name, meet));
        if (now - began < soon_ns)
            sched_yield();
        else
            nanosleep(&between, NULL);
    }
    return result == MU_NCCL_SUCCESS ? MU_OK : mu_nccl_broke(g, result, what);
}

static mu_status_t poll(mu_comm_t *comm, bool *idle)
{
    return mu_nccl_look(comm->impl, idle);
}

static int64_t take_wait_ns(mu_comm_t *comm)
{
    mu_nccl_group_t *g = comm->impl;
    int64_t ns = 0;
    if (mu_nccl_lock(g->watch) != MU_OK)
        return 0;
    ns = g->waited_ns;
    g->waited_ns = 0;
    mu_nccl_unlock(g->watch);
    return ns;
}

/* --- operations --- */

static int nccl_type(mu_type_t type)
{
    static const int types[] = {
        [MU_TYPE_F32] = MU_NCCL_F32, [MU_TYPE_F64] = MU_NCCL_F64, [MU_TYPE_I32] = MU_NCCL_I32,
        [MU_TYPE_I64] = MU_NCCL_I64, [MU_TYPE_BYTE] = MU_NCCL_U8, [MU_TYPE_BF16] = MU_NCCL_BF16,
        [MU_TYPE_F16] = MU_NCCL_F16};
    return types[type];
}

/* What a call enqueues, from the device's own stream's work before it to the end of it. `call` is made with the
 * lock. */
typedef struct operation {
    mu_reduce_t op;
    mu_type_t type;
    void *buf;
    int64_t count;
    int root; /* of a broadcast; -1: an all-reduce */
} operation_t;

static mu_status_t on_own_stream(mu_comm_t *comm, const operation_t *o)
{
    mu_nccl_group_t *g = comm->impl;
    void *own = g->cuda->stream(g->device);
    mu_nccl_span_t span = {.waits = true,
                           .sequence = comm->sequence,
                           .bytes = o->count * mu_type_size(o->type),
                           .operation = o->root < 0 ? "allreduce" : "broadcast"};
    MU_TRY(g->cuda->mark_new(g->device, own, &span.from));
    mu_status_t status = mu_nccl_lock(g->watch);
    if (status == MU_OK) {
        int rc = o->root < 0 ? g->nccl.all_reduce(o->buf, o->buf, (size_t)o->count, nccl_type(o->type),
                                                  o->op == MU_SUM ? MU_NCCL_SUM : MU_NCCL_MAX, g->comm, own)
                             : g->nccl.broadcast(o->buf, o->buf, (size_t)o->count, nccl_type(o->type),
                                                 o->root, g->comm, own);
        mu_nccl_unlock(g->watch);
        status = taken(comm, rc, span.operation);
    }
    if (status == MU_OK)
        return mu_nccl_span_add(g, own, span);
    g->cuda->mark_free(g->device, span.from);
    return status;
}

static mu_status_t allreduce(mu_comm_t *comm, mu_reduce_t op, mu_type_t type, void *buf, int64_t count)
{
    return on_own_stream(comm, &(operation_t){op, type, buf, count, -1});
}

static mu_status_t broadcast(mu_comm_t *comm, int root, void *buf, int64_t bytes)
{
    return on_own_stream(comm, &(operation_t){MU_SUM, MU_TYPE_BYTE, buf, bytes, root});
}

static bool equal_parts(const int64_t *part, int size)
{
    for (int r = 1; r < size; r++)
        if (part[r + 1] - part[r] != part[1] - part[0])
            return false;
    return true;
}

/* One reduction to, or broadcast from, the owner of each part. */
static int each_part(mu_comm_t *comm, const mu_nonblocking_t *what)
{
    mu_nccl_group_t *g = comm->impl;
    int type = nccl_type(what->type), rc = g->nccl.group_start();
    for (int r = 0; rc == MU_NCCL_SUCCESS && r < comm->size; r++) {
        char *at = (char *)what->buf + what->part[r] * mu_type_size(what->type);
        size_t n = (size_t)(what->part[r + 1] - what->part[r]);
        if (n == 0)
            continue;
        rc = what->kind == MU_BEGUN_REDUCE_SCATTER
                 ? g->nccl.reduce(at, at, n, type, MU_NCCL_SUM, r, g->comm, g->side)
                 : g->nccl.broadcast(at, at, n, type, r, g->comm, g->side);
        if (rc == MU_NCCL_IN_PROGRESS)
            rc = MU_NCCL_SUCCESS;
    }
    int ended = g->nccl.group_end();
    return rc == MU_NCCL_SUCCESS ? ended : rc;
}

static int enqueue(mu_comm_t *comm, const mu_nonblocking_t *what)
{
    mu_nccl_group_t *g = comm->impl;
    int type = nccl_type(what->type);
    int64_t size = mu_type_size(what->type);
    char *first = (char *)what->buf + what->part[0] * size;
    size_t n = (size_t)(what->part[1] - what->part[0]);
    if (what->kind == MU_BEGUN_ALLREDUCE)
        return g->nccl.all_reduce(first, first, n, type, MU_NCCL_SUM, g->comm, g->side);
    if (!equal_parts(what->part, comm->size))
        return each_part(comm, what);
    char *own = (char *)what->buf + what->part[comm->rank] * size;
    if (what->kind == MU_BEGUN_REDUCE_SCATTER)
        return g->nccl.reduce_scatter(first, own, n, type, MU_NCCL_SUM, g->comm, g->side);
    return g->nccl.all_gather(own, first, n, type, g->comm, g->side);
}

static mu_status_t begin(mu_comm_t *comm, const mu_nonblocking_t *what)
{
    mu_nccl_group_t *g = comm->impl;
    mu_nccl_span_t span = {.sequence = what->sequence,
                           .bytes = mu_nonblocking_bytes(what, comm->size),
                           .operation = mu_nonblocking_name(what->kind)};
    MU_TRY(g->cuda->stream_wait(g->device, g->side, g->cuda->stream(g->device)));
    MU_TRY(g->cuda->mark_new(g->device, g->side, &span.from));
    mu_status_t status = mu_nccl_lock(g->watch);
    if (status == MU_OK) {
        int rc = enqueue(comm, what);
        mu_nccl_unlock(g->watch);
        status = taken(comm, rc, span.operation);
    }
    if (status == MU_OK)
        return mu_nccl_span_add(g, g->side, span);
    g->cuda->mark_free(g->device, span.from);
    return status;
}

/* The newest begun operation up to number `last` that is not known to be done; NULL: there is none. With the lock. */
static const mu_nccl_span_t *newest_begun(const mu_nccl_group_t *g, uint64_t last)
{
    for (int i = g->count; i-- > 0;)
        if (!g->span[i].waits && g->span[i].sequence <= last)
            return &g->span[i];
    return NULL;
}

/* The device's own stream waits, not the host. */
static mu_status_t wait_begun(mu_comm_t *comm, uint64_t last)
{
    mu_nccl_group_t *g = comm->impl;
    void *own = g->cuda->stream(g->device);
    mu_nccl_span_t span = {.waits = true, .operation = "wait"};
    MU_TRY(g->cuda->mark_new(g->device, own, &span.from));
    mu_status_t status = mu_nccl_lock(g->watch);
    bool any = false;
    if (status == MU_OK) {
        const mu_nccl_span_t *newest =
            newest_begun(g, last); /* its marks go when it is seen done, so with the lock */
        any = newest != NULL;
        if (any) {
            span.sequence = newest->sequence;
            status = g->cuda->mark_wait(g->device, own, newest->to);
        }
        mu_nccl_unlock(g->watch);
    }
    if (status == MU_OK && any)
        return mu_nccl_span_add(g, own, span);
    g->cuda->mark_free(g->device, span.from);
    return status;
}

static void leave(mu_comm_t *comm)
{
    mu_nccl_group_t *g = comm->impl;
    if (mu_nccl_lock(g->watch) != MU_OK)
        return; /* given up */
    int rc = g->comm ? g->nccl.finalize(g->comm) : MU_NCCL_SUCCESS;
    mu_nccl_unlock(g->watch);
    if (!g->comm || taken(comm, rc, "leaving") != MU_OK)
        return;
    mu_nccl_watch_remove(g);
    g->nccl.destroy(g->comm);
}

static void release(mu_comm_t *comm)
{
    mu_nccl_group_t *g = comm->impl;
    leave(comm);
    mu_nccl_watch_remove(g);
    for (int i = 0; i < g->count; i++) {
        g->cuda->mark_free(g->device, g->span[i].from);
        g->cuda->mark_free(g->device, g->span[i].to);
    }
    g->cuda->stream_free(g->device, g->side);
    free(g->span);
    free(g);
}

static const mu_comm_ops_t nccl_ops = {.name = "nccl",
                                       .allreduce = allreduce,
                                       .broadcast = broadcast,
                                       .begin = begin,
                                       .wait = wait_begun,
                                       .poll = poll,
                                       .take_wait_ns = take_wait_ns,
                                       .abandon = give_up,
                                       .free = release};

/* --- making one --- */

/* The gravest of the members' statuses, on each. */
static mu_status_t together(mu_comm_t *host, mu_status_t own)
{
    int32_t worst = (int32_t)own;
    MU_TRY(mu_comm_allreduce(host, MU_MAX, MU_TYPE_I32, &worst, 1));
    return own != MU_OK ? own : (mu_status_t)worst;
}

static mu_status_t share_id(mu_comm_t *host, mu_nccl_group_t *g, mu_nccl_id_t *id)
{
    int rc = host->rank == 0 ? g->nccl.get_unique_id(id) : MU_NCCL_SUCCESS;
    mu_status_t status = rc == MU_NCCL_SUCCESS
                             ? MU_OK
                             : mu_fail(MU_NETWORK, "NCCL: no place to meet for group %s: %s", host->name,
                                       g->nccl.error_string(rc));
    MU_TRY(together(host, status));
    return mu_comm_broadcast(host, 0, id, sizeof *id);
}

static mu_status_t first_sum(mu_comm_t *comm)
{
    mu_nccl_group_t *g = comm->impl;
    void *one;
    MU_TRY(mu_device_alloc(g->device, MU_MEM_COMMUNICATION, sizeof(float), &one));
    mu_status_t status = mu_comm_allreduce(comm, MU_SUM, MU_TYPE_F32, one, 1);
    if (status == MU_OK)
        status = mu_comm_sync(&comm, 1);
    mu_device_free(g->device, one);
    return status;
}

static mu_status_t meet(mu_comm_t *host, mu_comm_t *comm)
{
    mu_nccl_group_t *g = comm->impl;
    mu_nccl_id_t id;
    mu_nccl_config_t config = MU_NCCL_CONFIG;
    mu_status_t status = mu_cuda_open(&g->cuda);
    if (status == MU_OK)
        status = mu_nccl_open(&g->nccl);
    MU_TRY(together(host, status));
    MU_TRY(share_id(host, g, &id));
    mu_page_collective_begin(comm->page, comm->name, 0, "nccl init", 0);
    int rc = g->nccl.init(&g->comm, comm->size, id, comm->rank, &config);
    status = taken(comm, rc, "coming together");
    mu_page_collective_end(comm->page);
    if (status == MU_OK)
        status = g->cuda->stream_new(g->device, &g->side);
    MU_TRY(together(host, status));
    mu_nccl_watch_add(g);
    status = first_sum(comm);
    if (mu_nccl_lock(g->watch) == MU_OK) {
        g->hang = mu_nccl_limits(g->watch)->hang;
        mu_nccl_unlock(g->watch);
    }
    return together(host, status);
}

mu_status_t mu_comm_nccl_new(mu_comm_t *host, mu_device_t *device, mu_nccl_watch_t *watch, mu_comm_t **out)
{
    mu_comm_t *comm = mu_comm_self(host->name);
    comm->page = host->page;
    if (host->size == 1) {
        *out = comm;
        return MU_OK;
    }
    mu_nccl_group_t *g = mu_calloc(1, sizeof *g);
    g->device = device;
    g->owner = comm;
    g->watch = watch;
    g->hang = mu_nccl_limits(watch)->meet;
    comm->impl = g;
    comm->ops = &nccl_ops;
    comm->rank = host->rank;
    comm->size = host->size;
    mu_status_t status = meet(host, comm);
    if (status != MU_OK) {
        if (!g->cuda) {
            free(g);
            free(comm);
        } else {
            mu_nccl_watch_add(g);
            (void)mu_nccl_give_up(watch,
                                  status); /* leaving in order would wait for members that have failed */
            mu_comm_free(comm);
        }
        return status;
    }
    *out = comm;
    return MU_OK;
}

int mu_comm_nccl_number(const mu_comm_t *comm)
{
    return comm->ops == &nccl_ops ? ((const mu_nccl_group_t *)comm->impl)->nccl.version : 0;
}

void mu_comm_nccl_version(const mu_comm_t *comm, char *out, size_t size)
{
    int v = mu_comm_nccl_number(comm);
    out[0] = '\0';
    if (v == 0)
        return;
    snprintf(out, size, "NCCL %d.%d.%d", v / 10000, v / 100 % 100, v % 100);
}
