/*
 * A trained model in one process: what `eval` and `generate` work on. A checkpoint of any layout loads.
 */
#ifndef MU_WORKER_LOADED_H
#define MU_WORKER_LOADED_H

#include "common/config.h"
#include "dataset/tokenizer.h"
#include "worker/state.h"

typedef struct mu_loaded {
    mu_checkpoint_t *checkpoint;
    mu_config_t *config; /* that it was trained with; model.vocab is set */
    mu_device_t *device;
    mu_comm_t *self;
    mu_net_t *net;
    mu_tokenizer_t *tokenizer; /* NULL: the checkpoint carries none */
} mu_loaded_t;

/* path: a checkpoint, or a directory that holds some (the newest valid one is taken). threads 0: all cores.
 * Errors: MU_NOINPUT, MU_DATA, MU_NOVALID, MU_NOMEM, MU_IO. */
mu_status_t mu_loaded_open(const char *path, int64_t micro_batch, int threads, mu_loaded_t *out);
void mu_loaded_close(mu_loaded_t *loaded);

#endif
