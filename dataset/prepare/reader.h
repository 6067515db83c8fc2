/*
 * Documents from files, in a fixed order, in bounded memory.
 *
 * An input is a file, a directory (the files in it and below, sorted by name; hidden ones and what describes a data set
 * are left out, inputs.h), or "-" for stdin. A file may be compressed (stream.h), or an archive of files (archive.h).
 * A file named *.jsonl, *.ndjson or *.json (a further .gz, .zst and the like does not matter) holds one JSON object a
 * line; one named *.csv, *.tsv or *.tab a table, where `table` is given; every other file is text. In text a document
 * is, by `boundary`,
 * - blank: a run of lines that are not blank (a line of white space is blank); inner line ends are kept as
 * they are, the last one is not part of the document;
 * - line: each line that is not blank;
 * - file: the whole file as it is;
 * - default: blank, and in an archive file.
 * A byte order mark at the start of a file is dropped. Empty documents are left out, and counted.
 *
 * A document is always valid UTF-8: each ill-formed sequence (as Unicode cuts them: maximal subparts), and
 * each lone surrogate of a JSON escape, becomes U+FFFD and is counted; the first one is logged as a warning.
 * With `strict` it is an error.
 *
 * Calling sequence:
 *     mu_reader_options_t options = MU_READER_DEFAULTS;
 *     mu_reader_open(paths, n, &options, &reader);
 *     while ((status = mu_reader_next(reader, &doc)) == MU_OK && doc.text) ... ;
 *     mu_reader_close(reader);
 * One thread at a time.
 */
#ifndef MU_DATASET_READER_H
#define MU_DATASET_READER_H

#include "common/status.h"
#include "dataset/chat/chat_template.h"
#include "dataset/prepare/filter.h"
#include "dataset/prepare/template.h"
#include "dataset/prepare/texts.h"

typedef enum mu_boundary {
    MU_BOUNDARY_DEFAULT,
    MU_BOUNDARY_BLANK,
    MU_BOUNDARY_LINE,
    MU_BOUNDARY_FILE
} mu_boundary_t;

typedef struct mu_reader_options {
    mu_boundary_t boundary;  /* text files only */
    mu_text_format_t format; /* by name: stdin is text */
    const char *text_key;    /* the member of a JSON object that holds the text; where `json` is NULL */
    /* How texts are made of a JSON object's members and of a table's columns; the caller's, until the reader is closed.
     * A table's first record names the columns, unless all names are as #3: the third column of a table without names.
     * NULL: a table is text. */
    const mu_template_t *json, *table;
    /* The inputs are JSON Lines of conversations (dataset/chat/chat.h), whose text this template makes; the caller's.
     * One without an answer that may count is left out, unless `chat_all`. */
    const mu_chat_template_t *chat;
    bool chat_all;
    char delimiter; /* of tables; 0: a tab in *.tsv and *.tab, else a comma */
    size_t
        max_record; /* bytes of one document, JSON line or record of a table, at most 1 GiB; a longer one is an error */
    bool strict;
    /* JSON lines and records without a text (cut, no such member, of another type, other fields than the first record
     * has) that are left out and counted, the first few with a warning; the next one is an error. 0: the first one
     * is */
    int64_t skip_bad;
    mu_filter_options_t filter;
} mu_reader_options_t;

#define MU_READER_DEFAULTS                                                                                   \
    {                                                                                                        \
        .text_key = "text", .max_record = (size_t)64 << 20                                                   \
    }

typedef struct mu_doc {
    const char *text; /* valid UTF-8, not NUL terminated, may hold NUL; the reader's, until its next call.
                         NULL: end */
    size_t bytes;
    const char *path; /* the file it came from ("-" for stdin); the reader's, until its next call */
    int64_t line;     /* of its first byte, from 1 */
    int origin;       /* which of the paths given it comes from */
    uint64_t digest;  /* filter.h */
    const mu_chat_text_t
        *chat; /* the conversation whose text it is; the reader's, until its next call. NULL: it is none */
} mu_doc_t;

typedef struct mu_reader_counts {
    int64_t documents;  /* given */
    int64_t empty;      /* left out */
    int64_t bad;        /* left out by skip_bad */
    int64_t invalid;    /* U+FFFD put in for ill-formed sequences and lone surrogates */
    int64_t tables;     /* files read as tables */
    int64_t unanswered; /* conversations left out */
    int64_t spelled;    /* conversations in which a message spells a token of the template */
    uint64_t bytes;     /* of all documents given */
    mu_filter_counts_t filter;
    mu_archive_counts_t archive;
} mu_reader_counts_t;

typedef struct mu_reader mu_reader_t;

/* Finds all files; copies paths and options. Errors: MU_NOINPUT (a path is missing, or a directory holds no
 * file). */
mu_status_t mu_reader_open(char *const *paths, int n, const mu_reader_options_t *options, mu_reader_t **out);
/* The next document; doc->text is NULL after the last one. Errors, all naming file and line: MU_DATA (JSON, tables,
 * record size, `strict`, those of stream.h and archive.h; a file that is not text at all), MU_NOINPUT, MU_IO. After an
 * error only close. */
mu_status_t mu_reader_next(mu_reader_t *reader, mu_doc_t *doc);
void mu_reader_close(mu_reader_t *reader);

/* Bytes of input files taken and in all, compressed ones as they lie on disk; total 0: not known (stdin,
 * pipes). */
void mu_reader_progress(const mu_reader_t *reader, uint64_t *done, uint64_t *total);
const mu_reader_counts_t *mu_reader_counts(const mu_reader_t *reader);
/* The files, and what they hold. */
const mu_texts_t *mu_reader_texts(const mu_reader_t *reader);

/* "blank", "line" or "file"; false for anything else. */
bool mu_boundary_parse(const char *text, mu_boundary_t *out);
const char *mu_boundary_name(mu_boundary_t boundary);

#endif
