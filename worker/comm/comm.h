/*
 * Collectives among the workers of one group (a tp group, a dp group, or all workers).
 *
 * A communicator is a table of operations chosen once (self: one member, no MPI; mpi; nccl) and a place
 * in the group. Buffers live on the communicator's device (host memory for self and mpi). Every operation is
 * collective: all members of the group call it, in the same order, with the same count. Results are the same
 * bits on every member. Before each operation the communicator writes (name, sequence, operation, bytes) to
 * the rank's page, so that a hang is reported with them; the time spent inside is counted. Errors: MU_NETWORK.
 *
 * On a device operations may be enqueued like its own: their results are there for what is enqueued later,
 * and errors show in mu_comm_sync().
 *
 * Begun operations go on while the caller computes:
 *     mu_comm_start_allreduce(dp, MU_TYPE_F32, a, n);
 *     mu_comm_start_reduce_scatter(dp, MU_TYPE_F32, b, part);      a and b are not touched now
 *     ... compute ...
 *     mu_comm_wait(dp);                                            a and b hold the results
 * They are carried out in the order of the calls; comm->sequence after a begin is its number, by which one
 * waits for it and those before it alone: mu_comm_wait_until(). Any other operation on the same communicator
 * waits for them all first. `part` has size + 1 numbers, in elements, not decreasing: member r owns elements part[r]
 * up to part[r + 1] of the buffer, those below part[0] and from part[size] on are not touched; it is the same on every
 * member and need not outlive the call.
 */
#ifndef MU_WORKER_COMM_H
#define MU_WORKER_COMM_H

#include "kernels/device.h"
#include <stdbool.h>
#include <stdint.h>

typedef enum mu_reduce { MU_SUM, MU_MAX } mu_reduce_t;
typedef enum mu_type {
    MU_TYPE_F32,
    MU_TYPE_F64,
    MU_TYPE_I32,
    MU_TYPE_I64,
    MU_TYPE_BYTE,
    MU_TYPE_BF16, /* sums in float, rounded at the end or once a hop */
    MU_TYPE_F16
} mu_type_t;

typedef struct mu_comm mu_comm_t;

typedef enum mu_nonblocking_kind {
    MU_BEGUN_ALLREDUCE,
    MU_BEGUN_REDUCE_SCATTER,
    MU_BEGUN_ALL_GATHER
} mu_nonblocking_kind_t;

/* What an implementation is asked to begin. An allreduce has one part: part[0] and part[1]. */
typedef struct mu_nonblocking {
    mu_nonblocking_kind_t kind;
    mu_type_t type;
    void *buf;
    const int64_t *part;
    uint64_t sequence;
} mu_nonblocking_t;

typedef struct mu_comm_ops {
    const char *name;
    mu_status_t (*allreduce)(mu_comm_t *comm, mu_reduce_t op, mu_type_t type, void *buf, int64_t count);
    mu_status_t (*broadcast)(mu_comm_t *comm, int root, void *buf, int64_t bytes);
    mu_status_t (*begin)(mu_comm_t *comm, const mu_nonblocking_t *what);
    mu_status_t (*wait)(mu_comm_t *comm, uint64_t last); /* for what was begun up to this number */
    /* Where operations are enqueued on a device; NULL where calls return when they are done. */
    mu_status_t (*poll)(mu_comm_t *comm, bool *idle);
    int64_t (*take_wait_ns)(mu_comm_t *comm);
    void (*abandon)(mu_comm_t *comm); /* may be NULL */
    void (*free)(mu_comm_t *comm);
} mu_comm_ops_t;

struct mu_comm {
    const mu_comm_ops_t *ops;
    char name[16]; /* "tp", "dp", "workers" */
    int rank, size;
    uint64_t sequence;    /* operations begun */
    int64_t wait_ns;      /* the host's time inside operations: mu_comm_take_wait_ns() */
    bool pending;         /* operations were begun and not waited for */
    struct mu_page *page; /* may be NULL */
    void *impl;
};

/* In place on every member. A group of one returns at once. */
mu_status_t mu_comm_allreduce(mu_comm_t *comm, mu_reduce_t op, mu_type_t type, void *buf, int64_t count);
/* Counts as this rank's progress (worker/guard/page.h), where work has no collective that would. */
void mu_comm_progress(mu_comm_t *comm);
mu_status_t mu_comm_broadcast(mu_comm_t *comm, int root, void *buf, int64_t bytes);
/* Sums of all members' buffers, in place. */
mu_status_t mu_comm_start_allreduce(mu_comm_t *comm, mu_type_t type, void *buf, int64_t count);
/* The sums of a member's own part, in place; the other parts are undefined afterwards. */
mu_status_t mu_comm_start_reduce_scatter(mu_comm_t *comm, mu_type_t type, void *buf, const int64_t *part);
/* Every part from its owner, in place. */
mu_status_t mu_comm_start_all_gather(mu_comm_t *comm, mu_type_t type, void *buf, const int64_t *part);
/* Until all that was begun is done; with nothing begun it returns at once. Not a collective of its own. */
mu_status_t mu_comm_wait(mu_comm_t *comm);
/* Until what was begun up to number `last` is done. All members wait for the same numbers in the same order
 * as regards their other operations, on whatever communicator. */
mu_status_t mu_comm_wait_until(mu_comm_t *comm, uint64_t last);
/* Called before the host waits for the device: until all that was enqueued on these communicators of one
 * device is done, with an eye on the peers. NULL entries are nothing. Errors: MU_NETWORK (a peer broke),
 * MU_HUNG; then all of them are abandoned. */
mu_status_t mu_comm_sync(mu_comm_t *const *comms, int count);
/* What the computation waited for operations, in ns, since the last call; of a device after mu_comm_sync().
 */
int64_t mu_comm_take_wait_ns(mu_comm_t *comm);
/* Gives up: what is enqueued on a device ends without a result, so that the device can be left, and a progress_thread
 * leaves what was begun alone. Nothing but mu_comm_free() may be called afterwards. NULL is nothing. Not a
 * collective. */
void mu_comm_abandon(mu_comm_t *comm);
void mu_comm_free(mu_comm_t *comm); /* NULL is nothing */

const char *mu_nonblocking_name(
    mu_nonblocking_kind_t kind); /* as on the page: "allreduce", "reduce_scatter" */
/* Bytes from the first part to the last, in the place of a buffer. */
int64_t mu_nonblocking_bytes(const mu_nonblocking_t *what, int size);

/* A group of one: every operation is the identity. */
mu_comm_t *mu_comm_self(const char *name);
/* Bytes of one element. */
int64_t mu_type_size(mu_type_t type);
/* The type of a device's arrays. */
mu_type_t mu_type_of(mu_dtype_t dtype);

#endif
