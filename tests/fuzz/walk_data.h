/* Reads an opened data set in every way that there is, up to a bound. */
#ifndef MU_TESTS_FUZZ_WALK_DATA_H
#define MU_TESTS_FUZZ_WALK_DATA_H

#include "dataset/store/dataset.h"
#include "tests/fuzz/fuzz.h"

enum { WALK_TOKENS = 4096, WALK_DOCUMENTS = 64 };

static inline void walk_split(mu_dataset_t *ds, mu_data_split_t split)
{
    int32_t ids[WALK_TOKENS];
    int64_t documents = mu_dataset_documents(ds, split), tokens = mu_dataset_tokens(ds, split);
    FUZZ_CHECK(documents >= 0 && tokens >= 0);
    for (int64_t d = 0; d < documents && d < WALK_DOCUMENTS; d++) {
        int64_t length = mu_dataset_length(ds, split, d);
        FUZZ_CHECK(length >= 0 && length <= tokens);
        int64_t n = length < WALK_TOKENS ? length : WALK_TOKENS;
        fuzz_begin();
        fuzz_ok(mu_dataset_read(ds, split, d, length - n, n, ids), MU_DATA, MU_DATA);
    }
    int64_t n = tokens < WALK_TOKENS ? tokens : WALK_TOKENS;
    fuzz_begin();
    fuzz_ok(mu_dataset_read_at(ds, split, tokens - n, n, ids), MU_DATA, MU_DATA);
    int64_t sequences = mu_dataset_sequences(ds, split, 7);
    FUZZ_CHECK(sequences >= 0 && sequences <= tokens / 7);
    fuzz_begin();
    if (sequences > 0)
        fuzz_ok(mu_dataset_sequence(ds, split, 7, sequences - 1, ids), MU_DATA, MU_DATA);
}

/* Takes the data set. */
static inline void walk_data(mu_dataset_t *ds)
{
    for (int split = 0; split < MU_DATA_SPLITS; split++)
        walk_split(ds, (mu_data_split_t)split);
    mu_dataset_close(ds);
}

#endif
