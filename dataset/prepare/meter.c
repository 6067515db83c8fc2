#include "dataset/prepare/meter.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/num.h"

#include <unistd.h>

static const int64_t REDRAW = 200000000, REPEAT = 10000000000; /* ns */

/* Called with the log's lock held: one line above the meter's, which the next redraw brings back. */
static void above(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    fprintf(stderr, "\r\033[K%s\n", line);
}

void mu_meter_text(const char *verb, uint64_t done, uint64_t total, double seconds, char *out,
                   unsigned long size)
{
    char d[32], t[32];
    double rate = seconds > 0 ? (double)done / seconds : 0;
    mu_human_bytes(done, d, sizeof d);
    if (total == 0) {
        snprintf(out, size, "%s: %s, %.1f MB/s", verb, d, rate * 1e-6);
        return;
    }
    done = done < total ? done : total; /* a file may grow while it is read */
    mu_human_bytes(total, t, sizeof t);
    int n = snprintf(out, size, "%s: %d %%, %s of %s, %.1f MB/s", verb,
                     (int)(100.0 * (double)done / (double)total), d, t, rate * 1e-6);
    if (rate > 0 && seconds > 1 && n > 0 && (unsigned long)n < size) {
        long long left = (long long)((double)(total - done) / rate + 0.5);
        if (left < 3600)
            snprintf(out + n, size - (unsigned long)n, ", %lld:%02lld left", left / 60, left % 60);
        else
            snprintf(out + n, size - (unsigned long)n, ", %lld:%02lld:%02lld left", left / 3600,
                     left / 60 % 60, left % 60);
    }
}

void mu_meter_begin(mu_meter_t *meter, const char *verb)
{
    meter->verb = verb;
    meter->terminal = isatty(STDERR_FILENO) && mu_log_level() >= MU_LOG_INFO;
    meter->begun = meter->shown = mu_now_ns();
    if (meter->terminal)
        mu_log_sink_set(above, NULL);
}

void mu_meter_show(mu_meter_t *meter, uint64_t done, uint64_t total)
{
    char text[160];
    int64_t now = mu_now_ns();
    if (now - meter->shown < (meter->terminal ? REDRAW : REPEAT))
        return;
    meter->shown = now;
    mu_meter_text(meter->verb, done, total, (double)(now - meter->begun) * 1e-9, text, sizeof text);
    if (meter->terminal)
        fprintf(stderr, "\r\033[K%s", text);
    else
        mu_info("%s", text);
}

void mu_meter_end(mu_meter_t *meter)
{
    if (meter->terminal) {
        mu_log_sink_set(NULL, NULL);
        fprintf(stderr, "\r\033[K");
    }
}
