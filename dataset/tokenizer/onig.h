/*
 * Regular expressions of tokenizer.json, as the tokenizers library reads them (Oniguruma), put into PCRE2's terms.
 *
 * The two engines agree on most of what tokenizers use, and differ in silence on some: \s, \w, \h and \v are other
 * sets, a '+' after {n,m} repeats in one and forbids backtracking in the other, '[' inside a class nests in one and is
 * a character in the other, \p{Han} is Script in one and Script_Extensions in the other. So the expression is read
 * here, written anew in terms that mean the same, and refused where it holds anything that is not known to. Not
 * supported: back references, named groups, \b, \K, \R, \X, class intersections, POSIX brackets, options other than
 * (?i:...).
 */
#ifndef MU_DATASET_ONIG_H
#define MU_DATASET_ONIG_H

#include "common/buf.h"
#include "common/status.h"

/* Appends the expression for pcre2_compile() with PCRE2_UTF and PCRE2_UCP. `where` begins a message; the message names
 * the expression and the character (from 1) at which it is not understood. `regex` is valid UTF-8. Errors: MU_DATA. */
mu_status_t mu_onig_to_pcre2(const char *where, const char *regex, mu_buf_t *out);

#endif
