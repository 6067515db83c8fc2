#include "dataset/prepare/tally.h"
#include "common/buf.h"
#include "common/num.h"

#include <string.h>

mu_status_t mu_tally_new(mu_tally_t *t, const char *split, bool digests, int inputs)
{
    *t = (mu_tally_t){.digests = digests, .count = inputs};
    MU_TRY(mu_split_parse(split, t->ratio));
    t->rows = mu_calloc((size_t)inputs, sizeof *t->rows);
    return MU_OK;
}

void mu_tally_free(mu_tally_t *t)
{
    free(t->rows);
    *t = (mu_tally_t){0};
}

void mu_tally_add(mu_tally_t *t, int input, uint64_t digest)
{
    mu_tally_row_t *row = &t->rows[input];
    if (row->count++ == 0)
        row->first = t->documents;
    t->documents++;
    if (t->digests)
        row->by_digest[mu_split_part(t->ratio, digest)]++;
}

mu_status_t mu_tally_finish(mu_tally_t *t, const char *split)
{
    int64_t bounds[4];
    MU_TRY(mu_split_bounds(split, t->documents, bounds));
    for (int i = 0; i < t->count; i++) {
        mu_tally_row_t *row = &t->rows[i];
        for (int s = 0; s < MU_DATA_SPLITS; s++) {
            int64_t from = mu_max_i64(row->first, bounds[s]),
                    to = mu_min_i64(row->first + row->count, bounds[s + 1]);
            row->by_position[s] = to > from ? to - from : 0;
        }
    }
    return MU_OK;
}

const int64_t *mu_tally_parts(const mu_tally_t *t, const mu_tally_row_t *row)
{
    return t->digests ? row->by_digest : row->by_position;
}

int mu_tally_only_part(const mu_tally_t *t, const mu_tally_row_t *row)
{
    const int64_t *parts = mu_tally_parts(t, row);
    int wanted = 0, found = -1;
    for (int s = 0; s < MU_DATA_SPLITS; s++) {
        wanted += t->ratio[s] > 0;
        if (parts[s] == row->count)
            found = s;
    }
    return wanted > 1 && row->count > 1 ? found : -1;
}
