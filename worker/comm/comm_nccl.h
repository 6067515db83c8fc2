/*
 * Collectives over NCCL, for buffers in the memory of a CUDA device.
 *
 *     mu_nccl_watch_new(&limits, &watch);                one for all communicators of a device
 *     mu_comm_nccl_new(tp, device, watch, &device_tp);   beside the MPI communicator of the same members
 *     mu_comm_allreduce(device_tp, ...);                 enqueued on the device's own stream
 *     mu_comm_start_allreduce(device_tp, ...);           enqueued on a stream beside it
 *     mu_comm_sync(&device_tp, 1);                       before the host waits for the device
 *     mu_comm_free(device_tp);                           before the device is closed
 *     mu_nccl_watch_free(watch);                         after the last of them
 *
 * Order. An operation sees what was enqueued on the device before it. A result of allreduce and broadcast is
 * there for what is enqueued later; of begun ones, for what is enqueued after mu_comm_wait() or
 * mu_comm_wait_until(). None of them makes the host wait, so an error of a peer shows later: in
 * mu_comm_sync(), where the host polls NCCL's asynchronous errors until the device has done its work, and
 * names on the page the oldest operation that is not done. The watch's thread does the same while the host waits
 * elsewhere, in a copy or a launch. When a peer broke, or the oldest operation has not ended `hang` seconds after the
 * device came to it, all communicators of the watch are aborted together and the error is MU_NETWORK or MU_HUNG, which
 * every later call returns. A device that has not left `leave` seconds after that ends the process with the error's
 * exit code.
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
    double meet;  /* seconds in which all members must have come together */
    double hang;  /* seconds in which an operation that the device has come to must end */
    double leave; /* seconds in which the device must have left aborted operations */
} mu_nccl_limits_t;

typedef struct mu_nccl_watch mu_nccl_watch_t;

/* Errors: MU_NOMEM. */
mu_status_t mu_nccl_watch_new(const mu_nccl_limits_t *limits, mu_nccl_watch_t **out);
void mu_nccl_watch_free(mu_nccl_watch_t *watch); /* NULL is nothing */

/* Every member of `host` (of comm_mpi.h; it outlives the result) calls it; the device is one that
 * mu_device_cuda_new() made, another one on each member. A group of one needs no NCCL. One small sum is made,
 * so that connections stand. Errors, the same on every member: MU_GPU (no NCCL), MU_NETWORK. */
mu_status_t mu_comm_nccl_new(mu_comm_t *host, mu_device_t *device, mu_nccl_watch_t *watch, mu_comm_t **out);
/* 22803 for NCCL 2.28.3; 0 of a group of one. From MU_NCCL_ORDERED on kernels of several communicators start in the
 * order of the calls (NCCL_LAUNCH_ORDER_IMPLICIT); with an older one two groups must not be in flight at once. */
enum { MU_NCCL_ORDERED = 22600 };
int mu_comm_nccl_number(const mu_comm_t *comm);
/* "NCCL 2.28.3" of one that mu_comm_nccl_new() made; "" of a group of one. */
void mu_comm_nccl_version(const mu_comm_t *comm, char *out, size_t size);

#endif
