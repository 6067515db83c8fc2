#include "worker/comm/comm_nccl.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "kernels/cuda_load.h"
#include "worker/comm/nccl.h"
#include "worker/guard/page.h"

#include <sched.h>

/* From one mark on a stream to another: an operation, or the wait for begun ones. */
typedef struct span {
    void *from, *to; /* from NULL: nothing waits for it, it is there to be named */
    uint64_t sequence;
    int64_t bytes;
    const char *operation;
} span_t;

typedef struct group {
    mu_nccl_t nccl;
    const mu_cuda_plugin_t *cuda;
    mu_device_t *device;
    mu_nccl_limits_t limits;
    mu_nccl_comm_t *comm; /* NULL: aborted */
    void *side;           /* the stream of begun operations */
    span_t *span;         /* enqueued and not known to be done */
    int count, cap;
    uint64_t shown;   /* on the page */
    int64_t moved_ns; /* when an operation last ended or was enqueued */
    int64_t waited_ns;
} group_t;

/* --- errors --- */

static mu_status_t abandon(mu_comm_t *comm, mu_status_t status)
{
    group_t *g = comm->impl;
    if (g->comm)
        g->nccl.abort(g->comm);
    g->comm = NULL;
    return status;
}

static void give_up(mu_comm_t *comm)
{
    (void)abandon(comm, MU_OK);
}

static mu_status_t broke(mu_comm_t *comm, int result, const char *what)
{
    group_t *g = comm->impl;
    return abandon(comm, mu_fail(MU_NETWORK, "NCCL: %s in group %s of %d: %s%s", what, comm->name, comm->size,
                                 g->nccl.error_string(result),
                                 result == MU_NCCL_REMOTE_ERROR ? " (another worker or its host broke first)"
                                                                : "; NCCL_DEBUG=INFO makes it say more"));
}

/* A communicator made without blocking answers "in progress" until a call has taken effect: NCCL's own thread
 * enqueues it, which takes tens of microseconds, or makes connections. */
static mu_status_t taken(mu_comm_t *comm, int result, const char *what)
{
    static const struct timespec between = {.tv_nsec = 200000};
    static const int64_t soon_ns = 2000000;
    group_t *g = comm->impl;
    int64_t began = mu_now_ns(), end = began + (int64_t)(g->limits.meet * 1e9);
    while (result == MU_NCCL_IN_PROGRESS) {
        int error = g->nccl.async_error(g->comm, &result);
        if (error != MU_NCCL_SUCCESS)
            result = error;
        if (result != MU_NCCL_IN_PROGRESS)
            break;
        int64_t now = mu_now_ns();
        if (now > end)
            return abandon(comm,
                           mu_fail(MU_NETWORK,
                                   "NCCL: %s: the %d workers of group %s did not come together in %g s; "
                                   "see that NCCL's ports are open between the hosts (NCCL_DEBUG=INFO "
                                   "makes it say more)",
                                   what, comm->size, comm->name, g->limits.meet));
        if (now - began < soon_ns)
            sched_yield();
        else
            nanosleep(&between, NULL);
    }
    return result == MU_NCCL_SUCCESS ? MU_OK : broke(comm, result, what);
}

static mu_status_t usable(const mu_comm_t *comm)
{
    const group_t *g = comm->impl;
    return g->comm ? MU_OK : mu_fail(MU_BUG, "group %s is used after it was aborted", comm->name);
}

/* --- spans --- */

static mu_status_t add_span(mu_comm_t *comm, void *from, void *stream, uint64_t sequence, int64_t bytes,
                            const char *operation)
{
    group_t *g = comm->impl;
    span_t span = {.from = from, .sequence = sequence, .bytes = bytes, .operation = operation};
    mu_status_t status = g->cuda->mark_new(g->device, stream, &span.to);
    if (status != MU_OK) {
        g->cuda->mark_free(g->device, from);
        return status;
    }
    if (g->count == g->cap) {
        g->cap = g->cap ? 2 * g->cap : 256;
        g->span = mu_realloc(g->span, (size_t)g->cap * sizeof *g->span);
    }
    g->span[g->count++] = span;
    g->moved_ns = mu_now_ns();
    return MU_OK;
}

static mu_status_t drop_span(group_t *g, span_t *span)
{
    double ms = 0;
    mu_status_t status = span->from ? g->cuda->mark_ms(g->device, span->from, span->to, &ms) : MU_OK;
    g->waited_ns += (int64_t)(ms * 1e6);
    g->cuda->mark_free(g->device, span->from);
    g->cuda->mark_free(g->device, span->to);
    return status;
}

/* Forgets the operations that are done: those in front, since each stream keeps its order. */
static mu_status_t reap(mu_comm_t *comm)
{
    group_t *g = comm->impl;
    mu_status_t status = MU_OK;
    int done = 0;
    for (bool passed = true; done < g->count; done++) {
        MU_TRY_GOTO(status, g->cuda->mark_passed(g->device, g->span[done].to, &passed), out);
        if (!passed)
            break;
        MU_TRY_GOTO(status, drop_span(g, &g->span[done]), out);
    }
out:
    if (done > 0) {
        g->count -= done;
        memmove(g->span, g->span + done, (size_t)g->count * sizeof *g->span);
        g->moved_ns = mu_now_ns();
        mu_page_progress(comm->page);
    }
    return status;
}

static mu_status_t hung(mu_comm_t *comm)
{
    const group_t *g = comm->impl;
    const span_t *s = &g->span[0];
    return abandon(comm,
                   mu_fail(MU_HUNG, "NCCL: %s number %llu of group %s (%lld bytes) has not ended in %g s",
                           s->operation, (unsigned long long)s->sequence, comm->name, (long long)s->bytes,
                           g->limits.hang));
}

static mu_status_t poll(mu_comm_t *comm, bool *idle)
{
    group_t *g = comm->impl;
    int error;
    MU_TRY(usable(comm));
    int rc = g->nccl.async_error(g->comm, &error);
    if (rc != MU_NCCL_SUCCESS || (error != MU_NCCL_SUCCESS && error != MU_NCCL_IN_PROGRESS))
        return broke(comm, rc != MU_NCCL_SUCCESS ? rc : error, g->count ? g->span[0].operation : "a peer");
    MU_TRY(reap(comm));
    *idle = g->count == 0;
    if (*idle && g->shown)
        mu_page_collective_end(comm->page);
    if (*idle || g->span[0].sequence != g->shown) {
        g->shown = *idle ? 0 : g->span[0].sequence;
        if (!*idle)
            mu_page_collective_begin(comm->page, comm->name, g->shown, g->span[0].operation,
                                     g->span[0].bytes);
    }
    if (!*idle && (double)(mu_now_ns() - g->moved_ns) * 1e-9 > g->limits.hang)
        return hung(comm);
    return MU_OK;
}

static int64_t take_wait_ns(mu_comm_t *comm)
{
    group_t *g = comm->impl;
    int64_t ns = g->waited_ns;
    g->waited_ns = 0;
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

enum { SPANS_MOST = 4096 }; /* a caller that never waits for the device keeps no more marks than this */

static mu_status_t before(mu_comm_t *comm, void **from)
{
    group_t *g = comm->impl;
    MU_TRY(usable(comm));
    if (g->count >= SPANS_MOST)
        MU_TRY(reap(comm));
    return g->cuda->mark_new(g->device, g->cuda->stream(g->device), from);
}

static mu_status_t allreduce(mu_comm_t *comm, mu_reduce_t op, mu_type_t type, void *buf, int64_t count)
{
    group_t *g = comm->impl;
    void *from, *own = g->cuda->stream(g->device);
    MU_TRY(before(comm, &from));
    int rc = g->nccl.all_reduce(buf, buf, (size_t)count, nccl_type(type),
                                op == MU_SUM ? MU_NCCL_SUM : MU_NCCL_MAX, g->comm, own);
    mu_status_t status = taken(comm, rc, "allreduce");
    if (status != MU_OK) {
        g->cuda->mark_free(g->device, from);
        return status;
    }
    return add_span(comm, from, own, comm->sequence, count * mu_type_size(type), "allreduce");
}

static mu_status_t broadcast(mu_comm_t *comm, int root, void *buf, int64_t bytes)
{
    group_t *g = comm->impl;
    void *from, *own = g->cuda->stream(g->device);
    MU_TRY(before(comm, &from));
    int rc = g->nccl.broadcast(buf, buf, (size_t)bytes, MU_NCCL_U8, root, g->comm, own);
    mu_status_t status = taken(comm, rc, "broadcast");
    if (status != MU_OK) {
        g->cuda->mark_free(g->device, from);
        return status;
    }
    return add_span(comm, from, own, comm->sequence, bytes, "broadcast");
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
    group_t *g = comm->impl;
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
    group_t *g = comm->impl;
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
    group_t *g = comm->impl;
    const char *name = mu_nonblocking_name(what->kind);
    MU_TRY(usable(comm));
    if (g->count >= SPANS_MOST)
        MU_TRY(reap(comm));
    MU_TRY(g->cuda->stream_wait(g->device, g->side, g->cuda->stream(g->device)));
    MU_TRY(taken(comm, enqueue(comm, what), name));
    return add_span(comm, NULL, g->side, what->sequence, mu_nonblocking_bytes(what, comm->size), name);
}

/* The newest begun operation up to number `last` that is not known to be done; NULL: there is none. */
static const span_t *newest_begun(const group_t *g, uint64_t last)
{
    for (int i = g->count; i-- > 0;)
        if (!g->span[i].from && g->span[i].sequence <= last)
            return &g->span[i];
    return NULL;
}

/* The device's own stream waits, not the host. */
static mu_status_t wait_begun(mu_comm_t *comm, uint64_t last)
{
    group_t *g = comm->impl;
    void *from, *own = g->cuda->stream(g->device);
    MU_TRY(usable(comm));
    const span_t *span = newest_begun(g, last);
    if (!span)
        return MU_OK;
    uint64_t sequence = span->sequence;
    MU_TRY(g->cuda->mark_new(g->device, own, &from));
    mu_status_t status = g->cuda->mark_wait(g->device, own, span->to);
    if (status != MU_OK) {
        g->cuda->mark_free(g->device, from);
        return status;
    }
    return add_span(comm, from, own, sequence, 0, "wait");
}

static void release(mu_comm_t *comm)
{
    group_t *g = comm->impl;
    if (g->comm) {
        int rc = g->nccl.finalize(g->comm);
        if (taken(comm, rc, "leaving") == MU_OK)
            g->nccl.destroy(g->comm);
    }
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

static mu_status_t share_id(mu_comm_t *host, group_t *g, mu_nccl_id_t *id)
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
    group_t *g = comm->impl;
    void *one;
    MU_TRY(mu_device_alloc(g->device, MU_MEM_COMMUNICATION, sizeof(float), &one));
    double hang = g->limits.hang;
    g->limits.hang = g->limits.meet;
    mu_status_t status = mu_comm_allreduce(comm, MU_SUM, MU_TYPE_F32, one, 1);
    if (status == MU_OK)
        status = mu_comm_sync(&comm, 1);
    g->limits.hang = hang;
    mu_device_free(g->device, one);
    return status;
}

static mu_status_t meet(mu_comm_t *host, mu_comm_t *comm)
{
    group_t *g = comm->impl;
    mu_nccl_id_t id;
    mu_nccl_config_t config = MU_NCCL_CONFIG;
    mu_status_t status = mu_cuda_open(&g->cuda);
    if (status == MU_OK)
        status = mu_nccl_open(&g->nccl);
    MU_TRY(together(host, status));
    MU_TRY(share_id(host, g, &id));
    mu_page_collective_begin(comm->page, comm->name, 0, "nccl init", 0);
    status = taken(comm, g->nccl.init(&g->comm, comm->size, id, comm->rank, &config), "coming together");
    mu_page_collective_end(comm->page);
    if (status == MU_OK)
        status = g->cuda->stream_new(g->device, &g->side);
    MU_TRY(together(host, status));
    return together(host, first_sum(comm));
}

mu_status_t mu_comm_nccl_new(mu_comm_t *host, mu_device_t *device, const mu_nccl_limits_t *limits,
                             mu_comm_t **out)
{
    mu_comm_t *comm = mu_comm_self(host->name);
    comm->page = host->page;
    if (host->size == 1) {
        *out = comm;
        return MU_OK;
    }
    group_t *g = mu_calloc(1, sizeof *g);
    g->device = device;
    g->limits = *limits;
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
            give_up(comm); /* leaving in order would wait for members that have failed */
            mu_comm_free(comm);
        }
        return status;
    }
    *out = comm;
    return MU_OK;
}

void mu_comm_nccl_version(const mu_comm_t *comm, char *out, size_t size)
{
    out[0] = '\0';
    if (comm->ops != &nccl_ops)
        return;
    int v = ((const group_t *)comm->impl)->nccl.version;
    snprintf(out, size, "NCCL %d.%d.%d", v / 10000, v / 100 % 100, v % 100);
}
