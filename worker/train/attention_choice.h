/*
 * muster.attention: what computes the attention of training on GPUs.
 *
 *     int32_t choice;
 *     mu_attention_choose(config, &context, net, reset_attention, &choice);      each worker, before READY
 *
 * `own` and `auto` are muster's own kernels. `cudnn` is cuDNN's, or an error, if it cannot compute the net's training
 * step, forward and backward: no worker falls back alone. The controller compares what the workers report, so that all
 * have one version. Calls of another form (evaluation of fewer sequences, generation) may still be the own kernels'.
 */
#ifndef MU_WORKER_ATTENTION_CHOICE_H
#define MU_WORKER_ATTENTION_CHOICE_H

#include "worker/model/net.h"
#include "worker/train/device_context.h"

/* A choice: one of these, or the version of cuDNN (91900: 9.19.0). */
enum { MU_ATTENTION_CPU = -1, MU_ATTENTION_KERNELS = 0 };

/* reset_attention: documents have borders inside a sample. Errors: MU_CONFIG (cuDNN is asked for, and is not there or
 * does not compute this), MU_GPU, MU_NOMEM. */
mu_status_t mu_attention_choose(const mu_config_t *config, mu_device_context_t *context, const mu_net_t *net,
                                bool reset_attention, int32_t *choice);

enum { MU_ATTENTION_WORDS = 32 };
void mu_attention_words(int32_t choice, char out[MU_ATTENTION_WORDS]); /* "cuDNN 9.19.0" */

#endif
