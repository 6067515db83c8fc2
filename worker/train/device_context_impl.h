/* Between place.c and place_nccl.c. */
#ifndef MU_WORKER_DEVICE_CONTEXT_IMPL_H
#define MU_WORKER_DEVICE_CONTEXT_IMPL_H

#include "worker/train/device_context.h"

/* This worker among those of its host. */
typedef struct mu_neighbours {
    int rank, count;
    bool distinct; /* each was given its own CUDA_VISIBLE_DEVICES */
} mu_neighbours_t;

/* All workers call it. */
mu_status_t mu_device_context_neighbours(const mu_run_t *run, mu_neighbours_t *out);

/* Tells NCCL of the network, makes context->tp and context->dp, adds what they are to context->words, and refuses a
 * transport that was not asked for. All workers call it. */
mu_status_t mu_device_context_join(const mu_run_t *run, mu_device_context_t *context);

#endif
