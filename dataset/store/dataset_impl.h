/* What the two kinds of data set (prepared.c, indexed.c) give to dataset.c. */
#ifndef MU_DATASET_IMPL_H
#define MU_DATASET_IMPL_H

#include "dataset/store/dataset.h"

typedef struct mu_dataset_ops {
    /* Tokens of document `doc` of the whole data set, range inside it; ids below ds->vocab_checked. */
    mu_status_t (*read)(mu_dataset_t *ds, int64_t doc, int64_t offset, int64_t n, int32_t *out);
    /* 1 or 0 of each such token: whether it counts; NULL where a data set can have none */
    mu_status_t (*labels)(mu_dataset_t *ds, int64_t doc, int64_t offset, int64_t n, unsigned char *out);
    mu_status_t (*verify)(mu_dataset_t *ds);
    void (*close)(mu_dataset_t *ds); /* frees ds->own; own may be half made */
} mu_dataset_ops_t;

struct mu_dataset {
    const mu_dataset_ops_t *ops;
    void *own;
    char *path;
    int64_t documents;
    int64_t *start;               /* documents + 1: tokens before each document, all splits in a row */
    int64_t bounds[4];            /* split k is documents [bounds[k], bounds[k + 1]) */
    double ratio[MU_DATA_SPLITS]; /* of the split that cut it, normalised */
    uint64_t text_bytes[MU_DATA_SPLITS];
    int64_t vocab;         /* 0: not known */
    int64_t vocab_checked; /* every id is below this */
    char version[MU_DIGEST_HEX];
    bool labelled;                   /* ops->labels gives its masks, or `labels` holds them */
    int64_t counted[MU_DATA_SPLITS]; /* tokens that count; -1: not known */
    mu_dataset_t *labels;            /* mu_dataset_take_labels(); NULL: none */
    const json_t *chat;
    char *tokenizer_path; /* NULL: none */
    char tokenizer_digest[MU_DIGEST_HEX];
};

/* Fill in `ds`, whose path is set; on errors what they set is freed by mu_dataset_close(). */
mu_status_t mu_prepared_open(mu_dataset_t *ds, const mu_dataset_options_t *options);
mu_status_t mu_indexed_open(mu_dataset_t *ds, const mu_dataset_options_t *options);

/* Widens n tokens of `bytes` each (little-endian; 1, 2, 4 or 8) and checks that they are in [0, limit).
 * Returns n, or the index of the first that is not, with its value in *bad. */
int64_t mu_tokens_widen(const void *from, int bytes, bool is_signed, int64_t n, int64_t limit, int32_t *out,
                        int64_t *bad);

#endif
