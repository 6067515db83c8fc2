/*
 * gpt-neox's blend of data sets, index for index (megatron/data/blendable_dataset.py, data_utils.py,
 * helpers.cpp: build_blending_indices).
 *
 * Sample i of the blend is taken from the data set whose share is most in arrears: the largest w[k] * max(i, 1)
 * - taken[k], the first of equals; it is that set's next sample, in the set's own order (order.h), which is
 * made for ceil(samples * w[k] * 1.005) samples. Those are enough: a set is taken only when it is not ahead of
 * its share.
 */
#ifndef MU_DATASET_BLEND_H
#define MU_DATASET_BLEND_H

#include "dataset/order/order.h"
#include "dataset/order/pack.h"

#define MU_BLEND_MAX 254 /* data sets */

/* The sum is numpy's: its order of additions decides the last bit. */
double mu_blend_sum(const double *values, int n);
/* The weights of weight_by_num_documents: with p[k] the share of documents, and q[k] = p[k]^alpha normalised,
 * q[k] * (1 - p[k]), normalised; 1 for a single set. */
void mu_blend_by_documents(const int64_t *documents, int n, double alpha, double *weights);
/* Which set each sample comes from, and the how manieth it is there. Weights are normalised. */
void mu_blend_fill(const double *weights, int n, int64_t samples, uint8_t *set, uint32_t *sample);

typedef struct mu_blend_part {
    mu_dataset_t *data;
    mu_data_split_t split;
    double weight; /* any scale */
} mu_blend_part_t;

typedef struct mu_blend mu_blend_t;

/* The data sets must outlive the blend; the parts are copied. 5 bytes a sample beside the orders. Errors:
 * those of mu_order_open(); MU_CONFIG (no set, too many, more than 2^32 samples, a weight below 0, none above).
 */
mu_status_t mu_blend_open(const mu_blend_part_t *parts, int n, int64_t seq_length, uint32_t seed,
                          int64_t samples, const char *cache_dir, mu_blend_t **out);
/* The same of samples that are cut in this way. Errors: also those of mu_pack_open(). */
mu_status_t mu_blend_open_cut(const mu_blend_part_t *parts, int n, int64_t seq_length,
                              const mu_cutting_t *how, uint32_t seed, int64_t samples, const char *cache_dir,
                              mu_blend_t **out);
/* One data set, unblended: for a single data_path. Errors: those of mu_order_open() and mu_pack_open(). */
mu_status_t mu_blend_single(mu_dataset_t *data, mu_data_split_t split, int64_t seq_length,
                            const mu_cutting_t *how, uint32_t seed, int64_t samples, const char *cache_dir,
                            mu_blend_t **out);
void mu_blend_close(mu_blend_t *blend);
/* Sample j modulo the samples asked for (of one data set: of all it has), with marks. Errors: those of
 * mu_dataset_read. */
mu_status_t mu_blend_sample(mu_blend_t *blend, int64_t j, int32_t *tokens);

#endif
