/*
 * The data of a run: one path, whose splits train and validate (gpt-neox's data_path), or lists of paths with
 * weights, of which each trains or validates as a whole (train_data_paths, valid_data_paths).
 *
 * A data set in a list must be whole: a .bin/.idx always is; a prepared directory has all documents in one split
 * (prepared with `split` "1,0,0"), else the same text could train and validate. Tokenizers must agree.
 */
#ifndef MU_DATASET_MIXTURE_H
#define MU_DATASET_MIXTURE_H

#include "dataset/order/blend.h"

typedef struct mu_mixture_list {
    char *const *paths;    /* ends with NULL; NULL: empty */
    const double *weights; /* one a path; NULL: the same for all */
    char *const *labels;   /* one a path: mu_dataset_take_labels(); NULL: none */
} mu_mixture_list_t;

typedef struct mu_mixture_options {
    const char *path, *split;       /* NULL: the lists; split as mu_dataset_options_t has it */
    mu_mixture_list_t train, valid; /* for a NULL path */
    bool by_documents;              /* weights from the numbers of documents instead */
    double alpha;
    mu_cutting_t how; /* samples are made */
} mu_mixture_options_t;

typedef struct mu_mixture mu_mixture_t;

/* What `options` points to is needed until this returns. Errors: those of mu_dataset_open(); MU_CONFIG (a cut
 * data set in a list, tokenizers that differ). */
mu_status_t mu_mixture_open(const mu_mixture_options_t *options, mu_mixture_t **out);
void mu_mixture_close(mu_mixture_t *mixture);

/* The first path, for messages. */
const char *mu_mixture_path(const mu_mixture_t *mixture);
/* Of MU_TRAIN or MU_VALID, all data sets together. */
int64_t mu_mixture_documents(const mu_mixture_t *mixture, mu_data_split_t split);
int64_t mu_mixture_tokens(const mu_mixture_t *mixture, mu_data_split_t split);
/* Whether the data is to have such a part: false where its ratio in the split is 0, or its list is empty. A part that
 * is wanted and has no tokens is an error of whoever needs it. */
bool mu_mixture_wants(const mu_mixture_t *mixture, mu_data_split_t split);
/* As of a data set: the tokenizer's file (NULL: none of them has one), the largest vocabulary, the limit. */
const char *mu_mixture_tokenizer(const mu_mixture_t *mixture);
int64_t mu_mixture_vocab(const mu_mixture_t *mixture);
void mu_mixture_limit(mu_mixture_t *mixture, int64_t vocab);
/* The data version: a data set's own, or a digest of all of them with their weights. */
const char *mu_mixture_version(const mu_mixture_t *mixture);
/* The one data set of a data_path; NULL for lists. */
mu_dataset_t *mu_mixture_single(const mu_mixture_t *mixture);

/* Whether samples are packed of whole documents in any of the data sets. */
bool mu_mixture_packs(const mu_mixture_t *mixture);
/* mu_dataset_chat() of the first that has one. */
const json_t *mu_mixture_chat(const mu_mixture_t *mixture);
/* Of a single data_path: the samples of so many passes over the training data. */
int64_t mu_mixture_epoch_samples(const mu_mixture_t *mixture, int64_t seq_length, uint32_t seed,
                                 int64_t epochs);

/* The samples of MU_TRAIN or MU_VALID. Errors: those of mu_blend_single() and mu_blend_open_cut(). */
mu_status_t mu_mixture_order(const mu_mixture_t *mixture, mu_data_split_t split, int64_t seq_length,
                             uint32_t seed, int64_t samples, const char *cache_dir, mu_blend_t **out);

#endif
