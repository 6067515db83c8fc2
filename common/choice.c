#include "common/choice.h"
#include "common/log.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

void mu_candidates_free(mu_candidate_t *candidates, int n)
{
    for (int i = 0; candidates && i < n; i++)
        free(candidates[i].json);
    free(candidates);
}

/* Positive where `a` is better than `b` by so much. */
static double better_by(mu_gate_metric_t metric, double a, double b)
{
    return metric == MU_GATE_LOSS ? b - a : a - b;
}

/* A loss is a mean over tokens: over other tokens it is another number. */
static mu_status_t same_tokens(const mu_candidate_t *c, int n)
{
    for (int i = 1; i < n; i++)
        if (c[i].value[MU_GATE_TOKENS] < c[0].value[MU_GATE_TOKENS] ||
            c[i].value[MU_GATE_TOKENS] > c[0].value[MU_GATE_TOKENS])
            return mu_fail(
                MU_CONFIG,
                "--best: '%s' was measured on %.0f tokens and '%s' on %.0f: give --seq-length, so that all "
                "are measured on the same ones",
                c[0].model, c[0].value[MU_GATE_TOKENS], c[i].model, c[i].value[MU_GATE_TOKENS]);
    return MU_OK;
}

mu_status_t mu_choose(const mu_candidate_t *c, int n, mu_choice_t *out)
{
    bool data = n > 0 && isfinite(c[0].value[MU_GATE_TOKENS]);
    mu_choice_t choice = {
        .best = -1, .second = -1, .metric = data ? MU_GATE_LOSS : MU_GATE_ACC, .margin = NAN};
    if (data)
        MU_TRY(same_tokens(c, n));
    for (int i = 0; i < n; i++) {
        double value = c[i].value[choice.metric];
        if (!isfinite(value))
            continue;
        if (choice.best < 0 || better_by(choice.metric, value, c[choice.best].value[choice.metric]) > 0) {
            choice.second = choice.best;
            choice.best = i;
        } else if (choice.second < 0 ||
                   better_by(choice.metric, value, c[choice.second].value[choice.metric]) > 0) {
            choice.second = i;
        }
    }
    if (choice.best < 0)
        return mu_fail(MU_DATA, "--best: no model has a finite %s", mu_gate_metric_name(choice.metric));
    if (choice.second >= 0)
        choice.margin = better_by(choice.metric, c[choice.best].value[choice.metric],
                                  c[choice.second].value[choice.metric]);
    *out = choice;
    return MU_OK;
}

void mu_choice_print(const mu_candidate_t *c, const mu_choice_t *choice, mu_buf_t *out)
{
    const char *metric = mu_gate_metric_name(choice->metric);
    mu_buf_addf(out, "best: %s, %s %.6f", c[choice->best].model, metric,
                c[choice->best].value[choice->metric]);
    if (choice->second >= 0)
        mu_buf_addf(out, ", by %.6f before %s", choice->margin, c[choice->second].model);
    mu_buf_addc(out, '\n');
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *best_json(const mu_candidate_t *c, const mu_choice_t *choice)
{
    return json_pack("{s:s, s:s, s:o, s:s?, s:o}", "model", c[choice->best].model, "metric",
                     mu_gate_metric_name(choice->metric), "value",
                     number(c[choice->best].value[choice->metric]), "second",
                     choice->second < 0 ? NULL : c[choice->second].model, "margin", number(choice->margin));
}

void mu_choice_json(const mu_candidate_t *c, int n, const mu_choice_t *choice, mu_buf_t *out)
{
    json_t *models = json_array(), *root;
    for (int i = 0; i < n; i++) {
        json_t *result = json_loads(c[i].json, 0, NULL), *model = json_string(c[i].model);
        json_object_set_new(result, "model", model ? model : json_null()); /* a path need not be UTF-8 */
        json_array_append_new(models, result);
    }
    json_t *best = choice ? best_json(c, choice) : NULL;
    root = json_pack("{s:o, s:o}", "models", models, "best", best ? best : json_null());
    char *text = json_dumps(root, 0);
    mu_buf_addf(out, "%s\n", text ? text : "null");
    free(text);
    json_decref(root);
}
