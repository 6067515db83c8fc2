#include "launcher/monitor/dedup.h"

static const int64_t hold_ns = 3000000000;

/* Behind "rank 12: ", wherever in the line that is. */
static const char *bare(const char *line)
{
    const char *at = strstr(line, "rank ");
    const char *end = at ? at + 5 + strspn(at + 5, "0123456789") : NULL;
    return end && strncmp(end, ": ", 2) == 0 ? end + 2 : line;
}

bool mu_fold_line(mu_fold_t *fold, int rank, const char *line, int64_t now)
{
    char text[sizeof fold->line[0].text];
    int oldest = 0;
    snprintf(text, sizeof text, "%.*s", (int)sizeof text - 1, bare(line));
    for (int i = 0; i < MU_FOLDS; i++) {
        if (*text && strcmp(fold->line[i].text, text) == 0 && fold->line[i].rank != rank) {
            fold->line[i].others++;
            return false;
        }
        if (fold->line[i].since_ns < fold->line[oldest].since_ns)
            oldest = i;
    }
    if (fold->line[oldest].others > 0)
        return true; /* all places wait to be told */
    snprintf(fold->line[oldest].text, sizeof text, "%s", text);
    fold->line[oldest].rank = rank;
    fold->line[oldest].since_ns = now;
    return true;
}

void mu_fold_flush(mu_fold_t *fold, mu_progress_t *progress, int64_t now)
{
    for (int i = 0; i < MU_FOLDS; i++) {
        if (!*fold->line[i].text || now - fold->line[i].since_ns < hold_ns)
            continue;
        if (fold->line[i].others > 0) {
            mu_buf_t text = MU_BUF_INIT;
            mu_buf_addf(&text, "rank %d: (the same from %d other%s: %.60s...)", fold->line[i].rank,
                        fold->line[i].others, fold->line[i].others == 1 ? "" : "s", fold->line[i].text);
            mu_progress_print(progress, text.data);
            mu_buf_release(&text);
        }
        memset(&fold->line[i], 0, sizeof fold->line[i]);
    }
}
