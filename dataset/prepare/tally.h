/*
 * How many documents of each input fall into each part, and how many of each tag: as they are cut, and beside it as a
 * cut by position would have it.
 */
#ifndef MU_DATASET_TALLY_H
#define MU_DATASET_TALLY_H

#include "dataset/store/dataset.h"

/* Documents of one input, which come one after the other. */
typedef struct mu_tally_row {
    int64_t first, count;                /* positions [first, first + count) of all documents */
    int64_t by_digest[MU_DATA_SPLITS];   /* 0 unless documents are cut by their digest */
    int64_t by_position[MU_DATA_SPLITS]; /* after mu_tally_finish */
} mu_tally_row_t;

typedef struct mu_tally {
    double ratio[MU_DATA_SPLITS];
    bool digests; /* documents are cut by their digest */
    mu_tally_row_t *rows;
    int count;
    int64_t documents;
} mu_tally_t;

/* Errors: MU_CONFIG (the split). */
mu_status_t mu_tally_new(mu_tally_t *tally, const char *split, bool digests, int inputs);
void mu_tally_free(mu_tally_t *tally);
void mu_tally_add(mu_tally_t *tally, int input, uint64_t digest);
/* After the last document. Errors: MU_CONFIG. */
mu_status_t mu_tally_finish(mu_tally_t *tally, const char *split);
/* The parts of a row as the data set is cut. */
const int64_t *mu_tally_parts(const mu_tally_t *tally, const mu_tally_row_t *row);
/* The only part that holds documents of a row with at least two, where more than one part is wanted; -1: there is no
 * such part. */
int mu_tally_only_part(const mu_tally_t *tally, const mu_tally_row_t *row);

#endif
