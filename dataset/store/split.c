/* gpt-neox's cut of a data set into train, valid and test. */
#include "common/log.h"
#include "common/num.h"
#include "dataset/store/dataset.h"

#include <math.h>

const char *mu_data_split_name(mu_data_split_t split)
{
    static const char *const name[] = {"train", "valid", "test"};
    return name[split];
}

mu_status_t mu_data_split_parse(const char *name, mu_data_split_t *out)
{
    for (int s = 0; s < MU_DATA_SPLITS; s++) {
        if (strcmp(name, mu_data_split_name((mu_data_split_t)s)) == 0) {
            *out = (mu_data_split_t)s;
            return MU_OK;
        }
    }
    return mu_fail(MU_USAGE, "--split '%s': wanted train, valid or test", name);
}

mu_status_t mu_split_parse(const char *split, double ratio[3])
{
    return mu_parse_split(split, ratio) ? MU_OK
                                        : mu_fail(MU_CONFIG, "split '%s': wanted are " MU_SPLIT_WORDS, split);
}

mu_status_t mu_split_bounds(const char *split, int64_t n, int64_t bounds[4])
{
    double ratio[3];
    MU_TRY(mu_split_parse(split, ratio));
    bounds[0] = 0;
    for (int i = 0; i < 3; i++)
        bounds[i + 1] =
            bounds[i] + (int64_t)nearbyint(ratio[i] * (double)n); /* half to even, as Python's round */
    int64_t surplus = bounds[3] - n;
    for (int i = 1; i < 4; i++)
        bounds[i] = mu_min_i64(mu_max_i64(bounds[i] - surplus, 0), n);
    return MU_OK;
}

mu_data_split_t mu_split_part(const double ratio[3], uint64_t digest)
{
    double fraction = (double)(digest >> 11) * 0x1p-53, end = 0;
    mu_data_split_t last = MU_TRAIN; /* the sum of all ratios may be a little less than 1 */
    for (int i = 0; i < MU_DATA_SPLITS; i++) {
        end += ratio[i];
        if (ratio[i] > 0) {
            last = (mu_data_split_t)i;
            if (fraction < end)
                break;
        }
    }
    return last;
}
