#include "worker/model/resize_embeddings.h"
#include "common/buf.h"
#include "common/num.h"

static bool is_new(const mu_resize_t *g, int64_t row)
{
    return row >= g->rows || (row >= g->ids && row < g->new_ids);
}

static mu_status_t read_mean(const mu_resize_t *g, int64_t cols, mu_resize_rows_t old, void *arg, float *mean)
{
    float *all = mu_alloc((size_t)(g->ids * cols) * sizeof *all);
    double *sum = mu_calloc((size_t)cols, sizeof *sum);
    mu_status_t status = old(arg, 0, g->ids, all);
    for (int64_t r = 0; status == MU_OK && r < g->ids; r++)
        for (int64_t c = 0; c < cols; c++)
            sum[c] += (double)all[r * cols + c];
    for (int64_t c = 0; c < cols; c++)
        mean[c] = (float)(sum[c] / (double)g->ids);
    free(sum);
    free(all);
    return status;
}

mu_status_t mu_resize_read(const mu_resize_t *g, int64_t cols, mu_resize_rows_t old, void *arg, int64_t first,
                           int64_t n, float *out)
{
    int64_t kept = mu_min_i64(n, mu_max_i64(0, g->rows - first)), fresh = 0;
    if (kept > 0)
        MU_TRY(old(arg, first, kept, out));
    for (int64_t r = 0; r < n; r++)
        fresh += is_new(g, first + r);
    if (fresh == 0)
        return MU_OK;
    float *mean = mu_alloc((size_t)cols * sizeof *mean);
    mu_status_t status = read_mean(g, cols, old, arg, mean);
    for (int64_t r = 0; status == MU_OK && r < n; r++)
        if (is_new(g, first + r))
            memcpy(out + r * cols, mean, (size_t)cols * sizeof *mean);
    free(mean);
    return status;
}
