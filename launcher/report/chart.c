#include "launcher/report/chart.h"
#include "common/duration.h"
#include "launcher/report/compare.h"

#include <math.h>

enum { SIZE = 1000, BUCKETS = 500, TICKS = 6, ROWS = 11 };

/* Colours that differ in lightness too; a second round of them is dashed. */
const char mu_chart_css[] =
    ".plot{position:relative;margin:0 0 3.2em 4.6em;height:15em}"
    ".plot svg{position:absolute;width:100%;height:100%;overflow:visible}"
    ".plot path{fill:none;stroke-width:1.8px;vector-effect:non-scaling-stroke;stroke-linejoin:round}"
    ".plot .dot{stroke-width:6px;stroke-linecap:round}"
    ".plot .grid{stroke:var(--line);stroke-width:1px}"
    ".plot span{position:absolute;font-size:.8rem;color:var(--soft);white-space:nowrap}"
    ".plot .y{right:100%;margin-right:.5em;transform:translateY(-50%)}"
    ".plot .x{top:100%;margin-top:.3em;transform:translateX(-50%)}"
    ".plot .words{top:100%;margin-top:1.8em;left:0}"
    ".key{display:inline-block;width:1.6em;height:0;border-top:3px solid;vertical-align:middle;margin:0 .4em "
    "0 0}"
    ".legend{display:flex;flex-wrap:wrap;gap:.2em 1.2em;margin:.3em 0 .8em;padding:0;list-style:none}"
    ".c0{stroke:var(--c0);border-color:var(--c0)}.c1{stroke:var(--c1);border-color:var(--c1)}"
    ".c2{stroke:var(--c2);border-color:var(--c2)}.c3{stroke:var(--c3);border-color:var(--c3)}"
    ".c4{stroke:var(--c4);border-color:var(--c4)}.c5{stroke:var(--c5);border-color:var(--c5)}"
    ".dash{stroke-dasharray:6 4;border-top-style:dashed}";

typedef struct range {
    double low, high, tick;
} range_t;

static void widen(range_t *r, double value)
{
    r->low = fmin(r->low, value);
    r->high = fmax(r->high, value);
}

/* Ticks at 1, 2 or 5 times a power of ten; durations at parts of minutes, hours and days. */
static double nice_tick(double span, bool time)
{
    static const double times[] = {1,   2,   5,    10,   15,   30,    60,    120,   300,
                                   600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400};
    double rough = span / TICKS;
    for (size_t i = 0; time && i < sizeof times / sizeof *times; i++)
        if (times[i] >= rough)
            return times[i];
    double power = pow(10, floor(log10(rough)));
    double digit = rough / power;
    return power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
}

static void set_ticks(range_t *r, bool time)
{
    if (!(r->high > r->low)) {
        r->low -= r->low != 0 ? fabs(r->low) * 0.01 : 1;
        r->high += r->high != 0 ? fabs(r->high) * 0.01 : 1;
    }
    r->tick = nice_tick(r->high - r->low, time);
}

static double place(const range_t *r, double value)
{
    return (value - r->low) / (r->high - r->low);
}

static void tick_text(double value, double tick, bool time, mu_buf_t *out)
{
    if (time)
        mu_duration_text(value, out);
    else if (fabs(value) < tick / 1e6)
        mu_buf_adds(out, "0");
    else if (fabs(value) >= 1e6)
        mu_buf_addf(out, "%.4gM", value / 1e6);
    else if (fabs(value) >= 1e4)
        mu_buf_addf(out, "%.5gk", value / 1e3);
    else
        mu_buf_addf(out, "%.6g", value);
}

/* Grid lines into `svg`, their labels into `labels`. */
static void add_ticks(const range_t *r, bool x, bool time, mu_buf_t *svg, mu_buf_t *labels)
{
    for (double v = ceil(r->low / r->tick) * r->tick; v <= r->high + r->tick * 1e-6; v += r->tick) {
        double at = place(r, v);
        mu_buf_addf(svg,
                    x ? "<path class=\"grid\" d=\"M%.1f 0V1000\"/>"
                      : "<path class=\"grid\" d=\"M0 %.1fH1000\"/>",
                    x ? at * SIZE : (1 - at) * SIZE);
        mu_buf_addf(labels,
                    x ? "<span class=\"x\" style=\"left:%.2f%%\">"
                      : "<span class=\"y\" style=\"top:%.2f%%\">",
                    100 * (x ? at : 1 - at));
        tick_text(v, r->tick, time, labels);
        mu_buf_adds(labels, "</span>");
    }
}

static void add_class(int curve, const char *more, mu_buf_t *out)
{
    mu_buf_addf(out, "class=\"%sc%d%s\"", more, curve % 6, curve >= 6 ? " dash" : "");
}

/* The curve's points, or the means of at most BUCKETS parts of it. */
static void add_curve(const mu_chart_t *chart, int index, const range_t *x, const range_t *y, mu_buf_t *out)
{
    const mu_curve_t *c = &chart->curve[index];
    size_t stride = c->count > BUCKETS ? (c->count + BUCKETS - 1) / BUCKETS : 1;
    mu_buf_t line = MU_BUF_INIT, dots = MU_BUF_INIT;
    for (size_t i = 0; i < c->count; i += stride) {
        double sx = 0, sy = 0;
        size_t n = c->count - i < stride ? c->count - i : stride;
        for (size_t k = i; k < i + n; k++) {
            sx += c->x[k];
            sy += c->y[k];
        }
        double px = place(x, sx / (double)n) * SIZE, py = (1 - place(y, sy / (double)n)) * SIZE;
        mu_buf_addf(&line, "%s%.1f %.1f", i == 0 ? "M" : "L", px, py);
        if (chart->dots || c->count == 1)
            mu_buf_addf(&dots, "M%.1f %.1fh0", px, py);
    }
    mu_buf_adds(out, "<path ");
    add_class(index, "", out);
    mu_buf_addf(out, " d=\"%s\"/>", line.data);
    if (dots.len > 0) {
        mu_buf_adds(out, "<path ");
        add_class(index % 6, "dot ", out);
        mu_buf_addf(out, " d=\"%s\"/>", dots.data);
    }
    mu_buf_release(&line);
    mu_buf_release(&dots);
}

static void x_text(const mu_chart_t *chart, double x, mu_buf_t *out)
{
    if (chart->x_time)
        mu_duration_text(x, out);
    else
        mu_buf_addf(out, "%.0f", x);
}

/* A sentence a curve. */
static void add_description(const mu_chart_t *chart, mu_buf_t *out)
{
    for (int i = 0; i < chart->curves; i++) {
        const mu_curve_t *c = &chart->curve[i];
        size_t least = 0, most = 0;
        if (c->count == 0)
            continue;
        for (size_t k = 0; k < c->count; k++) {
            least = c->y[k] < c->y[least] ? k : least;
            most = c->y[k] > c->y[most] ? k : most;
        }
        mu_html_text(c->label, out);
        mu_buf_addf(out, ": %zu points, %.6g at %s ", c->count, c->y[0], chart->x_words);
        x_text(chart, c->x[0], out);
        mu_buf_addf(out, " to %.6g at ", c->y[c->count - 1]);
        x_text(chart, c->x[c->count - 1], out);
        mu_buf_addf(out, "; least %.6g at ", c->y[least]);
        x_text(chart, c->x[least], out);
        mu_buf_addf(out, ", most %.6g at ", c->y[most]);
        x_text(chart, c->x[most], out);
        mu_buf_adds(out, ". ");
    }
}

/* Some points of each curve, for whoever does not see it. */
static void add_table(const mu_chart_t *chart, mu_buf_t *out)
{
    mu_buf_adds(out, "<details><summary>Values of these curves</summary><div class=\"wide\" tabindex=\"0\" "
                     "role=\"region\" aria-label=\"Values: ");
    mu_html_text(chart->title, out);
    mu_buf_addf(
        out,
        "\"><table><thead><tr><th scope=\"col\">run</th><th scope=\"col\">%s</th><th scope=\"col\">%s</th>"
        "</tr></thead><tbody>",
        chart->x_words, chart->y_words);
    for (int i = 0; i < chart->curves; i++) {
        const mu_curve_t *c = &chart->curve[i];
        size_t rows = c->count < ROWS ? c->count : ROWS;
        for (size_t k = 0; k < rows; k++) {
            size_t at = rows > 1 ? k * (c->count - 1) / (rows - 1) : 0;
            mu_buf_adds(out, "<tr><th scope=\"row\">");
            mu_html_text(c->label, out);
            mu_buf_adds(out, "</th><td>");
            x_text(chart, c->x[at], out);
            mu_buf_addf(out, "</td><td>%.6g</td></tr>", c->y[at]);
        }
    }
    mu_buf_adds(out, "</tbody></table></div></details>\n");
}

static void add_legend(const mu_chart_t *chart, mu_buf_t *out)
{
    mu_buf_adds(out, "<ul class=\"legend\">");
    for (int i = 0; i < chart->curves; i++) {
        if (chart->curve[i].count == 0)
            continue;
        mu_buf_adds(out, "<li><span ");
        add_class(i, "key ", out);
        mu_buf_adds(out, "></span>");
        mu_html_text(chart->curve[i].label, out);
        mu_buf_adds(out, "</li>");
    }
    mu_buf_adds(out, "</ul>");
}

void mu_chart_html(const mu_chart_t *chart, mu_buf_t *out)
{
    range_t x = {HUGE_VAL, -HUGE_VAL, 0}, y = x;
    mu_buf_t labels = MU_BUF_INIT;
    for (int i = 0; i < chart->curves; i++)
        for (size_t k = 0; k < chart->curve[i].count; k++) {
            widen(&x, chart->curve[i].x[k]);
            widen(&y, chart->curve[i].y[k]);
        }
    if (!(x.low <= x.high))
        return;
    set_ticks(&x, chart->x_time);
    set_ticks(&y, false);
    mu_buf_addf(out, "<figure><figcaption>%s</figcaption>", chart->title);
    add_legend(chart, out);
    mu_buf_addf(
        out,
        "<div class=\"plot\"><svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" role=\"img\">"
        "<title>%s</title><desc>",
        chart->title);
    add_description(chart, out);
    mu_buf_adds(out, "</desc>");
    add_ticks(&x, true, chart->x_time, out, &labels);
    add_ticks(&y, false, false, out, &labels);
    for (int i = 0; i < chart->curves; i++)
        if (chart->curve[i].count > 0)
            add_curve(chart, i, &x, &y, out);
    mu_buf_addf(out, "</svg>%s<span class=\"words\">%s by %s</span></div>", labels.data, chart->y_words,
                chart->x_words);
    add_table(chart, out);
    mu_buf_adds(out, "</figure>\n");
    mu_buf_release(&labels);
}
