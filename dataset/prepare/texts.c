#include "dataset/prepare/texts.h"
#include "common/buf.h"
#include "common/log.h"

#include <string.h>

enum { BINARY_HEAD = 256, BINARY_PERCENT = 4 };

struct mu_texts {
    mu_inputs_t inputs;
    mu_text_file_t *files; /* of inputs, as far as they were read */
    mu_archive_counts_t counts;
    int file;              /* the next of inputs; the current one is file - 1 */
    uint64_t done_before;  /* bytes of the files before the current one */
    mu_stream_t *stream;   /* of the current file, else NULL */
    mu_archive_t *archive; /* what the stream holds, if it is one */
    mu_stream_t *member;   /* the current one of the archive */
};

mu_status_t mu_texts_open(char *const *paths, int n, mu_texts_t **out)
{
    mu_texts_t *t = mu_calloc(1, sizeof *t);
    mu_status_t status = mu_inputs_find(paths, n, &t->inputs);
    if (status != MU_OK) {
        free(t);
        return status;
    }
    t->files = mu_calloc((size_t)t->inputs.count, sizeof *t->files);
    *out = t;
    return MU_OK;
}

void mu_texts_close(mu_texts_t *t)
{
    if (!t)
        return;
    mu_stream_close(t->member);
    mu_archive_close(t->archive);
    mu_stream_close(t->stream);
    mu_inputs_free(&t->inputs);
    free(t->files);
    free(t);
}

void mu_texts_progress(const mu_texts_t *t, uint64_t *done, uint64_t *total)
{
    *done = t->done_before + (t->stream ? mu_stream_consumed(t->stream) : 0);
    *total = t->inputs.sized ? t->inputs.total : 0;
}

const mu_inputs_t *mu_texts_inputs(const mu_texts_t *t)
{
    return &t->inputs;
}

const mu_archive_counts_t *mu_texts_archive_counts(const mu_texts_t *t)
{
    return &t->counts;
}

const mu_text_file_t *mu_texts_file(const mu_texts_t *t, int i)
{
    return &t->files[i];
}

/* Control characters that no text has many of: tokens as nanoGPT writes them, programs, weights. */
static bool is_binary(const char *head, size_t n)
{
    size_t control = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)head[i];
        control += c < '\b' || (c > '\r' && c < 0x1B) || c == 0x7F;
    }
    return n >= BINARY_HEAD && control * 100 > n * BINARY_PERCENT;
}

/* Data that surely is not text, known by its first bytes: better refused than trained on. */
static mu_status_t refuse_foreign(const char *name, const char *head, size_t n)
{
    static const char zeros[MU_STREAM_HEAD];
    static const struct {
        const char *magic;
        size_t n;
        const char *what, *advice;
    } known[] = {
        {"\xFD\x37zXZ\0", 6, "xz data inside compressed data", "unpack it once"},
        {"\x04\x22\x4D\x18", 4, "lz4 data inside compressed data", "unpack it once"},
        {"\x1f\x8b\x08", 3, "gzip data inside compressed data", "unpack it once"},
        {"\x28\xb5\x2f\xfd", 4, "zstd data inside compressed data", "unpack it once"},
        {"7z\xBC\xAF\x27\x1C", 6, "a 7z archive", "unpack it first, or make it a tar or zip archive"},
        {"Rar!\x1A\x07", 6, "a rar archive", "unpack it first, or make it a tar or zip archive"},
        {"%PDF-", 5, "a PDF document", "extract its text first"},
        {"version https://git-lfs.github.com/spec/", 40, "a Git LFS pointer",
         "it stands for a file that was not fetched: run git lfs pull"},
        {"\x28\x1E\x34\x01", 4, "a file of tokens as llm.c writes them",
         "give the text that it was made from"},
        {"\x41\x1F\x34\x01", 4, "a file of tokens as llm.c writes them",
         "give the text that it was made from"},
        {"PAR1\x15", 5, "a Parquet file", "convert it to JSONL first"},
        {"\x89HDF\r\n", 6, "an HDF5 file", "give the text that it was made from"},
        {"\xFF\xFE", 2, "UTF-16 text", "convert it with iconv -f UTF-16 -t UTF-8"},
        {"\xFE\xFF", 2, "UTF-16 text", "convert it with iconv -f UTF-16 -t UTF-8"},
        {zeros, sizeof zeros, "a file of zero bytes", "an empty archive, or a file whose content was lost"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (n >= known[i].n && memcmp(head, known[i].magic, known[i].n) == 0)
            return mu_fail(MU_DATA, "%s: this is %s, not UTF-8 text: %s", name, known[i].what,
                           known[i].advice);
    }
    if (is_binary(head, n))
        return mu_fail(
            MU_DATA,
            "%s: this is binary data, not UTF-8 text: more than %d %% of its first bytes are control "
            "characters; of tokens (nanoGPT's .bin) give the text that they were made from",
            name, BINARY_PERCENT);
    return MU_OK;
}

static mu_status_t end_file(mu_texts_t *t)
{
    mu_text_file_t *file = &t->files[t->file - 1];
    mu_archive_close(t->archive);
    t->archive = NULL;
    MU_TRY(mu_stream_digest(t->stream, file->digest, &file->bytes));
    t->done_before += file->bytes;
    mu_stream_close(t->stream);
    t->stream = NULL;
    return MU_OK;
}

/* Opens the next file; *out is set unless it is an archive. */
static mu_status_t next_file(mu_texts_t *t, mu_text_t *out)
{
    const char *path = t->inputs.paths[t->file], *head;
    size_t n;
    MU_TRY(mu_stream_open(path, &t->stream));
    t->file++;
    MU_TRY(mu_stream_peek(t->stream, &head, &n));
    mu_archive_kind_t kind = mu_archive_kind(head, n);
    t->files[t->file - 1].members = kind == MU_ARCHIVE_NONE ? -1 : 0;
    if (kind != MU_ARCHIVE_NONE)
        return mu_archive_open(t->stream, path, kind, &t->counts, &t->archive);
    MU_TRY(refuse_foreign(path, head, n));
    *out = (mu_text_t){t->stream, path, mu_inputs_format(path), false, t->inputs.origin[t->file - 1]};
    return MU_OK;
}

/* Opens the archive's next member; *out stays as it is after the last one. */
static mu_status_t next_member(mu_texts_t *t, mu_text_t *out)
{
    const char *name, *head;
    size_t n;
    mu_stream_close(t->member);
    t->member = NULL;
    MU_TRY(mu_archive_next(t->archive, &name));
    if (!name)
        return end_file(t);
    t->files[t->file - 1].members++;
    MU_TRY(mu_stream_open_over(name, (mu_bytes_t){mu_archive_read, t->archive}, &t->member));
    MU_TRY(mu_stream_peek(t->member, &head, &n));
    if (mu_archive_kind(head, n) != MU_ARCHIVE_NONE)
        return mu_fail(
            MU_DATA,
            "%s: this is an archive inside an archive: unpack the outer one, and give it as a directory",
            name);
    MU_TRY(refuse_foreign(name, head, n));
    *out = (mu_text_t){t->member, name, mu_inputs_format(name), true, t->inputs.origin[t->file - 1]};
    return MU_OK;
}

mu_status_t mu_texts_next(mu_texts_t *t, mu_text_t *out)
{
    *out = (mu_text_t){0};
    if (t->stream && !t->archive)
        MU_TRY(end_file(t));
    while (!out->stream && (t->archive || t->file < t->inputs.count))
        MU_TRY(t->archive ? next_member(t, out) : next_file(t, out));
    return MU_OK;
}
