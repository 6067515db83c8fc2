#include "dataset/prepare/csv.h"

#include <string.h>

/* What comes next: a field's first byte, the rest of a plain or a quoted one, or what follows the closing quote. */
enum { START, PLAIN, QUOTED, AFTER };

void mu_csv_begin(mu_csv_t *csv)
{
    mu_buf_clear(&csv->text);
    csv->count = 0;
    csv->lines = 0;
    csv->place = START;
}

void mu_csv_release(mu_csv_t *csv)
{
    mu_buf_release(&csv->text);
    free(csv->ends);
    csv->ends = NULL;
    csv->room = 0;
}

const char *mu_csv_field(const mu_csv_t *csv, int field, size_t *n)
{
    size_t from = field > 0 ? csv->ends[field - 1] : 0;
    *n = csv->ends[field] - from;
    return csv->text.data + from;
}

static mu_csv_state_t wrong(mu_csv_t *csv, size_t column, const char *why)
{
    csv->column = column;
    csv->why = why;
    return MU_CSV_WRONG;
}

static void end_field(mu_csv_t *csv)
{
    if ((size_t)csv->count == csv->room) {
        csv->room = csv->room ? csv->room * 2 : 16;
        csv->ends = mu_realloc(csv->ends, csv->room * sizeof *csv->ends);
    }
    csv->ends[csv->count++] = csv->text.len;
    csv->place = START;
}

/* Takes bytes of a plain field up to its end. */
static size_t plain(mu_csv_t *csv, const char *line, size_t n, size_t at)
{
    size_t from = at;
    while (at < n && line[at] != csv->delimiter && line[at] != '\r')
        at++;
    mu_buf_add(&csv->text, line + from, at - from);
    return at;
}

/* Takes bytes of a quoted field up to the line's end or after its closing quote. */
static size_t quoted(mu_csv_t *csv, const char *line, size_t n, size_t at)
{
    while (at < n) {
        const char *quote = memchr(line + at, '"', n - at);
        size_t run = quote ? (size_t)(quote - line) - at : n - at;
        mu_buf_add(&csv->text, line + at, run);
        at += run;
        if (!quote)
            break;
        at++;
        if (at == n || line[at] != '"') {
            csv->place = AFTER;
            break;
        }
        mu_buf_addc(&csv->text, '"');
        at++;
    }
    return at;
}

/* At a byte of a field that is neither its text nor inside quotes: a delimiter, the line's CR, or an error. */
static mu_csv_state_t punctuation(mu_csv_t *csv, const char *line, size_t n, size_t *at)
{
    if (line[*at] == csv->delimiter) {
        if (csv->count == MU_CSV_FIELDS_MAX)
            return wrong(csv, *at, "more than 65536 fields");
        end_field(csv);
        ++*at;
        return MU_CSV_DONE;
    }
    if (line[*at] == '\r' && *at + 1 == n) {
        ++*at;
        return MU_CSV_DONE;
    }
    if (line[*at] == '\r')
        return wrong(csv, *at, "a carriage return inside a field must be in quotes");
    return wrong(csv, *at,
                 "after a closing quote a delimiter or the line's end is wanted; a quote inside quotes is "
                 "written twice");
}

mu_csv_state_t mu_csv_line(mu_csv_t *csv, const char *line, size_t n)
{
    size_t at = 0;
    mu_buf_reserve(&csv->text, n + 1);
    while (at < n) {
        if (csv->place == QUOTED) {
            at = quoted(csv, line, n, at);
        } else if (csv->place == START && line[at] == '"') {
            csv->opened_line = csv->lines;
            csv->opened_column = at++;
            csv->place = QUOTED;
        } else if (csv->place == AFTER || line[at] == csv->delimiter || line[at] == '\r') {
            if (punctuation(csv, line, n, &at) == MU_CSV_WRONG)
                return MU_CSV_WRONG;
        } else {
            csv->place = PLAIN;
            at = plain(csv, line, n, at);
        }
    }
    csv->lines++;
    if (csv->place == QUOTED) {
        mu_buf_addc(&csv->text, '\n');
        return MU_CSV_MORE;
    }
    if (csv->count == MU_CSV_FIELDS_MAX)
        return wrong(csv, n, "more than 65536 fields");
    end_field(csv);
    return MU_CSV_DONE;
}
