/*
 * Where the time of a run went. The parts add up to the wall time: the time in which a launcher worked on the run
 * (docs/watching.md has the meaning of each part).
 *
 *     mu_account_t account;            launcher/report/accounting.h fills it in from a run directory
 *     mu_account_put(&account, json)   as members of run.json
 *     mu_account_text(&account, &out)  the table for people
 */
#ifndef MU_COMMON_ACCOUNT_H
#define MU_COMMON_ACCOUNT_H

#include "common/buf.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* name in JSON and of the metric, words for people, whether it is useful time */
#define MU_ACCOUNT_TABLE(X)                                                                                  \
    X(compute, "compute", true)                                                                              \
    X(communication, "exposed communication", true)                                                          \
    X(data_wait, "data wait", false)                                                                         \
    X(checkpoint, "checkpoint stall", false)                                                                 \
    X(copies, "copies in memory", false)                                                                     \
    X(evaluation, "evaluation", false)                                                                       \
    X(start, "start", false)                                                                                 \
    X(lost, "lost to restarts", false)                                                                       \
    X(other, "other", false)

typedef enum mu_part {
#define MU_PART_ENUM(name, words, useful) MU_PART_##name,
    MU_ACCOUNT_TABLE(MU_PART_ENUM)
#undef MU_PART_ENUM
        MU_PARTS
} mu_part_t;

typedef struct mu_account {
    double part[MU_PARTS]; /* seconds */
    double wall;           /* seconds: the sum of the parts */
    int64_t steps;         /* that count: each once */
    int64_t lost_steps;    /* done twice, or to be done again */
    int64_t attempts, stalls;
    int64_t saves;    /* checkpoints that held the run up, for part[MU_PART_checkpoint] together */
    int64_t failures; /* attempts that ended with neither 0 nor 75 */
    double step_ms_min, step_ms_median, step_ms_max; /* of the steps that count; 0: none */
} mu_account_t;

const char *mu_part_name(int part);
const char *mu_part_words(int part);
/* Useful time / wall time; 0 without a wall time. */
double mu_account_goodput(const mu_account_t *account);
/* Seconds between checkpoints at which stalls and work done again cost least together (Young, 1974; Daly, 2006, to
 * first order): sqrt(2 x mean stall x mean time between failures). Without a failure the time is longer than the wall
 * time, and this a lower bound. 0: no checkpoint has held the run up yet. */
double mu_account_interval(const mu_account_t *account);
enum { MU_ACCOUNT_YOUNG = 300 };
/* Whether the interval says something: after a failure, or MU_ACCOUNT_YOUNG seconds of run. Before, the lower bound is
 * next to nothing. */
bool mu_account_interval_known(const mu_account_t *account);
/* What it follows from, in words, with the interval in steps: "at least every 3m12s (128 steps): ...". Nothing where it
 * is not known. */
void mu_account_interval_text(const mu_account_t *account, mu_buf_t *out);
/* Adds the object "account" to `json`, and reads it back; an absent one reads as zeros. */
void mu_account_put(const mu_account_t *account, json_t *json);
void mu_account_get(const json_t *json, mu_account_t *out);
/* A line a part with seconds and share, then goodput, lost steps and the time of a step. Each begins with `indent`. */
void mu_account_text(const mu_account_t *account, const char *indent, mu_buf_t *out);

#endif
