#include "launcher/report/plot.h"

#include <math.h>
#include <string.h>

enum { LABEL = 9, DOTS_X = 2, DOTS_Y = 4 };

typedef struct canvas {
    int columns, rows; /* of dots */
    int across;        /* cells of a row */
    bool utf8;
    unsigned char *cell; /* bits of the dots; [rows of cells][across] */
} canvas_t;

/* Unicode numbers the dots of a braille cell so: down the left column, down the right one, then the lowest row. */
static const unsigned char dot_bit[DOTS_Y][DOTS_X] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};

static void set_dot(canvas_t *c, int x, int y)
{
    if (c->utf8)
        c->cell[y / DOTS_Y * c->across + x / DOTS_X] |= dot_bit[y % DOTS_Y][x % DOTS_X];
    else
        c->cell[y * c->across + x] = 1;
}

/* Mean of the values that fall into each column of dots; NAN where none does. */
static void means(const mu_plot_t *p, int columns, double *mean)
{
    double first = p->x[0], span = p->x[p->count - 1] - first;
    double *sum = mu_calloc((size_t)columns, sizeof *sum);
    size_t *n = mu_calloc((size_t)columns, sizeof *n);
    for (size_t i = 0; i < p->count; i++) {
        int at = span > 0 ? (int)((p->x[i] - first) / span * (columns - 1) + 0.5) : 0;
        if (!isfinite(p->y[i]) || at < 0 || at >= columns)
            continue;
        sum[at] += p->y[i];
        n[at]++;
    }
    for (int i = 0; i < columns; i++)
        mean[i] = n[i] ? sum[i] / (double)n[i] : (double)NAN;
    free(sum);
    free(n);
}

static void draw_curve(canvas_t *c, const double *mean, double low, double high)
{
    int last_x = -1, last_y = 0;
    for (int x = 0; x < c->columns; x++) {
        if (!isfinite(mean[x]))
            continue;
        int y = high > low ? (int)((high - mean[x]) / (high - low) * (c->rows - 1) + 0.5) : c->rows / 2;
        if (last_x < 0) {
            last_x = x;
            last_y = y;
        }
        for (int i = last_x; i <= x; i++) {
            int from = last_y + (y - last_y) * (i - last_x) / (x - last_x + (x == last_x));
            int to = i < x ? last_y + (y - last_y) * (i + 1 - last_x) / (x - last_x) : y;
            for (int j = from; j != to; j += to > from ? 1 : -1)
                set_dot(c, i, j);
            set_dot(c, i, to);
        }
        last_x = x;
        last_y = y;
    }
}

static void put_cell(const canvas_t *c, unsigned char bits, mu_buf_t *out)
{
    if (!c->utf8 || bits == 0)
        mu_buf_addc(out, bits ? '*' : ' ');
    else /* U+2800 + bits */
        mu_buf_addf(out, "\xe2%c%c", 0xa0 | bits >> 6, 0x80 | (bits & 0x3f));
}

static void put_row(const canvas_t *c, int row, mu_buf_t *out)
{
    int last = c->across - 1;
    while (last >= 0 && c->cell[row * c->across + last] == 0)
        last--;
    for (int i = 0; i <= last; i++)
        put_cell(c, c->cell[row * c->across + i], out);
    mu_buf_addc(out, '\n');
}

void mu_plot_draw(const mu_plot_t *p, mu_buf_t *out)
{
    int across = p->columns - LABEL, down = p->rows - 1;
    canvas_t c = {.columns = p->utf8 ? across * DOTS_X : across,
                  .rows = p->utf8 ? down * DOTS_Y : down,
                  .across = across,
                  .utf8 = p->utf8};
    double low = HUGE_VAL, high = -HUGE_VAL;
    double *mean = mu_alloc((size_t)c.columns * sizeof *mean);
    for (int i = 0; i < c.columns; i++)
        mean[i] = (double)NAN;
    c.cell = mu_calloc((size_t)across * (size_t)down, 1);
    if (p->count > 0)
        means(p, c.columns, mean);
    for (int i = 0; i < c.columns; i++)
        if (isfinite(mean[i])) {
            low = fmin(low, mean[i]);
            high = fmax(high, mean[i]);
        }
    bool any = low <= high;
    if (any)
        draw_curve(&c, mean, low, high);
    for (int row = 0; row < down; row++) {
        double value = high - (high - low) * row / (down > 1 ? down - 1 : 1);
        if (any && (row == 0 || row == down - 1 || row == (down - 1) / 2))
            mu_buf_addf(out, "%*.4g ", LABEL - 1, value);
        else
            mu_buf_addf(out, "%*s", LABEL, "");
        put_row(&c, row, out);
    }
    char end[32] = "", begin[32] = "";
    if (any) {
        snprintf(begin, sizeof begin, "%.0f", p->x[0]);
        snprintf(end, sizeof end, "%.0f", p->x[p->count - 1]);
    }
    mu_buf_addf(out, "%*s%s%*s\n", LABEL, "", begin, across - (int)strlen(begin), end);
    free(c.cell);
    free(mean);
}
