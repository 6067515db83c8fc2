#include "common/checkpoint/adapter.h"
#include "common/log.h"

typedef struct part {
    const mu_stored_t *stored;
} part_t;

static int by_place(const void *a, const void *b)
{
    const mu_slice_t *x = &((const part_t *)a)->stored->slice, *y = &((const part_t *)b)->stored->slice;
    if (x->tensor != y->tensor)
        return x->tensor < y->tensor ? -1 : 1;
    for (int d = 0; d < 2; d++)
        if (x->offset[d] != y->offset[d])
            return x->offset[d] < y->offset[d] ? -1 : 1;
    return 0;
}

void mu_checkpoint_weights_digest(const mu_checkpoint_t *checkpoint, char out[MU_DIGEST_HEX])
{
    const mu_manifest_t *m = mu_checkpoint_manifest(checkpoint);
    mu_buf_t text = MU_BUF_INIT;
    size_t n = 0, all = 0;
    for (int f = 0; f < m->shard_count; f++)
        all += (size_t)m->shards[f].count;
    part_t *parts = mu_calloc(all, sizeof *parts);
    for (int f = 0; f < m->shard_count; f++)
        for (int i = 0; i < m->shards[f].count; i++)
            if (m->shards[f].slices[i].slice.state == MU_STATE_WEIGHT)
                parts[n++].stored = &m->shards[f].slices[i];
    qsort(parts, n, sizeof *parts, by_place);
    for (size_t i = 0; i < n; i++) {
        const mu_slice_t *s = &parts[i].stored->slice;
        const mu_manifest_tensor_t *t = &m->tensors[s->tensor];
        mu_buf_addf(&text, "%s %lld %lld: %lld %lld, %lld %lld %s\n", t->name, (long long)t->shape[0],
                    (long long)t->shape[1], (long long)s->offset[0], (long long)s->offset[1],
                    (long long)s->count[0], (long long)s->count[1], parts[i].stored->digest);
    }
    mu_digest_bytes(text.data, text.len, out);
    mu_buf_release(&text);
    free(parts);
}

mu_status_t mu_adapter_base(const mu_checkpoint_t *adapter, const char *instead, mu_checkpoint_t **out)
{
    const mu_checkpoint_info_t *info = &mu_checkpoint_manifest(adapter)->info;
    const char *path = instead ? instead : info->base_path;
    char digest[MU_DIGEST_HEX];
    mu_checkpoint_t *base;
    MU_TRY(mu_checkpoint_newest(path, INT64_MAX, &base));
    if (!base)
        return mu_fail(
            MU_NOINPUT,
            "%s: is an adapter, and its base model is not in '%s': put it back, or name its place by "
            "muster.lora_base",
            mu_checkpoint_path(adapter), path);
    mu_checkpoint_weights_digest(base, digest);
    if (strcmp(digest, info->base_digest) != 0) {
        mu_status_t status = mu_fail(
            MU_CONFIG,
            "%s: is an adapter of a model with the digest %s, '%s' has %s: name the model that it was "
            "trained on by muster.lora_base",
            mu_checkpoint_path(adapter), info->base_digest, mu_checkpoint_path(base), digest);
        mu_checkpoint_close(base);
        return status;
    }
    *out = base;
    return MU_OK;
}

mu_status_t mu_checkpoint_vocab(const mu_checkpoint_t *checkpoint, int64_t *out)
{
    int embedding = mu_checkpoint_find(checkpoint, "embed_in.weight");
    if (embedding < 0)
        return mu_fail(MU_DATA, "%s: has no tensor embed_in.weight", mu_checkpoint_path(checkpoint));
    *out = mu_checkpoint_manifest(checkpoint)->tensors[embedding].shape[0];
    return MU_OK;
}
