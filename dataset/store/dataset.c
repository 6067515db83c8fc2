#include "dataset/store/dataset.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "common/token_marks.h"
#include "dataset/store/dataset_impl.h"
#include "dataset/store/shard_file.h"

static bool has_manifest(const char *path)
{
    char *manifest = mu_path_join(path, MU_DATASET_MANIFEST);
    bool there = mu_is_file(manifest);
    free(manifest);
    return there;
}

static bool has_index(const char *path)
{
    char *index = mu_format("%s.idx", path);
    bool there = mu_is_file(index);
    free(index);
    return there;
}

/* Tokens in a row without an index, which other tools train on. */
static bool is_bare_tokens(const char *path)
{
    size_t n = strlen(path);
    bool named = n > 4 && strcmp(path + n - 4, ".bin") == 0;
    char *prefix = mu_format("%.*s", (int)(named ? n - 4 : n), path), *bin = mu_format("%s.bin", prefix);
    bool bare = mu_is_file(bin) && !has_index(prefix);
    free(bin);
    free(prefix);
    return bare;
}

/* One of the two files of a pair, where their prefix is wanted. */
static bool is_one_of_a_pair(const char *path)
{
    size_t n = strlen(path);
    return n > 4 && (strcmp(path + n - 4, ".bin") == 0 || strcmp(path + n - 4, ".idx") == 0) &&
           mu_is_file(path);
}

bool mu_dataset_exists(const char *path)
{
    return has_manifest(path) || has_index(path) || is_bare_tokens(path) || is_one_of_a_pair(path);
}

static mu_status_t nothing_there(const char *path)
{
    size_t n = strlen(path);
    char *manifest = mu_path_join(path, MU_DATASET_MANIFEST);
    mu_status_t status = mu_path_visible(manifest);
    free(manifest);
    MU_TRY(status);
    if (is_bare_tokens(path))
        return mu_fail(
            MU_DATA,
            "%s: this .bin has no .idx beside it, as nanoGPT and llm.c write tokens: nothing says which "
            "tokenizer made them, how wide they are or where documents end: prepare the text that they were "
            "made from with 'muster prepare'",
            path);
    if (is_one_of_a_pair(path))
        return mu_fail(MU_NOINPUT,
                       "%s: give the path without its ending: '%.*s' stands for the .bin and the .idx", path,
                       (int)(n - 4), path);
    if (mu_is_dir(path))
        return mu_fail(MU_NOINPUT,
                       "%s: holds no %s: prepare it with 'muster prepare', or give the prefix of a .bin/.idx "
                       "pair",
                       path, MU_DATASET_MANIFEST);
    return mu_fail(MU_NOINPUT,
                   "%s: no data set: neither '%s/%s' nor '%s.idx' is there: correct data_path, or make it: "
                   "`muster prepare CONFIG... --input FILE --output %s`",
                   path, path, MU_DATASET_MANIFEST, path, path);
}

mu_status_t mu_dataset_open(const char *path, const mu_dataset_options_t *options, mu_dataset_t **out)
{
    bool prepared = has_manifest(path);
    if (!prepared && !has_index(path))
        return nothing_there(path);
    mu_dataset_t *ds = mu_calloc(1, sizeof *ds);
    ds->path = mu_strdup(path);
    mu_status_t status = prepared ? mu_prepared_open(ds, options) : mu_indexed_open(ds, options);
    if (status != MU_OK) {
        mu_dataset_close(ds);
        return status;
    }
    *out = ds;
    return MU_OK;
}

void mu_dataset_close(mu_dataset_t *ds)
{
    if (!ds)
        return;
    if (ds->own)
        ds->ops->close(ds);
    mu_dataset_close(ds->labels);
    free(ds->start);
    free(ds->tokenizer_path);
    free(ds->path);
    free(ds);
}

int64_t mu_dataset_documents(const mu_dataset_t *ds, mu_data_split_t split)
{
    return ds->bounds[split + 1] - ds->bounds[split];
}

bool mu_dataset_wants(const mu_dataset_t *ds, mu_data_split_t split)
{
    return ds->ratio[split] > 0;
}

int64_t mu_dataset_tokens(const mu_dataset_t *ds, mu_data_split_t split)
{
    return ds->start[ds->bounds[split + 1]] - ds->start[ds->bounds[split]];
}

uint64_t mu_dataset_text_bytes(const mu_dataset_t *ds, mu_data_split_t split)
{
    return ds->text_bytes[split];
}

int64_t mu_dataset_length(const mu_dataset_t *ds, mu_data_split_t split, int64_t doc)
{
    const int64_t *start = ds->start + ds->bounds[split] + doc;
    return start[1] - start[0];
}

mu_status_t mu_dataset_read(mu_dataset_t *ds, mu_data_split_t split, int64_t doc, int64_t offset, int64_t n,
                            int32_t *out)
{
    if (doc < 0 || doc >= mu_dataset_documents(ds, split) || offset < 0 || n < 0 ||
        n > mu_dataset_length(ds, split, doc) - offset)
        return mu_fail(MU_BUG, "%s: no tokens %lld to %lld in document %lld of %s", ds->path,
                       (long long)offset, (long long)(offset + n), (long long)doc, mu_data_split_name(split));
    return n > 0 ? ds->ops->read(ds, ds->bounds[split] + doc, offset, n, out) : MU_OK;
}

bool mu_dataset_labelled(const mu_dataset_t *ds)
{
    return ds->labelled;
}

int64_t mu_dataset_counted(const mu_dataset_t *ds, mu_data_split_t split)
{
    return ds->counted[split];
}

const json_t *mu_dataset_chat(const mu_dataset_t *ds)
{
    return ds->chat;
}

/* By another data set: tokens that it gives as below 0 are not counted, the others are the tokens themselves. */
static mu_status_t mark_by_labels(mu_dataset_t *ds, int64_t doc, int64_t offset, int64_t n, int32_t *tokens)
{
    int32_t labels[4096];
    for (int64_t at = 0, m; at < n; at += m) {
        m = mu_min_i64(4096, n - at);
        MU_TRY(ds->labels->ops->read(ds->labels, doc, offset + at, m, labels));
        for (int64_t i = 0; i < m; i++) {
            if (labels[i] < 0)
                tokens[at + i] |= MU_TOKEN_UNCOUNTED;
            else if (labels[i] != tokens[at + i])
                return mu_fail(
                    MU_DATA,
                    "%s: document %lld: label %lld is id %d where '%s' has %d: labels are the tokens "
                    "themselves, or below 0",
                    ds->labels->path, (long long)doc, (long long)(offset + at + i), labels[i], ds->path,
                    tokens[at + i]);
        }
    }
    return MU_OK;
}

mu_status_t mu_dataset_read_marked(mu_dataset_t *ds, mu_data_split_t split, int64_t doc, int64_t offset,
                                   int64_t n, int32_t *out)
{
    unsigned char counts[4096];
    MU_TRY(mu_dataset_read(ds, split, doc, offset, n, out));
    doc += ds->bounds[split];
    if (ds->labels)
        return mark_by_labels(ds, doc, offset, n, out);
    for (int64_t at = 0, m; ds->labelled && at < n; at += m) {
        m = mu_min_i64(4096, n - at);
        MU_TRY(ds->ops->labels(ds, doc, offset + at, m, counts));
        for (int64_t i = 0; i < m; i++)
            if (!counts[i])
                out[at + i] |= MU_TOKEN_UNCOUNTED;
    }
    return MU_OK;
}

mu_status_t mu_dataset_take_labels(mu_dataset_t *ds, mu_dataset_t *labels)
{
    bool same = labels->documents == ds->documents;
    for (int64_t i = 0; same && i <= ds->documents; i++)
        same = labels->start[i] == ds->start[i];
    if (!same)
        return mu_fail(MU_CONFIG, "%s: its documents are not those of '%s', whose labels it is to hold",
                       labels->path, ds->path);
    char *text = mu_format("labels 1\n%s\n%s\n", ds->version, labels->version);
    mu_digest_bytes(text, strlen(text), ds->version);
    free(text);
    ds->labels = labels;
    ds->labelled = true;
    for (int i = 0; i < MU_DATA_SPLITS; i++)
        ds->counted[i] = -1;
    return MU_OK;
}

/* The document that holds token `position`; empty documents hold none. */
static int64_t document_at(const mu_dataset_t *ds, int64_t position)
{
    int64_t low = 0, high = ds->documents; /* start[low] <= position < start[high] */
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (ds->start[middle] <= position)
            low = middle;
        else
            high = middle;
    }
    return low;
}

mu_status_t mu_dataset_read_at(mu_dataset_t *ds, mu_data_split_t split, int64_t position, int64_t n,
                               int32_t *out)
{
    if (position < 0 || n < 0 || n > mu_dataset_tokens(ds, split) - position)
        return mu_fail(MU_BUG, "%s: no tokens %lld to %lld in %s", ds->path, (long long)position,
                       (long long)(position + n), mu_data_split_name(split));
    if (n == 0)
        return MU_OK;
    position += ds->start[ds->bounds[split]];
    for (int64_t doc = document_at(ds, position); n > 0; doc++) {
        int64_t offset = position - ds->start[doc], m = mu_min_i64(n, ds->start[doc + 1] - position);
        if (m > 0)
            MU_TRY(ds->ops->read(ds, doc, offset, m, out));
        position += m;
        out += m;
        n -= m;
    }
    return MU_OK;
}

int64_t mu_dataset_sequences(const mu_dataset_t *ds, mu_data_split_t split, int64_t seq_length)
{
    int64_t tokens = mu_dataset_tokens(ds, split);
    return tokens > 0 ? (tokens - 1) / seq_length : 0;
}

mu_status_t mu_dataset_sequence(mu_dataset_t *ds, mu_data_split_t split, int64_t seq_length, int64_t k,
                                int32_t *out)
{
    if (k < 0 || k >= mu_dataset_sequences(ds, split, seq_length))
        return mu_fail(MU_BUG, "%s: no sequence %lld in %s", ds->path, (long long)k,
                       mu_data_split_name(split));
    return mu_dataset_read_at(ds, split, k * seq_length, seq_length + 1, out);
}

const char *mu_dataset_version(const mu_dataset_t *ds)
{
    return ds->version;
}

int64_t mu_dataset_vocab(const mu_dataset_t *ds)
{
    return ds->vocab;
}

void mu_dataset_limit(mu_dataset_t *ds, int64_t vocab)
{
    if (vocab < ds->vocab_checked)
        ds->vocab_checked = vocab;
}

const char *mu_dataset_tokenizer_path(const mu_dataset_t *ds)
{
    return ds->tokenizer_path;
}

const char *mu_dataset_tokenizer_digest(const mu_dataset_t *ds)
{
    return ds->tokenizer_path ? ds->tokenizer_digest : NULL;
}

const char *mu_dataset_path(const mu_dataset_t *ds)
{
    return ds->path;
}

mu_status_t mu_dataset_verify(mu_dataset_t *ds)
{
    return ds->ops->verify(ds);
}
