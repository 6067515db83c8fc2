/* One text cut into records, and what becomes of each: a document, a bad record, an error. */
#include "common/log.h"
#include "common/num.h"
#include "dataset/prepare/reader_impl.h"
#include "dataset/tokenizer/utf8.h"

enum { SLACK = 4096, COLUMNS_SHOWN = 20 };

static bool is_table(const mu_reader_t *r)
{
    return r->format == MU_FORMAT_CSV || r->format == MU_FORMAT_TSV;
}

static mu_status_t too_long(const mu_reader_t *r)
{
    static const char *const what[] = {"", "a document", "a line", "a record", "a record"};
    return mu_fail(MU_DATA, "%s:%lld: %s longer than %zu bytes: cut it, or allow more with --max-document",
                   r->text.name, (long long)r->record_line, what[r->format], r->options.max_record);
}

/* ---- cutting ---- */

static mu_status_t add_line(mu_reader_t *r, bool *more)
{
    bool fits;
    MU_TRY(mu_lines_add(&r->lines, r->options.max_record + SLACK, &r->record, more, &fits));
    return fits ? MU_OK : too_long(r);
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
    r->record_line = r->lines.line;
    r->record_offset = r->lines.offset;
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
    bool fits;
    begin_record(r);
    MU_TRY(mu_lines_add_rest(&r->lines, r->options.max_record, &r->record, more, &fits));
    return fits ? MU_OK : too_long(r);
}

static void at_fault(mu_reader_t *r, int64_t line, size_t column, const char *why)
{
    r->fault.line = r->record_line + line;
    r->fault.column = column;
    snprintf(r->fault.why, sizeof r->fault.why, "%s", why);
}

/* One record of a table. One that is wrong ends with the line where that shows. */
static mu_status_t table_record(mu_reader_t *r, bool *more)
{
    r->fault.why[0] = '\0';
    do {
        begin_record(r);
        MU_TRY(add_line(r, more));
    } while (*more && (r->record.len == 0 || (r->record.len == 1 && *r->record.data == '\r')));
    mu_csv_begin(&r->csv);
    for (size_t from = 0; *more;) {
        bool another;
        mu_csv_state_t state = mu_csv_line(&r->csv, r->record.data + from, r->record.len - from);
        if (state == MU_CSV_WRONG)
            at_fault(r, r->csv.lines, r->csv.column, r->csv.why);
        if (state != MU_CSV_MORE)
            break;
        mu_buf_addc(&r->record, '\n');
        from = r->record.len;
        MU_TRY(add_line(r, &another));
        if (!another) {
            at_fault(r, r->csv.opened_line, r->csv.opened_column, "the quote that opens here is not closed");
            break;
        }
    }
    return MU_OK;
}

static mu_status_t next_record(mu_reader_t *r, bool *more)
{
    if (is_table(r))
        MU_TRY(table_record(r, more));
    else if (r->format == MU_FORMAT_JSONL || r->boundary == MU_BOUNDARY_LINE)
        MU_TRY(line_record(r, more));
    else if (r->boundary == MU_BOUNDARY_BLANK)
        MU_TRY(paragraph_record(r, more));
    else
        MU_TRY(whole_file_record(r, more));
    return r->record.len > r->options.max_record ? too_long(r) : MU_OK;
}

/* ---- a table's header ---- */

/* Whether every name is as #3; then `columns` are those. */
static bool by_number(mu_reader_t *r)
{
    for (int i = 0; i < r->table->name_count; i++) {
        int64_t n;
        const char *name = r->table->names[i];
        if (*name != '#' || !mu_parse_i64(name + 1, &n) || n < 1 || n > MU_CSV_FIELDS_MAX)
            return false;
        r->columns[i] = (int)n - 1;
    }
    return true;
}

static mu_status_t no_column(const mu_reader_t *r, const char *name)
{
    mu_buf_t list = MU_BUF_INIT;
    for (int i = 0; i < r->csv.count && i < COLUMNS_SHOWN; i++) {
        size_t n;
        const char *field = mu_csv_field(&r->csv, i, &n);
        mu_buf_addf(&list, "%s'%.*s'", i > 0 ? ", " : "", (int)(n < 80 ? n : 80), field);
    }
    mu_status_t status = mu_fail(MU_DATA,
                                 "%s:%lld: has no column '%s': its columns are %s%s (is the delimiter right? "
                                 "a table without names: #1)",
                                 r->text.name, (long long)r->record_line, name, list.data,
                                 r->csv.count > COLUMNS_SHOWN ? " and more" : "");
    mu_buf_release(&list);
    return status;
}

static mu_status_t find_column(mu_reader_t *r, int index)
{
    const char *name = r->table->names[index];
    for (int i = 0; i < r->csv.count; i++) {
        size_t n;
        const char *field = mu_csv_field(&r->csv, i, &n);
        if (strlen(name) == n && memcmp(field, name, n) == 0) {
            r->columns[index] = i;
            return MU_OK;
        }
    }
    return no_column(r, name);
}

static mu_status_t table_header(mu_reader_t *r)
{
    bool more;
    r->csv.delimiter = r->options.delimiter ? r->options.delimiter : r->format == MU_FORMAT_TSV ? '\t' : ',';
    r->fields = 0;
    if (by_number(r))
        return MU_OK;
    MU_TRY(next_record(r, &more));
    if (!more)
        return MU_OK; /* an empty file */
    if (r->fault.why[0])
        return mu_fail(MU_DATA, "%s:%lld:%zu: %s", r->text.name, (long long)r->fault.line,
                       r->fault.column + 1, r->fault.why);
    r->fields = r->csv.count;
    for (int i = 0; i < r->table->name_count; i++)
        MU_TRY(find_column(r, i));
    return MU_OK;
}

mu_status_t mu_record_begin(mu_reader_t *r)
{
    MU_TRY(mu_lines_begin(&r->lines, r->text.stream));
    return is_table(r) ? table_header(r) : MU_OK;
}

/* ---- what a record becomes ---- */

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
            r->text.name, (long long)line, byte, offset);
    if (r->counts.invalid == 0)
        mu_warn("%s:%lld: invalid UTF-8, 0x%02X at byte %llu, is read as U+FFFD; so will be what follows",
                r->text.name, (long long)line, byte, offset);
    return MU_OK;
}

/* Makes a text valid UTF-8. */
static mu_status_t repair(mu_reader_t *r, const char **text, size_t *n)
{
    if (mu_utf8_valid(*text, *n) == *n)
        return MU_OK;
    MU_TRY(report_invalid(r, mu_utf8_valid(r->record.data, r->record.len)));
    mu_buf_clear(&r->repaired);
    r->counts.invalid += mu_utf8_repair(*text, *n, &r->repaired);
    *text = r->repaired.data;
    *n = r->repaired.len;
    return MU_OK;
}

/* The document of a template's values; empty when all of them are. */
static void build(mu_reader_t *r, const mu_template_t *template, mu_doc_t *doc)
{
    size_t bytes = 0;
    for (int i = 0; i < template->name_count; i++)
        bytes += r->values[i].n;
    if (bytes == 0 ||
        (template->name_count == 1 && template->literals.len == 0 && template->part_count <= 2)) {
        doc->text = r->values[0].text;
        doc->bytes = bytes;
        return;
    }
    mu_buf_clear(&r->built);
    mu_template_fill(template, r->values, &r->built);
    doc->text = r->built.data;
    doc->bytes = r->built.len;
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

static mu_status_t bad_json(mu_reader_t *r, const char *line, size_t n, const mu_jsonl_result_t *result)
{
    mu_fault_t fault = {.line = r->record_line, .column = result->column};
    mu_buf_t advice = MU_BUF_INIT;
    int missing = 0;
    while (missing < r->json->name_count - 1 && r->members[missing].found)
        missing++;
    snprintf(fault.why, sizeof fault.why, "%s%s", result->why, form_of(line, n));
    mu_buf_addf(&advice, " (the text is looked for under \"%s\"; --text-key names another)",
                r->json->names[missing]);
    mu_status_t status = mu_record_bad(r, &fault, advice.data);
    mu_buf_release(&advice);
    return status;
}

/* doc->text is NULL for a bad record that is left out. */
static mu_status_t json_document(mu_reader_t *r, const char *line, size_t n, mu_doc_t *doc)
{
    mu_jsonl_result_t result;
    if (!mu_jsonl_read(line, n, r->members, r->json->name_count, &result))
        return bad_json(r, line, n, &result);
    if (result.surrogates > 0) {
        if (r->options.strict)
            return mu_fail(MU_DATA,
                           "%s:%lld: a lone surrogate (\\ud800 to \\udfff) in a string is no character",
                           r->text.name, (long long)r->record_line);
        if (r->counts.invalid == 0)
            mu_warn("%s:%lld: a lone surrogate is read as U+FFFD; so will be what follows", r->text.name,
                    (long long)r->record_line);
        r->counts.invalid += result.surrogates;
    }
    for (int i = 0; i < r->json->name_count; i++)
        r->values[i] = (mu_template_value_t){r->members[i].text.data, r->members[i].text.len};
    build(r, r->json, doc);
    return MU_OK;
}

/* Every record has as many fields as the first, and the columns that are wanted. */
static void check_fields(mu_reader_t *r)
{
    int most = 0;
    for (int i = 0; i < r->table->name_count; i++)
        most = r->columns[i] > most ? r->columns[i] : most;
    if (r->fields == 0)
        r->fields = r->csv.count > most ? r->csv.count : most + 1;
    if (r->csv.count == r->fields)
        return;
    at_fault(r, 0, 0, "");
    snprintf(r->fault.why, sizeof r->fault.why,
             "fields of this record: %d, wanted: %d; a field with a delimiter in it must be in quotes",
             r->csv.count, r->fields);
}

/* The same for a table. */
static mu_status_t table_document(mu_reader_t *r, mu_doc_t *doc)
{
    if (!r->fault.why[0])
        check_fields(r);
    if (r->fault.why[0])
        return mu_record_bad(r, &r->fault, "");
    for (int i = 0; i < r->table->name_count; i++)
        r->values[i].text = mu_csv_field(&r->csv, r->columns[i], &r->values[i].n);
    build(r, r->table, doc);
    return repair(r, &doc->text, &doc->bytes);
}

mu_status_t mu_record_next(mu_reader_t *r, mu_doc_t *doc, bool *more)
{
    MU_TRY(next_record(r, more));
    *doc = (mu_doc_t){.path = r->text.name, .line = r->record_line, .origin = r->text.origin};
    if (!*more)
        return MU_OK;
    if (is_table(r))
        return table_document(r, doc);
    const char *text = r->record.data;
    size_t n = r->record.len;
    bool json = r->format == MU_FORMAT_JSONL;
    if ((json || r->boundary != MU_BOUNDARY_FILE) && n > 0 && text[n - 1] == '\r')
        n--; /* the line's end was CR LF */
    MU_TRY(repair(r, &text, &n));
    if (r->options.chat)
        return mu_record_chat(r, text, n, doc);
    if (json)
        return json_document(r, text, n, doc);
    doc->text = text;
    doc->bytes = n;
    return MU_OK;
}
