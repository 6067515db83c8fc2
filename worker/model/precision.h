/* The element type that a run computes in: the config's precision, as far as the device has it. */
#ifndef MU_WORKER_PRECISION_H
#define MU_WORKER_PRECISION_H

#include "common/config/config.h"
#include "kernels/device.h"
#include "common/config/loss_scale.h"

/* fp16 where the device has no fp16 products is bf16; bf16 where it has none is float. */
mu_dtype_t mu_precision_dtype(const mu_device_t *device, mu_precision_t wanted);

/* "bf16", or "bf16 in place of fp16, which this device does not multiply". */
void mu_precision_words(mu_precision_t wanted, mu_dtype_t got, mu_buf_t *out);

/* One line of the run's table. `scale` is the loss scale at the start. */
void mu_precision_describe(mu_precision_t wanted, mu_dtype_t got, const mu_loss_scale_t *scale,
                           const mu_loss_scale_rule_t *rule, mu_buf_t *out);

#endif
