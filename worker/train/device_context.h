/*
 * What a worker computes on, and with whom: its device, and the collectives for buffers in its memory.
 *
 *     mu_device_context_t context;
 *     mu_device_context_make(run, &context);           every active worker; one process alone:
 *                                                      mu_device_context_alone()
 *     mu_net_new(context.device, ..., context.tp, ...);
 *     mu_device_context_free(&context);                after the net, before the groups
 *
 * `muster.device: cuda` gives each worker of a host a GPU of its own, in the order of their ranks; `auto`
 * does so when every worker's host has a driver and libmuster-cuda.so is there, and takes CPUs when none has.
 * Then context.tp and context.dp are NCCL's; on CPUs they are the run's own groups. Messages for the host's
 * memory always go through the run's groups.
 */
#ifndef MU_WORKER_DEVICE_CONTEXT_H
#define MU_WORKER_DEVICE_CONTEXT_H

#include "kernels/device.h"
#include "worker/train/run.h"

enum { MU_DEVICE_AHEAD = 2 }; /* micro batches that the host enqueues before the device has done them */

typedef struct mu_device_context {
    mu_device_t *device;
    const struct mu_cuda_plugin_table *cuda; /* NULL on CPUs */
    void *ahead[MU_DEVICE_AHEAD];            /* marks after the last micro batches, the oldest first */
    int ahead_count;
    mu_comm_t *tp, *dp;
    char words[128]; /* the device, and the collectives where they are not MPI's */
    bool own;        /* tp and dp are not the run's groups */
    bool
        one_by_one; /* operations of tp and dp must not be in flight at once: an NCCL without an order of launches */
    struct mu_nccl_watch *watch; /* NCCL's; else NULL */
} mu_device_context_t;

/* Errors: MU_GPU (no GPU where one is asked for, or it does not answer), MU_CONFIG (fewer GPUs than workers
 * on a host; a GPU on some hosts only), MU_NETWORK, MU_NOMEM. After an error the world must be torn down. */
mu_status_t mu_device_context_make(mu_run_t *run, mu_device_context_t *out);
/* The same for one process without MPI: the first GPU that it sees, or the cores that it may use; groups of
 * one. Errors: MU_GPU, MU_NOMEM. */
mu_status_t mu_device_context_alone(const mu_config_t *config, mu_device_context_t *out);
/* After a micro batch: waits until the device is no more than MU_DEVICE_AHEAD of them behind, polling, and reports
 * progress for each that it has done. Nothing on CPUs. Errors: MU_GPU. */
mu_status_t mu_device_context_pace(mu_device_context_t *context);
/* Waits for the device, and looks after the peers while it does: a device waits for one that broke for ever. */
mu_status_t mu_device_context_wait(mu_device_context_t *context);
/* After an error, before the net goes: what is enqueued does not wait for peers any more. */
void mu_device_context_abandon(mu_device_context_t *context); /* one filled with zeros is nothing */
void mu_device_context_free(mu_device_context_t *context);    /* one filled with zeros is nothing */

#endif
