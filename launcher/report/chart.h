/*
 * A chart of several curves as a figure of HTML: lines in one SVG that stretches with the page, labels as text beside
 * it, so that they keep their size on a telephone. The values are there in words and as a table too.
 */
#ifndef MU_LAUNCHER_REPORT_CHART_H
#define MU_LAUNCHER_REPORT_CHART_H

#include "common/buf.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct mu_curve {
    const char *label; /* any bytes */
    double *x, *y;     /* [count], x rising, all finite */
    size_t count;
} mu_curve_t;

typedef struct mu_chart {
    const char *title, *x_words, *y_words;
    bool x_time; /* x counts seconds: labels are durations */
    bool dots;   /* points are few: mark each */
    const mu_curve_t *curve;
    int curves;
} mu_chart_t;

/* Adds nothing when no curve has a point. */
void mu_chart_html(const mu_chart_t *chart, mu_buf_t *out);
/* The style rules that the figure needs. */
extern const char mu_chart_css[];

#endif
