#include "dataset/prepare/reader.h"
#include "common/log.h"
#include "dataset/prepare/reader_impl.h"

enum { RECORD_MAX = 1 << 30 };

static void take_options(mu_reader_t *r, const mu_reader_options_t *options)
{
    char *key = (char *)(uintptr_t)options->text_key;
    r->options = *options;
    r->options.max_record = options->max_record < RECORD_MAX ? options->max_record : RECORD_MAX;
    r->table = options->table;
    r->json = options->json;
    if (!r->json) {
        mu_template_join(&key, 1, &r->own);
        r->json = &r->own;
    }
    r->options.text_key = NULL; /* the caller's */
    r->members = mu_calloc((size_t)r->json->name_count, sizeof *r->members);
    for (int i = 0; i < r->json->name_count; i++)
        r->members[i].key = r->json->names[i];
    r->filter = mu_filter_new(&options->filter);
}

mu_status_t mu_reader_open(char *const *paths, int n, const mu_reader_options_t *options, mu_reader_t **out)
{
    mu_texts_t *texts;
    MU_TRY(mu_texts_open(paths, n, &texts));
    mu_reader_t *r = mu_calloc(1, sizeof *r);
    r->texts = texts;
    take_options(r, options);
    mu_lines_new(&r->lines);
    *out = r;
    return MU_OK;
}

void mu_reader_close(mu_reader_t *r)
{
    if (!r)
        return;
    mu_texts_close(r->texts);
    mu_filter_free(r->filter);
    for (int i = 0; i < r->json->name_count; i++)
        mu_buf_release(&r->members[i].text);
    free(r->members);
    mu_template_release(&r->own);
    mu_lines_free(&r->lines);
    mu_csv_release(&r->csv);
    mu_buf_release(&r->record);
    mu_buf_release(&r->repaired);
    mu_buf_release(&r->built);
    mu_chat_release(&r->chat);
    mu_chat_text_release(&r->chat_text);
    free(r);
}

void mu_reader_progress(const mu_reader_t *r, uint64_t *done, uint64_t *total)
{
    mu_texts_progress(r->texts, done, total);
}

const mu_reader_counts_t *mu_reader_counts(const mu_reader_t *r)
{
    return &r->counts;
}

const mu_texts_t *mu_reader_texts(const mu_reader_t *r)
{
    return r->texts;
}

static const char *const boundary_names[] = {"default", "blank", "line", "file"};

bool mu_boundary_parse(const char *text, mu_boundary_t *out)
{
    for (int i = MU_BOUNDARY_BLANK; i <= MU_BOUNDARY_FILE; i++) {
        if (strcmp(text, boundary_names[i]) == 0) {
            *out = (mu_boundary_t)i;
            return true;
        }
    }
    return false;
}

const char *mu_boundary_name(mu_boundary_t boundary)
{
    return boundary_names[boundary];
}

static bool is_table(mu_text_format_t format)
{
    return format == MU_FORMAT_CSV || format == MU_FORMAT_TSV;
}

/* The next text, and how it is read. */
static mu_status_t next_text(mu_reader_t *r)
{
    MU_TRY(mu_texts_next(r->texts, &r->text));
    r->counts.archive = *mu_texts_archive_counts(r->texts);
    if (!r->text.stream)
        return MU_OK;
    r->format = r->options.format == MU_FORMAT_BY_NAME ? r->text.format : r->options.format;
    if (r->options.chat)
        r->format = MU_FORMAT_JSONL;
    if (is_table(r->format) && !r->table) {
        mu_warn("%s: this table is read as text, as no column was named", r->text.name);
        r->format = MU_FORMAT_TEXT;
    }
    r->counts.tables += is_table(r->format);
    r->boundary = r->options.boundary;
    if (r->boundary == MU_BOUNDARY_DEFAULT)
        r->boundary = r->text.member ? MU_BOUNDARY_FILE : MU_BOUNDARY_BLANK;
    return mu_record_begin(r);
}

mu_status_t mu_reader_next(mu_reader_t *r, mu_doc_t *doc)
{
    for (;;) {
        bool more = false, kept;
        if (r->text.stream)
            MU_TRY(mu_record_next(r, doc, &more));
        if (!more) {
            MU_TRY(next_text(r));
            *doc = (mu_doc_t){0};
            if (!r->text.stream)
                return MU_OK;
            continue;
        }
        if (!doc->text)
            continue;
        if (doc->bytes == 0) {
            r->counts.empty++;
            continue;
        }
        kept = mu_filter_keep(r->filter, &doc->text, &doc->bytes, &doc->digest);
        r->counts.filter = *mu_filter_counts(r->filter);
        if (!kept)
            continue;
        r->counts.documents++;
        r->counts.bytes += doc->bytes;
        return MU_OK;
    }
}
