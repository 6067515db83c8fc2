/*
 * The full-screen view of a run as text: what `muster status --watch` shows. No terminal here: lines in, so a test
 * needs none either.
 */
#ifndef MU_LAUNCHER_REPORT_VIEW_H
#define MU_LAUNCHER_REPORT_VIEW_H

#include "launcher/report/accounting.h"

typedef struct mu_view {
    const mu_history_t *history;
    const mu_account_t *account;
    double now;        /* seconds since 1970 */
    int columns, rows; /* of the screen; less than 40 x 12 shows what fits */
    bool utf8;         /* the terminal shows it */
    const char *keys;  /* the last line: what keys do; "" for none */
} mu_view_t;

/* At most `rows` lines with newlines between them, none wider than `columns`. Text that came from outside is
 * escaped. */
void mu_view_draw(const mu_view_t *view, mu_buf_t *out);

#endif
