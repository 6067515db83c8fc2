/* The slices of a manifest by tensor and state: what a reader looks up, and the proof that they tile. */
#ifndef MU_COMMON_INDEX_H
#define MU_COMMON_INDEX_H

#include "common/checkpoint/manifest.h"

typedef struct mu_index_entry {
    int shard; /* in manifest->shards */
    const mu_stored_t *stored;
} mu_index_entry_t;

/* Entries of (tensor, state) are entries[begin[g]] up to entries[begin[g + 1]], g = tensor * MU_STATE_COUNT +
 * state, in the order of their offsets. Borrows from the manifest. */
typedef struct mu_index {
    mu_index_entry_t *entries;
    int *begin;
} mu_index_t;

/* Every slice's tensor is in range. */
void mu_index_build(const mu_manifest_t *manifest, mu_index_t *out);
void mu_index_release(mu_index_t *index);

/* Whether the values are all there, once, each with its own place in its file; the reason goes to `why`.
 * Types and ranges of single fields are checked before. */
bool mu_manifest_check(const mu_manifest_t *manifest, mu_buf_t *why);

#endif
