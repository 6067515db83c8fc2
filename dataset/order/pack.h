/*
 * Samples of whole documents: as many as fit into seq_length + 1 tokens, filled up with padding.
 *
 * Each epoch takes every document once: they are shuffled, packed in that order, and the samples are shuffled; all
 * draws are those of one numpy.random.RandomState(seed). First fit puts a document into the first sample of its epoch
 * that has room for it. 4 bytes a document and epoch, and 4 a sample; nothing is kept on disk.
 *
 * Tokens have marks (common/token_marks.h): a document's first one begins it and is not counted, nor is padding.
 */
#ifndef MU_DATASET_PACK_H
#define MU_DATASET_PACK_H

#include "dataset/store/dataset.h"

/* In the order of the configuration's pack_impl. */
typedef enum mu_packing {
    MU_PACK_AUTO,     /* FIRST_FIT for conversations, else STREAM */
    MU_PACK_STREAM,   /* samples are cut from one row of documents: order.h, not this */
    MU_PACK_OVERFLOW, /* gpt-neox's pack_until_overflow: a document that does not fit begins the next sample */
    MU_PACK_UNPACKED, /* a document a sample */
    MU_PACK_FIRST_FIT
} mu_packing_t;

/* How samples are made of a data set. */
typedef struct mu_cutting {
    mu_packing_t packing;
    bool drop_long; /* documents of more tokens than a sample are left out; else they are chopped */
    bool borders;   /* STREAM: the first token of each document is marked as its beginning */
} mu_cutting_t;

/* AUTO resolved. */
mu_packing_t mu_packing_of(const mu_cutting_t *how, const mu_dataset_t *ds);

typedef struct mu_pack mu_pack_t;

/* At least `samples` samples, and whole epochs. in_order: one epoch, nothing is shuffled. `ds` must outlive it. Logs
 * how much is padding. Errors: MU_DATA (the split has no documents, or none that fits), MU_CONFIG (more documents
 * times epochs than 32 bits count). */
mu_status_t mu_pack_open(mu_dataset_t *ds, mu_data_split_t split, int64_t seq_length, const mu_cutting_t *how,
                         bool in_order, uint32_t seed, int64_t samples, mu_pack_t **out);
void mu_pack_close(mu_pack_t *pack); /* NULL is fine */

int64_t mu_pack_samples(const mu_pack_t *pack);
/* Of all tokens of all samples the share that is padding. */
double mu_pack_waste(const mu_pack_t *pack);
/* Sample j modulo mu_pack_samples(). tokens: seq_length + 1. Errors: those of mu_dataset_read. */
mu_status_t mu_pack_sample(mu_pack_t *pack, int64_t j, int32_t *tokens);

/* Samples of `epochs` passes over the split, however it is cut: those of mu_pack_open() or mu_order_epoch_samples();
 * 0: it has none. */
int64_t mu_cutting_epoch_samples(mu_dataset_t *ds, mu_data_split_t split, int64_t seq_length,
                                 const mu_cutting_t *how, uint32_t seed, int64_t epochs);

#endif
