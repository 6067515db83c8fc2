#include "launcher/monitor/progress.h"
#include "common/duration.h"
#include "common/log.h"
#include "common/meter.h"

#include <unistd.h>

static const int64_t plain_pause_ns = 2000000000;

void mu_progress_text(const mu_heartbeat_t *b, double left, mu_buf_t *out)
{
    mu_buf_addf(out, "step %lld", (long long)b->step);
    if (b->train_iters > 0)
        mu_buf_addf(out, "/%lld", (long long)b->train_iters);
#define SHOW_F(name, first, words)                                                                           \
    if (*words && !(b->name == (first)))                                                                     \
        mu_buf_addf(out, *words ? words : "%g", b->name);
#define SHOW_I(name, first, words)                                                                           \
    if (*words && b->name != (first))                                                                        \
        mu_buf_addf(out, *words ? words : "%lld", (long long)b->name);
    MU_METRIC_TABLE(SHOW_I, SHOW_F)
#undef SHOW_F
#undef SHOW_I
    if (left > 0) {
        mu_buf_adds(out, "  ");
        mu_duration_text(left, out);
        mu_buf_adds(out, " left");
    }
}

static void put(mu_progress_t *p, const char *before, const char *line, const char *after)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_buf_addf(&text, "%s%s%s", before, line, after);
    mu_async_stderr_write(p->async_stderr, text.data, text.len);
    mu_buf_release(&text);
}

void mu_progress_print(mu_progress_t *p, const char *line)
{
    if (!p->terminal || !*p->line) {
        put(p, "", line, "\n");
        return;
    }
    put(p, "\r\033[K", line, "\n");
    put(p, "", p->line, "");
}

static void sink(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    mu_progress_print(arg, line);
}

void mu_progress_begin(mu_progress_t *p, mu_async_stderr_t *async_stderr, int64_t log_interval)
{
    const char *term = getenv("TERM");
    *p = (mu_progress_t){
        .async_stderr = async_stderr, .log_interval = log_interval > 0 ? log_interval : 1, .shown_step = -1};
    p->terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    mu_log_sink_set(sink, p);
}

void mu_progress_restart(mu_progress_t *p)
{
    p->shown_step = -1;
    p->first_ns = 0;
}

/* `muster eval`, in the style of the other verbs that take long; nothing elsewhere than on a terminal. */
static void show_evaluation(mu_progress_t *p, const mu_heartbeat_t *b, int64_t now)
{
    if (p->first_ns == 0)
        p->first_ns = now;
    if (!p->terminal)
        return;
    mu_meter_text("eval", MU_METER_COUNT, (uint64_t)b->eval_rows, (uint64_t)b->eval_total,
                  (double)(now - p->first_ns) * 1e-9, mu_meter_columns() - 1, p->line, sizeof p->line);
    put(p, "\r\033[K", p->line, "");
}

void mu_progress_heartbeat(mu_progress_t *p, const mu_heartbeat_t *b, int64_t now)
{
    if (b->eval_total > 0)
        show_evaluation(p, b, now);
    if (b->step <= 0)
        return;
    if (p->first_ns == 0) {
        p->first_ns = now;
        p->first_step = b->step;
    }
    double elapsed = (double)(now - p->first_ns) * 1e-9, left = 0;
    if (b->step > p->first_step && b->train_iters > b->step)
        left = elapsed / (double)(b->step - p->first_step) * (double)(b->train_iters - b->step);
    bool due = b->step / p->log_interval != p->shown_step / p->log_interval || b->step == b->train_iters;
    if (p->terminal ? b->step == p->shown_step
                    : !due || b->step == p->shown_step || (p->shown_ns && now - p->shown_ns < plain_pause_ns))
        return;
    mu_buf_t text = MU_BUF_INIT;
    mu_progress_text(b, left, &text);
    p->shown_step = b->step;
    p->shown_ns = now;
    if (p->terminal) {
        snprintf(p->line, sizeof p->line, "%s", text.data);
        put(p, "\r\033[K", p->line, "");
    } else {
        mu_info("%s", text.data);
    }
    mu_buf_release(&text);
}

void mu_progress_end(mu_progress_t *p)
{
    mu_async_stderr_log(p->async_stderr);
    if (p->terminal && *p->line)
        put(p, "", "", "\n");
    p->line[0] = '\0';
}
