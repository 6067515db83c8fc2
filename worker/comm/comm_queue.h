/*
 * Begun operations of one MPI communicator, cut into segments; comm_mpi.c's own.
 *
 * Pieces start in the order in which they were added, a few at a time, so every member starts the same ones
 * in the same order, as MPI demands; which of them are in flight depends on time and does not matter.
 *
 * Adding never waits for MPI, whose calls may copy and add for milliseconds: what is added lies apart, under a
 * lock of its own, until the next move. All else wants the lock under which MPI is called.
 *
 * A large allreduce goes as reductions of a share to each member and broadcasts from there: so every member
 * adds, sends and receives as much as any other. (Open MPI's own in-place Iallreduce takes everything through
 * one member.)
 */
#ifndef MU_WORKER_COMM_QUEUE_H
#define MU_WORKER_COMM_QUEUE_H

#include "worker/comm/comm_mpi.h"
#include <pthread.h>

enum { MU_QUEUE_FLIGHT = 8 };

typedef struct mu_segment {
    mu_nonblocking_kind_t
        kind; /* how it is done: a reduce-scatter is a reduction, an all-gather a broadcast */
    MPI_Datatype type;
    int count, root; /* root: whose part it is; not for an allreduce */
    void *buf;
    int after; /* the segment so many before this one must be done before it starts; 0: none */
    /* of the operation that it is a segment of */
    mu_nonblocking_kind_t operation;
    uint64_t sequence;
    int64_t bytes;
} mu_segment_t;

typedef struct mu_queue {
    MPI_Comm group;
    int rank, size;
    pthread_mutex_t adding;
    mu_segment_t *added; /* [added_count] */
    int added_count, added_cap;
    mu_segment_t *segment; /* [count]: taken over; `next` is the first that has not started */
    int count, cap, next;
    MPI_Request request[MU_QUEUE_FLIGHT];
    int flying[MU_QUEUE_FLIGHT]; /* segments in flight; -1: free */
    mu_status_t status;          /* first failure; nothing starts after it */
} mu_queue_t;

void mu_queue_init(mu_queue_t *queue, MPI_Comm group);
void mu_queue_release(mu_queue_t *queue);
void mu_queue_add(mu_queue_t *queue, const mu_nonblocking_t *what, MPI_Datatype type);
/* Lets MPI move, and starts what fits. Never blocks. */
void mu_queue_move(mu_queue_t *queue);
/* The oldest segment that is not done; NULL when all are, and the queue is empty again. */
const mu_segment_t *mu_queue_oldest(mu_queue_t *queue);

#endif
