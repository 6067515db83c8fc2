/*
 * gpt-neox's order of samples, bit for bit (megatron/data/gpt2_dataset.py, helpers.cpp).
 *
 * A sample is seq_length + 1 tokens; the next one begins seq_length later. The documents of the split are
 * repeated for as many epochs as `samples` needs and shuffled as one array; samples are cut from that row of
 * documents, and shuffled again; both shuffles draw from one numpy.random.RandomState(seed).
 *
 * The index is built once and kept in a file of the cache directory, named by what it depends on; the next
 * open maps it. A damaged one is built again, with a warning. It takes 4 bytes a document and epoch and 12 a
 * sample.
 */
#ifndef MU_DATASET_ORDER_H
#define MU_DATASET_ORDER_H

#include "dataset/store/dataset.h"

typedef struct mu_order mu_order_t;

/* cache_dir: an existing directory, or NULL for an index in memory only. `ds` must outlive the order. Errors:
 * MU_DATA (the split has no tokens), MU_CONFIG (more documents times epochs, or samples,
 * than 32 bits count), MU_IO, MU_RUNDIR. */
mu_status_t mu_order_open(mu_dataset_t *ds, mu_data_split_t split, int64_t seq_length, uint32_t seed,
                          int64_t samples, const char *cache_dir, mu_order_t **out);
void mu_order_close(mu_order_t *order);

/* Whether a sample's tokens say where documents begin (common/token_marks.h); label masks are always there. */
void mu_order_mark_borders(mu_order_t *order, bool borders);

/* Samples of the index (at least `samples`), and the epochs it covers. */
int64_t mu_order_samples(const mu_order_t *order);
int64_t mu_order_epochs(const mu_order_t *order);
/* Sample j modulo mu_order_samples(). tokens: seq_length + 1. Errors: those of mu_dataset_read. */
mu_status_t mu_order_sample(mu_order_t *order, int64_t j, int32_t *tokens);

/* The samples that gpt-neox asks of train, valid and test. */
void mu_order_counts(int64_t train_iters, int64_t eval_interval, int64_t eval_iters, int64_t global_batch,
                     int64_t out[MU_DATA_SPLITS]);
/* Samples of `epochs` passes over the split: (epochs * tokens - 1) / seq_length. */
int64_t mu_order_epoch_samples(const mu_dataset_t *ds, mu_data_split_t split, int64_t seq_length,
                               int64_t epochs);

/* The parts, for tests and for whoever wants the index itself. All arrays are the caller's. */

/* numpy's legacy generator. */
typedef struct mu_mt19937 {
    uint32_t state[624];
    int next;
} mu_mt19937_t;
void mu_mt19937_seed(mu_mt19937_t *rng, uint32_t seed);
uint32_t mu_mt19937_next(mu_mt19937_t *rng);
/* numpy.random.RandomState.shuffle of a one-dimensional array. */
void mu_mt19937_shuffle(mu_mt19937_t *rng, uint32_t *values, size_t n);

/* sample i begins in the document docs[position[i]] at token offset[i]; n + 1 entries. */
void mu_order_cut(const mu_dataset_t *ds, mu_data_split_t split, const uint32_t *docs, int64_t seq_length,
                  int64_t n, uint32_t *position, uint32_t *offset);

#endif
