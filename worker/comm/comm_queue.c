#include "worker/comm/comm_queue.h"
#include "common/buf.h"
#include "common/num.h"

/* In shared memory 1 MiB segments go several times faster than whole buffers (docs/measured.md). */
static const int64_t piece_bytes = 1 << 20;
/* Below this an allreduce is one message there and back: its time is latency. */
static const int64_t shared_bytes = 1 << 17;

void mu_queue_init(mu_queue_t *queue, MPI_Comm group)
{
    *queue = (mu_queue_t){.group = group};
    pthread_mutex_init(&queue->adding, NULL);
    MPI_Comm_rank(group, &queue->rank);
    MPI_Comm_size(group, &queue->size);
    for (int i = 0; i < MU_QUEUE_FLIGHT; i++)
        queue->flying[i] = -1;
}

void mu_queue_release(mu_queue_t *queue)
{
    pthread_mutex_destroy(&queue->adding);
    free(queue->added);
    free(queue->segment);
}

static void append(mu_segment_t **to, int *count, int *cap, const mu_segment_t *segment, int n)
{
    while (*count + n > *cap) {
        *cap = *cap ? 2 * *cap : 64;
        *to = mu_realloc(*to, (size_t)*cap * sizeof **to);
    }
    if (n > 0)
        memcpy(*to + *count, segment, (size_t)n * sizeof **to);
    *count += n;
}

static void take_over(mu_queue_t *queue)
{
    pthread_mutex_lock(&queue->adding);
    append(&queue->segment, &queue->count, &queue->cap, queue->added, queue->added_count);
    queue->added_count = 0;
    pthread_mutex_unlock(&queue->adding);
}

/* Elements from .. from + n - 1 of what `segment` is a segment of. */
static void add_range(mu_queue_t *queue, mu_segment_t segment, const mu_nonblocking_t *what, int64_t from,
                      int64_t n)
{
    if (n <= 0)
        return;
    segment.count = (int)n;
    segment.buf = (char *)what->buf + from * mu_type_size(what->type);
    append(&queue->added, &queue->added_count, &queue->added_cap, &segment, 1);
}

/* The parts take turns, so that every member is at the receiving end of an equal share of what is in flight.
 */
static void add_parts(mu_queue_t *queue, mu_segment_t segment, const mu_nonblocking_t *what)
{
    int64_t most = piece_bytes / mu_type_size(what->type), longest = 0;
    for (int r = 0; r < queue->size; r++)
        longest = mu_max_i64(longest, what->part[r + 1] - what->part[r]);
    for (int64_t at = 0; at < longest; at += most) {
        for (segment.root = 0; segment.root < queue->size; segment.root++) {
            int64_t from = what->part[segment.root] + at;
            add_range(queue, segment, what, from, mu_min_i64(most, what->part[segment.root + 1] - from));
        }
    }
}

/* One round of a large allreduce: `n` elements from `from` on, a share to each member, or from each. `first`:
 * where the round's reductions begin, which its broadcasts wait for one by one; -1: these are they. */
static void add_round(mu_queue_t *queue, mu_segment_t segment, const mu_nonblocking_t *what, int64_t from,
                      int64_t n, int first)
{
    for (segment.root = 0; segment.root < queue->size; segment.root++) {
        int64_t begin = mu_part_begin(n, segment.root, queue->size);
        int64_t end = mu_part_begin(n, segment.root + 1, queue->size);
        if (begin == end)
            continue;
        segment.after = first < 0 ? 0 : queue->added_count - first++;
        add_range(queue, segment, what, from + begin, end - begin);
    }
}

/* The reductions of a round go before the broadcasts of the one before it, so that members are never idle. */
static void add_allreduce(mu_queue_t *queue, mu_segment_t segment, const mu_nonblocking_t *what)
{
    int64_t size = mu_type_size(what->type), most = piece_bytes / size * queue->size, n = 0, last = 0;
    int first = -1;
    if (segment.bytes < shared_bytes) {
        add_range(queue, segment, what, what->part[0], what->part[1] - what->part[0]);
        return;
    }
    for (int64_t at = what->part[0]; at < what->part[1] || last > 0; at += n) {
        int begins = queue->added_count;
        n = mu_min_i64(most, what->part[1] - at);
        segment.kind = MU_BEGUN_REDUCE_SCATTER;
        if (n > 0)
            add_round(queue, segment, what, at, n, -1);
        segment.kind = MU_BEGUN_ALL_GATHER;
        if (last > 0)
            add_round(queue, segment, what, at - last, last, first);
        first = begins;
        last = n;
    }
}

void mu_queue_add(mu_queue_t *queue, const mu_nonblocking_t *what, MPI_Datatype type)
{
    mu_segment_t segment = {.kind = what->kind,
                            .type = type,
                            .operation = what->kind,
                            .sequence = what->sequence,
                            .bytes = mu_nonblocking_bytes(what, queue->size)};
    pthread_mutex_lock(&queue->adding);
    if (what->kind == MU_BEGUN_ALLREDUCE)
        add_allreduce(queue, segment, what);
    else
        add_parts(queue, segment, what);
    pthread_mutex_unlock(&queue->adding);
}

static int start(mu_queue_t *queue, const mu_segment_t *p, MPI_Request *request)
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

static void check(mu_queue_t *queue, int rc, const mu_segment_t *segment)
{
    mu_status_t status = mu_mpi_check(rc, mu_nonblocking_name(segment->kind));
    if (queue->status == MU_OK)
        queue->status = status;
}

/* The next segment waits for an earlier one, if for any that has started: all start in order. */
static bool may_start(const mu_queue_t *queue)
{
    if (queue->next == queue->count || queue->status != MU_OK)
        return false;
    int after = queue->segment[queue->next].after;
    for (int i = 0; after > 0 && i < MU_QUEUE_FLIGHT; i++)
        if (queue->flying[i] == queue->next - after)
            return false;
    return true;
}

void mu_queue_move(mu_queue_t *queue)
{
    take_over(queue);
    for (int i = 0; i < MU_QUEUE_FLIGHT; i++) {
        int done = 0;
        if (queue->flying[i] >= 0) {
            check(queue, MPI_Test(&queue->request[i], &done, MPI_STATUS_IGNORE),
                  &queue->segment[queue->flying[i]]);
            if (!done && queue->status == MU_OK)
                continue;
            queue->flying[i] = -1;
        }
        if (may_start(queue)) {
            check(queue, start(queue, &queue->segment[queue->next], &queue->request[i]),
                  &queue->segment[queue->next]);
            queue->flying[i] = queue->next++;
        }
    }
}

const mu_segment_t *mu_queue_oldest(mu_queue_t *queue)
{
    take_over(queue);
    int oldest = queue->status == MU_OK ? queue->next : queue->count;
    for (int i = 0; i < MU_QUEUE_FLIGHT && queue->status == MU_OK; i++)
        if (queue->flying[i] >= 0 && queue->flying[i] < oldest)
            oldest = queue->flying[i];
    if (oldest < queue->count)
        return &queue->segment[oldest];
    queue->count = queue->next = 0;
    return NULL;
}
