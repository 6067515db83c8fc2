#include "common/meter.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/num.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const int64_t REDRAW = 200000000; /* ns */

/* The bar of this process; see the header for why there is one. */
static struct {
    _Atomic bool drawn;
    const char *verb;
    mu_meter_unit_t unit;
    int64_t begun_ns;
    _Atomic int64_t shown_ns;
    _Atomic uint64_t done, total;
} bar;

/* Called with the log's lock held: one line above the bar, which the next redraw brings back. */
static void above(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    fprintf(stderr, "\r\033[K%s\n", line);
}

int mu_meter_columns(void)
{
    struct winsize size = {0};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* "1.20 GiB of 2.90 GiB, 23.1 MB/s" */
static int amounts(mu_meter_unit_t unit, uint64_t done, uint64_t total, double rate, char *out, size_t size)
{
    char d[32], t[32];
    if (unit == MU_METER_COUNT)
        return total > 0 ? snprintf(out, size, "%llu of %llu, %.1f/s", (unsigned long long)done,
                                    (unsigned long long)total, rate)
                         : snprintf(out, size, "%llu, %.1f/s", (unsigned long long)done, rate);
    mu_human_bytes(done, d, sizeof d);
    mu_human_bytes(total, t, sizeof t);
    return total > 0 ? snprintf(out, size, "%s of %s, %.1f MB/s", d, t, rate * 1e-6)
                     : snprintf(out, size, "%s, %.1f MB/s", d, rate * 1e-6);
}

static void time_left(double seconds, char *out, size_t size)
{
    long long left = (long long)(seconds + 0.5);
    if (left < 3600)
        snprintf(out, size, ", %lld:%02lld left", left / 60, left % 60);
    else
        snprintf(out, size, ", %lld:%02lld:%02lld left", left / 3600, left / 60 % 60, left % 60);
}

void mu_meter_text(const char *verb, mu_meter_unit_t unit, uint64_t done, uint64_t total, double seconds,
                   int columns, char *out, size_t size)
{
    enum { BAR_LEAST = 8, BAR_MOST = 40 };
    char text[160], left[48] = "", hashes[BAR_MOST + 4] = "";
    double rate = seconds > 0 ? (double)done / seconds : 0;
    size_t cells = columns > 0 ? (size_t)columns : 0;
    done = total > 0 && done > total ? total : done; /* a file may grow while it is read */
    amounts(unit, done, total, rate, text, sizeof text);
    if (total > 0 && rate > 0 && seconds > 1)
        time_left((double)(total - done) / rate, left, sizeof left);
    if (total == 0) {
        snprintf(out, size, "%s: %s", verb, text);
    } else {
        double share = (double)done / (double)total;
        int room = (int)cells - (int)(strlen(verb) + strlen(text) + strlen(left)) - 10; /* " [] 100 %, " */
        room = room > BAR_MOST ? BAR_MOST : room;
        for (int i = 0; room >= BAR_LEAST && i < room; i++)
            hashes[i] = i < (int)(share * room) ? '#' : '.';
        if (room >= BAR_LEAST)
            snprintf(out, size, "%s [%s] %d %%, %s%s", verb, hashes, (int)(100 * share), text, left);
        else
            snprintf(out, size, "%s: %d %%, %s%s", verb, (int)(100 * share), text, left);
    }
    if (cells < size && strlen(out) > cells)
        out[cells] = '\0';
}

static void draw(void)
{
    char text[256];
    int64_t now = mu_now_ns(), shown = atomic_load(&bar.shown_ns);
    /* of several threads the one that moves the time of the last drawing draws */
    if (now - shown < REDRAW || !atomic_compare_exchange_strong(&bar.shown_ns, &shown, now))
        return;
    mu_meter_text(bar.verb, bar.unit, atomic_load(&bar.done), atomic_load(&bar.total),
                  (double)(now - bar.begun_ns) * 1e-9, mu_meter_columns() - 1, text, sizeof text);
    fprintf(stderr, "\r\033[K%s", text);
}

void mu_meter_phase(const char *verb, mu_meter_unit_t unit, uint64_t total)
{
    if (!atomic_load(&bar.drawn))
        return;
    bar.verb = verb;
    bar.unit = unit;
    bar.begun_ns = mu_now_ns();
    atomic_store(&bar.done, 0);
    atomic_store(&bar.total, total);
    atomic_store(&bar.shown_ns, bar.begun_ns);
}

void mu_meter_begin(const char *verb, mu_meter_unit_t unit, uint64_t total)
{
    const char *term = getenv("TERM");
    bool drawn = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0 && mu_log_level() >= MU_LOG_INFO;
    atomic_store(&bar.drawn, drawn);
    mu_meter_phase(verb, unit, total);
    if (drawn)
        mu_log_sink_set(above, NULL);
}

void mu_meter_expect(uint64_t more)
{
    if (atomic_load_explicit(&bar.drawn, memory_order_relaxed))
        atomic_fetch_add(&bar.total, more);
}

void mu_meter_add(uint64_t done)
{
    if (!atomic_load_explicit(&bar.drawn, memory_order_relaxed))
        return;
    atomic_fetch_add(&bar.done, done);
    draw();
}

void mu_meter_set(uint64_t done, uint64_t total)
{
    if (!atomic_load_explicit(&bar.drawn, memory_order_relaxed))
        return;
    atomic_store(&bar.done, done);
    atomic_store(&bar.total, total);
    draw();
}

void mu_meter_end(void)
{
    if (!atomic_load(&bar.drawn))
        return;
    atomic_store(&bar.drawn, false);
    mu_log_sink_set(NULL, NULL);
    fprintf(stderr, "\r\033[K");
}
