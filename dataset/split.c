/* gpt-neox's cut of a data set into train, valid and test. */
#include "common/buf.h"
#include "common/log.h"
#include "common/num.h"
#include "dataset/dataset.h"

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

static bool parse_part(const char *text, size_t n, double *out)
{
    while (n > 0 && strchr(" \t", *text)) {
        text++;
        n--;
    }
    while (n > 0 && strchr(" \t", text[n - 1]))
        n--;
    char *part = mu_format("%.*s", (int)n, text);
    bool good = mu_parse_f64(part, out) && *out >= 0;
    free(part);
    return good;
}

mu_status_t mu_split_parse(const char *split, double ratio[3])
{
    double part[3] = {0};
    char separator = strchr(split, ',') ? ',' : '/';
    const char *p = split;
    for (int i = 0; i < 3 && p; i++) { /* further parts are ignored, as gpt-neox does */
        const char *end = strchr(p, separator);
        size_t n = end ? (size_t)(end - p) : strlen(p);
        if (n > 64 || !parse_part(p, n, &part[i]))
            return mu_fail(MU_CONFIG,
                           "split '%s': wanted up to three numbers, none negative, as \"969, 30, 1\"", split);
        p = end ? end + 1 : NULL;
    }
    double sum = part[0] + part[1] + part[2];
    if (!(sum > 0) || !isfinite(sum))
        return mu_fail(MU_CONFIG, "split '%s': the numbers must add up to more than 0", split);
    for (int i = 0; i < 3; i++)
        ratio[i] = part[i] / sum;
    return MU_OK;
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
