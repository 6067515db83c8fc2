/* Equal lines of several ranks, shown once: "rank 3: warning: ..." and, some seconds later, "(the same from
 * 31 other ranks)". */
#ifndef MU_LAUNCHER_FOLD_H
#define MU_LAUNCHER_FOLD_H

#include "launcher/monitor/progress.h"

enum { MU_FOLDS = 8 };

typedef struct mu_fold {
    struct {
        char text[160]; /* without "rank N: "; "" is free */
        int rank, others;
        int64_t since_ns;
    } line[MU_FOLDS];
} mu_fold_t;

/* Whether the line is to be shown now. */
bool mu_fold_line(mu_fold_t *fold, int rank, const char *line, int64_t now);
/* Says how many others there were, of lines older than 3 s. */
void mu_fold_flush(mu_fold_t *fold, mu_progress_t *progress, int64_t now);

#endif
