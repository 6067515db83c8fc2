/* What `muster status` prints of a run: as text, as one line, as JSON, as a row of a table. */
#ifndef MU_LAUNCHER_REPORT_STATUS_TEXT_H
#define MU_LAUNCHER_REPORT_STATUS_TEXT_H

#include "launcher/report/accounting.h"

/* Some lines: how far, since when, where the time went, and why it ended. */
void mu_status_lines(const mu_history_t *history, const mu_account_t *account, mu_buf_t *out);
/* The first of these lines alone. */
void mu_status_line(const mu_history_t *history, mu_buf_t *out);
/* run.json on one line, with "run" (the path), "alive" (a launcher holds the directory) and the account up to now. */
void mu_status_json(const mu_history_t *history, const mu_account_t *account, mu_buf_t *out);

/* A head, then a row a run. `columns` cuts long names; 0: nothing is cut. */
void mu_status_head(int columns, mu_buf_t *out);
void mu_status_row(const mu_history_t *history, const mu_account_t *account, int columns, mu_buf_t *out);

#endif
