/*
 * The pages of docs/ as programs name them. A string names one by MU_PAGE alone; scripts/check-style fails on another.
 *
 * A page lies beside the installed program (share/doc/muster of its prefix), else in the source tree that the program
 * was built in. Where a system leaves pages out, the name is all there is.
 */
#ifndef MU_COMMON_PAGES_H
#define MU_COMMON_PAGES_H

#include "common/buf.h"

#include <stdbool.h>

#define MU_PAGE(NAME) "docs/" NAME ".md"

/* Appends the path of a page, or its name where it is not there. `page`: MU_PAGE(...). */
void mu_page_add(const char *page, mu_buf_t *out);
/* Appends `text`, with the path of each page that it names. */
void mu_pages_expand(const char *text, mu_buf_t *out);
/* Whether `text` names a page. */
bool mu_pages_named(const char *text);

#endif
