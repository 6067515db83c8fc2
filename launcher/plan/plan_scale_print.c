#include "launcher/plan/plan.h"

#include <jansson.h>
#include <math.h>

static const int64_t sizes[] = {16, 64, 256, 1024};
static const double intervals[] = {600, 1800, 6000};
enum { SIZES = sizeof sizes / sizeof *sizes, INTERVALS = sizeof intervals / sizeof *intervals };

/* Whole replicas; a batch that grows with their number. */
static double tokens_a_second(const mu_plan_t *p, int64_t gpus, double step)
{
    int64_t replicas = gpus / p->scale.tp;
    return (double)p->tokens_a_step / (double)p->config->dp * (double)replicas / step;
}

void mu_plan_scale_text(const mu_plan_t *p, mu_buf_t *out)
{
    const mu_scale_figures_t *f = &p->scale;
    if (f->step <= 0)
        return;
    mu_buf_addf(
        out,
        "scale        simulated: %.4g s a step, workers differ by %.4g %%, %.4g failures a GPU-day, %.4g s a "
        "checkpoint, %.4g s a restart\n",
        f->step, 100 * f->spread, f->failures, f->checkpoint, f->restart);
    mu_buf_addf(out, "             %5s %9s %10s %9s %8s %8s %8s %9s %8s %9s %9s\n", "GPUs", "step",
                "tokens/s", "failure", "10 min", "30 min", "100 min", "best", "goodput", "Young", "Daly");
    for (int i = 0; i < SIZES; i++) {
        char t[4][32];
        if (sizes[i] < f->tp)
            continue;
        double step = mu_scale_step(f, sizes[i]), mtbf = mu_scale_mtbf(f, sizes[i]);
        mu_buf_addf(out, "             %5d %7.4g s %10.4g %9s", (int)sizes[i], step,
                    tokens_a_second(p, sizes[i], step), mu_human_seconds(mtbf, t[0], sizeof t[0]));
        for (int k = 0; k < INTERVALS; k++)
            mu_buf_addf(out, " %6.2f %%", 100 * mu_scale_goodput(f, sizes[i], intervals[k]));
        double best = mu_scale_best(f, sizes[i]);
        mu_buf_addf(out, " %9s %6.2f %% %9s %9s\n", mu_human_seconds(best, t[1], sizeof t[1]),
                    100 * mu_scale_goodput(f, sizes[i], best),
                    mu_human_seconds(mu_scale_young(f->checkpoint, mtbf), t[2], sizeof t[2]),
                    mu_human_seconds(mu_scale_daly(f->checkpoint, mtbf), t[3], sizeof t[3]));
    }
}

json_t *mu_plan_scale_json(const mu_plan_t *p)
{
    const mu_scale_figures_t *f = &p->scale;
    json_t *list = json_array();
    if (f->step <= 0) {
        json_decref(list);
        return json_null();
    }
    for (int i = 0; i < SIZES; i++) {
        if (sizes[i] < f->tp)
            continue;
        double step = mu_scale_step(f, sizes[i]), mtbf = mu_scale_mtbf(f, sizes[i]),
               best = mu_scale_best(f, sizes[i]);
        json_t *row = json_pack(
            "{s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:[]}", "gpus", (json_int_t)sizes[i], "step_seconds",
            step, "tokens_per_s", tokens_a_second(p, sizes[i], step), "mtbf_seconds", mtbf,
            "best_interval_seconds", best, "best_goodput", mu_scale_goodput(f, sizes[i], best),
            "young_seconds", mu_scale_young(f->checkpoint, mtbf), "daly_seconds",
            mu_scale_daly(f->checkpoint, mtbf), "goodput");
        for (int k = 0; k < INTERVALS; k++)
            json_array_append_new(json_object_get(row, "goodput"),
                                  json_pack("{s:f, s:f}", "interval_seconds", intervals[k], "goodput",
                                            mu_scale_goodput(f, sizes[i], intervals[k])));
        json_array_append_new(list, row);
    }
    return list;
}
