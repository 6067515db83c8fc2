#include "worker/model/precision.h"

mu_dtype_t mu_precision_dtype(const mu_device_t *device, mu_precision_t wanted)
{
    if (wanted == MU_FP16 && device->ops->supports(device, MU_DTYPE_F16))
        return MU_DTYPE_F16;
    if (wanted != MU_FP32 && device->ops->supports(device, MU_DTYPE_BF16))
        return MU_DTYPE_BF16;
    return MU_DTYPE_F32;
}

static const mu_dtype_t type_of[] = {
    [MU_FP32] = MU_DTYPE_F32, [MU_BF16] = MU_DTYPE_BF16, [MU_FP16] = MU_DTYPE_F16};

void mu_precision_words(mu_precision_t wanted, mu_dtype_t got, mu_buf_t *out)
{
    mu_buf_adds(out, mu_dtype_name(got));
    if (type_of[wanted] != got)
        mu_buf_addf(out, " in place of %s, which this device does not multiply",
                    mu_dtype_name(type_of[wanted]));
}

void mu_precision_describe(mu_precision_t wanted, mu_dtype_t got, const mu_loss_scale_t *scale,
                           const mu_loss_scale_rule_t *rule, mu_buf_t *out)
{
    mu_precision_words(wanted, got, out);
    if (type_of[wanted] != got)
        mu_buf_addc(out, ',');
    if (got == MU_DTYPE_F32) {
        mu_buf_adds(out, " throughout");
        return;
    }
    mu_buf_adds(out, " weights and activations; sums, gradients, master weights and moments fp32; ");
    if (got != MU_DTYPE_F16)
        mu_buf_adds(out, "no loss scale");
    else
        mu_buf_addf(out, "loss scale %g, %s", scale->scale, rule->fixed > 0 ? "fixed" : "dynamic");
}
