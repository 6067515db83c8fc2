/*
 * What is compared of a run: its figures, and the texts that say what it was made of (config, data, source).
 *
 *     mu_summary_t s;
 *     MU_TRY(mu_summary_open("RUN", &s));
 *     mu_summary_fact(&s, "seed")         "1234"; NULL: the run does not say
 *     mu_summary_close(&s);
 */
#ifndef MU_LAUNCHER_REPORT_SUMMARY_H
#define MU_LAUNCHER_REPORT_SUMMARY_H

#include "launcher/report/accounting.h"

typedef enum mu_fact_kind { MU_FACT_CONFIG, MU_FACT_DATA, MU_FACT_SOURCE, MU_FACT_KINDS } mu_fact_kind_t;

typedef struct mu_fact {
    mu_fact_kind_t kind;
    char *name, *value;
} mu_fact_t;

typedef struct mu_summary {
    mu_history_t *history;
    mu_account_t account;
    double began;             /* seconds since 1970: the first sign of the run; 0: none */
    double loss;              /* of the last step; this and what follows: NAN for none */
    double valid, best_valid; /* of the last evaluation, and the least */
    int64_t best_step;        /* 0: none */
    double tokens, tokens_per_s;
    mu_fact_t *fact; /* sorted by kind, then name */
    int facts;
} mu_summary_t;

/* Errors: MU_NOINPUT (no run there), MU_DATA, MU_IO. A config.yml that cannot be read leaves its facts out, with a
 * warning. */
mu_status_t mu_summary_open(const char *dir, mu_summary_t *out);
void mu_summary_close(mu_summary_t *summary);
const char *mu_summary_fact(const mu_summary_t *summary, mu_fact_kind_t kind, const char *name);

/* Names and kinds of the facts in which the runs differ, sorted; with one run, all facts. Valid as long as the
 * summaries. free() the array. */
const mu_fact_t **mu_summary_differences(const mu_summary_t *runs, int count, int *differences);
/* The run's short name: the last part of its path, or the whole path where two runs share it. A new string. */
char *mu_summary_label(const mu_summary_t *runs, int count, int run);

#endif
