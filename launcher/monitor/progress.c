#include "launcher/monitor/progress.h"
#include "common/log.h"

#include <unistd.h>

static const int64_t plain_pause_ns = 2000000000;

void mu_duration_text(double seconds, mu_buf_t *out)
{
    int64_t s = seconds < 0 ? 0 : seconds > 1e9 ? 1000000000 : (int64_t)(seconds + 0.5);
    if (s >= 3600)
        mu_buf_addf(out, "%lldh%02lldm", (long long)(s / 3600), (long long)(s / 60 % 60));
    else if (s >= 60)
        mu_buf_addf(out, "%lldm%02llds", (long long)(s / 60), (long long)(s % 60));
    else
        mu_buf_addf(out, "%llds", (long long)s);
}

void mu_progress_text(const mu_heartbeat_t *b, double left, mu_buf_t *out)
{
    mu_buf_addf(out, "step %lld", (long long)b->step);
    if (b->train_iters > 0)
        mu_buf_addf(out, "/%lld", (long long)b->train_iters);
    if (b->tokens_per_s > 0) /* else no step has been made here */
        mu_buf_addf(out, "  loss %.4f", b->loss);
    if (b->valid_loss > 0)
        mu_buf_addf(out, "  valid %.4f", b->valid_loss);
    if (b->tokens_per_s > 0)
        mu_buf_addf(out, "  %.0f tokens/s", b->tokens_per_s);
    if (left > 0) {
        mu_buf_adds(out, "  ");
        mu_duration_text(left, out);
        mu_buf_adds(out, " left");
    }
    if (b->last_checkpoint >= 0)
        mu_buf_addf(out, "  checkpoint %lld", (long long)b->last_checkpoint);
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

void mu_progress_heartbeat(mu_progress_t *p, const mu_heartbeat_t *b, int64_t now)
{
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
