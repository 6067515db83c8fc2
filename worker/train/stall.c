#include "worker/train/stall.h"

#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bool mu_stall_add(mu_stall_t *stall, double ms, double *median)
{
    const double floor_ms = 100;
    double sorted[MU_STALL_SAMPLES];
    int known = stall->count < MU_STALL_SAMPLES ? stall->count : MU_STALL_SAMPLES;
    memcpy(sorted, stall->ms, sizeof sorted);
    qsort(sorted, (size_t)known, sizeof *sorted, by_value);
    *median = known > 0 ? sorted[known / 2] : 0;
    stall->ms[stall->count++ % MU_STALL_SAMPLES] = ms;
    return known >= MU_STALL_LEAST && ms > 3 * *median && ms > *median + floor_ms;
}
