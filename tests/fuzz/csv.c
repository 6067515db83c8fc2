/*
 * A table. The first byte chooses the delimiter and the columns. What was read is written again with every field in
 * quotes, and must read as the same fields; then documents are made of it.
 */
#include "dataset/prepare/csv.h"
#include "dataset/prepare/reader.h"
#include "dataset/tokenizer/utf8.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

/* One record from `text`, of which *at bytes were taken; false: it is wrong, or the text has ended. */
static bool record(mu_csv_t *csv, const char *text, size_t n, size_t *at)
{
    mu_csv_begin(csv);
    while (*at < n) {
        const char *feed = memchr(text + *at, '\n', n - *at);
        size_t length = feed ? (size_t)(feed - text) - *at : n - *at, from = *at;
        *at += length + (feed ? 1 : 0);
        mu_csv_state_t state = mu_csv_line(csv, text + from, length);
        if (state == MU_CSV_WRONG)
            FUZZ_CHECK(csv->why && csv->column <= length);
        if (state != MU_CSV_MORE)
            return state == MU_CSV_DONE;
        FUZZ_CHECK(csv->opened_line < csv->lines);
    }
    return false;
}

static void write_record(const mu_csv_t *csv, mu_buf_t *out)
{
    mu_buf_clear(out);
    for (int i = 0; i < csv->count; i++) {
        size_t n;
        const char *field = mu_csv_field(csv, i, &n);
        if (i > 0)
            mu_buf_addc(out, csv->delimiter);
        mu_buf_addc(out, '"');
        for (size_t k = 0; k < n; k++) {
            if (field[k] == '"')
                mu_buf_addc(out, '"');
            mu_buf_addc(out, field[k]);
        }
        mu_buf_addc(out, '"');
    }
    mu_buf_adds(out, "\r\n");
}

static void same_again(const char *text, size_t n, char delimiter)
{
    mu_csv_t csv = {.delimiter = delimiter}, again = {.delimiter = delimiter};
    mu_buf_t written = MU_BUF_INIT;
    for (size_t at = 0; at < n;) {
        size_t end = 0;
        if (!record(&csv, text, n, &at))
            continue;
        write_record(&csv, &written);
        FUZZ_CHECK(record(&again, written.data, written.len, &end) && end == written.len);
        FUZZ_CHECK(again.count == csv.count && again.text.len == csv.text.len);
        FUZZ_CHECK(memcmp(again.text.data, csv.text.data, csv.text.len) == 0);
        FUZZ_CHECK(memcmp(again.ends, csv.ends, (size_t)csv.count * sizeof *csv.ends) == 0);
    }
    mu_csv_release(&csv);
    mu_csv_release(&again);
    mu_buf_release(&written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static char numbers[2][3] = {"#1", "#2"}, name[] = "a";
    static const char delimiters[4] = {',', '\t', ';', ' '};
    uint8_t how = fuzz_byte(&data, &n);
    char *by_number[] = {numbers[0], numbers[1]}, *by_name[] = {name};
    mu_reader_options_t options = MU_READER_DEFAULTS;
    mu_template_t table;
    mu_reader_t *reader = NULL;
    mu_doc_t doc;
    same_again((const char *)data, n, delimiters[how & 3]);
    if (how & 4)
        mu_template_join(by_name, 1, &table);
    else
        mu_template_join(by_number, how & 8 ? 2 : 1, &table);
    options.table = &table;
    options.delimiter = delimiters[how & 3];
    options.format = MU_FORMAT_CSV;
    options.skip_bad = how & 16 ? 1000 : 0;
    options.max_record = how & 32 ? 64 : 1 << 20;
    char *path = fuzz_file("input", data, n);
    fuzz_begin();
    FUZZ_CHECK(mu_reader_open(&path, 1, &options, &reader) == MU_OK);
    while (fuzz_ok(mu_reader_next(reader, &doc), MU_DATA, MU_DATA) && doc.text)
        FUZZ_CHECK(doc.bytes > 0 && doc.line >= 1 && mu_utf8_valid(doc.text, doc.bytes) == doc.bytes);
    mu_reader_close(reader);
    mu_template_release(&table);
    free(path);
    return 0;
}
