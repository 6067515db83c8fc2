#include "worker/comm/comm_mpi.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "kernels/convert.h"
#include "worker/comm/comm_queue.h"
#include "worker/comm/progress_thread.h"
#include "worker/guard/page.h"

static const int64_t most = 1 << 28; /* elements of one MPI call, whose counts are ints */

typedef struct group {
    MPI_Comm mpi;
    mu_queue_t queue;
    mu_progress_thread_t *progress_thread; /* may be NULL */
} group_t;

void mu_comm_mpi_prepare(void)
{
    static const char binomial[] = "2"; /* a tree, of whole messages; both in 4.1 and 5 */
    setenv("OMPI_MCA_coll_libnbc_ireduce_algorithm", binomial, 0);
    setenv("OMPI_MCA_coll_libnbc_ibcast_algorithm", binomial, 0);
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
    case MU_TYPE_BF16: /* to be moved; MPI cannot add them */
    case MU_TYPE_F16:
        return MPI_UINT16_T;
    case MU_TYPE_BYTE:
        break;
    }
    return MPI_BYTE;
}

static mu_status_t allreduce(mu_comm_t *comm, mu_reduce_t op, mu_type_t type, void *buf, int64_t count);

/* Widened, reduced as floats, rounded once, in segments: 1 MiB goes faster through shared memory than more. */
static mu_status_t allreduce_half(mu_comm_t *comm, mu_reduce_t op, mu_type_t type, uint16_t *buf,
                                  int64_t count)
{
    enum { PIECE = 1 << 18 };
    mu_dtype_t dtype = type == MU_TYPE_BF16 ? MU_DTYPE_BF16 : MU_DTYPE_F16;
    float *wide = mu_alloc((size_t)(count < PIECE ? count : PIECE) * sizeof *wide);
    mu_status_t status = MU_OK;
    for (int64_t at = 0; status == MU_OK && at < count; at += PIECE) {
        int64_t n = count - at < PIECE ? count - at : PIECE;
        mu_convert_to_floats(wide, buf + at, dtype, n);
        status = allreduce(comm, op, MU_TYPE_F32, wide, n);
        mu_convert_from_floats(buf + at, dtype, wide, n);
    }
    free(wide);
    return status;
}

static mu_status_t allreduce(mu_comm_t *comm, mu_reduce_t op, mu_type_t type, void *buf, int64_t count)
{
    if (type == MU_TYPE_BF16 || type == MU_TYPE_F16)
        return allreduce_half(comm, op, type, buf, count);
    group_t *g = comm->impl;
    mu_status_t status = MU_OK;
    mu_progress_thread_lock(g->progress_thread);
    for (int64_t at = 0; status == MU_OK && at < count; at += most) {
        int64_t n = count - at < most ? count - at : most;
        status = mu_mpi_check(MPI_Allreduce(MPI_IN_PLACE, (char *)buf + at * mu_type_size(type), (int)n,
                                            mpi_type(type), op == MU_SUM ? MPI_SUM : MPI_MAX, g->mpi),
                              "MPI_Allreduce");
    }
    mu_progress_thread_unlock(g->progress_thread);
    return status;
}

static mu_status_t broadcast(mu_comm_t *comm, int root, void *buf, int64_t bytes)
{
    group_t *g = comm->impl;
    mu_status_t status = MU_OK;
    mu_progress_thread_lock(g->progress_thread);
    for (int64_t at = 0; status == MU_OK && at < bytes; at += most) {
        int64_t n = bytes - at < most ? bytes - at : most;
        status = mu_mpi_check(MPI_Bcast((char *)buf + at, (int)n, MPI_BYTE, root, g->mpi), "MPI_Bcast");
    }
    mu_progress_thread_unlock(g->progress_thread);
    return status;
}

static mu_status_t begin(mu_comm_t *comm, const mu_nonblocking_t *what)
{
    group_t *g = comm->impl;
    mu_queue_add(&g->queue, what, mpi_type(what->type));
    if (g->progress_thread) {
        mu_progress_thread_wake(g->progress_thread);
        return MU_OK; /* errors show in wait */
    }
    mu_queue_move(&g->queue);
    return g->queue.status;
}

/* The page names the oldest operation under way, so a member that waits says for which. */
static mu_status_t wait_until(mu_comm_t *comm, uint64_t last)
{
    group_t *g = comm->impl;
    uint64_t shown = 0;
    int64_t moved = mu_now_ns();
    mu_progress_thread_lock(g->progress_thread);
    for (const mu_segment_t *p; (p = mu_queue_oldest(&g->queue)) != NULL && p->sequence <= last;) {
        if (p->sequence != shown)
            mu_page_collective_begin(comm->page, comm->name, shown = p->sequence,
                                     mu_nonblocking_name(p->operation), p->bytes);
        int oldest = (int)(p - g->queue.segment);
        mu_queue_move(&g->queue);
        p = mu_queue_oldest(&g->queue);
        if (p && p - g->queue.segment == oldest) {
            mu_progress_thread_pause(moved);
        } else {
            moved = mu_now_ns();
            mu_page_progress(comm->page);
        }
    }
    mu_status_t status = g->queue.status;
    mu_progress_thread_unlock(g->progress_thread);
    if (shown)
        mu_page_collective_end(comm->page);
    return status;
}

/* What is in flight stays so; nobody starts more. */
static void abandon(mu_comm_t *comm)
{
    group_t *g = comm->impl;
    mu_progress_thread_detach(g->progress_thread, &g->queue);
}

static void release(mu_comm_t *comm)
{
    group_t *g = comm->impl;
    mu_progress_thread_detach(g->progress_thread, &g->queue);
    mu_queue_release(&g->queue);
    MPI_Comm_free(&g->mpi);
    free(g);
}

static const mu_comm_ops_t mpi_ops = {.name = "mpi",
                                      .allreduce = allreduce,
                                      .broadcast = broadcast,
                                      .begin = begin,
                                      .wait = wait_until,
                                      .abandon = abandon,
                                      .free = release};

mu_comm_t *mu_comm_mpi(MPI_Comm mpi, const char *name, struct mu_page *page)
{
    mu_comm_t *comm = mu_comm_self(name);
    group_t *g = mu_calloc(1, sizeof *g);
    comm->ops = &mpi_ops;
    comm->page = page;
    comm->impl = g;
    g->mpi = mpi;
    MPI_Comm_set_errhandler(mpi, MPI_ERRORS_RETURN);
    mu_queue_init(&g->queue, mpi);
    comm->rank = g->queue.rank;
    comm->size = g->queue.size;
    return comm;
}

MPI_Comm mu_comm_mpi_group(const mu_comm_t *comm)
{
    return ((const group_t *)comm->impl)->mpi;
}

void mu_comm_mpi_attach(mu_comm_t *comm, mu_progress_thread_t *progress_thread)
{
    group_t *g = comm->impl;
    if (!progress_thread)
        return;
    g->progress_thread = progress_thread;
    mu_progress_thread_attach(progress_thread, &g->queue);
}
