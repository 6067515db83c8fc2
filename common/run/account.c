#include "common/run/account.h"
#include "common/duration.h"

#include <math.h>

static const struct {
    const char *name, *words;
    bool useful;
} parts[] = {
#define PART_ROW(name, words, useful) {#name, words, useful},
    MU_ACCOUNT_TABLE(PART_ROW)
#undef PART_ROW
};

const char *mu_part_name(int part)
{
    return parts[part].name;
}

const char *mu_part_words(int part)
{
    return parts[part].words;
}

double mu_account_goodput(const mu_account_t *account)
{
    double useful = 0;
    for (int i = 0; i < MU_PARTS; i++)
        useful += parts[i].useful ? account->part[i] : 0;
    return account->wall > 0 ? useful / account->wall : 0;
}

double mu_account_interval(const mu_account_t *a)
{
    if (a->saves <= 0 || a->wall <= 0)
        return 0;
    double stall = a->part[MU_PART_checkpoint] / (double)a->saves;
    double between = a->wall / (a->failures > 0 ? (double)a->failures : 1);
    return sqrt(2 * stall * between);
}

bool mu_account_interval_known(const mu_account_t *a)
{
    return mu_account_interval(a) > 0 && (a->failures > 0 || a->wall >= MU_ACCOUNT_YOUNG);
}

void mu_account_interval_text(const mu_account_t *a, mu_buf_t *out)
{
    double interval = mu_account_interval(a);
    if (!mu_account_interval_known(a))
        return;
    mu_buf_adds(out, a->failures > 0 ? "every " : "at least every ");
    mu_duration_text(interval, out);
    if (a->step_ms_median > 0)
        mu_buf_addf(out, " (%.0f steps)", fmax(1, interval * 1e3 / a->step_ms_median));
    mu_buf_addf(out, ": a checkpoint holds the run up for %.3g s, %lld failure%s in ",
                a->part[MU_PART_checkpoint] / (double)a->saves, (long long)a->failures,
                a->failures == 1 ? "" : "s");
    mu_duration_text(a->wall, out);
}

void mu_account_put(const mu_account_t *a, json_t *json)
{
    json_t *seconds = json_object();
    for (int i = 0; i < MU_PARTS; i++)
        json_object_set_new(seconds, parts[i].name, json_real(a->part[i]));
    json_object_set_new(json, "account",
                        json_pack("{s:o, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:{s:f, s:f, s:f}}",
                                  "seconds", seconds, "wall", a->wall, "goodput", mu_account_goodput(a),
                                  "steps", (json_int_t)a->steps, "lost_steps", (json_int_t)a->lost_steps,
                                  "attempts", (json_int_t)a->attempts, "stalls", (json_int_t)a->stalls,
                                  "saves", (json_int_t)a->saves, "failures", (json_int_t)a->failures,
                                  "interval", mu_account_interval(a), "step_ms", "min", a->step_ms_min,
                                  "median", a->step_ms_median, "max", a->step_ms_max));
}

void mu_account_get(const json_t *json, mu_account_t *out)
{
    const json_t *a = json_object_get(json, "account"), *seconds = json_object_get(a, "seconds"),
                 *step = json_object_get(a, "step_ms");
    *out = (mu_account_t){.wall = json_number_value(json_object_get(a, "wall")),
                          .steps = json_integer_value(json_object_get(a, "steps")),
                          .lost_steps = json_integer_value(json_object_get(a, "lost_steps")),
                          .attempts = json_integer_value(json_object_get(a, "attempts")),
                          .stalls = json_integer_value(json_object_get(a, "stalls")),
                          .saves = json_integer_value(json_object_get(a, "saves")),
                          .failures = json_integer_value(json_object_get(a, "failures")),
                          .step_ms_min = json_number_value(json_object_get(step, "min")),
                          .step_ms_median = json_number_value(json_object_get(step, "median")),
                          .step_ms_max = json_number_value(json_object_get(step, "max"))};
    for (int i = 0; i < MU_PARTS; i++)
        out->part[i] = json_number_value(json_object_get(seconds, parts[i].name));
}

void mu_account_text(const mu_account_t *a, const char *indent, mu_buf_t *out)
{
    double whole = a->wall > 0 ? a->wall : 1;
    for (int i = 0; i < MU_PARTS; i++)
        mu_buf_addf(out, "%s%-22s %10.1f s %6.1f %%\n", indent, parts[i].words, a->part[i],
                    100 * a->part[i] / whole);
    mu_buf_addf(out, "%s%-22s %10.1f s  goodput %.1f %%\n", indent, "wall time", a->wall,
                100 * mu_account_goodput(a));
    mu_buf_addf(out, "%s%lld step%s, %lld lost, %lld attempt%s, %lld stall%s\n", indent, (long long)a->steps,
                a->steps == 1 ? "" : "s", (long long)a->lost_steps, (long long)a->attempts,
                a->attempts == 1 ? "" : "s", (long long)a->stalls, a->stalls == 1 ? "" : "s");
    if (a->steps > 0)
        mu_buf_addf(out, "%sstep time: %.1f ms at least, %.1f ms median, %.1f ms at most\n", indent,
                    a->step_ms_min, a->step_ms_median, a->step_ms_max);
    if (mu_account_interval_known(a)) {
        mu_buf_addf(out, "%sbest interval of checkpoints: ", indent);
        mu_account_interval_text(a, out);
        mu_buf_addc(out, '\n');
    }
}
