/*
 * Tables as RFC 4180 writes them: one record after the other, given line by line. A field may be put in double quotes;
 * then it may hold delimiters and line ends, and a quote in it is written twice. A quote inside a field that did not
 * begin with one is an ordinary character, as Python's csv reads it. Lines may end with CR LF.
 *
 *     mu_csv_t csv = {.delimiter = ','};
 *     mu_csv_begin(&csv);
 *     while (mu_csv_line(&csv, line, n) == MU_CSV_MORE) ... the next line ...;
 *     mu_csv_field(&csv, 0, &length);
 *     mu_csv_release(&csv);
 */
#ifndef MU_DATASET_CSV_H
#define MU_DATASET_CSV_H

#include "common/buf.h"
#include <stddef.h>
#include <stdint.h>

enum { MU_CSV_FIELDS_MAX = 65536 };

typedef enum mu_csv_state { MU_CSV_DONE, MU_CSV_MORE, MU_CSV_WRONG } mu_csv_state_t;

typedef struct mu_csv {
    char delimiter; /* one ASCII character, no quote and no line end */

    /* of the record */
    int count;           /* fields that have ended */
    const char *why;     /* MU_CSV_WRONG: what is wrong */
    size_t column;       /* and the byte of the line where, from 0 */
    int64_t lines;       /* taken */
    int64_t opened_line; /* where the last quoted field begins: a line of the record, from 0, and its byte */
    size_t opened_column;

    int place;     /* inside which part of a field the line ended */
    mu_buf_t text; /* of all fields, decoded */
    size_t *ends;  /* of each field in `text` */
    size_t room;   /* of `ends` */
} mu_csv_t;

/* Drops the record; its memory is kept for the next one. */
void mu_csv_begin(mu_csv_t *csv);
/* Adds a line without its line feed. MU_CSV_MORE: a quoted field is open, so the next line belongs to the record; at
 * the end of the file that is an error at `opened_line`, `opened_column`. Logs nothing. */
mu_csv_state_t mu_csv_line(mu_csv_t *csv, const char *line, size_t n);
/* The text of a field below `count`; the csv's, until the next record. */
const char *mu_csv_field(const mu_csv_t *csv, int field, size_t *n);
void mu_csv_release(mu_csv_t *csv);

#endif
