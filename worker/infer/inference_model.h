/*
 * A trained model: what `eval` and `generate` work on. A checkpoint of any layout loads, onto the device and in
 * the precision that a run with this configuration would compute on and in.
 *
 *     mu_inference_model_describe(path, overrides, n, &model);     what it is; or mu_inference_model_describe_run()
 *     mu_inference_model_weights(&model, run, rows);               its net
 *     mu_inference_model_close(&model);                            before the run's groups
 */
#ifndef MU_WORKER_INFERENCE_MODEL_H
#define MU_WORKER_INFERENCE_MODEL_H

#include "common/config/config.h"
#include "dataset/tokenizer/tokenizer.h"
#include "worker/train/device_context.h"
#include "worker/train/state.h"

typedef struct mu_inference_model {
    mu_checkpoint_t *checkpoint;
    mu_checkpoint_t
        *base; /* the model that `checkpoint`, an adapter, was trained on; NULL: it is a whole model */
    const mu_config_t
        *config; /* mu_config_load_trained() of the checkpoint's, or the run's; model.vocab is set */
    mu_device_context_t context;
    mu_net_t *net;
    mu_tokenizer_t *tokenizer; /* NULL: the checkpoint carries none */
} mu_inference_model_t;

/* Checkpoint, config and tokenizer. path: a checkpoint, or a directory that holds some (the newest valid one is
 * taken). Of an adapter the base too, at muster.lora_base if an override gives it. Errors: MU_NOINPUT, MU_DATA,
 * MU_NOVALID, MU_IO; of an override MU_CONFIG and MU_USAGE. */
mu_status_t mu_inference_model_describe(const char *path, char *const *overrides, int noverrides,
                                        mu_inference_model_t *out);
/* The same of what a run is asked about: the checkpoint is that of `load`, and the configuration is the run's, which
 * the launcher made of the checkpoint's and of the user's key=value arguments. Errors: as above. */
mu_status_t mu_inference_model_describe_run(const mu_run_t *run, mu_inference_model_t *out);
/* Between the two: sequences of n tokens instead of the configuration's. Errors: MU_CONFIG, the model has not
 * so many positions. */
mu_status_t mu_inference_model_set_length(mu_inference_model_t *loaded, int64_t n);
/* The net. In a world: this worker's slice of its tp group, where run->config says; every active worker calls
 * it. run NULL: all of it in one process, where loaded->config says. Errors: those of mu_device_context_make(),
 * MU_NOMEM, MU_CONFIG, MU_DATA, MU_IO. */
mu_status_t mu_inference_model_weights(mu_inference_model_t *loaded, mu_run_t *run, int64_t micro_batch);
/* Both, in one process. */
mu_status_t mu_inference_model_open(const char *path, char *const *overrides, int noverrides,
                                    int64_t micro_batch, mu_inference_model_t *out);
/* "bf16 on cuda, NVIDIA H200, ...": for people. */
void mu_inference_model_words(const mu_inference_model_t *loaded, char *out, size_t size);
void mu_inference_model_close(mu_inference_model_t *loaded);
/* The same in a world: after an error, which `status` is then, without waiting for peers; else the rank is at its end.
 * Returns `status`. */
mu_status_t mu_inference_model_leave(mu_inference_model_t *loaded, mu_run_t *run, mu_status_t status);

#endif
