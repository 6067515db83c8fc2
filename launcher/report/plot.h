/* A curve drawn with characters: braille dots (two by four a cell), or stars where the terminal knows no UTF-8. */
#ifndef MU_LAUNCHER_REPORT_PLOT_H
#define MU_LAUNCHER_REPORT_PLOT_H

#include "common/buf.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct mu_plot {
    const double *x, *y; /* [count]; x rises; a y that is not finite is left out */
    size_t count;
    int columns,
        rows; /* of the whole drawing: labels take 9 columns at the left and the last row; at least 20 x 3 */
    bool utf8;
} mu_plot_t;

/* `rows` lines, each with a newline. Nothing finite to show: empty lines. */
void mu_plot_draw(const mu_plot_t *plot, mu_buf_t *out);

#endif
