/*
 * The gates of `muster eval --gate EXPR`: what a model must reach to be let through.
 *
 *     mu_gate_t gate[MU_GATES_MAX];
 *     mu_gate_parse("ppl<=16.53", &gate[0]);
 *     mu_gates_judge(gate, 1, value);                value[MU_GATE_PPL] and so on
 *
 * EXPR is METRIC OPERATOR NUMBER: loss, ppl, bits_per_byte, tokens, acc, acc_norm or reward; < <= > or >=; blanks
 * around the operator do not count. All gates must hold. A value that is no finite number (NAN also stands for one
 * that is not known) holds none.
 */
#ifndef MU_COMMON_GATE_H
#define MU_COMMON_GATE_H

#include "common/status.h"

#include <stdbool.h>

enum { MU_GATES_MAX = 32 };

typedef enum mu_gate_metric {
    MU_GATE_LOSS,
    MU_GATE_PPL,
    MU_GATE_BITS_PER_BYTE,
    MU_GATE_TOKENS,
    MU_GATE_ACC, /* of labelled examples; acc_norm: by the length of each choice */
    MU_GATE_ACC_NORM,
    MU_GATE_REWARD, /* mean of the rewards in feedback */
    MU_GATE_METRICS
} mu_gate_metric_t;

typedef struct mu_gate {
    mu_gate_metric_t metric;
    bool below, equal; /* < or >; with or without = */
    double wanted;
} mu_gate_t;

/* As it is written in an expression and in JSON. */
const char *mu_gate_metric_name(mu_gate_metric_t metric);
/* Errors: MU_USAGE, the expression is logged with what is wrong. */
mu_status_t mu_gate_parse(const char *text, mu_gate_t *out);
/* data, labelled, feedback: what is to be measured. Errors: MU_USAGE, a gate on a metric that will not be. */
mu_status_t mu_gates_check(const mu_gate_t *gates, int n, bool data, bool labelled, bool feedback);
/* Logs each gate that is not met, with what was found and wanted. Errors: MU_GATE. */
mu_status_t mu_gates_judge(const mu_gate_t *gates, int n, const double value[MU_GATE_METRICS]);

#endif
