#include "common/gate.h"
#include "common/log.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[MU_GATE_METRICS] = {"loss", "ppl",      "bits_per_byte", "tokens",
                                                   "acc",  "acc_norm", "reward"};

const char *mu_gate_metric_name(mu_gate_metric_t metric)
{
    return names[metric];
}

static bool metric_of(const char *word, size_t n, mu_gate_metric_t *out)
{
    for (int i = 0; i < MU_GATE_METRICS; i++)
        if (strlen(names[i]) == n && memcmp(names[i], word, n) == 0) {
            *out = (mu_gate_metric_t)i;
            return true;
        }
    return false;
}

/* strtod alone would take "nan", "inf" and hexadecimal numbers. */
static bool number_of(const char *text, double *out)
{
    char *end;
    if (!*text || text[strspn(text, "0123456789.eE+-")])
        return false;
    *out = strtod(text, &end);
    return !*end && isfinite(*out);
}

mu_status_t mu_gate_parse(const char *text, mu_gate_t *out)
{
    size_t n = strcspn(text, "<> =");
    const char *p = text + n + strspn(text + n, " ");
    mu_gate_t gate = {0};
    if (!metric_of(text, n, &gate.metric))
        return mu_fail(
            MU_USAGE,
            "--gate '%s': no metric '%.*s': wanted loss, ppl, bits_per_byte, tokens, acc, acc_norm or reward",
            text, (int)n, text);
    if (*p != '<' && *p != '>')
        return mu_fail(MU_USAGE, "--gate '%s': wanted <, <=, > or >= after %s", text, names[gate.metric]);
    gate.below = *p++ == '<';
    gate.equal = *p == '=';
    p += gate.equal;
    p += strspn(p, " ");
    if (!number_of(p, &gate.wanted))
        return mu_fail(MU_USAGE, "--gate '%s': '%s' is no number", text, p);
    *out = gate;
    return MU_OK;
}

mu_status_t mu_gates_check(const mu_gate_t *gates, int n, bool data, bool labelled, bool feedback)
{
    for (int i = 0; i < n; i++) {
        bool of_labels = gates[i].metric == MU_GATE_ACC || gates[i].metric == MU_GATE_ACC_NORM;
        bool of_feedback = gates[i].metric == MU_GATE_REWARD;
        if (of_feedback ? !feedback : of_labels ? !labelled : !data)
            return mu_fail(MU_USAGE, "--gate: %s is not measured without %s", names[gates[i].metric],
                           of_feedback ? "--feedback FILE"
                           : of_labels ? "--labelled FILE"
                                       : "--data DIR");
    }
    return MU_OK;
}

static bool holds(const mu_gate_t *gate, double value)
{
    if (!isfinite(value))
        return false;
    if (gate->equal && !(value < gate->wanted) && !(value > gate->wanted))
        return true;
    return gate->below ? value < gate->wanted : value > gate->wanted;
}

mu_status_t mu_gates_judge(const mu_gate_t *gates, int n, const double value[MU_GATE_METRICS])
{
    mu_status_t status = MU_OK;
    for (int i = 0; i < n; i++) {
        const mu_gate_t *g = &gates[i];
        const char *sign = g->below ? (g->equal ? "<=" : "<") : g->equal ? ">=" : ">";
        double found = value[g->metric];
        if (holds(g, found))
            mu_info("gate %s %s %.10g is met: found %.10g", names[g->metric], sign, g->wanted, found);
        else if (isfinite(found))
            status = mu_fail(MU_GATE, "gate not met: %s: found %.10g, wanted %s %.10g", names[g->metric],
                             found, sign, g->wanted);
        else
            status = mu_fail(MU_GATE, "gate not met: %s: found no number, wanted %s %.10g", names[g->metric],
                             sign, g->wanted);
    }
    return status;
}
