/*
 * `muster eval A B C --best`: which of several models wins, and by how much.
 *
 *     mu_choice_t choice;
 *     mu_choose(candidates, n, &choice);
 *     mu_choice_print(candidates, n, &choice, json, &text);
 *
 * Models are compared by the loss where a data set was measured, else by acc, of labelled examples. They must have
 * been measured on the same tokens and on the same examples.
 */
#ifndef MU_COMMON_CHOICE_H
#define MU_COMMON_CHOICE_H

#include "common/buf.h"
#include "common/gate.h"

typedef struct mu_candidate {
    const char *model;             /* as the command line names it */
    double value[MU_GATE_METRICS]; /* NAN: not measured, or no finite number */
    char *json;                    /* its result as one JSON object; the candidate's own */
} mu_candidate_t;

typedef struct mu_choice {
    int best, second; /* indexes; second -1: there is no other model that can be compared */
    mu_gate_metric_t metric;
    double margin; /* by which the best wins, >= 0; NAN without a second */
} mu_choice_t;

void mu_candidates_free(mu_candidate_t *candidates, int n); /* the list too */
/* Of equal ones the first wins. Errors: MU_CONFIG (measured on different numbers of tokens or on nothing that can be
 * compared), MU_DATA (no model has a finite value). */
mu_status_t mu_choose(const mu_candidate_t *candidates, int n, mu_choice_t *out);
/* One line for people. */
void mu_choice_print(const mu_candidate_t *candidates, const mu_choice_t *choice, mu_buf_t *out);
/* {"models": [...], "best": {...}} on one line; choice NULL: best is null. */
void mu_choice_json(const mu_candidate_t *candidates, int n, const mu_choice_t *choice, mu_buf_t *out);

#endif
