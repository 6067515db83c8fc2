/*
 * A file that grows by lines, read piece by piece: each call gives the lines that have come since the last one. A last
 * line without newline is kept back until it is whole.
 */
#ifndef MU_LAUNCHER_REPORT_LINES_H
#define MU_LAUNCHER_REPORT_LINES_H

#include "common/buf.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct mu_lines {
    char *path; /* owned */
    int64_t offset;
} mu_lines_t;

/* The line is NUL terminated, without its newline, and valid during the call. */
typedef void (*mu_line_taker_t)(void *arg, const char *line, size_t n);

/* *again: the file is shorter than what was read, so another one lies there. Nothing is given then, and the next call
 * begins at its start. An absent file has no lines. Errors: MU_IO, MU_DATA (a line over 1 MiB). */
mu_status_t mu_lines_read(mu_lines_t *lines, mu_line_taker_t take, void *arg, bool *again);

#endif
