#include "launcher/report/view.h"
#include "common/duration.h"
#include "common/ready_text.h"
#include "launcher/report/plot.h"

#include <math.h>
#include <time.h>

/* Lines are gathered first: the curve gets the rows that the rest leaves. */
typedef struct screen {
    const mu_view_t *view;
    const mu_run_state_t *state;
    mu_buf_t above, below; /* lines with newlines */
    int above_rows, below_rows;
} screen_t;

enum { PLOT_LEAST = 5, CAUSES_MOST = 12 };

static void escaped(const char *text, mu_buf_t *out)
{
    mu_text_escape(text, strlen(text), 1000, out);
}

/* Adds one line, cut to the screen. Every byte outside the curve is ASCII. */
static void line(screen_t *s, bool above, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void line(screen_t *s, bool above, const char *format, ...)
{
    mu_buf_t text = MU_BUF_INIT, *to = above ? &s->above : &s->below;
    va_list args;
    va_start(args, format);
    mu_buf_vaddf(&text, format, args);
    va_end(args);
    size_t width = (size_t)s->view->columns;
    mu_buf_add(to, text.data, text.len < width ? text.len : width);
    mu_buf_addc(to, '\n');
    *(above ? &s->above_rows : &s->below_rows) += 1;
    mu_buf_release(&text);
}

static void clock_text(double time, char out[16])
{
    time_t seconds = (time_t)time;
    struct tm tm;
    localtime_r(&seconds, &tm);
    strftime(out, 16, "%H:%M:%S", &tm);
}

/* ---- what stands above the curve ---- */

static void add_title(screen_t *s)
{
    const mu_run_state_t *st = s->state;
    bool ended = mu_history_ended(s->view->history), alive = mu_history_alive(s->view->history);
    mu_buf_t text = MU_BUF_INIT, since = MU_BUF_INIT, word = MU_BUF_INIT;
    escaped(st->state, &word);
    escaped(mu_history_dir(s->view->history), &text);
    mu_duration_text((ended ? st->time : s->view->now) - st->started, &since);
    line(s, true, " muster %.*s  %s%s  attempt %lld  %s %-*s", s->view->columns / 2, text.data, word.data,
         ended || alive ? "" : " (its launcher is gone)", (long long)st->attempt, since.data,
         s->view->columns, ended ? "in all" : "so far");
    mu_buf_release(&text);
    mu_buf_release(&since);
    mu_buf_release(&word);
}

/* Seconds that the steps left take at the median step time. */
static double left_seconds(const screen_t *s)
{
    double step = s->view->account->step_ms_median / 1e3;
    return mu_history_ended(s->view->history) ? 0 : step * (double)(s->state->train_iters - s->state->step);
}

static void add_progress(screen_t *s)
{
    const mu_run_state_t *st = s->state;
    double share = st->train_iters > 0 ? (double)st->step / (double)st->train_iters : 0;
    mu_buf_t text = MU_BUF_INIT, bar = MU_BUF_INIT;
    mu_buf_addf(&text, " %3.0f %%  step %lld/%lld", 100 * share, (long long)st->step,
                (long long)st->train_iters);
    if (left_seconds(s) > 0) {
        mu_buf_adds(&text, "  ");
        mu_duration_text(left_seconds(s), &text);
        mu_buf_adds(&text, " left");
    }
    int width = s->view->columns - (int)text.len - 2;
    for (int i = 0; i < width; i++)
        mu_buf_addc(&bar, i < (int)(share * width) ? '#' : '.');
    line(s, true, "[%s]%s", width > 0 ? bar.data : "", text.data);
    mu_buf_release(&text);
    mu_buf_release(&bar);
}

/* The newest line of metrics.jsonl that counts, and the newest evaluation; NULL: none. */
static void newest(const mu_history_t *h, const mu_point_t **point, const mu_point_t **valid)
{
    size_t n;
    const mu_point_t *p = mu_history_points(h, &n);
    *point = n > 0 ? &p[n - 1] : NULL;
    *valid = NULL;
    while (n > 0 && !*valid) {
        n--;
        if (!p[n].replaced && isfinite(p[n].valid_loss))
            *valid = &p[n];
    }
}

static void add_figures(screen_t *s)
{
    const mu_point_t *p, *valid;
    mu_buf_t text = MU_BUF_INIT;
    newest(s->view->history, &p, &valid);
    if (p)
        mu_buf_addf(&text, "loss %.4f", p->loss);
    if (valid)
        mu_buf_addf(&text, "  valid %.4f (step %lld)", valid->valid_loss, (long long)valid->step);
    if (p)
        mu_buf_addf(&text, "  %.0f tokens/s  step %.1f ms  lr %.3g  gradient %.3g", p->tokens_per_s,
                    p->step_ms, p->lr, p->grad_norm);
    line(s, true, "%s", text.len ? text.data : "no step yet");
    mu_buf_release(&text);
}

/* ---- what stands below ---- */

static void part_text(const mu_account_t *a, int part, bool bars, mu_buf_t *out)
{
    mu_buf_t time = MU_BUF_INIT;
    double share = a->wall > 0 ? a->part[part] / a->wall : 0;
    char bar[11];
    for (int i = 0; i < 10; i++)
        bar[i] = i < (int)(share * 10 + 0.5) ? '#' : '.';
    bar[10] = '\0';
    mu_duration_text(a->part[part], &time);
    mu_buf_addf(out, "%-22s%5.1f %% %7s%s%s", mu_part_words(part), 100 * share, time.data, bars ? " " : "",
                bars ? bar : "");
    mu_buf_release(&time);
}

static void add_account(screen_t *s)
{
    const mu_account_t *a = s->view->account;
    int half = (MU_PARTS + 1) / 2, width = s->view->columns / 2;
    bool bars = width >= 50;
    mu_buf_t wall = MU_BUF_INIT;
    for (int i = 0; i < half; i++) {
        mu_buf_t left = MU_BUF_INIT, right = MU_BUF_INIT;
        part_text(a, i, bars, &left);
        if (i + half < MU_PARTS)
            part_text(a, i + half, bars, &right);
        line(s, false, "%-*.*s%s", width, width, left.data, right.data ? right.data : "");
        mu_buf_release(&left);
        mu_buf_release(&right);
    }
    mu_duration_text(a->wall, &wall);
    line(s, false, "goodput %.1f %% of %s; %lld steps, %lld lost; step %.1f/%.1f/%.1f ms (min/med/max)",
         100 * mu_account_goodput(a), wall.data, (long long)a->steps, (long long)a->lost_steps,
         a->step_ms_min, a->step_ms_median, a->step_ms_max);
    mu_buf_release(&wall);
}

static const mu_event_t *last_event(const mu_history_t *h, const char *kind)
{
    size_t n;
    const mu_event_t *event = mu_history_events(h, &n);
    while (n-- > 0)
        if (strcmp(event[n].kind, kind) == 0)
            return &event[n];
    return NULL;
}

static void add_checkpoint(screen_t *s)
{
    const mu_event_t *e = last_event(s->view->history, "checkpoint");
    mu_buf_t age = MU_BUF_INIT;
    if (s->state->last_checkpoint < 0) {
        line(s, false, "checkpoint  none yet");
        return;
    }
    mu_buf_adds(&age, "");
    if (e) {
        char at[16];
        clock_text(e->time, at);
        mu_buf_addf(&age, " at %s, ", at);
        mu_duration_text(s->view->now - e->time, &age);
        mu_buf_adds(&age, " ago");
    }
    line(s, false, "checkpoint  step %lld%s", (long long)s->state->last_checkpoint, age.data);
    mu_buf_release(&age);
}

static void add_ranks(screen_t *s)
{
    const mu_spread_t *c = &s->state->rank_compute_ms;
    mu_buf_t text = MU_BUF_INIT;
    if (c->rank > 0) {
        escaped(s->state->slowest_host, &text);
        line(s, false, "slowest     rank %lld (%s) computes %.1f ms a step; median %.1f, least %.1f",
             (long long)c->rank, text.data, c->max, c->median, c->min);
        mu_buf_clear(&text);
    }
    escaped(*s->state->hosts ? s->state->hosts : "-", &text);
    line(s, false, "hosts       %s", text.data);
    mu_buf_release(&text);
}

/* The newest failures and stalls, each with its cause, as many as there is room for. */
static void add_causes(screen_t *s, int most)
{
    size_t n;
    const mu_event_t *event = mu_history_events(s->view->history, &n);
    const mu_event_t *shown[CAUSES_MOST];
    int count = 0, failures = 0;
    for (size_t i = 0; i < n; i++)
        failures += strcmp(event[i].kind, "failed") == 0;
    line(s, false, "restarts %lld, failures %d, stalls %lld", (long long)s->state->restarts, failures,
         (long long)s->view->account->stalls);
    for (size_t i = n; i-- > 0 && count < most && count < CAUSES_MOST;)
        if (strcmp(event[i].kind, "failed") == 0 || strcmp(event[i].kind, "stall") == 0)
            shown[count++] = &event[i];
    while (count-- > 0) {
        const mu_event_t *e = shown[count];
        mu_buf_t text = MU_BUF_INIT;
        char at[16];
        clock_text(e->time, at);
        if (e->rank >= 0)
            mu_buf_addf(&text, "rank %lld ", (long long)e->rank);
        if (*e->host) {
            mu_buf_addc(&text, '(');
            escaped(e->host, &text);
            mu_buf_adds(&text, ") ");
        }
        escaped(e->text, &text);
        line(s, false, "  %s %s", at, text.data);
        mu_buf_release(&text);
    }
}

/* The curve of the loss in `rows` lines. */
static void add_curve(const screen_t *s, int rows, mu_buf_t *out)
{
    size_t n, kept = 0;
    const mu_point_t *p = mu_history_points(s->view->history, &n);
    double *x = mu_alloc((n + 1) * sizeof *x), *y = mu_alloc((n + 1) * sizeof *y);
    for (size_t i = 0; i < n; i++)
        if (!p[i].replaced) {
            x[kept] = (double)p[i].step;
            y[kept++] = p[i].loss;
        }
    mu_plot_t plot = {x, y, kept, s->view->columns, rows, s->view->utf8};
    mu_plot_draw(&plot, out);
    free(x);
    free(y);
}

/* Adds lines as far as there is room; returns the rows that are left. */
static int add_lines(const mu_buf_t *lines, int rows, mu_buf_t *out)
{
    const char *at = lines->data ? lines->data : "";
    for (; rows > 0 && *at; rows--) {
        size_t n = strcspn(at, "\n") + 1;
        mu_buf_add(out, at, n);
        at += n;
    }
    return rows;
}

void mu_view_draw(const mu_view_t *view, mu_buf_t *out)
{
    screen_t s = {.view = view, .state = mu_history_state(view->history)};
    bool keys = *view->keys && view->rows > 2;
    int rows = view->rows - keys;
    add_title(&s);
    add_progress(&s);
    add_figures(&s);
    add_account(&s);
    add_checkpoint(&s);
    add_ranks(&s);
    int room = rows - s.above_rows - s.below_rows - PLOT_LEAST - 3;
    add_causes(&s, room / 3 > 1 ? room / 3 : room > 0 ? 1 : 0);
    int curve = rows - s.above_rows - s.below_rows;
    rows = add_lines(&s.above, rows, out);
    if (curve >= PLOT_LEAST && view->columns >= 20) {
        add_curve(&s, curve, out);
        rows -= curve;
    }
    rows = add_lines(&s.below, rows, out);
    for (; keys && rows > 0; rows--)
        mu_buf_addc(out, '\n');
    if (keys)
        mu_buf_addf(out, "%.*s", view->columns, view->keys);
    else if (out->len > 0 && out->data[out->len - 1] == '\n')
        out->data[--out->len] = '\0';
    mu_buf_release(&s.above);
    mu_buf_release(&s.below);
}
