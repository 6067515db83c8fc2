/*
 * Who writes what: the parts of the model's tensors that one worker stores.
 *
 * A checkpoint holds each element of each tensor once. Of a tensor that tp divides, worker (tp_rank, dp_rank)
 * stores the dp_rank-th of dp parts of its own tp slice; of a tensor that every tp rank holds whole, the
 * index-th of tp * dp parts, where index = dp_rank * tp + tp_rank. Parts are cut along dimension 0 (rows; the
 * elements of a vector): part p of n begins at floor(rows * p / n), so sizes differ by one at most, and a
 * part may be empty. An empty part is not in the list.
 *
 * With more tp ranks than key/value heads the ranks that hold one head's keys and values hold copies of them: the last
 * of those ranks stores them (mu_model_spread_row()).
 *
 * So a worker only ever stores what it holds itself, also when optimizer state is divided over dp
 * (mu_tensor_owned() in common/model.h: of matrices each replica keeps the dp_rank-th of dp parts).
 */
#ifndef MU_COMMON_SLICES_H
#define MU_COMMON_SLICES_H

#include "common/model.h"
#include "common/status.h"
#include <stdbool.h>
#include <stdint.h>

/* What is stored of a tensor: the fp32 (master) weight and AdamW's two moments. */
typedef enum mu_state { MU_STATE_WEIGHT, MU_STATE_EXP_AVG, MU_STATE_EXP_AVG_SQ, MU_STATE_COUNT } mu_state_t;

/* "weight", "exp_avg", "exp_avg_sq": the groups of a shard file. */
const char *mu_state_name(mu_state_t state);

typedef struct mu_slice {
    int tensor; /* index in the model's list (common/model.h), from mu_model_saved_first() on */
    mu_state_t state;
    int64_t offset[2], count[2]; /* in the global tensor; counts are positive; [1] is 0 and 1 for vectors */
} mu_slice_t;

/* Bytes that the values of a slice take in a file (fp32). */
static inline uint64_t mu_slice_bytes(const mu_slice_t *slice)
{
    return (uint64_t)slice->count[0] * (uint64_t)slice->count[1] * sizeof(float);
}

/* The slices of one worker, states outermost, tensors in the model's order: a new array, free() it, NULL when
 * there are none. `optimizer`: the moments too. tp divides the model's split dimensions. */
mu_slice_t *mu_slices_of(const mu_model_t *model, int tp, int dp, int tp_rank, int dp_rank, bool optimizer,
                         int *count);

#endif
