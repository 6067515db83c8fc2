#include "worker/comm_queue.h"
#include "common/buf.h"
#include "common/num.h"

/* In shared memory 1 MiB pieces go several times faster than whole buffers (docs/measured.md). */
static const int64_t piece_bytes = 1 << 20;

void mu_queue_init(mu_queue_t *queue, MPI_Comm group)
{
    *queue = (mu_queue_t){.group = group};
    MPI_Comm_rank(group, &queue->rank);
    MPI_Comm_size(group, &queue->size);
    for (int i = 0; i < MU_QUEUE_FLIGHT; i++)
        queue->flying[i] = -1;
}

void mu_queue_release(mu_queue_t *queue)
{
    free(queue->piece);
}

static void add(mu_queue_t *queue, const mu_piece_t *piece)
{
    if (queue->count == queue->cap) {
        queue->cap = queue->cap ? 2 * queue->cap : 64;
        queue->piece = mu_realloc(queue->piece, (size_t)queue->cap * sizeof *queue->piece);
    }
    queue->piece[queue->count++] = *piece;
}

/* The parts take turns, so that every member is at the receiving end of an equal share of what is in flight.
 */
void mu_queue_add(mu_queue_t *queue, const mu_begun_t *what, MPI_Datatype type)
{
    int parts = what->kind == MU_BEGUN_ALLREDUCE ? 1 : queue->size;
    int64_t size = mu_type_size(what->type), most = piece_bytes / size, longest = 0;
    for (int r = 0; r < parts; r++)
        longest = mu_max_i64(longest, what->part[r + 1] - what->part[r]);
    mu_piece_t piece = {.kind = what->kind,
                        .type = type,
                        .sequence = what->sequence,
                        .bytes = mu_begun_bytes(what, queue->size)};
    for (int64_t at = 0; at < longest; at += most) {
        for (int r = 0; r < parts; r++) {
            int64_t from = what->part[r] + at, n = mu_min_i64(most, what->part[r + 1] - from);
            if (n <= 0)
                continue;
            piece.root = r;
            piece.count = (int)n;
            piece.buf = (char *)what->buf + from * size;
            add(queue, &piece);
        }
    }
}

static int start(mu_queue_t *queue, const mu_piece_t *p, MPI_Request *request)
{
    switch (p->kind) {
    case MU_BEGUN_ALLREDUCE:
        return MPI_Iallreduce(MPI_IN_PLACE, p->buf, p->count, p->type, MPI_SUM, queue->group, request);
    case MU_BEGUN_REDUCE_SCATTER:
        /* libnbc's Ireduce_scatter takes everything through one member; a reduction to each owner does not */
        if (p->root == queue->rank)
            return MPI_Ireduce(MPI_IN_PLACE, p->buf, p->count, p->type, MPI_SUM, p->root, queue->group,
                               request);
        return MPI_Ireduce(p->buf, NULL, p->count, p->type, MPI_SUM, p->root, queue->group, request);
    case MU_BEGUN_ALL_GATHER:
        break;
    }
    return MPI_Ibcast(p->buf, p->count, p->type, p->root, queue->group, request);
}

static void check(mu_queue_t *queue, int rc, const mu_piece_t *piece)
{
    mu_status_t status = mu_mpi_check(rc, mu_begun_name(piece->kind));
    if (queue->status == MU_OK)
        queue->status = status;
}

void mu_queue_move(mu_queue_t *queue)
{
    for (int i = 0; i < MU_QUEUE_FLIGHT; i++) {
        int done = 0;
        if (queue->flying[i] >= 0) {
            check(queue, MPI_Test(&queue->request[i], &done, MPI_STATUS_IGNORE),
                  &queue->piece[queue->flying[i]]);
            if (!done && queue->status == MU_OK)
                continue;
            queue->flying[i] = -1;
        }
        if (queue->next < queue->count && queue->status == MU_OK) {
            check(queue, start(queue, &queue->piece[queue->next], &queue->request[i]),
                  &queue->piece[queue->next]);
            queue->flying[i] = queue->next++;
        }
    }
}

const mu_piece_t *mu_queue_oldest(mu_queue_t *queue)
{
    int oldest = queue->status == MU_OK ? queue->next : queue->count;
    for (int i = 0; i < MU_QUEUE_FLIGHT && queue->status == MU_OK; i++)
        if (queue->flying[i] >= 0 && queue->flying[i] < oldest)
            oldest = queue->flying[i];
    if (oldest < queue->count)
        return &queue->piece[oldest];
    queue->count = queue->next = 0;
    return NULL;
}
