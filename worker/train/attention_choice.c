#include "worker/train/attention_choice.h"
#include "common/log.h"
#include "kernels/cuda_plugin.h"

#include <stdio.h>

void mu_attention_words(int32_t choice, char out[MU_ATTENTION_WORDS])
{
    if (choice > 0)
        snprintf(out, MU_ATTENTION_WORDS, "cuDNN %d.%d.%d", (int)choice / 10000, (int)choice / 100 % 100,
                 (int)choice % 100);
    else
        snprintf(out, MU_ATTENTION_WORDS, "%s", choice == 0 ? "muster's own kernels" : "CPU kernels");
}

/* Whether cuDNN computes the net's step, both ways. */
static mu_status_t check_step(const mu_cuda_plugin_t *cuda, const mu_net_t *net, const char *words)
{
    mu_device_t *dev = mu_net_device(net);
    const mu_attention_t shape = mu_net_attention(net);
    char why[MU_CUDA_WHY];
    for (int backward = 0; backward < 2; backward++) {
        if (cuda->cudnn_taken(dev, mu_net_flat(net)->weight.type, &shape, backward != 0, why))
            continue;
        if (!why[0])
            return dev->status;
        return mu_fail(
            MU_CONFIG,
            "muster.attention is cudnn, but %s does not compute this model's attention %s (micro batch "
            "%lld, %lld heads of %lld, %lld tokens): %s; set muster.attention=own",
            words, backward ? "backward" : "forward", (long long)shape.batch, (long long)shape.heads,
            (long long)shape.head_dim, (long long)shape.seq, why);
    }
    return MU_OK;
}

mu_status_t mu_attention_choose(const mu_config_t *config, mu_device_context_t *context, const mu_net_t *net,
                                bool reset_attention, int32_t *choice)
{
    char words[MU_ATTENTION_WORDS];
    int version;
    *choice = context->cuda ? MU_ATTENTION_KERNELS : MU_ATTENTION_CPU;
    if (config->muster.attention != MU_ATTENTION_CUDNN)
        return MU_OK;
    if (!context->cuda)
        return mu_fail(MU_CONFIG, "muster.attention is cudnn, but this worker computes on CPUs: set "
                                  "muster.attention=auto, or muster.device=cuda where GPUs are");
    if (reset_attention)
        return mu_fail(MU_CONFIG,
                       "muster.attention is cudnn, which does not stop at borders of documents, and whole "
                       "documents are packed: set muster.attention=own, or pack_impl=unpacked");
    MU_TRY(context->cuda->cudnn_use(context->device, &version));
    mu_attention_words(version, words);
    MU_TRY(check_step(context->cuda, net, words));
    *choice = version;
    return MU_OK;
}
