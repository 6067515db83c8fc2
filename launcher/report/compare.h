/* Runs side by side: as a table for a terminal, and as one HTML page that needs nothing else. */
#ifndef MU_LAUNCHER_REPORT_COMPARE_H
#define MU_LAUNCHER_REPORT_COMPARE_H

#include "launcher/report/summary.h"

enum { MU_COMPARE_MOST = 32 }; /* runs at once */

/* A figure of a run, for both forms; `out` is "-" where the run has none. */
typedef struct mu_figure {
    const char *name;
    void (*text)(const mu_summary_t *run, mu_buf_t *out);
} mu_figure_t;
extern const mu_figure_t mu_figures[];
extern const int mu_figure_count;

/* A column a run; then what differs. Of one run: its report. */
void mu_compare_text(const mu_summary_t *runs, int count, mu_buf_t *out);
/* The page: figures, curves as SVG, differences, where the time went, events. Valid HTML, no script, no reference to
 * anything outside itself. */
void mu_compare_html(const mu_summary_t *runs, int count, mu_buf_t *out);
/* Bytes as text of HTML: markup escaped, what is no UTF-8 and control characters as U+FFFD. */
void mu_html_text(const char *bytes, mu_buf_t *out);

#endif
