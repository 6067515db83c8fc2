/* What reader.c, which goes from file to file, and record.c, which cuts one into documents, share. */
#ifndef MU_DATASET_READER_IMPL_H
#define MU_DATASET_READER_IMPL_H

#include "dataset/prepare/csv.h"
#include "dataset/prepare/jsonl.h"
#include "dataset/prepare/lines.h"
#include "dataset/prepare/reader.h"

/* Where a record is wrong. why NULL: it is not. */
typedef struct mu_fault {
    int64_t line;
    size_t column; /* from 0 */
    char why[256];
} mu_fault_t;

struct mu_reader {
    mu_reader_options_t options;
    mu_texts_t *texts;
    mu_filter_t *filter;
    mu_reader_counts_t counts;
    mu_template_t own; /* '{text_key}' */
    const mu_template_t *json, *table;
    mu_jsonl_member_t *members; /* one a name of `json` */
    mu_template_value_t values[MU_TEMPLATE_NAMES_MAX];

    mu_text_t text;          /* the current one */
    mu_text_format_t format; /* it is read as */
    mu_boundary_t boundary;
    mu_lines_t lines;

    mu_csv_t csv;
    int columns[MU_TEMPLATE_NAMES_MAX]; /* where the names of `table` are in the current file */
    int fields;                         /* of each record of it; 0: not known yet */

    mu_buf_t record; /* the document, JSON line or record of a table as the file has it */
    int64_t record_line;
    uint64_t record_offset;
    mu_fault_t fault; /* of a table's record */
    mu_buf_t repaired, built;
    mu_chat_t chat; /* the record */
    mu_chat_text_t chat_text;
};

/* Begins with the current text: reads the header of a table. Errors: MU_DATA and those of the stream. */
mu_status_t mu_record_begin(mu_reader_t *r);
/* The next document of the current text; *more is false after the last one. doc->text is NULL for a bad record that was
 * left out. */
mu_status_t mu_record_next(mu_reader_t *r, mu_doc_t *doc, bool *more);

/* A record without a text: an error with `advice` after it, unless as many as --skip-bad allows have been left out. */
mu_status_t mu_record_bad(mu_reader_t *r, const mu_fault_t *fault, const char *advice);
/* The document of a line of chat data (chat_record.c). doc->text is NULL for one that was left out. */
mu_status_t mu_record_chat(mu_reader_t *r, const char *line, size_t n, mu_doc_t *doc);

#endif
