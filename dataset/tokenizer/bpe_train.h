/*
 * Learning merges from counted words (Sennrich, Haddow, Birch 2016, arXiv:1508.07909, on bytes).
 *
 * Again and again the most frequent pair of neighbours becomes a new token. Of equally frequent pairs the one
 * with the lower left id is taken, then the one with the lower right id. So the result depends on the words
 * and their counts only, not on their order, and is that of the tokenizers library's BpeTrainer. Pair counts
 * are kept up to date by touching just the words that hold the pair.
 */
#ifndef MU_DATASET_BPE_TRAIN_H
#define MU_DATASET_BPE_TRAIN_H

#include "dataset/tokenizer/bpe.h"

typedef struct mu_counted_word {
    size_t at; /* in the bytes */
    uint32_t len;
    uint64_t count;
} mu_counted_word_t;

/* Learns merges until ids reach `vocab`, or until no pair is left that was seen min_count times (at least
 * once). byte_id: the ids of single bytes, all below first_id; new tokens get first_id, first_id + 1, ... A
 * merge whose token exists already (made of other halves) joins to that. merges: free() it. Below 2^32 bytes
 * in all words.
 */
void mu_bpe_learn(const mu_counted_word_t *words, size_t word_count, const char *bytes,
                  const int32_t byte_id[256], int32_t first_id, int32_t vocab, uint64_t min_count,
                  mu_merge_t **merges, size_t *merge_count);

#endif
