/* Equal lines of several ranks, shown once: "rank 3: warning: ..." and, some seconds later, "(the same from
 * 31 other ranks)". */
#ifndef MU_LAUNCHER_DEDUP_H
#define MU_LAUNCHER_DEDUP_H

#include "launcher/monitor/progress.h"

enum { MU_DEDUP_LINES = 8 };

typedef struct mu_dedup {
    struct {
        char text[160]; /* without "rank N: "; "" is free */
        int rank, others;
        int64_t since_ns;
    } line[MU_DEDUP_LINES];
} mu_dedup_t;

/* Whether the line is to be shown now. */
bool mu_dedup_line(mu_dedup_t *dedup, int rank, const char *line, int64_t now);
/* Says how many others there were, of lines older than 3 s. */
void mu_dedup_flush(mu_dedup_t *dedup, mu_progress_t *progress, int64_t now);

#endif
