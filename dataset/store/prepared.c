/* A prepared directory: manifest and shards. libhdf5 is not asked: the manifest says where the bytes lie, and
 * its digests say whether they are the ones that were written. */
#include "common/file.h"
#include "common/log.h"
#include "common/meter.h"
#include "common/num.h"
#include "dataset/store/dataset_impl.h"
#include "dataset/store/shard_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { OPEN_MAX_FILES = 128 };

/* One shard, open or not. */
typedef struct part {
    char *path;
    int fd;                 /* -1: closed */
    uint64_t used;          /* for closing the one that rests longest */
    int64_t doc;            /* its first document, of the whole data set */
    uint64_t *blocks[2];    /* digests, of each column */
    unsigned char *seen[2]; /* one bit a block: its digest was right */
} part_t;

/* What a shard has a value of for each token: ids, and label masks. */
typedef enum column { TOKENS, LABELS } column_t;

/* A block that was checked, a part of one, and which block it is. */
typedef struct cache {
    unsigned char *block, *piece;
    int part; /* -1: none */
    int64_t number;
} cache_t;

typedef struct prepared {
    mu_data_manifest_t manifest;
    part_t *parts; /* manifest.count */
    int open;
    uint64_t clock;
    cache_t cache[2];
} prepared_t;

static mu_status_t part_error(const part_t *part, int error)
{
    if (error == EPROTO)
        return mu_fail(MU_DATA, "%s: cut short while in use", part->path);
    return mu_fail(MU_IO, "%s: cannot read: %s", part->path, strerror(error));
}

/* Opens the shard's file unless it is, closing another where many are. */
static mu_status_t need(prepared_t *own, part_t *part)
{
    part->used = ++own->clock;
    if (part->fd >= 0)
        return MU_OK;
    if (own->open >= OPEN_MAX_FILES) {
        part_t *rest = NULL;
        for (int i = 0; i < own->manifest.count; i++) {
            if (own->parts[i].fd >= 0 && (!rest || own->parts[i].used < rest->used))
                rest = &own->parts[i];
        }
        close(rest->fd);
        rest->fd = -1;
        own->open--;
    }
    part->fd = open(part->path, O_RDONLY | O_CLOEXEC);
    if (part->fd < 0)
        return mu_fail(mu_open_status(errno), "%s: cannot open: %s", part->path, strerror(errno));
    own->open++;
    return MU_OK;
}

static mu_status_t check_size(const part_t *part, const mu_data_shard_t *shard)
{
    struct stat st;
    if (fstat(part->fd, &st) != 0)
        return part_error(part, errno);
    if (st.st_size != shard->bytes)
        return mu_fail(MU_DATA,
                       "%s: has %lld bytes where the manifest says %lld: copy the data set again, or run "
                       "'muster prepare' again",
                       part->path, (long long)st.st_size, (long long)shard->bytes);
    return MU_OK;
}

/* Reads the tables, checks them, and puts the documents' starts after those of the shards before. */
static mu_status_t read_tables(mu_dataset_t *ds, part_t *part, const mu_data_shard_t *shard)
{
    char found[MU_DIGEST_HEX];
    int64_t *start = ds->start + part->doc, before = start[0];
    size_t starts = (size_t)(shard->documents + 1) * 8,
           blocks = (size_t)mu_data_shard_blocks(shard->tokens) * 8;
    int columns = ds->labelled ? 2 : 1;
    if (!mu_pread_all(part->fd, start, starts, (off_t)shard->documents_at))
        return part_error(part, errno);
    for (int c = 0; c < columns; c++) {
        part->blocks[c] = mu_alloc(blocks);
        part->seen[c] = mu_calloc(blocks / 64 + 1, 1);
        if (!mu_pread_all(part->fd, part->blocks[c], blocks,
                          (off_t)(c == LABELS ? shard->label_blocks_at : shard->blocks_at)))
            return part_error(part, errno);
    }
    mu_digest_t *digest = mu_digest_new();
    mu_digest_add(digest, start, starts);
    for (int c = 0; c < columns; c++)
        mu_digest_add(digest, part->blocks[c], blocks);
    mu_digest_hex(digest, found);
    mu_digest_free(digest);
    if (strcmp(found, shard->tables) != 0)
        return mu_fail(MU_DATA, "%s: damaged: the digest of its tables is %s, the manifest says %s",
                       part->path, found, shard->tables);
    if (start[0] != 0 || start[shard->documents] != shard->tokens)
        return mu_fail(MU_DATA, "%s: 'documents' goes from %lld to %lld, not from 0 to %lld", part->path,
                       (long long)start[0], (long long)start[shard->documents], (long long)shard->tokens);
    for (int64_t i = 0; i < shard->documents; i++) {
        if (start[i + 1] < start[i])
            return mu_fail(MU_DATA, "%s: 'documents' falls at entry %lld", part->path, (long long)(i + 1));
    }
    for (int64_t i = 0; i <= shard->documents; i++)
        start[i] += before;
    return MU_OK;
}

static mu_status_t check_tokenizer(mu_dataset_t *ds, const mu_data_manifest_t *m)
{
    char found[MU_DIGEST_HEX];
    if (!m->tokenizer_file)
        return MU_OK;
    ds->tokenizer_path = mu_path_join(ds->path, m->tokenizer_file);
    snprintf(ds->tokenizer_digest, MU_DIGEST_HEX, "%s", m->tokenizer_digest);
    MU_TRY(mu_digest_file(ds->tokenizer_path, found));
    if (strcmp(found, m->tokenizer_file_digest) != 0)
        return mu_fail(
            MU_DATA,
            "%s: not the file that the data was prepared with: its digest is %s, the manifest says "
            "%s",
            ds->tokenizer_path, found, m->tokenizer_file_digest);
    return MU_OK;
}

/* Every file is there and has its size before any is believed: so many documents can be there, and no more.
 */
static mu_status_t find_parts(mu_dataset_t *ds, prepared_t *own)
{
    char name[32];
    own->parts = mu_calloc((size_t)own->manifest.count, sizeof *own->parts);
    for (int i = 0; i < own->manifest.count; i++)
        own->parts[i].fd = -1;
    for (int i = 0; i < own->manifest.count; i++) {
        const mu_data_shard_t *shard = &own->manifest.shards[i];
        part_t *part = &own->parts[i];
        mu_data_shard_name(shard->split, shard->number, name);
        part->path = mu_path_join(ds->path, name);
        part->doc = ds->documents;
        MU_TRY(need(own, part));
        MU_TRY(check_size(part, shard));
        ds->documents += shard->documents;
        ds->text_bytes[shard->split] += shard->text_bytes;
        ds->counted[shard->split] += shard->counted;
        for (int k = (int)shard->split; k < MU_DATA_SPLITS; k++)
            ds->bounds[k + 1] = ds->documents;
    }
    return MU_OK;
}

static mu_status_t compare_split(const mu_dataset_t *ds, const char *own, const char *wanted)
{
    double a[3], b[3];
    MU_TRY(mu_split_parse(own, a));
    MU_TRY(mu_split_parse(wanted, b));
    if (a[0] != b[0] || a[1] != b[1] || a[2] != b[2])
        mu_warn("%s: was prepared with split '%s'; split '%s' changes nothing now", ds->path, own, wanted);
    return MU_OK;
}

static mu_status_t prepared_read(mu_dataset_t *ds, int64_t doc, int64_t offset, int64_t n, int32_t *out);
static mu_status_t prepared_labels(mu_dataset_t *ds, int64_t doc, int64_t offset, int64_t n,
                                   unsigned char *out);
static mu_status_t prepared_verify(mu_dataset_t *ds);
static void prepared_close(mu_dataset_t *ds);
static const mu_dataset_ops_t prepared_ops = {prepared_read, prepared_labels, prepared_verify,
                                              prepared_close};

mu_status_t mu_prepared_open(mu_dataset_t *ds, const mu_dataset_options_t *options)
{
    prepared_t *own = mu_calloc(1, sizeof *own);
    ds->ops = &prepared_ops;
    ds->own = own;
    own->cache[TOKENS].part = own->cache[LABELS].part = -1;
    MU_TRY(mu_data_manifest_read(ds->path, &own->manifest));
    ds->labelled = own->manifest.labels;
    ds->chat = own->manifest.chat;
    MU_TRY(check_tokenizer(ds, &own->manifest));
    MU_TRY(mu_split_parse(own->manifest.split, ds->ratio));
    MU_TRY(find_parts(ds, own));
    ds->start = mu_calloc((size_t)ds->documents + 1, sizeof *ds->start);
    for (int i = 0; i < own->manifest.count; i++) {
        MU_TRY(need(own, &own->parts[i]));
        MU_TRY(read_tables(ds, &own->parts[i], &own->manifest.shards[i]));
    }
    ds->vocab = ds->vocab_checked = own->manifest.vocab;
    if (options->vocab > 0)
        ds->vocab_checked = mu_min_i64(ds->vocab, options->vocab);
    snprintf(ds->version, MU_DIGEST_HEX, "%s", own->manifest.version);
    for (int c = 0; c < (ds->labelled ? 2 : 1); c++) {
        own->cache[c].block = mu_alloc((size_t)MU_BLOCK_TOKENS * 4);
        own->cache[c].piece = mu_alloc((size_t)MU_BLOCK_TOKENS * 4);
    }
    return options->split ? compare_split(ds, own->manifest.split, options->split) : MU_OK;
}

static void prepared_close(mu_dataset_t *ds)
{
    prepared_t *own = ds->own;
    for (int i = 0; own->parts && i < own->manifest.count; i++) {
        part_t *part = &own->parts[i];
        if (part->fd >= 0)
            close(part->fd);
        free(part->path);
        for (int c = 0; c < 2; c++) {
            free(part->blocks[c]);
            free(part->seen[c]);
        }
    }
    free(own->parts);
    for (int c = 0; c < 2; c++) {
        free(own->cache[c].block);
        free(own->cache[c].piece);
    }
    mu_data_manifest_free(&own->manifest);
    free(own);
}

/* The shard that holds a document. */
static int part_of(const prepared_t *own, int64_t doc)
{
    int low = 0, high = own->manifest.count;
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (own->parts[middle].doc <= doc)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Bytes [from, from + n) of block b of a shard's column, checked against the block's digest on its first use. */
static mu_status_t block_bytes(prepared_t *own, column_t column, int index, int64_t b, size_t from, size_t n,
                               const unsigned char **out)
{
    part_t *part = &own->parts[index];
    cache_t *cache = &own->cache[column];
    const mu_data_shard_t *shard = &own->manifest.shards[index];
    int64_t width = column == LABELS ? 1 : own->manifest.token_bytes;
    int64_t size = MU_BLOCK_TOKENS * width;
    int64_t at = (column == LABELS ? shard->labels_at : shard->tokens_at) + b * size;
    size_t whole = (size_t)mu_min_i64(size, shard->tokens * width - b * size);
    unsigned char bit = (unsigned char)(1u << b % 8);
    if (cache->part == index && cache->number == b) {
        *out = cache->block + from;
        return MU_OK;
    }
    MU_TRY(need(own, part));
    if (part->seen[column][b / 8] & bit) {
        *out = cache->piece;
        return mu_pread_all(part->fd, cache->piece, n, (off_t)at + (off_t)from) ? MU_OK
                                                                                : part_error(part, errno);
    }
    cache->part = -1;
    if (!mu_pread_all(part->fd, cache->block, whole, (off_t)at))
        return part_error(part, errno);
    if (XXH3_64bits(cache->block, whole) != part->blocks[column][b])
        return mu_fail(
            MU_DATA,
            "%s: damaged: bytes %lld to %lld are not what was written: copy the data set again, or "
            "run 'muster prepare' again",
            part->path, (long long)at, (long long)at + (long long)whole - 1);
    part->seen[column][b / 8] |= bit;
    cache->part = index;
    cache->number = b;
    *out = cache->block + from;
    return MU_OK;
}

static mu_status_t prepared_read(mu_dataset_t *ds, int64_t doc, int64_t offset, int64_t n, int32_t *out)
{
    prepared_t *own = ds->own;
    int index = part_of(own, doc), width = own->manifest.token_bytes;
    int64_t token = ds->start[doc] - ds->start[own->parts[index].doc] + offset, bad = 0;
    while (n > 0) {
        int64_t b = token / MU_BLOCK_TOKENS, inside = token % MU_BLOCK_TOKENS;
        int64_t m = mu_min_i64(n, MU_BLOCK_TOKENS - inside);
        const unsigned char *bytes = NULL;
        MU_TRY(block_bytes(own, TOKENS, index, b, (size_t)(inside * width), (size_t)(m * width), &bytes));
        int64_t good = mu_tokens_widen(bytes, width, false, m, ds->vocab_checked, out, &bad);
        if (good < m)
            return mu_fail(
                MU_DATA,
                "%s: token %lld is id %lld, and the vocabulary has %lld: was the data prepared with "
                "this model's tokenizer?",
                own->parts[index].path, (long long)(token + good), (long long)bad,
                (long long)ds->vocab_checked);
        token += m;
        out += m;
        n -= m;
    }
    return MU_OK;
}

static mu_status_t prepared_labels(mu_dataset_t *ds, int64_t doc, int64_t offset, int64_t n,
                                   unsigned char *out)
{
    prepared_t *own = ds->own;
    int index = part_of(own, doc);
    int64_t token = ds->start[doc] - ds->start[own->parts[index].doc] + offset;
    for (int64_t m; n > 0; token += m, out += m, n -= m) {
        int64_t inside = token % MU_BLOCK_TOKENS;
        const unsigned char *bytes = NULL;
        m = mu_min_i64(n, MU_BLOCK_TOKENS - inside);
        MU_TRY(block_bytes(own, LABELS, index, token / MU_BLOCK_TOKENS, (size_t)inside, (size_t)m, &bytes));
        memcpy(out, bytes, (size_t)m);
    }
    return MU_OK;
}

static mu_status_t prepared_verify(mu_dataset_t *ds)
{
    prepared_t *own = ds->own;
    char found[MU_DIGEST_HEX];
    MU_TRY(check_tokenizer(ds, &own->manifest));
    for (int i = 0; i < own->manifest.count; i++)
        mu_meter_expect((uint64_t)own->manifest.shards[i].bytes);
    for (int i = 0; i < own->manifest.count; i++) {
        const mu_data_shard_t *shard = &own->manifest.shards[i];
        MU_TRY(mu_digest_file_metered(own->parts[i].path, found));
        if (strcmp(found, shard->digest) != 0)
            return mu_fail(MU_DATA, "%s: damaged: its digest is %s, the manifest says %s", own->parts[i].path,
                           found, shard->digest);
    }
    return MU_OK;
}
