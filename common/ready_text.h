/* Text that came from outside, made safe to show on a terminal. */
#ifndef MU_COMMON_READY_TEXT_H
#define MU_COMMON_READY_TEXT_H

#include "common/buf.h"

#include <stdio.h>

/* Adds at most `most` bytes of the text: control bytes, bytes above 126 and backslashes as \xNN, cut with
 * "...". */
void mu_text_escape(const char *bytes, size_t n, size_t most, mu_buf_t *out);
/* Prints a whole text in that form; at most 8192 bytes of it. */
void mu_text_put(const char *text, FILE *out);

#endif
