#include "common/checkpoint/index.h"
#include "common/num.h"
#include "common/checkpoint/frame.h"

static int group_of(const mu_slice_t *slice)
{
    return slice->tensor * MU_STATE_COUNT + (int)slice->state;
}

static int by_place(const void *a, const void *b)
{
    const mu_slice_t *x = &((const mu_index_entry_t *)a)->stored->slice;
    const mu_slice_t *y = &((const mu_index_entry_t *)b)->stored->slice;
    if (group_of(x) != group_of(y))
        return group_of(x) < group_of(y) ? -1 : 1;
    for (int d = 0; d < 2; d++)
        if (x->offset[d] != y->offset[d])
            return x->offset[d] < y->offset[d] ? -1 : 1;
    return 0;
}

void mu_index_build(const mu_manifest_t *manifest, mu_index_t *out)
{
    size_t total = 0, groups = (size_t)manifest->tensor_count * MU_STATE_COUNT, n = 0;
    for (int f = 0; f < manifest->shard_count; f++)
        total += (size_t)manifest->shards[f].count;
    out->entries = mu_calloc(total, sizeof *out->entries);
    out->begin = mu_calloc(groups + 1, sizeof *out->begin);
    for (int f = 0; f < manifest->shard_count; f++)
        for (int i = 0; i < manifest->shards[f].count; i++)
            out->entries[n++] = (mu_index_entry_t){f, &manifest->shards[f].slices[i]};
    qsort(out->entries, total, sizeof *out->entries, by_place);
    for (size_t i = 0; i < total; i++)
        out->begin[group_of(&out->entries[i].stored->slice) + 1]++;
    for (size_t g = 0; g < groups; g++)
        out->begin[g + 1] += out->begin[g];
}

void mu_index_release(mu_index_t *index)
{
    free(index->entries);
    free(index->begin);
    *index = (mu_index_t){NULL, NULL};
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The first name that is there twice, or NULL. Sorts `names`. */
static const char *twice(const char **names, int n)
{
    qsort(names, (size_t)n, sizeof *names, by_text);
    for (int i = 1; i < n; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return names[i];
    return NULL;
}

static bool names_differ(const mu_manifest_t *m, mu_buf_t *why)
{
    int most = m->tensor_count > m->shard_count ? m->tensor_count : m->shard_count;
    const char **names = mu_calloc((size_t)most, sizeof *names);
    for (int i = 0; i < m->tensor_count; i++)
        names[i] = m->tensors[i].name;
    const char *same = twice(names, m->tensor_count);
    if (!same) {
        for (int i = 0; i < m->shard_count; i++)
            names[i] = m->shards[i].name;
        same = twice(names, m->shard_count);
    }
    if (same)
        mu_buf_addf(why, "the name '%s' is there twice", same);
    free(names);
    return !same;
}

static bool in_tensor(const mu_manifest_tensor_t *tensor, const mu_slice_t *slice)
{
    for (int d = 0; d < 2; d++)
        if (slice->offset[d] > tensor->shape[d] || slice->count[d] > tensor->shape[d] - slice->offset[d])
            return false;
    return true;
}

static bool slices_in_place(const mu_manifest_t *m, mu_buf_t *why)
{
    for (int f = 0; f < m->shard_count; f++) {
        const mu_shard_t *shard = &m->shards[f];
        for (int i = 0; i < shard->count; i++) {
            const mu_slice_t *slice = &shard->slices[i].slice;
            if (slice->tensor >= m->tensor_count || (!m->optimizer && slice->state != MU_STATE_WEIGHT) ||
                !in_tensor(&m->tensors[slice->tensor], slice)) {
                mu_buf_addf(why, "slice %d of '%s' lies in no tensor of the list", i, shard->name);
                return false;
            }
        }
        int *order = mu_frame_order(shard), bad = 0;
        bool fits = mu_frame_fits(shard, order, &bad);
        free(order);
        if (!fits) {
            mu_buf_addf(why, "slice %d of '%s' lies outside the file or over another slice", bad,
                        shard->name);
            return false;
        }
    }
    return true;
}

static bool columns_meet(const mu_slice_t *a, const mu_slice_t *b)
{
    return a->offset[1] < b->offset[1] + b->count[1] && b->offset[1] < a->offset[1] + a->count[1];
}

/* Slices that overlap nowhere and have as many elements as the tensor are the tensor. */
static bool tiles(const mu_index_t *index, int group, const mu_manifest_tensor_t *tensor, mu_buf_t *why)
{
    uint64_t total = 0;
    for (int i = index->begin[group]; i < index->begin[group + 1]; i++) {
        const mu_slice_t *a = &index->entries[i].stored->slice;
        total += mu_slice_bytes(a);
        for (int j = i + 1; j < index->begin[group + 1]; j++) {
            const mu_slice_t *b = &index->entries[j].stored->slice;
            if (b->offset[0] >= a->offset[0] + a->count[0])
                break;
            if (columns_meet(a, b)) {
                mu_buf_addf(why, "two slices of %s/%s overlap", mu_state_name(a->state), tensor->name);
                return false;
            }
        }
    }
    uint64_t want = (uint64_t)tensor->shape[0] * (uint64_t)tensor->shape[1] * sizeof(float);
    if (total != want)
        mu_buf_addf(why, "the slices of %s/%s have %llu bytes, the tensor has %llu",
                    mu_state_name((mu_state_t)(group % MU_STATE_COUNT)), tensor->name,
                    (unsigned long long)total, (unsigned long long)want);
    return total == want;
}

bool mu_manifest_check(const mu_manifest_t *m, mu_buf_t *why)
{
    if (!names_differ(m, why) || !slices_in_place(m, why))
        return false;
    mu_index_t index;
    bool ok = true;
    mu_index_build(m, &index);
    for (int t = 0; ok && t < m->tensor_count; t++)
        for (int s = 0; ok && s < (m->optimizer ? MU_STATE_COUNT : 1); s++)
            ok = tiles(&index, t * MU_STATE_COUNT + s, &m->tensors[t], why);
    mu_index_release(&index);
    return ok;
}
