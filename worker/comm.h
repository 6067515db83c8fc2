/*
 * Collectives among the workers of one group (a tp group, a dp group, or all workers).
 *
 * A communicator is a table of operations chosen once (self: one member, no MPI; mpi; later nccl) and a place
 * in the group. Buffers live on the communicator's device (host memory for self and mpi). Every operation is
 * collective: all members of the group call it, in the same order, with the same count. Results are the same
 * bits on every member. Before each operation the communicator writes (name, sequence, operation, bytes) to
 * the rank's page, so that a hang can be told; the time spent inside is added to `wait_ns`. Errors:
 * MU_NETWORK.
 */
#ifndef MU_WORKER_COMM_H
#define MU_WORKER_COMM_H

#include "common/status.h"
#include <stdint.h>

typedef enum mu_reduce { MU_SUM, MU_MAX } mu_reduce_t;
typedef enum mu_type { MU_TYPE_F32, MU_TYPE_F64, MU_TYPE_I32, MU_TYPE_I64, MU_TYPE_BYTE } mu_type_t;

typedef struct mu_comm mu_comm_t;

typedef struct mu_comm_ops {
    const char *name;
    mu_status_t (*allreduce)(mu_comm_t *comm, mu_reduce_t op, mu_type_t type, void *buf, int64_t count);
    mu_status_t (*broadcast)(mu_comm_t *comm, int root, void *buf, int64_t bytes);
    void (*free)(mu_comm_t *comm);
} mu_comm_ops_t;

struct mu_comm {
    const mu_comm_ops_t *ops;
    char name[16]; /* "tp", "dp", "workers" */
    int rank, size;
    uint64_t sequence;    /* operations begun */
    int64_t wait_ns;      /* time spent inside operations since the owner last set it to 0 */
    struct mu_page *page; /* may be NULL */
    void *impl;
};

/* In place on every member. A group of one returns at once. */
mu_status_t mu_comm_allreduce(mu_comm_t *comm, mu_reduce_t op, mu_type_t type, void *buf, int64_t count);
mu_status_t mu_comm_broadcast(mu_comm_t *comm, int root, void *buf, int64_t bytes);
void mu_comm_free(mu_comm_t *comm);

/* A group of one: every operation is the identity. */
mu_comm_t *mu_comm_self(const char *name);
/* Bytes of one element. */
int64_t mu_type_size(mu_type_t type);

#endif
