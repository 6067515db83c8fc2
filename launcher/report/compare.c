#include "launcher/report/compare.h"
#include "common/duration.h"
#include "common/ready_text.h"

#include <math.h>

/* ---- figures ---- */

static void number(double value, const char *format, mu_buf_t *out) __attribute__((format(printf, 2, 0)));
static void number(double value, const char *format, mu_buf_t *out)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (isfinite(value))
        mu_buf_addf(out, format, value);
    else
        mu_buf_addc(out, '-');
#pragma GCC diagnostic pop
}

static void state_text(const mu_summary_t *run, mu_buf_t *out)
{
    mu_buf_adds(out, mu_history_state(run->history)->state);
    if (!mu_history_ended(run->history) && !mu_history_alive(run->history))
        mu_buf_adds(out, " (launcher gone)");
}

static void steps_text(const mu_summary_t *run, mu_buf_t *out)
{
    const mu_run_state_t *s = mu_history_state(run->history);
    mu_buf_addf(out, "%lld/%lld", (long long)s->step, (long long)s->train_iters);
}

static void tokens_text(const mu_summary_t *run, mu_buf_t *out)
{
    number(run->tokens, "%.0f", out);
}

static void loss_text(const mu_summary_t *run, mu_buf_t *out)
{
    number(run->loss, "%.4f", out);
}

static void valid_text(const mu_summary_t *run, mu_buf_t *out)
{
    number(run->valid, "%.4f", out);
}

static void best_text(const mu_summary_t *run, mu_buf_t *out)
{
    number(run->best_valid, "%.4f", out);
    if (run->best_step > 0)
        mu_buf_addf(out, " (step %lld)", (long long)run->best_step);
}

static void speed_text(const mu_summary_t *run, mu_buf_t *out)
{
    number(run->tokens_per_s, "%.0f", out);
}

static void step_time_text(const mu_summary_t *run, mu_buf_t *out)
{
    number(run->account.steps > 0 ? run->account.step_ms_median : (double)NAN, "%.1f", out);
}

static void wall_text(const mu_summary_t *run, mu_buf_t *out)
{
    mu_duration_text(run->account.wall, out);
}

static void goodput_text(const mu_summary_t *run, mu_buf_t *out)
{
    mu_buf_addf(out, "%.1f %%", 100 * mu_account_goodput(&run->account));
}

static void lost_text(const mu_summary_t *run, mu_buf_t *out)
{
    mu_buf_addf(out, "%lld", (long long)run->account.lost_steps);
}

static void attempts_text(const mu_summary_t *run, mu_buf_t *out)
{
    mu_buf_addf(out, "%lld", (long long)run->account.attempts);
}

static void stalls_text(const mu_summary_t *run, mu_buf_t *out)
{
    mu_buf_addf(out, "%lld", (long long)run->account.stalls);
}

const mu_figure_t mu_figures[] = {
    {"state", state_text},
    {"step", steps_text},
    {"tokens", tokens_text},
    {"loss", loss_text},
    {"validation loss", valid_text},
    {"least validation loss", best_text},
    {"tokens/s (median)", speed_text},
    {"step time, ms (median)", step_time_text},
    {"wall time", wall_text},
    {"goodput", goodput_text},
    {"attempts", attempts_text},
    {"lost steps", lost_text},
    {"stalls", stalls_text},
};
const int mu_figure_count = sizeof mu_figures / sizeof *mu_figures;

/* ---- the table ---- */

enum { NAME_WIDTH = 32, CELL_LEAST = 8, CELL_MOST = 40 };

static int cell_width(const mu_summary_t *runs, int count, char **label, int run, const mu_fact_t **fact,
                      int facts)
{
    size_t width = strlen(label[run]);
    mu_buf_t text = MU_BUF_INIT;
    for (int i = 0; i < mu_figure_count; i++) {
        mu_buf_clear(&text);
        mu_figures[i].text(&runs[run], &text);
        width = text.len > width ? text.len : width;
    }
    for (int i = 0; i < facts && count > 1; i++) {
        const char *value = mu_summary_fact(&runs[run], fact[i]->kind, fact[i]->name);
        size_t n = value ? strlen(value) : 0;
        width = n > width ? n : width;
    }
    mu_buf_release(&text);
    return width < CELL_LEAST ? CELL_LEAST : width > CELL_MOST ? CELL_MOST : (int)width;
}

/* One cell, padded or cut; the last one of a line is neither. */
static void cell(const char *text, int width, bool last, mu_buf_t *out)
{
    mu_buf_t safe = MU_BUF_INIT;
    mu_text_escape(text, strlen(text), 1000, &safe);
    if (last)
        mu_buf_addf(out, "%s\n", safe.data);
    else if (safe.len > (size_t)width)
        mu_buf_addf(out, "%.*s...  ", width - 3, safe.data);
    else
        mu_buf_addf(out, "%-*s  ", width, safe.data);
    mu_buf_release(&safe);
}

static void figure_rows(const mu_summary_t *runs, int count, const int *width, mu_buf_t *out)
{
    mu_buf_t text = MU_BUF_INIT;
    for (int i = 0; i < mu_figure_count; i++) {
        cell(mu_figures[i].name, NAME_WIDTH, false, out);
        for (int r = 0; r < count; r++) {
            mu_buf_clear(&text);
            mu_figures[i].text(&runs[r], &text);
            cell(text.data, width[r], r == count - 1, out);
        }
    }
    mu_buf_release(&text);
}

static void part_rows(const mu_summary_t *runs, int count, const int *width, mu_buf_t *out)
{
    for (int part = 0; part < MU_PARTS; part++) {
        cell(mu_part_words(part), NAME_WIDTH, false, out);
        for (int r = 0; r < count; r++) {
            const mu_account_t *a = &runs[r].account;
            char text[64];
            snprintf(text, sizeof text, "%.1f s %.1f %%", a->part[part],
                     a->wall > 0 ? 100 * a->part[part] / a->wall : 0);
            cell(text, width[r], r == count - 1, out);
        }
    }
}

static void fact_rows(const mu_summary_t *runs, int count, const int *width, const mu_fact_t **fact,
                      int facts, mu_buf_t *out)
{
    for (int i = 0; i < facts; i++) {
        cell(fact[i]->name, NAME_WIDTH, false, out);
        for (int r = 0; r < count; r++) {
            const char *value = mu_summary_fact(&runs[r], fact[i]->kind, fact[i]->name);
            cell(value ? value : "-", width[r], r == count - 1, out);
        }
    }
}

void mu_compare_text(const mu_summary_t *runs, int count, mu_buf_t *out)
{
    int facts, width[MU_COMPARE_MOST];
    char *label[MU_COMPARE_MOST];
    const mu_fact_t **fact = mu_summary_differences(runs, count, &facts);
    for (int r = 0; r < count; r++)
        label[r] = mu_summary_label(runs, count, r);
    for (int r = 0; r < count; r++)
        width[r] = cell_width(runs, count, label, r, fact, facts);
    cell("", NAME_WIDTH, false, out);
    for (int r = 0; r < count; r++)
        cell(label[r], width[r], r == count - 1, out);
    figure_rows(runs, count, width, out);
    mu_buf_adds(out, "\ntime\n");
    part_rows(runs, count, width, out);
    mu_buf_addf(out, "\n%s\n",
                count == 1 ? "config, data and source" : "differences of config, data and source");
    fact_rows(runs, count, width, fact, facts, out);
    if (facts == 0)
        mu_buf_adds(out, "none\n");
    for (int r = 0; r < count; r++)
        free(label[r]);
    free(fact);
}
