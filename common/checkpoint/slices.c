#include "common/checkpoint/slices.h"
#include "common/buf.h"
#include "common/num.h"

const char *mu_state_name(mu_state_t state)
{
    static const char *const names[MU_STATE_COUNT] = {"weight", "exp_avg", "exp_avg_sq"};
    return names[state];
}

mu_slice_t *mu_slices_of(const mu_model_t *model, int tp, int dp, int tp_rank, int dp_rank, bool optimizer,
                         int *count)
{
    int first = mu_model_saved_first(model), tensors = mu_model_tensor_count(model) - first;
    int states = optimizer ? MU_STATE_COUNT : 1, n = 0;
    mu_model_t spread = mu_model_spread(model, tp);
    mu_slice_t *list = mu_calloc((size_t)tensors * (size_t)states, sizeof *list);
    for (int s = 0; s < states; s++) {
        for (int i = 0; i < tensors; i++) {
            mu_tensor_t t;
            mu_slice_t *slice = &list[n];
            mu_model_tensor(&spread, first + i, &t);
            mu_tensor_slice(&t, tp, tp_rank, slice->offset, slice->count);
            bool whole = t.split == MU_SPLIT_NONE;
            int64_t part = whole ? (int64_t)dp_rank * tp + tp_rank : dp_rank;
            int64_t parts = whole ? (int64_t)dp * tp : dp;
            int64_t begin = mu_part_begin(slice->count[0], part, parts);
            int64_t end = mu_part_begin(slice->count[0], part + 1, parts);
            slice->tensor = i;
            slice->state = (mu_state_t)s;
            if (end == begin)
                continue;
            /* copied keys and values, which lie at the end, are stored by one of those that hold them */
            int64_t rows;
            bool copy;
            slice->offset[0] = mu_model_spread_row(model, tp, &t, slice->offset[0] + begin, &rows, &copy);
            slice->count[0] = mu_min_i64(rows, end - begin);
            n += !copy;
        }
    }
    *count = n;
    if (n == 0) {
        free(list);
        list = NULL;
    }
    return list;
}
