/* PREFIX.bin and PREFIX.idx as GPT-NeoX and Megatron write them (megatron/data/indexed_dataset.py). All
 * little-endian; the arrays of the .idx are not aligned. */
#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"
#include "common/meter.h"
#include "common/num.h"
#include "dataset/store/dataset_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER = 34, CHUNK = 65536, ENDS = 1 << 20 };

typedef struct indexed {
    char *bin_path, *idx_path;
    int bin, idx;
    int64_t bin_bytes, idx_bytes;
    int width; /* bytes of a token */
    bool is_signed;
    bool labels; /* numbers below 0 are fine */
    int64_t *at; /* byte offset of each sequence; NULL where they lie back to back */
    unsigned char *piece;
} indexed_t;

static mu_status_t open_file(const char *path, int *fd, int64_t *bytes)
{
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return mu_fail(mu_open_status(errno), "%s: cannot open: %s", path, strerror(errno));
    if (fstat(*fd, &st) != 0 || !S_ISREG(st.st_mode))
        return mu_fail(MU_NOINPUT, "%s: not a regular file", path);
    *bytes = st.st_size;
    return MU_OK;
}

static mu_status_t read_error(const char *path, int error)
{
    if (error == EPROTO)
        return mu_fail(MU_DATA, "%s: cut short", path);
    return mu_fail(MU_IO, "%s: cannot read: %s", path, strerror(error));
}

static mu_status_t read_type(indexed_t *own, unsigned char code)
{
    static const struct {
        int width;
        bool is_signed;
    } type[] = {{0, false}, {1, false}, {1, true},  {2, true}, {4, true},
                {8, true},  {0, false}, {0, false}, {2, false}};
    if (code >= sizeof type / sizeof *type || type[code].width == 0)
        return mu_fail(MU_DATA, "%s: byte 17: type code %d is not one of whole numbers (1 to 5, 8)",
                       own->idx_path, code);
    own->width = type[code].width;
    own->is_signed = type[code].is_signed;
    return MU_OK;
}

/* After the header come a length and an offset for each sequence, then the entries of doc_idx, which say which
 * sequences make a document. gpt-neox counts sequences and trains without those, and tools that write or merge such
 * files leave them in many states; so they must be there, as for gpt-neox, but are not looked at. Newer tools put more
 * after them. */
static mu_status_t read_header(indexed_t *own, int64_t *sequences)
{
    unsigned char raw[HEADER] = {0};
    uint64_t version, n, m, size = (uint64_t)own->idx_bytes;
    size_t have = own->idx_bytes < HEADER ? (size_t)own->idx_bytes : HEADER;
    if (!mu_pread_all(own->idx, raw, have, 0))
        return read_error(own->idx_path, errno);
    if (memcmp(raw, "TNTIDX\0", 8) == 0)
        return mu_fail(
            MU_DATA,
            "%s: this is the old 'cached' or 'lazy' index (TNTIDX), which muster does not read: make "
            "the data again with gpt-neox's preprocess_data.py --dataset-impl mmap",
            own->idx_path);
    if (memcmp(raw, "MMIDIDX\0\0", have < 9 ? have : 9) != 0)
        return mu_fail(MU_DATA, "%s: not an index of Megatron or GPT-NeoX: it does not begin with MMIDIDX",
                       own->idx_path);
    if (have < HEADER)
        return mu_fail(MU_DATA, "%s: has %zu bytes, fewer than its header of %d", own->idx_path, have,
                       HEADER);
    memcpy(&version, raw + 9, 8);
    memcpy(&n, raw + 18, 8);
    memcpy(&m, raw + 26, 8);
    if (version != 1)
        return mu_fail(MU_DATA, "%s: byte 9: version %llu; only 1 is known", own->idx_path,
                       (unsigned long long)version);
    MU_TRY(read_type(own, raw[17]));
    if (n > size / 12 || m > size / 8 || HEADER + 12 * n + 8 * m > size)
        return mu_fail(MU_DATA,
                       "%s: has %llu bytes, which does not fit the %llu sequences and %llu document entries "
                       "that its header names: it was cut short, or is not for text",
                       own->idx_path, (unsigned long long)size, (unsigned long long)n, (unsigned long long)m);
    *sequences = (int64_t)n;
    return MU_OK;
}

/* Lengths to starts. */
static mu_status_t read_lengths(mu_dataset_t *ds, indexed_t *own, int64_t n)
{
    int32_t length[CHUNK / 4];
    ds->start = mu_alloc((size_t)(n + 1) * sizeof *ds->start);
    ds->start[0] = 0;
    for (int64_t i = 0; i < n;) {
        int64_t m = mu_min_i64(n - i, CHUNK / 4);
        if (!mu_pread_all(own->idx, length, (size_t)m * 4, (off_t)(HEADER + 4 * i)))
            return read_error(own->idx_path, errno);
        for (int64_t k = 0; k < m; k++, i++) {
            if (length[k] < 0)
                return mu_fail(MU_DATA, "%s: sequence %lld has length %d", own->idx_path, (long long)i,
                               length[k]);
            ds->start[i + 1] =
                ds->start[i] + length[k]; /* n < 2^60 and lengths < 2^31, and n * 12 bytes exist */
        }
    }
    return MU_OK;
}

/* Offsets are kept only where a sequence does not follow the one before. All must lie in the .bin. */
static mu_status_t read_offsets(mu_dataset_t *ds, indexed_t *own, int64_t n)
{
    int64_t offset[CHUNK / 8], end = 0;
    for (int64_t i = 0; i < n;) {
        int64_t m = mu_min_i64(n - i, CHUNK / 8);
        if (!mu_pread_all(own->idx, offset, (size_t)m * 8, (off_t)(HEADER + 4 * n + 8 * i)))
            return read_error(own->idx_path, errno);
        for (int64_t k = 0; k < m; k++, i++) {
            int64_t bytes = (ds->start[i + 1] - ds->start[i]) * own->width;
            if (offset[k] < 0 || offset[k] > own->bin_bytes || bytes > own->bin_bytes - offset[k])
                return mu_fail(MU_DATA,
                               "%s: sequence %lld lies at bytes %lld to %lld of '%s', which has %lld",
                               own->idx_path, (long long)i, (long long)offset[k],
                               (long long)((uint64_t)offset[k] + (uint64_t)bytes), own->bin_path,
                               (long long)own->bin_bytes);
            if (!own->at && offset[k] != ds->start[i] * own->width) {
                own->at = mu_alloc((size_t)n * sizeof *own->at);
                for (int64_t before = 0; before < i; before++)
                    own->at[before] = ds->start[before] * own->width;
            }
            if (own->at)
                own->at[i] = offset[k];
            end = mu_max_i64(end, offset[k] + bytes);
        }
    }
    if (end != own->bin_bytes)
        mu_warn("%s: has %lld bytes where its index '%s' accounts for %lld: the rest is not trained on; do "
                "they belong "
                "together?",
                own->bin_path, (long long)own->bin_bytes, own->idx_path, (long long)end);
    return MU_OK;
}

static mu_status_t make_version(mu_dataset_t *ds, indexed_t *own)
{
    char index[MU_DIGEST_HEX], ends[MU_DIGEST_HEX];
    MU_TRY(mu_digest_file(own->idx_path, index));
    size_t n = (size_t)mu_min_i64(own->bin_bytes, ENDS);
    char *bytes = mu_alloc(2 * n);
    bool good = mu_pread_all(own->bin, bytes, n, 0) &&
                mu_pread_all(own->bin, bytes + n, n, (off_t)(own->bin_bytes - (int64_t)n));
    if (good)
        mu_digest_bytes(bytes, 2 * n, ends);
    free(bytes);
    if (!good)
        return read_error(own->bin_path, errno);
    char *text = mu_format("mmap 1\n%s\n%lld\n%s\n%lld %lld %lld\n", index, (long long)own->bin_bytes, ends,
                           (long long)ds->bounds[1], (long long)ds->bounds[2], (long long)ds->bounds[3]);
    mu_digest_bytes(text, strlen(text), ds->version);
    free(text);
    return MU_OK;
}

/* Label ids are compared with the tokens, so only their sign matters where they are none. */
static int64_t widen_labels(const indexed_t *own, int64_t n, int32_t *out)
{
    for (int64_t i = 0; i < n; i++) {
        const unsigned char *p = own->piece + i * own->width;
        int64_t value = 0;
        memcpy(&value, p, (size_t)own->width);
        if (own->is_signed && own->width < 8 && value >> (8 * own->width - 1))
            value -= (int64_t)1 << 8 * own->width;
        out[i] = value < 0 ? -1 : value > INT32_MAX ? INT32_MAX : (int32_t)value;
    }
    return n;
}

static mu_status_t indexed_read(mu_dataset_t *ds, int64_t doc, int64_t offset, int64_t n, int32_t *out)
{
    indexed_t *own = ds->own;
    int64_t first = own->at ? own->at[doc] : ds->start[doc] * own->width, bad = 0;
    while (n > 0) {
        int64_t m = mu_min_i64(n, CHUNK / own->width);
        off_t from = (off_t)(first + offset * own->width);
        if (!mu_pread_all(own->bin, own->piece, (size_t)(m * own->width), from))
            return read_error(own->bin_path, errno);
        int64_t good = own->labels ? widen_labels(own, m, out)
                                   : mu_tokens_widen(own->piece, own->width, own->is_signed, m,
                                                     ds->vocab_checked, out, &bad);
        if (good < m)
            return mu_fail(MU_DATA,
                           "%s: the token at byte %lld is id %lld, and the vocabulary has %lld: was the data "
                           "made with this model's tokenizer?",
                           own->bin_path, (long long)from + (long long)(good * own->width), (long long)bad,
                           (long long)ds->vocab_checked);
        offset += m;
        out += m;
        n -= m;
    }
    return MU_OK;
}

/* There is no digest to check; every id is looked at. */
static mu_status_t indexed_verify(mu_dataset_t *ds)
{
    const indexed_t *own = ds->own;
    int32_t ids[4096];
    mu_meter_expect((uint64_t)own->bin_bytes);
    for (int64_t doc = 0; doc < ds->documents; doc++) {
        int64_t length = ds->start[doc + 1] - ds->start[doc];
        for (int64_t at = 0; at < length; at += 4096) {
            int64_t n = mu_min_i64(4096, length - at);
            MU_TRY(indexed_read(ds, doc, at, n, ids));
            mu_meter_add((uint64_t)(n * own->width));
        }
    }
    return MU_OK;
}

static void indexed_close(mu_dataset_t *ds)
{
    indexed_t *own = ds->own;
    if (own->bin >= 0)
        close(own->bin);
    if (own->idx >= 0)
        close(own->idx);
    free(own->bin_path);
    free(own->idx_path);
    free(own->at);
    free(own->piece);
    free(own);
}

static const mu_dataset_ops_t indexed_ops = {indexed_read, NULL, indexed_verify, indexed_close};

mu_status_t mu_indexed_open(mu_dataset_t *ds, const mu_dataset_options_t *options)
{
    int64_t sequences = 0;
    indexed_t *own = mu_calloc(1, sizeof *own);
    ds->ops = &indexed_ops;
    ds->own = own;
    own->bin = own->idx = -1;
    own->bin_path = mu_format("%s.bin", ds->path);
    own->idx_path = mu_format("%s.idx", ds->path);
    own->piece = mu_alloc(CHUNK);
    MU_TRY(open_file(own->idx_path, &own->idx, &own->idx_bytes));
    MU_TRY(open_file(own->bin_path, &own->bin, &own->bin_bytes));
    MU_TRY(read_header(own, &sequences));
    MU_TRY(read_lengths(ds, own, sequences));
    MU_TRY(read_offsets(ds, own, sequences));
    ds->documents = sequences;
    ds->vocab_checked = options->vocab > 0 ? options->vocab : (int64_t)INT32_MAX + 1;
    own->labels = options->labels;
    const char *split = options->split ? options->split : MU_SPLIT_DEFAULT;
    MU_TRY(mu_split_parse(split, ds->ratio));
    MU_TRY(mu_split_bounds(split, ds->documents, ds->bounds));
    return make_version(ds, own);
}
