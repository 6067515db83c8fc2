/*
 * Collectives over NCCL, for buffers in the memory of a CUDA device.
 *
 *     mu_comm_nccl_new(tp, device, 60, &device_tp);      beside the MPI communicator of the same members
 *     mu_comm_allreduce(device_tp, ...);                 enqueued on the device's own stream
 *     mu_comm_start_allreduce(device_tp, ...);           enqueued on a stream beside it
 *     mu_comm_sync(&device_tp, 1);                       before the host waits for the device
 *     mu_comm_free(device_tp);                           before the device is closed
 *
 * Order. An operation sees what was enqueued on the device before it. A result of allreduce and broadcast is
 * there for what is enqueued later; of begun ones, for what is enqueued after mu_comm_wait() or
 * mu_comm_wait_until(). None of them makes the host wait, so an error of a peer shows later: in
 * mu_comm_sync(), where the host polls NCCL's asynchronous errors until the device has done its work, and
 * names on the page the oldest operation that is not done. When a peer broke, or nothing ends for `hang`
 * seconds, the communicators are aborted and the error is MU_NETWORK or MU_HUNG; nothing may be called on
 * them then but mu_comm_free().
 *
 * Waiting. mu_comm_take_wait_ns() is the device's time in operations and in mu_comm_wait(), from marks on its
 * own stream: what the step would have been shorter without them.
 *
 * Parts of one size go through NCCL's reduce-scatter and all-gather; unequal ones through a group of
 * reductions to, or broadcasts from, each owner. Sums of bf16 and fp16 are NCCL's.
 */
#ifndef MU_WORKER_COMM_NCCL_H
#define MU_WORKER_COMM_NCCL_H

#include "kernels/device.h"
#include "worker/comm/comm.h"

typedef struct mu_nccl_limits {
    double meet; /* seconds in which all members must have come together */
    double hang; /* seconds in which an operation that has been enqueued must end */
} mu_nccl_limits_t;

/* Every member of `host` (of comm_mpi.h; it outlives the result) calls it; the device is one that
 * mu_device_cuda_new() made, another one on each member. A group of one needs no NCCL. One small sum is made,
 * so that connections stand. Errors, the same on every member: MU_GPU (no NCCL), MU_NETWORK. */
mu_status_t mu_comm_nccl_new(mu_comm_t *host, mu_device_t *device, const mu_nccl_limits_t *limits,
                             mu_comm_t **out);
/* "NCCL 2.28.3" of one that mu_comm_nccl_new() made; "" of a group of one. */
void mu_comm_nccl_version(const mu_comm_t *comm, char *out, size_t size);

#endif
