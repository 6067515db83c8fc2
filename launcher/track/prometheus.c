#include "launcher/track/prometheus.h"
#include "common/file.h"
#include "common/run/rundir.h"
#include "launcher/report/accounting.h"
#include "launcher/track/points.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct mu_prometheus {
    char *dir, *metrics;
    int64_t read;           /* bytes of metrics.jsonl */
    mu_track_point_t last;  /* step 0: none yet */
    double valid_loss;      /* the newest; NaN: none yet */
    double samples, tokens; /* counters: what was trained on, repeated steps included */
    mu_history_t *history;  /* for where the time went; NULL until the first scrape */
};

/* ---- metrics.jsonl ---- */

/* The step's own share of a count that the file gives as a sum up to the step. After a restart the sum goes back, and a
 * counter must not. */
static double share(int64_t now, int64_t before, bool follows, int64_t step)
{
    return follows ? (double)(now - before) : (double)now / (double)step;
}

static void take(mu_prometheus_t *p, const char *line, size_t n)
{
    mu_track_point_t point;
    if (!mu_track_point_parse(line, n, &point))
        return;
    bool follows = point.step == p->last.step + 1;
    p->samples += share(point.samples, p->last.samples, follows, point.step);
    p->tokens += share(point.tokens, p->last.tokens, follows, point.step);
    const mu_scalar_t *valid = mu_track_point_find(&point, "validation/lm_loss");
    if (valid)
        p->valid_loss = valid->value;
    p->last = point;
}

static void read_new(mu_prometheus_t *p)
{
    mu_buf_t lines = MU_BUF_INIT;
    const char *line;
    size_t n;
    if (mu_points_size(p->metrics) < p->read) { /* another file */
        p->read = 0;
        p->last = (mu_track_point_t){0};
    }
    while (mu_points_read(p->metrics, p->read, &lines) == MU_OK && lines.len > 0) {
        for (size_t at = 0; mu_points_next(&lines, &at, &line, &n);)
            take(p, line, n);
        p->read += (int64_t)lines.len;
    }
    mu_buf_release(&lines);
}

void mu_prometheus_open(const char *run_dir, mu_prometheus_t **out)
{
    mu_prometheus_t *p = mu_calloc(1, sizeof *p);
    p->dir = mu_strdup(run_dir);
    p->metrics = mu_path_join(run_dir, "metrics.jsonl");
    p->valid_loss = (double)NAN;
    read_new(p);
    *out = p;
}

void mu_prometheus_close(mu_prometheus_t *p)
{
    if (!p)
        return;
    mu_history_close(p->history);
    free(p->dir);
    free(p->metrics);
    free(p);
}

/* ---- text ---- */

static void add_head(const char *name, const char *type, const char *help, mu_buf_t *out)
{
    mu_buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add_number(double value, mu_buf_t *out)
{
    if (isnan(value))
        mu_buf_adds(out, " NaN\n");
    else
        mu_buf_addf(out, " %.17g\n", value);
}

static void add_one(const char *name, const char *type, const char *help, double value, mu_buf_t *out)
{
    add_head(name, type, help, out);
    mu_buf_adds(out, name);
    add_number(value, out);
}

static void add_label(const char *name, const char *value, const char *comma, mu_buf_t *out)
{
    mu_buf_addf(out, "%s=\"", name);
    for (const char *p = value; *p; p++) {
        if (*p == '\\' || *p == '"')
            mu_buf_addc(out, '\\');
        if (*p == '\n')
            mu_buf_adds(out, "\\n");
        else
            mu_buf_addc(out, *p);
    }
    mu_buf_addf(out, "\"%s", comma);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static bool is_over(const mu_run_state_t *s)
{
    return strcmp(s->state, "done") == 0 || strcmp(s->state, "failed") == 0 ||
           strcmp(s->state, "stopped") == 0;
}

static void add_run(const mu_prometheus_t *p, const mu_run_state_t *s, mu_buf_t *out)
{
    static const char *const states[] = {"waiting",    "checking", "starting", "running", "saving",
                                         "restarting", "stopped",  "done",     "failed"};
    char number[3][24];
    int64_t counts[3] = {s->tp, s->dp, s->workers};
    for (int i = 0; i < 3; i++)
        snprintf(number[i], sizeof number[i], "%lld", (long long)counts[i]);
    add_head("muster_run_info", "gauge", "What the run is.", out);
    mu_buf_adds(out, "muster_run_info{");
    add_label("run", base_name(p->dir), ",", out);
    add_label("token", s->token, ",", out);
    add_label("launcher_host", s->host, ",", out);
    add_label("version", s->version, ",", out);
    add_label("config_digest", s->config_digest, ",", out);
    add_label("data_version", s->data_version, ",", out);
    add_label("tp", number[0], ",", out);
    add_label("dp", number[1], ",", out);
    add_label("workers", number[2], "} 1\n", out);
    add_head("muster_run_state", "gauge", "1 for the state that the run is in.", out);
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        mu_buf_addf(out, "muster_run_state{state=\"%s\"} %d\n", states[i], strcmp(s->state, states[i]) == 0);
    add_one("muster_run_active", "gauge", "1 while a launcher works on the run.",
            !is_over(s) && mu_rundir_is_claimed(p->dir), out);
    add_one("muster_run_start_timestamp_seconds", "gauge", "When the launcher started.", s->started, out);
    add_one("muster_train_iterations", "gauge", "Steps that the run is to do in all.", (double)s->train_iters,
            out);
    add_one("muster_restarts_total", "counter",
            "Starts of the ranks after the first one, over the life of the run directory.",
            s->attempt > 0 ? (double)(s->attempt - 1) : 0, out);
}

static void add_checkpoint(const mu_prometheus_t *p, const mu_run_state_t *s, mu_buf_t *out)
{
    struct stat st;
    char *path = mu_format("%s/checkpoints/step-%08lld", p->dir, (long long)s->last_checkpoint);
    if (s->last_checkpoint >= 0 && stat(path, &st) == 0) {
        add_one("muster_checkpoint_step", "gauge", "Step of the newest durable checkpoint.",
                (double)s->last_checkpoint, out);
        add_one("muster_checkpoint_timestamp_seconds", "gauge", "When that checkpoint was written.",
                (double)st.st_mtim.tv_sec + (double)st.st_mtim.tv_nsec * 1e-9, out);
    }
    free(path);
}

static void add_step(const mu_prometheus_t *p, const mu_run_state_t *s, mu_buf_t *out)
{
    static const struct {
        const char *tag, *name, *help;
    } rows[] = {
        {"train/lm_loss", "muster_train_loss", "Mean loss of the global batch before the newest update."},
        {"train/learning_rate", "muster_learning_rate", "Learning rate of the newest update."},
        {"train/grad_norm", "muster_gradient_norm", "Norm of the gradient before clipping."},
        {"runtime/iteration_time", "muster_step_duration_seconds", "Time of the newest step."},
        {"timers/data_wait", "muster_data_wait_seconds", "Time of it in which workers waited for data."},
        {"timers/comm", "muster_communication_wait_seconds",
         "Time of it in which workers waited for each other."},
        {"runtime/tokens_per_sec", "muster_throughput_tokens", "Tokens per second in the newest step."},
    };
    const mu_track_point_t *last = &p->last;
    double progress = last->step > 0 && last->time > s->started ? last->time : s->started;
    add_one("muster_progress_timestamp_seconds", "gauge",
            "When the newest step ended, or the launcher started.", progress, out);
    add_one("muster_step", "gauge", "Updates done.", (double)last->step, out);
    add_one("muster_samples_total", "counter", "Samples trained on, repeated steps included.", p->samples,
            out);
    add_one("muster_tokens_total", "counter", "Tokens trained on, repeated steps included.", p->tokens, out);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const mu_scalar_t *value = mu_track_point_find(last, rows[i].tag);
        if (value)
            add_one(rows[i].name, "gauge", rows[i].help, value->value, out);
    }
    if (!isnan(p->valid_loss))
        add_one("muster_validation_loss", "gauge", "Loss of the newest evaluation.", p->valid_loss, out);
    if (last->count > 0)
        add_head("muster_scalar", "gauge", "Values of the newest step under gpt-neox's names.", out);
    for (int i = 0; i < last->count; i++) {
        mu_buf_adds(out, "muster_scalar{");
        add_label("name", last->value[i].tag, "}", out);
        add_number(last->value[i].value, out);
    }
}

/* Least, median and most, in seconds. `label`: "what=\"compute\"," or "". */
static void add_spread(const char *name, const char *label, const double ms[3], mu_buf_t *out)
{
    static const char *const stats[] = {"min", "median", "max"};
    for (int i = 0; i < 3; i++)
        mu_buf_addf(out, "%s{%sstat=\"%s\"} %.17g\n", name, label, stats[i], ms[i] * 1e-3);
}

static void add_ranks(const mu_run_state_t *s, mu_buf_t *out)
{
    const struct {
        const char *label;
        const mu_spread_t *spread;
    } rows[] = {{"what=\"compute\",", &s->rank_compute_ms},
                {"what=\"communication\",", &s->rank_comm_ms},
                {"what=\"data_wait\",", &s->rank_data_wait_ms}};
    if (s->rank_compute_ms.rank == 0)
        return;
    add_head("muster_rank_seconds", "gauge",
             "Of a step, over the workers: time in which one computes, waits for others, waits for tokens.",
             out);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        add_spread("muster_rank_seconds", rows[i].label,
                   (double[3]){rows[i].spread->min, rows[i].spread->median, rows[i].spread->max}, out);
}

/* Where the time went, as `muster status` says it. */
static void add_account(mu_prometheus_t *p, mu_buf_t *out)
{
    mu_account_t a;
    if ((p->history ? mu_history_update(p->history) : mu_history_open(p->dir, &p->history)) != MU_OK)
        return; /* it was logged */
    mu_accounting(p->history, &a);
    add_head("muster_time_seconds", "gauge",
             "Where the wall time went; the parts add up to muster_wall_seconds.", out);
    for (int i = 0; i < MU_PARTS; i++)
        mu_buf_addf(out, "muster_time_seconds{part=\"%s\"} %.17g\n", mu_part_name(i), a.part[i]);
    add_one("muster_wall_seconds", "gauge", "Time in which a launcher worked on the run.", a.wall, out);
    add_one("muster_goodput_ratio", "gauge", "Useful time / wall time.", mu_account_goodput(&a), out);
    add_one("muster_lost_steps", "gauge", "Steps that were done twice, or must be done again.",
            (double)a.lost_steps, out);
    add_one("muster_stalls_total", "counter", "Steps and checkpoints that took more than three medians.",
            (double)a.stalls, out);
    if (a.steps > 0) {
        add_head("muster_step_time_seconds", "gauge", "Time of a step, of those that count.", out);
        add_spread("muster_step_time_seconds", "",
                   (double[3]){a.step_ms_min, a.step_ms_median, a.step_ms_max}, out);
    }
}

bool mu_prometheus_text(mu_prometheus_t *p, mu_buf_t *out)
{
    mu_run_state_t state;
    if (mu_run_state_read(p->dir, &state) != MU_OK)
        return false;
    read_new(p);
    add_run(p, &state, out);
    add_checkpoint(p, &state, out);
    add_step(p, &state, out);
    add_ranks(&state, out);
    add_account(p, out);
    return true;
}

void mu_prometheus_handle(const mu_http_request_t *request, mu_http_response_t *response, void *prometheus)
{
    if (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0) {
        response->status = 405;
        mu_buf_adds(&response->body, "GET /metrics\n");
    } else if (strcmp(request->path, "/metrics") != 0) {
        response->status = strcmp(request->path, "/") == 0 ? 200 : 404;
        mu_buf_adds(&response->body, "muster track: /metrics\n");
    } else if (mu_prometheus_text(prometheus, &response->body)) {
        response->type = "text/plain; version=0.0.4; charset=utf-8";
    } else {
        response->status = 503;
        mu_buf_adds(&response->body, "the run directory cannot be read\n");
    }
}
