/*
 * The standard streams of a program, from the first line of main() to the last:
 *
 *     mu_stdio_begin();
 *     ...
 *     return mu_status_exit(mu_stdio_end(status));
 *
 * begin: a stream that was closed by whoever started us is opened on /dev/null. Else the first file that the
 * program opens would get its number, and be written to by every message. A write beyond the limit of a file's size is
 * an error (EFBIG) as a full disk is, and ends no program.
 * end: a result that did not reach stdout (a full disk, a closed stream) is MU_IO, and logged if the program was
 * fine until then. A reader that has gone ends us by SIGPIPE, as any filter.
 */
#ifndef MU_COMMON_STDIO_SETUP_H
#define MU_COMMON_STDIO_SETUP_H

#include "common/buf.h"
#include "common/status.h"

void mu_stdio_begin(void);
mu_status_t mu_stdio_end(mu_status_t status);
/* Writes a whole result to stdout, at once. Errors: MU_IO. */
mu_status_t mu_stdio_write(const mu_buf_t *text);

#endif
