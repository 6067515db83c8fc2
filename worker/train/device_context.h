/*
 * What a worker computes on, and with whom: its device, and the collectives for buffers in its memory.
 *
 *     mu_place_t place;
 *     mu_place_make(run, &place);           every active worker; one process alone: mu_place_alone()
 *     mu_net_new(place.device, ..., place.tp, ...);
 *     mu_place_free(&place);                behind the net, before the groups
 *
 * `muster.device: cuda` gives each worker of a host a GPU of its own, in the order of their ranks; `auto`
 * does so when every worker's host has a driver and libmuster-cuda.so is there, and takes CPUs when none has.
 * Then place.tp and place.dp are NCCL's; on CPUs they are the run's own groups. Messages for the host's
 * memory always go through the run's groups.
 */
#ifndef MU_WORKER_PLACE_H
#define MU_WORKER_PLACE_H

#include "kernels/device.h"
#include "worker/train/run.h"

typedef struct mu_place {
    mu_device_t *device;
    mu_comm_t *tp, *dp;
    char words[128]; /* the device, and the collectives where they are not MPI's */
    bool own;        /* tp and dp are not the run's groups */
} mu_place_t;

/* Errors: MU_GPU (no GPU where one is asked for, or it does not answer), MU_CONFIG (fewer GPUs than workers
 * on a host; a GPU on some hosts only), MU_NETWORK, MU_NOMEM. After an error the world must be torn down. */
mu_status_t mu_place_make(mu_run_t *run, mu_place_t *out);
/* The same for one process without MPI: the first GPU that it sees, or the cores that it may use; groups of
 * one. Errors: MU_GPU, MU_NOMEM. */
mu_status_t mu_place_alone(const mu_config_t *config, mu_place_t *out);
/* Waits for the device, and looks after the peers while it does: a device waits for one that broke for ever. */
mu_status_t mu_place_wait(mu_place_t *place);
/* After an error, before the net goes: what is enqueued does not wait for peers any more. */
void mu_place_abandon(mu_place_t *place); /* one filled with zeros is nothing */
void mu_place_free(mu_place_t *place);    /* one filled with zeros is nothing */

#endif
