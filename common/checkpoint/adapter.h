/*
 * Adapters as checkpoints: they hold A and B of each adapted layer (common/model.h), and name the model that these were
 * trained on, their base, by its path and by a digest of its weights.
 *
 *     if (mu_checkpoint_is_adapter(checkpoint))
 *         mu_adapter_base(checkpoint, config->muster.lora_base, &base);
 */
#ifndef MU_COMMON_ADAPTER_H
#define MU_COMMON_ADAPTER_H

#include "common/checkpoint/checkpoint_reader.h"

static inline bool mu_checkpoint_is_adapter(const mu_checkpoint_t *checkpoint)
{
    return mu_checkpoint_manifest(checkpoint)->info.base_digest != NULL;
}

/* Digest of the weights, from the manifest: of each tensor's name and shape, and where each slice lies in it with the
 * slice's own digest. The run, the step, the moments and the files' names are not in it; the layout that wrote it
 * is. */
void mu_checkpoint_weights_digest(const mu_checkpoint_t *checkpoint, char out[MU_DIGEST_HEX]);

/* Opens the base of an adapter: at `instead`, unless that is NULL, else where the adapter says. Errors: MU_NOINPUT
 * (there is no checkpoint), MU_CONFIG (it has other weights than the adapter was trained on), those of
 * mu_checkpoint_newest().
 */
mu_status_t mu_adapter_base(const mu_checkpoint_t *adapter, const char *instead, mu_checkpoint_t **out);

/* Rows of the embedding of a checkpoint that is no adapter. Errors: MU_DATA, it has none. */
mu_status_t mu_checkpoint_vocab(const mu_checkpoint_t *checkpoint, int64_t *out);

#endif
