/* UTF-8 as Unicode 15 section 3.9 defines it: no surrogates, no overlong forms, nothing above U+10FFFF. */
#ifndef MU_DATASET_UTF8_H
#define MU_DATASET_UTF8_H

#include "common/buf.h"
#include <stddef.h>
#include <stdint.h>

/* Length of the longest well-formed prefix. */
size_t mu_utf8_valid(const char *bytes, size_t n);
/* Adds the bytes to `out` with each maximal ill-formed subpart replaced by U+FFFD; returns how many. */
int64_t mu_utf8_repair(const char *bytes, size_t n, mu_buf_t *out);
/* Adds a code point (at most 0x10FFFF, no surrogate). */
void mu_utf8_add(mu_buf_t *out, uint32_t code);

#endif
