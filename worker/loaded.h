/*
 * A trained model: what `eval` and `generate` work on. A checkpoint of any layout loads.
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
    mu_comm_t *self; /* the group of one; NULL under mu_loaded_weights() with another */
    mu_net_t *net;
    mu_tokenizer_t *tokenizer; /* NULL: the checkpoint carries none */
} mu_loaded_t;

/* What it is: checkpoint, config, tokenizer. path: a checkpoint, or a directory that holds some (the newest
 * valid one is taken). Errors: MU_NOINPUT, MU_DATA, MU_NOVALID, MU_IO. */
mu_status_t mu_loaded_describe(const char *path, mu_loaded_t *out);
/* Between the two: sequences of n tokens instead of the configuration's. Errors: MU_CONFIG, the model has not
 * so many positions. */
mu_status_t mu_loaded_set_length(mu_loaded_t *loaded, int64_t n);
/* The net behind it, on this worker's slice of `tp`, which the caller keeps; NULL: a group of one. threads 0:
 * all cores. Errors: MU_NOMEM, MU_DATA, MU_IO. */
mu_status_t mu_loaded_weights(mu_loaded_t *loaded, int64_t micro_batch, int threads, mu_comm_t *tp);
/* Both, in one process. */
mu_status_t mu_loaded_open(const char *path, int64_t micro_batch, int threads, mu_loaded_t *out);
void mu_loaded_close(mu_loaded_t *loaded);

#endif
