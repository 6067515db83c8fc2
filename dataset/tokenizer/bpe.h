/*
 * Byte pair encoding on ids: the merges, and merging a word by rank.
 *
 * A merge (left, right) -> joined has a rank, its place in the file. A word starts as the ids of its bytes;
 * as long as some neighbours have a merge, the one with the lowest rank is done, the leftmost of equals
 * first.
 */
#ifndef MU_DATASET_BPE_H
#define MU_DATASET_BPE_H

#include <stddef.h>
#include <stdint.h>

#define MU_BPE_NO_RANK UINT32_MAX

typedef struct mu_merge {
    int32_t left, right, joined;
} mu_merge_t;

typedef struct mu_merge_slot {
    int32_t left, right, joined; /* left < 0: empty */
    uint32_t rank;
} mu_merge_slot_t;

typedef struct mu_bpe {
    mu_merge_slot_t *slots; /* open addressing, at most half full */
    size_t mask;
} mu_bpe_t;

/* merges[r] has rank r; of equal pairs the last counts. Ids must not be negative. */
void mu_bpe_init(mu_bpe_t *bpe, const mu_merge_t *merges, size_t count);
void mu_bpe_release(mu_bpe_t *bpe);

/* Scratch memory for long words; grows as needed. Start from zeros. */
typedef struct mu_bpe_work {
    void *memory;
    size_t bytes;
} mu_bpe_work_t;

void mu_bpe_work_release(mu_bpe_work_t *work);

/* Merges ids[0, n) in place, n below 2^31; returns how many are left. */
size_t mu_bpe_merge(const mu_bpe_t *bpe, mu_bpe_work_t *work, int32_t *ids, size_t n);

#endif
