#include "dataset/prepare/reader.h"
#include "common/buf.h"
#include "common/log.h"
#include "dataset/prepare/inputs.h"
#include "dataset/prepare/jsonl.h"
#include "dataset/prepare/stream.h"
#include "dataset/tokenizer/utf8.h"

enum { BLOCK = 256 << 10, SLACK = 4096, RECORD_MAX = 1 << 30, BAD_SHOWN = 3 };

struct mu_reader {
    mu_reader_options_t options;
    char *text_key;
    mu_inputs_t inputs;
    mu_reader_counts_t counts;

    int file;             /* the next of inputs; the current one is file - 1 */
    uint64_t done_before; /* bytes of the files before the current one */
    mu_stream_t *stream;  /* of the current file, else NULL */
    bool jsonl;
    char *block; /* decompressed and not yet taken: [at, end) */
    size_t at, end;
    bool eof;
    int64_t line;    /* of the next byte, from 1 */
    uint64_t offset; /* of the next byte, decompressed */

    mu_buf_t record; /* the document or JSON line as the file has it */
    int64_t record_line;
    uint64_t record_offset;
    mu_buf_t repaired, decoded;
};

mu_status_t mu_reader_open(char *const *paths, int n, const mu_reader_options_t *options, mu_reader_t **out)
{
    mu_reader_t *r = mu_calloc(1, sizeof *r);
    mu_status_t status = mu_inputs_find(paths, n, &r->inputs);
    if (status != MU_OK) {
        free(r);
        return status;
    }
    r->options = *options;
    r->options.max_record = options->max_record < RECORD_MAX ? options->max_record : RECORD_MAX;
    r->options.text_key = r->text_key = mu_strdup(options->text_key);
    r->block = mu_alloc(BLOCK);
    *out = r;
    return MU_OK;
}

void mu_reader_close(mu_reader_t *r)
{
    if (!r)
        return;
    mu_stream_close(r->stream);
    mu_inputs_free(&r->inputs);
    mu_buf_release(&r->record);
    mu_buf_release(&r->repaired);
    mu_buf_release(&r->decoded);
    free(r->block);
    free(r->text_key);
    free(r);
}

void mu_reader_progress(const mu_reader_t *r, uint64_t *done, uint64_t *total)
{
    *done = r->done_before + (r->stream ? mu_stream_consumed(r->stream) : 0);
    *total = r->inputs.sized ? r->inputs.total : 0;
}

const mu_reader_counts_t *mu_reader_counts(const mu_reader_t *r)
{
    return &r->counts;
}

int mu_reader_files(const mu_reader_t *r)
{
    return r->inputs.count;
}

bool mu_boundary_parse(const char *text, mu_boundary_t *out)
{
    static const char *const name[] = {"blank", "line", "file"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, name[i]) == 0) {
            *out = (mu_boundary_t)i;
            return true;
        }
    }
    return false;
}

static const char *path_of(const mu_reader_t *r)
{
    return r->inputs.paths[r->file - 1];
}

/* Makes [at, end) non-empty unless the file is at its end. */
static mu_status_t refill(mu_reader_t *r)
{
    if (r->at < r->end || r->eof)
        return MU_OK;
    size_t n;
    MU_TRY(mu_stream_read(r->stream, r->block, BLOCK, &n));
    r->at = 0;
    r->end = n;
    r->eof = n == 0;
    return MU_OK;
}

static void advance(mu_reader_t *r, size_t n)
{
    r->at += n;
    r->offset += n;
}

/* Data that surely is not text, told by its first bytes: better refused than trained on. */
static mu_status_t refuse_foreign(mu_reader_t *r)
{
    static const struct {
        const char *magic;
        size_t at, n;
        const char *what, *advice;
    } known[] = {
        {"\xFD\x37zXZ\0", 0, 6, "xz data", "unpack it with xz -d"},
        {"1AY&SY", 4, 6, "bzip2 data", "unpack it with bzip2 -d"},
        {"\x04\x22\x4D\x18", 0, 4, "lz4 data", "unpack it with lz4 -d"},
        {"PK\x03\x04", 0, 4, "a zip archive", "unpack it first"},
        {"7z\xBC\xAF\x27\x1C", 0, 6, "a 7z archive", "unpack it first"},
        {"\x1f\x8b\x08", 0, 3, "gzip data inside compressed data", "unpack it once"},
        {"\x28\xb5\x2f\xfd", 0, 4, "zstd data inside compressed data", "unpack it once"},
        {"ustar\0", 257, 6, "a tar archive", "unpack it into a directory and give that"},
        {"ustar  \0", 257, 8, "a tar archive", "unpack it into a directory and give that"},
        {"%PDF-", 0, 5, "a PDF document", "extract its text first"},
        {"version https://git-lfs.github.com/spec/", 0, 40, "a Git LFS pointer",
         "it stands for a file that was not fetched: run git lfs pull"},
        {"PAR1\x15", 0, 5, "a Parquet file", "convert it to JSONL first"},
        {"\x89HDF\r\n", 0, 6, "an HDF5 file", "give the text that it was made from"},
        {"\xFF\xFE", 0, 2, "UTF-16 text", "convert it with iconv -f UTF-16 -t UTF-8"},
        {"\xFE\xFF", 0, 2, "UTF-16 text", "convert it with iconv -f UTF-16 -t UTF-8"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (r->end >= known[i].at + known[i].n &&
            memcmp(r->block + known[i].at, known[i].magic, known[i].n) == 0)
            return mu_fail(MU_DATA, "%s: this is %s, not UTF-8 text: %s", path_of(r), known[i].what,
                           known[i].advice);
    }
    return MU_OK;
}

static mu_status_t next_file(mu_reader_t *r)
{
    const char *path = r->inputs.paths[r->file];
    MU_TRY(mu_stream_open(path, &r->stream));
    r->file++;
    r->jsonl = r->options.format == MU_FORMAT_JSONL ||
               (r->options.format == MU_FORMAT_BY_NAME && mu_inputs_is_jsonl(path));
    r->at = r->end = 0;
    r->eof = false;
    r->line = 1;
    r->offset = 0;
    while (r->end < 512) { /* a pipe may give its first bytes one by one */
        size_t n;
        MU_TRY(mu_stream_read(r->stream, r->block + r->end, BLOCK - r->end, &n));
        r->end += n;
        if (n == 0)
            break;
    }
    MU_TRY(refuse_foreign(r));
    if (r->end >= 3 && memcmp(r->block, "\xEF\xBB\xBF", 3) == 0)
        advance(r, 3);
    return MU_OK;
}

static void end_file(mu_reader_t *r)
{
    r->done_before += mu_stream_consumed(r->stream);
    mu_stream_close(r->stream);
    r->stream = NULL;
}

static mu_status_t too_long(const mu_reader_t *r)
{
    return mu_fail(MU_DATA, "%s:%lld: %s longer than %zu bytes: cut it, or allow more with --max-document",
                   path_of(r), (long long)r->record_line, r->jsonl ? "a line" : "a document",
                   r->options.max_record);
}

/* Adds the bytes up to the next line feed to the record, and takes the line feed. *more is false when there
 * was nothing left at all. */
static mu_status_t add_line(mu_reader_t *r, bool *more)
{
    *more = false;
    for (;;) {
        MU_TRY(refill(r));
        if (r->at == r->end)
            return MU_OK;
        *more = true;
        const char *from = r->block + r->at, *feed = memchr(from, '\n', r->end - r->at);
        size_t n = feed ? (size_t)(feed - from) : r->end - r->at;
        if (n > r->options.max_record + SLACK || r->record.len > r->options.max_record + SLACK - n)
            return too_long(r);
        mu_buf_add(&r->record, from, n);
        advance(r, feed ? n + 1 : n);
        if (feed) {
            r->line++;
            return MU_OK;
        }
    }
}

static bool is_blank(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!strchr(" \t\r\v\f", text[i]) || text[i] == '\0')
            return false;
    }
    return true;
}

static void begin_record(mu_reader_t *r)
{
    mu_buf_clear(&r->record);
    r->record_line = r->line;
    r->record_offset = r->offset;
}

/* One line that is not blank. */
static mu_status_t line_record(mu_reader_t *r, bool *more)
{
    do {
        begin_record(r);
        MU_TRY(add_line(r, more));
    } while (*more && is_blank(r->record.data, r->record.len));
    return MU_OK;
}

/* A run of lines that are not blank. */
static mu_status_t paragraph_record(mu_reader_t *r, bool *more)
{
    MU_TRY(line_record(r, more));
    for (bool another = *more; another;) {
        size_t before = r->record.len;
        mu_buf_addc(&r->record, '\n');
        MU_TRY(add_line(r, &another));
        if (is_blank(r->record.data + before + 1, r->record.len - before - 1)) {
            r->record.len = before;
            return MU_OK;
        }
    }
    return MU_OK;
}

static mu_status_t whole_file_record(mu_reader_t *r, bool *more)
{
    begin_record(r);
    *more = false;
    for (;;) {
        MU_TRY(refill(r));
        size_t n = r->end - r->at;
        if (n == 0)
            return MU_OK;
        *more = true;
        if (n > r->options.max_record || r->record.len > r->options.max_record - n)
            return too_long(r);
        mu_buf_add(&r->record, r->block + r->at, n);
        advance(r, n);
    }
}

/* Says where the first ill-formed sequence of the record is, once a run; an error when strict. */
static mu_status_t report_invalid(const mu_reader_t *r, size_t at)
{
    int64_t line = r->record_line;
    for (size_t i = 0; i < at; i++)
        line += r->record.data[i] == '\n';
    unsigned char byte = (unsigned char)r->record.data[at];
    unsigned long long offset = r->record_offset + at;
    if (r->options.strict)
        return mu_fail(
            MU_DATA,
            "%s:%lld: invalid UTF-8, 0x%02X at byte %llu: convert the file with iconv, or leave out "
            "--strict to read it as U+FFFD",
            path_of(r), (long long)line, byte, offset);
    if (r->counts.invalid == 0)
        mu_warn("%s:%lld: invalid UTF-8, 0x%02X at byte %llu, is read as U+FFFD; so will be what follows",
                path_of(r), (long long)line, byte, offset);
    return MU_OK;
}

/* What a whole file that is no JSON Lines may be, by the first line that is wrong. */
static const char *form_of(const char *line, size_t n)
{
    while (n > 0 && strchr(" \t\r", *line)) {
        line++;
        n--;
    }
    if (n > 0 && *line == '[')
        return "; a file that is one array becomes JSON Lines with: jq -c '.[]' FILE";
    if (n >= 1 && *line == '{' && (n == 1 || (n == 2 && line[1] == '\r')))
        return "; objects over several lines become JSON Lines with: jq -c . FILE";
    if (n >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0)
        return "; the line begins with a byte order mark (EF BB BF), as where files were joined: remove it";
    return "";
}

/* A record without a text: an error, unless as many as --skip-bad allows have been left out. */
static mu_status_t bad_record(mu_reader_t *r, const char *line, size_t n, const mu_jsonl_result_t *result)
{
    const char *form = form_of(line, n);
    if (r->counts.bad >= r->options.skip_bad) {
        char spent[64] = "";
        if (r->options.skip_bad > 0)
            snprintf(spent, sizeof spent, "; bad records left out before it: %lld", (long long)r->counts.bad);
        return mu_fail(
            MU_DATA, "%s:%lld:%zu: %s%s (the text is looked for under \"%s\"; --text-key names another)%s",
            path_of(r), (long long)r->record_line, result->column + 1, result->why, form, r->text_key, spent);
    }
    if (r->counts.bad++ < BAD_SHOWN)
        mu_warn("%s:%lld:%zu: left out, since %s%s", path_of(r), (long long)r->record_line,
                result->column + 1, result->why, form);
    return MU_OK;
}

/* doc->text is NULL for a bad record that is left out. */
static mu_status_t json_record(mu_reader_t *r, const char *line, size_t n, mu_doc_t *doc)
{
    mu_jsonl_result_t result;
    if (!mu_jsonl_text(line, n, r->text_key, &r->decoded, &result)) {
        *doc = (mu_doc_t){0};
        return bad_record(r, line, n, &result);
    }
    if (result.surrogates > 0) {
        if (r->options.strict)
            return mu_fail(MU_DATA,
                           "%s:%lld: a lone surrogate (\\ud800 to \\udfff) in a string is no character",
                           path_of(r), (long long)r->record_line);
        if (r->counts.invalid == 0)
            mu_warn("%s:%lld: a lone surrogate is read as U+FFFD; so will be what follows", path_of(r),
                    (long long)r->record_line);
        r->counts.invalid += result.surrogates;
    }
    doc->text = r->decoded.data;
    doc->bytes = r->decoded.len;
    return MU_OK;
}

/* Turns the record into a document. */
static mu_status_t finish_record(mu_reader_t *r, mu_doc_t *doc)
{
    const char *text = r->record.data;
    size_t n = r->record.len, good;
    if ((r->jsonl || r->options.boundary != MU_BOUNDARY_FILE) && n > 0 && text[n - 1] == '\r')
        n--; /* the line's end was CR LF */
    good = mu_utf8_valid(text, n);
    if (good < n) {
        MU_TRY(report_invalid(r, good));
        mu_buf_clear(&r->repaired);
        r->counts.invalid += mu_utf8_repair(text, n, &r->repaired);
        text = r->repaired.data;
        n = r->repaired.len;
    }
    *doc = (mu_doc_t){text, n, path_of(r), r->record_line};
    return r->jsonl ? json_record(r, text, n, doc) : MU_OK;
}

static mu_status_t next_record(mu_reader_t *r, bool *more)
{
    if (r->jsonl || r->options.boundary == MU_BOUNDARY_LINE)
        MU_TRY(line_record(r, more));
    else if (r->options.boundary == MU_BOUNDARY_BLANK)
        MU_TRY(paragraph_record(r, more));
    else
        MU_TRY(whole_file_record(r, more));
    return r->record.len > r->options.max_record ? too_long(r) : MU_OK;
}

mu_status_t mu_reader_next(mu_reader_t *r, mu_doc_t *doc)
{
    for (;;) {
        bool more;
        if (!r->stream && r->file == r->inputs.count) {
            *doc = (mu_doc_t){0};
            return MU_OK;
        }
        if (!r->stream)
            MU_TRY(next_file(r));
        MU_TRY(next_record(r, &more));
        if (!more) {
            end_file(r);
            continue;
        }
        mu_doc_t found;
        MU_TRY(finish_record(r, &found));
        if (!found.text)
            continue;
        if (found.bytes == 0) {
            r->counts.empty++;
            continue;
        }
        r->counts.documents++;
        r->counts.bytes += found.bytes;
        *doc = found;
        return MU_OK;
    }
}
