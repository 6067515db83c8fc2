/* Between the files device_context*.c and device_neighbours.c. */
#ifndef MU_WORKER_DEVICE_CONTEXT_IMPL_H
#define MU_WORKER_DEVICE_CONTEXT_IMPL_H

#include "worker/train/device_context.h"

/* What tells a GPU from the others of its host: its UUID. */
typedef struct mu_gpu_id {
    unsigned char bytes[16];
} mu_gpu_id_t;

/* This worker among those of its host. */
typedef struct mu_neighbours {
    int rank, count;
    bool distinct; /* each names another GPU */
} mu_neighbours_t;

/* All workers call it; gpu: the first that this one sees, NULL for none. */
mu_status_t mu_device_context_neighbours(const mu_run_t *run, const mu_gpu_id_t *gpu, mu_neighbours_t *out);

/* Tells NCCL of the network, makes context->tp and context->dp, adds what they are to context->words, and refuses a
 * transport that was not asked for. All workers call it. */
mu_status_t mu_device_context_join(const mu_run_t *run, mu_device_context_t *context);

#endif
