#include "launcher/monitor/dedup.h"

static const int64_t hold_ns = 3000000000;

/* Behind "rank 12: ", wherever in the line that is. */
static const char *bare(const char *line)
{
    const char *at = strstr(line, "rank ");
    const char *end = at ? at + 5 + strspn(at + 5, "0123456789") : NULL;
    return end && strncmp(end, ": ", 2) == 0 ? end + 2 : line;
}

bool mu_dedup_line(mu_dedup_t *dedup, int rank, const char *line, int64_t now)
{
    char text[sizeof dedup->line[0].text];
    int oldest = 0;
    snprintf(text, sizeof text, "%.*s", (int)sizeof text - 1, bare(line));
    for (int i = 0; i < MU_DEDUP_LINES; i++) {
        if (*text && strcmp(dedup->line[i].text, text) == 0 && dedup->line[i].rank != rank) {
            dedup->line[i].others++;
            return false;
        }
        if (dedup->line[i].since_ns < dedup->line[oldest].since_ns)
            oldest = i;
    }
    if (dedup->line[oldest].others > 0)
        return true; /* all places wait to be shown */
    snprintf(dedup->line[oldest].text, sizeof text, "%s", text);
    dedup->line[oldest].rank = rank;
    dedup->line[oldest].since_ns = now;
    return true;
}

void mu_dedup_flush(mu_dedup_t *dedup, mu_progress_t *progress, int64_t now)
{
    for (int i = 0; i < MU_DEDUP_LINES; i++) {
        if (!*dedup->line[i].text || now - dedup->line[i].since_ns < hold_ns)
            continue;
        if (dedup->line[i].others > 0) {
            mu_buf_t text = MU_BUF_INIT;
            mu_buf_addf(&text, "rank %d: (the same from %d other%s: %.60s...)", dedup->line[i].rank,
                        dedup->line[i].others, dedup->line[i].others == 1 ? "" : "s", dedup->line[i].text);
            mu_progress_print(progress, text.data);
            mu_buf_release(&text);
        }
        memset(&dedup->line[i], 0, sizeof dedup->line[i]);
    }
}
