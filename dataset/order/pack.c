#include "dataset/order/pack.h"
#include "common/buf.h"
#include "common/log.h"
#include "common/num.h"
#include "common/token_marks.h"
#include "dataset/order/order.h"

#include <string.h>

struct mu_pack {
    mu_dataset_t *ds;
    mu_data_split_t split;
    int64_t room; /* tokens of a sample */
    mu_cutting_t how;
    uint32_t *docs;  /* sample by sample */
    uint32_t *first; /* [samples + 1]: where each one's documents begin in docs */
    int64_t count, samples, docs_room;
    int64_t tokens, chopped, dropped; /* of all epochs */
};

mu_packing_t mu_packing_of(const mu_cutting_t *how, const mu_dataset_t *ds)
{
    if (how->packing != MU_PACK_AUTO)
        return how->packing;
    return mu_dataset_chat(ds) ? MU_PACK_FIRST_FIT : MU_PACK_STREAM;
}

/* The room of the open samples, as a tree of maxima, to find the first with enough. */
typedef struct rooms {
    int64_t leaves;
    int32_t *most; /* [2 * leaves]: node i has the children 2i and 2i + 1; leaf k is node leaves + k */
} rooms_t;

static void rooms_new(rooms_t *r, int64_t samples, int64_t room)
{
    r->leaves = 1;
    while (r->leaves < samples)
        r->leaves *= 2;
    r->most = mu_alloc((size_t)(2 * r->leaves) * sizeof *r->most);
    for (int64_t i = 0; i < 2 * r->leaves; i++)
        r->most[i] = (int32_t)room;
}

/* The first sample with room for n tokens, which it gives. */
static int64_t rooms_take(rooms_t *r, int32_t n)
{
    int64_t i = 1;
    while (i < r->leaves)
        i = r->most[2 * i] >= n ? 2 * i : 2 * i + 1;
    r->most[i] -= n;
    int64_t sample = i - r->leaves;
    for (i /= 2; i > 0; i /= 2)
        r->most[i] = r->most[2 * i] > r->most[2 * i + 1] ? r->most[2 * i] : r->most[2 * i + 1];
    return sample;
}

/* Where the packing of an epoch stands. */
typedef struct epoch {
    rooms_t rooms;
    uint32_t *sample;      /* of each document, in the order in which they are packed; UINT32_MAX: left out */
    int64_t samples, left; /* left: tokens that the last sample has room for */
} epoch_t;

static void place(const mu_pack_t *p, epoch_t *e, mu_packing_t packing, int64_t at, int64_t n)
{
    if (packing == MU_PACK_FIRST_FIT) {
        int64_t sample = rooms_take(&e->rooms, (int32_t)n);
        e->sample[at] = (uint32_t)sample;
        e->samples = mu_max_i64(e->samples, sample + 1);
        return;
    }
    if (packing == MU_PACK_UNPACKED || e->samples == 0 || e->left < n) {
        e->samples++;
        e->left = p->room;
    }
    e->left -= n;
    e->sample[at] = (uint32_t)(e->samples - 1);
}

/* Appends the epoch's samples to the pack, in the order `shuffle`. */
static void append(mu_pack_t *p, const epoch_t *e, const uint32_t *docs, int64_t documents,
                   const uint32_t *shuffle)
{
    uint32_t *place_of = mu_alloc((size_t)(e->samples + 1) * sizeof *place_of);
    uint32_t *next = mu_calloc((size_t)e->samples + 1, sizeof *next);
    for (int64_t i = 0; i < e->samples; i++)
        place_of[shuffle[i]] = (uint32_t)i;
    for (int64_t d = 0; d < documents; d++)
        if (e->sample[d] != UINT32_MAX)
            next[place_of[e->sample[d]] + 1]++;
    p->first = mu_realloc(p->first, (size_t)(p->samples + e->samples + 1) * sizeof *p->first);
    for (int64_t i = 0; i < e->samples; i++) {
        next[i + 1] += next[i];
        p->first[p->samples + i] = (uint32_t)(p->count + next[i]);
    }
    for (int64_t d = 0; d < documents; d++)
        if (e->sample[d] != UINT32_MAX)
            p->docs[p->count + next[place_of[e->sample[d]]]++] = docs[d];
    p->samples += e->samples;
    p->count += e->samples > 0 ? next[e->samples - 1] : 0;
    p->first[p->samples] = (uint32_t)p->count;
    free(place_of);
    free(next);
}

static void add_epoch(mu_pack_t *p, bool in_order, mu_mt19937_t *rng)
{
    int64_t documents = mu_dataset_documents(p->ds, p->split);
    mu_packing_t packing = mu_packing_of(&p->how, p->ds);
    epoch_t e = {.sample = mu_alloc((size_t)documents * sizeof *e.sample)};
    uint32_t *docs = mu_alloc((size_t)documents * sizeof *docs);
    for (int64_t d = 0; d < documents; d++)
        docs[d] = (uint32_t)d;
    if (!in_order)
        mu_mt19937_shuffle(rng, docs, (size_t)documents);
    if (packing == MU_PACK_FIRST_FIT)
        rooms_new(&e.rooms, documents, p->room);
    for (int64_t i = 0; i < documents; i++) {
        int64_t n = mu_dataset_length(p->ds, p->split, docs[i]);
        bool leave = n == 0 || (n > p->room && p->how.drop_long);
        p->dropped += n > p->room && leave;
        p->chopped += n > p->room && !leave;
        e.sample[i] = UINT32_MAX;
        if (leave)
            continue;
        n = mu_min_i64(n, p->room);
        p->tokens += n;
        place(p, &e, packing, i, n);
    }
    uint32_t *shuffle = mu_alloc((size_t)(e.samples + 1) * sizeof *shuffle);
    for (int64_t i = 0; i < e.samples; i++)
        shuffle[i] = (uint32_t)i;
    if (!in_order)
        mu_mt19937_shuffle(rng, shuffle, (size_t)e.samples);
    p->docs = mu_realloc(p->docs, (size_t)(p->count + documents) * sizeof *p->docs);
    append(p, &e, docs, documents, shuffle);
    free(shuffle);
    free(docs);
    free(e.sample);
    free(e.rooms.most);
}

static mu_pack_t *pack_new(mu_dataset_t *ds, mu_data_split_t split, int64_t seq_length,
                           const mu_cutting_t *how)
{
    mu_pack_t *p = mu_calloc(1, sizeof *p);
    p->ds = ds;
    p->split = split;
    p->room = seq_length + 1;
    p->how = *how;
    return p;
}

static void report(const mu_pack_t *p)
{
    static const char *const words[] = {"", "", "until a sample overflows", "one a sample", "by first fit"};
    mu_info("%s: %s: documents packed %s: %lld in %lld samples, %.1f %% of their tokens are padding",
            mu_dataset_path(p->ds), mu_data_split_name(p->split), words[mu_packing_of(&p->how, p->ds)],
            (long long)p->count, (long long)p->samples, 100 * mu_pack_waste(p));
    if (p->chopped > 0)
        mu_warn("%s: %lld documents of more than %lld tokens are chopped", mu_dataset_path(p->ds),
                (long long)p->chopped, (long long)p->room);
    if (p->dropped > 0)
        mu_warn("%s: %lld documents of more than %lld tokens are left out", mu_dataset_path(p->ds),
                (long long)p->dropped, (long long)p->room);
}

mu_status_t mu_pack_open(mu_dataset_t *ds, mu_data_split_t split, int64_t seq_length, const mu_cutting_t *how,
                         bool in_order, uint32_t seed, int64_t samples, mu_pack_t **out)
{
    const char *name = mu_data_split_name(split);
    int64_t documents = mu_dataset_documents(ds, split);
    if (documents == 0 || mu_dataset_tokens(ds, split) == 0)
        return mu_fail(MU_DATA, "%s: its %s split holds no tokens: give it another split",
                       mu_dataset_path(ds), name);
    if (seq_length >= INT32_MAX)
        return mu_fail(MU_CONFIG, "samples of %lld tokens: too long to be packed", (long long)seq_length);
    mu_pack_t *p = pack_new(ds, split, seq_length, how);
    mu_mt19937_t rng;
    mu_status_t status = MU_OK;
    mu_mt19937_seed(&rng, seed);
    do {
        add_epoch(p, in_order, &rng);
        if (p->samples == 0)
            status = mu_fail(MU_DATA, "%s: no document of its %s split fits a sample of %lld tokens",
                             mu_dataset_path(ds), name, (long long)seq_length);
        else if (p->count > (int64_t)UINT32_MAX - documents)
            status =
                mu_fail(MU_CONFIG, "%s: %lld samples take more documents times epochs than can be counted",
                        mu_dataset_path(ds), (long long)samples);
    } while (status == MU_OK && !in_order && p->samples < samples);
    if (status != MU_OK) {
        mu_pack_close(p);
        return status;
    }
    report(p);
    *out = p;
    return MU_OK;
}

void mu_pack_close(mu_pack_t *p)
{
    if (!p)
        return;
    free(p->docs);
    free(p->first);
    free(p);
}

int64_t mu_pack_samples(const mu_pack_t *p)
{
    return p->samples;
}

double mu_pack_waste(const mu_pack_t *p)
{
    return 1 - (double)p->tokens / ((double)p->samples * (double)p->room);
}

mu_status_t mu_pack_sample(mu_pack_t *p, int64_t j, int32_t *tokens)
{
    int64_t sample = (int64_t)((uint64_t)j % (uint64_t)p->samples), at = 0;
    for (uint32_t i = p->first[sample]; i < p->first[sample + 1]; i++) {
        int64_t n = mu_min_i64(mu_dataset_length(p->ds, p->split, p->docs[i]), p->room);
        MU_TRY(mu_dataset_read_marked(p->ds, p->split, p->docs[i], 0, n, tokens + at));
        tokens[at] |= MU_TOKEN_BEGINS | MU_TOKEN_UNCOUNTED;
        at += n;
    }
    for (; at < p->room; at++)
        tokens[at] = MU_TOKEN_PADDING;
    return MU_OK;
}

int64_t mu_cutting_epoch_samples(mu_dataset_t *ds, mu_data_split_t split, int64_t seq_length,
                                 const mu_cutting_t *how, uint32_t seed, int64_t epochs)
{
    if (mu_packing_of(how, ds) == MU_PACK_STREAM)
        return mu_order_epoch_samples(ds, split, seq_length, epochs);
    if (mu_dataset_documents(ds, split) == 0)
        return 0;
    mu_pack_t *p = pack_new(ds, split, seq_length, how);
    mu_mt19937_t rng;
    mu_mt19937_seed(&rng, seed);
    int64_t all = 0;
    for (int64_t e = 0; e < epochs && all < UINT32_MAX; e++, all += p->samples) {
        p->samples = p->count = 0;
        add_epoch(p, false, &rng);
    }
    mu_pack_close(p);
    return all;
}
