#include "launcher/report/status_text.h"
#include "common/clock.h"
#include "common/duration.h"
#include "common/ready_text.h"

#include <math.h>

enum { NAME_LEAST = 12, REST = 78 }; /* of a row: the name's room, and what follows it */

void mu_status_json(const mu_history_t *history, const mu_account_t *account, mu_buf_t *out)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_run_state_t state = *mu_history_state(history);
    state.account = *account;
    mu_run_state_json(&state, &text);
    json_t *json = json_loadb(text.data, text.len, 0, NULL);
    json_t *name = json_string(mu_history_dir(history));
    json_object_set_new(json, "run", name ? name : json_null()); /* null: a path that is no UTF-8 */
    json_object_set_new(json, "alive", json_boolean(mu_history_alive(history)));
    char *line = json_dumps(json, 0);
    mu_buf_addf(out, "%s\n", line);
    free(line);
    json_decref(json);
    mu_buf_release(&text);
}

static void escaped(const char *text, mu_buf_t *out)
{
    mu_text_escape(text, strlen(text), 1200, out);
}

void mu_status_line(const mu_history_t *history, mu_buf_t *out)
{
    const mu_run_state_t *s = mu_history_state(history);
    escaped(s->state, out);
    if (!mu_history_alive(history) && !mu_history_ended(history))
        mu_buf_adds(out, " (but its launcher is gone: run again to go on)");
    mu_buf_addf(out, "  step %lld", (long long)s->step);
    if (s->train_iters > 0)
        mu_buf_addf(out, "/%lld", (long long)s->train_iters);
    if (s->loss > 0)
        mu_buf_addf(out, "  loss %.4f", s->loss);
    if (s->valid_loss > 0)
        mu_buf_addf(out, "  valid %.4f", s->valid_loss);
    if (s->tokens_per_s > 0)
        mu_buf_addf(out, "  %.0f tokens/s", s->tokens_per_s);
    if (s->last_checkpoint >= 0)
        mu_buf_addf(out, "  checkpoint %lld", (long long)s->last_checkpoint);
    mu_buf_addc(out, '\n');
}

void mu_status_lines(const mu_history_t *history, const mu_account_t *account, mu_buf_t *out)
{
    const mu_run_state_t *s = mu_history_state(history);
    bool ended = mu_history_ended(history);
    mu_status_line(history, out);
    mu_buf_addf(out,
                "  attempt %lld, %lld restart%s; tp %lld x dp %lld, %lld workers\n  launcher pid %lld on ",
                (long long)s->attempt, (long long)s->restarts, s->restarts == 1 ? "" : "s", (long long)s->tp,
                (long long)s->dp, (long long)s->workers, (long long)s->pid);
    escaped(s->host, out);
    mu_buf_adds(out, ", ");
    mu_duration_text((ended ? s->time : mu_wall_seconds()) - s->started, out);
    mu_buf_adds(out, ended ? " in all\n" : " so far\n");
    if (s->rank_compute_ms.rank > 0) {
        mu_buf_addf(out, "  slowest rank %lld (", (long long)s->rank_compute_ms.rank);
        escaped(s->slowest_host, out);
        mu_buf_addf(out, "): computes %.1f ms a step; median %.1f ms, least %.1f ms\n",
                    s->rank_compute_ms.max, s->rank_compute_ms.median, s->rank_compute_ms.min);
    }
    if (*s->reason) {
        mu_buf_adds(out, "  ");
        escaped(s->reason, out);
        mu_buf_addc(out, '\n');
    }
    if (s->exit_code >= 0)
        mu_buf_addf(out, "  exit code %lld\n", (long long)s->exit_code);
    if (account->wall > 0)
        mu_account_text(account, "  ", out);
}

/* ---- the table ---- */

static int name_room(int columns)
{
    return columns == 0 ? 40 : columns - REST > NAME_LEAST ? columns - REST : NAME_LEAST;
}

/* The end of a path says more than its beginning. */
static void add_name(const char *dir, int columns, mu_buf_t *out)
{
    mu_buf_t name = MU_BUF_INIT;
    int room = name_room(columns);
    escaped(dir, &name);
    if (columns > 0 && name.len > (size_t)room)
        mu_buf_addf(out, "...%s", name.data + name.len - (size_t)(room - 3));
    else
        mu_buf_addf(out, "%-*s", room, name.data);
    mu_buf_release(&name);
}

void mu_status_head(int columns, mu_buf_t *out)
{
    mu_buf_addf(out, "%-*s  %-10s %15s %8s %8s %9s %8s %8s %4s\n", name_room(columns), "run", "state", "step",
                "loss", "valid", "tokens/s", "goodput", "time", "rst");
}

static void add_figure(double value, int width, int digits, mu_buf_t *out)
{
    if (value > 0 || isnan(value)) /* 0: there is none yet */
        mu_buf_addf(out, " %*.*f", width, digits, value);
    else
        mu_buf_addf(out, " %*s", width, "-");
}

void mu_status_row(const mu_history_t *history, const mu_account_t *account, int columns, mu_buf_t *out)
{
    const mu_run_state_t *s = mu_history_state(history);
    bool gone = !mu_history_alive(history) && !mu_history_ended(history);
    char steps[48];
    mu_buf_t time = MU_BUF_INIT, word = MU_BUF_INIT;
    escaped(gone ? "gone" : s->state, &word);
    snprintf(steps, sizeof steps, "%lld/%lld", (long long)s->step, (long long)s->train_iters);
    mu_duration_text(account->wall, &time);
    add_name(mu_history_dir(history), columns, out);
    mu_buf_addf(out, "  %-10s %15s", word.data, steps);
    add_figure(s->loss, 8, 4, out);
    add_figure(s->valid_loss, 8, 4, out);
    add_figure(s->tokens_per_s, 9, 0, out);
    mu_buf_addf(out, " %6.1f %% %8s %4lld\n", 100 * mu_account_goodput(account), time.data,
                (long long)(account->attempts > 0 ? account->attempts - 1 : 0));
    mu_buf_release(&word);
    mu_buf_release(&time);
}
