/*
 * Some string members of a JSON object, in one pass over its text and without building the object: a line of 64
 * MiB costs no more memory than the strings. The whole line is checked against the grammar (RFC 8259), to a
 * depth of 64; besides it NaN, Infinity and -Infinity are numbers, since Python writes them.
 */
#ifndef MU_DATASET_JSONL_H
#define MU_DATASET_JSONL_H

#include "common/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mu_jsonl_result {
    const char *why;    /* on failure: what is wrong ("a comma or '}' is missing") */
    size_t column;      /* on failure: the byte where it is wrong, from 0 */
    int64_t surrogates; /* lone ones that became U+FFFD */
} mu_jsonl_result_t;

/* One that is wanted. */
typedef struct mu_jsonl_member {
    const char *key;
    mu_buf_t text; /* its decoded text */
    bool found;    /* in the last line */
} mu_jsonl_member_t;

/* Puts the text of each member into it (cleared first): a string, a list of strings (joined with an empty line
 * between), or null (empty). Of several members of one name the last counts. An object that lacks one is an error;
 * then `found` says which.
 * line: well-formed UTF-8. Logs nothing. */
bool mu_jsonl_read(const char *line, size_t n, mu_jsonl_member_t *members, int count,
                   mu_jsonl_result_t *result);

#endif
