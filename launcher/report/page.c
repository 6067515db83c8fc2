/* The HTML page of mu_compare_html(). */
#include "common/clock.h"
#include "launcher/report/chart.h"
#include "launcher/report/compare.h"

#include <math.h>
#include <time.h>

enum { EVENTS_MOST = 200 };

static const char head[] = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                           "<meta name=\"color-scheme\" content=\"light dark\">\n";

static const char css[] =
    ":root{--back:#fff;--text:#1b1f24;--soft:#57606a;--line:#d8dee4;--head:#f3f5f7;--c0:#0b5fb3;--c1:#b8470b;"
    "--c2:#1a7f4b;--c3:#8a3fb0;--c4:#b0195b;--c5:#5b6470}"
    "@media (prefers-color-scheme:dark){:root{--back:#14171b;--text:#e6e9ec;--soft:#a3adb7;--line:#343b43;"
    "--head:#1e2329;--c0:#6cb2ff;--c1:#ffa36b;--c2:#5fd39a;--c3:#d39bf2;--c4:#ff86b3;--c5:#b7c0c9}}"
    "*{box-sizing:border-box}"
    "body{margin:0;background:var(--back);color:var(--text);font:1rem/1.5 system-ui,sans-serif}"
    "main{max-width:96rem;margin:0 auto;padding:1rem}"
    "h1{font-size:1.5rem;margin:.2em 0}h2{font-size:1.2rem;margin:1.6em 0 .4em}p{margin:.3em 0}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th,td{padding:.25em .8em .25em .4em;border-bottom:1px solid "
    "var(--line);text-align:left;vertical-align:top}"
    "thead th{background:var(--head)}td{overflow-wrap:break-word;min-width:5em;max-width:26em}"
    ".wide{overflow-x:auto;margin:.5em 0}"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:1rem 2rem}"
    "figure{margin:.5em 0;min-width:0}figcaption{font-weight:600}"
    "details{margin:.3em 0}summary{cursor:pointer;color:var(--soft)}"
    ".bar{display:flex;height:1.2em;min-width:14em;border:1px solid var(--line)}";

/* ---- tables ---- */

static void begin_table(const char *label, mu_buf_t *out)
{
    mu_buf_addf(out, "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"%s\"><table>", label);
}

static void end_table(mu_buf_t *out)
{
    mu_buf_adds(out, "</tbody></table></div>\n");
}

/* A head with a column a run. */
static void add_run_head(const mu_summary_t *runs, int count, mu_buf_t *out)
{
    mu_buf_adds(out, "<thead><tr><td></td>");
    for (int r = 0; r < count; r++) {
        char *label = mu_summary_label(runs, count, r);
        mu_buf_adds(out, "<th scope=\"col\">");
        mu_html_text(label, out);
        mu_buf_adds(out, "</th>");
        free(label);
    }
    mu_buf_adds(out, "</tr></thead><tbody>");
}

static void add_row_head(const char *name, mu_buf_t *out)
{
    mu_buf_adds(out, "<tr><th scope=\"row\">");
    mu_html_text(name, out);
    mu_buf_adds(out, "</th>");
}

static void add_cell(const char *text, mu_buf_t *out)
{
    mu_buf_adds(out, "<td>");
    mu_html_text(text, out);
    mu_buf_adds(out, "</td>");
}

static void add_figures(const mu_summary_t *runs, int count, mu_buf_t *out)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_buf_adds(out, "<h2>Figures</h2>\n");
    begin_table("Figures", out);
    add_run_head(runs, count, out);
    for (int i = 0; i < mu_figure_count; i++) {
        add_row_head(mu_figures[i].name, out);
        for (int r = 0; r < count; r++) {
            mu_buf_clear(&text);
            mu_figures[i].text(&runs[r], &text);
            add_cell(text.data, out);
        }
        mu_buf_adds(out, "</tr>");
    }
    end_table(out);
    mu_buf_release(&text);
}

static void add_parts(const mu_summary_t *runs, int count, mu_buf_t *out)
{
    mu_buf_adds(out, "<h2>Where the time went</h2>\n");
    begin_table("Where the time went", out);
    add_run_head(runs, count, out);
    for (int part = 0; part < MU_PARTS; part++) {
        add_row_head(mu_part_words(part), out);
        for (int r = 0; r < count; r++) {
            const mu_account_t *a = &runs[r].account;
            mu_buf_addf(out, "<td>%.1f s<br>%.1f %%</td>", a->part[part],
                        a->wall > 0 ? 100 * a->part[part] / a->wall : 0);
        }
        mu_buf_adds(out, "</tr>");
    }
    end_table(out);
}

static void add_facts(const mu_summary_t *runs, int count, mu_buf_t *out)
{
    static const char *const kinds[MU_FACT_KINDS] = {"Config", "Data", "Source"};
    int facts, last = -1;
    const mu_fact_t **fact = mu_summary_differences(runs, count, &facts);
    mu_buf_addf(out, "<h2>%s</h2>\n", count == 1 ? "Config, data and source" : "Differences");
    if (facts == 0)
        mu_buf_adds(out, "<p>The runs have the same config, data and source.</p>\n");
    for (int i = 0; i < facts; i++) {
        if ((int)fact[i]->kind != last) {
            if (last >= 0)
                end_table(out);
            last = (int)fact[i]->kind;
            mu_buf_addf(out, "<h3>%s</h3>\n", kinds[last]);
            begin_table(kinds[last], out);
            add_run_head(runs, count, out);
        }
        add_row_head(fact[i]->name, out);
        for (int r = 0; r < count; r++) {
            const char *value = mu_summary_fact(&runs[r], fact[i]->kind, fact[i]->name);
            add_cell(value ? value : "-", out);
        }
        mu_buf_adds(out, "</tr>\n");
    }
    if (facts > 0)
        end_table(out);
    free(fact);
}

static void add_event_row(const mu_event_t *e, mu_buf_t *out)
{
    char when[32];
    time_t seconds = (time_t)e->time;
    struct tm tm;
    gmtime_r(&seconds, &tm);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    mu_buf_addf(out, "<tr><td>%s</td>", when);
    add_cell(e->kind, out);
    add_cell(e->host, out);
    if (e->rank >= 0)
        mu_buf_addf(out, "<td>%lld</td>", (long long)e->rank);
    else
        mu_buf_adds(out, "<td></td>");
    add_cell(e->text, out);
    mu_buf_adds(out, "</tr>\n");
}

static void add_events(const mu_summary_t *runs, int count, mu_buf_t *out)
{
    mu_buf_adds(out, "<h2>Events</h2>\n");
    for (int r = 0; r < count; r++) {
        size_t n;
        const mu_event_t *event = mu_history_events(runs[r].history, &n);
        char *label = mu_summary_label(runs, count, r);
        mu_buf_adds(out, "<details><summary>");
        mu_html_text(label, out);
        mu_buf_addf(out, ": %zu events%s</summary>\n", n, n > EVENTS_MOST ? ", the newest 200" : "");
        begin_table("Events", out);
        mu_buf_adds(
            out,
            "<thead><tr><th scope=\"col\">time (UTC)</th><th scope=\"col\">kind</th><th scope=\"col\">host"
            "</th><th scope=\"col\">rank</th><th scope=\"col\">text</th></tr></thead><tbody>\n");
        for (size_t i = n > EVENTS_MOST ? n - EVENTS_MOST : 0; i < n; i++)
            add_event_row(&event[i], out);
        if (n == 0)
            mu_buf_adds(out, "<tr><td colspan=\"5\">none</td></tr>");
        end_table(out);
        mu_buf_adds(out, "</details>\n");
        free(label);
    }
}

/* ---- charts ---- */

typedef enum axis { BY_STEP, BY_TIME } axis_t;

static double loss_of(const mu_point_t *p)
{
    return p->loss;
}

static double valid_of(const mu_point_t *p)
{
    return p->valid_loss;
}

static double speed_of(const mu_point_t *p)
{
    return p->tokens_per_s;
}

static void fill_curve(const mu_summary_t *run, double (*value)(const mu_point_t *), axis_t axis,
                       mu_curve_t *out)
{
    size_t n;
    const mu_point_t *p = mu_history_points(run->history, &n);
    out->x = mu_alloc((n + 1) * sizeof *out->x);
    out->y = mu_alloc((n + 1) * sizeof *out->y);
    out->count = 0;
    for (size_t i = 0; i < n; i++)
        if (!p[i].replaced && isfinite(value(&p[i]))) {
            out->x[out->count] = axis == BY_STEP ? (double)p[i].step : p[i].time - run->began;
            out->y[out->count++] = value(&p[i]);
        }
}

static void add_charts(const mu_summary_t *runs, int count, mu_buf_t *out)
{
    static const struct {
        const char *title, *y_words;
        double (*value)(const mu_point_t *);
        axis_t axis;
        bool dots;
    } charts[] = {
        {"Loss by step", "loss", loss_of, BY_STEP, false},
        {"Loss by time", "loss", loss_of, BY_TIME, false},
        {"Validation loss by step", "validation loss", valid_of, BY_STEP, true},
        {"Validation loss by time", "validation loss", valid_of, BY_TIME, true},
        {"Throughput by step", "tokens/s", speed_of, BY_STEP, false},
        {"Throughput by time", "tokens/s", speed_of, BY_TIME, false},
    };
    mu_buf_adds(out, "<h2>Curves</h2>\n<div class=\"charts\">\n");
    for (size_t i = 0; i < sizeof charts / sizeof *charts; i++) {
        mu_curve_t curve[MU_COMPARE_MOST];
        mu_chart_t chart = {charts[i].title,
                            charts[i].axis == BY_STEP ? "step" : "time since the start",
                            charts[i].y_words,
                            charts[i].axis == BY_TIME,
                            charts[i].dots,
                            curve,
                            count};
        char *label[MU_COMPARE_MOST];
        for (int r = 0; r < count; r++) {
            label[r] = mu_summary_label(runs, count, r);
            curve[r].label = label[r];
            fill_curve(&runs[r], charts[i].value, charts[i].axis, &curve[r]);
        }
        mu_chart_html(&chart, out);
        for (int r = 0; r < count; r++) {
            free(label[r]);
            free(curve[r].x);
            free(curve[r].y);
        }
    }
    mu_buf_adds(out, "</div>\n");
}

void mu_compare_html(const mu_summary_t *runs, int count, mu_buf_t *out)
{
    mu_buf_t title = MU_BUF_INIT;
    char when[32];
    time_t now = time(NULL);
    struct tm tm;
    for (int r = 0; r < count; r++) {
        char *label = mu_summary_label(runs, count, r);
        mu_buf_adds(&title, r == 0 ? "" : ", ");
        mu_html_text(label, &title);
        free(label);
    }
    gmtime_r(&now, &tm);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    mu_buf_addf(out,
                "%s<title>muster: %s</title>\n<style>%s%s</style>\n</head>\n<body>\n<main>\n<h1>%s</h1>\n",
                head, title.data, css, mu_chart_css, title.data);
    mu_buf_addf(out, "<p>Made by muster %s at %s UTC.</p>\n", MU_VERSION, when);
    add_figures(runs, count, out);
    add_charts(runs, count, out);
    add_parts(runs, count, out);
    add_facts(runs, count, out);
    add_events(runs, count, out);
    mu_buf_adds(out, "</main>\n</body>\n</html>\n");
    mu_buf_release(&title);
}
