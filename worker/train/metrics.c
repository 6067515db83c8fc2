#include "worker/train/metrics.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <unistd.h>

struct mu_metrics {
    int fd;
    char *path;
    mu_buf_t line;
};

void mu_json_number(mu_buf_t *out, double value)
{
    if (isfinite(value))
        mu_buf_addf(out, "%.17g", value);
    else
        mu_buf_adds(out, "null");
}

mu_status_t mu_metrics_open(const char *run_dir, mu_metrics_t **out)
{
    char *path = mu_path_join(run_dir, "metrics.jsonl");
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) {
        mu_status_t status = mu_fail(mu_make_status(errno), "%s: cannot open: %s", path, strerror(errno));
        free(path);
        return status;
    }
    mu_metrics_t *metrics = mu_calloc(1, sizeof *metrics);
    metrics->fd = fd;
    metrics->path = path;
    off_t end = lseek(fd, 0, SEEK_END);
    char last = '\n';
    if (end > 0 && mu_pread_all(fd, &last, 1, end - 1) && last != '\n' && !mu_write_all(fd, "\n", 1))
        mu_warn("%s: cannot end a torn line: %s", path, strerror(errno));
    *out = metrics;
    return MU_OK;
}

mu_status_t mu_metrics_add(mu_metrics_t *metrics, const mu_report_t *report, int64_t samples, int64_t tokens,
                           const double *valid_loss)
{
    mu_buf_t *line = &metrics->line;
    mu_buf_clear(line);
    mu_buf_addf(line, "{\"step\": %lld, \"samples\": %lld, \"tokens\": %lld", (long long)report->step,
                (long long)samples, (long long)tokens);
#define COLUMN(name, how)                                                                                    \
    mu_buf_adds(line, ", \"" #name "\": ");                                                                  \
    mu_json_number(line, report->name);
    MU_REPORT_TABLE(COLUMN)
#undef COLUMN
    if (report->loss_scale > 0)
        mu_buf_addf(line, ", \"loss_scale\": %.17g, \"skipped\": %s", report->loss_scale,
                    report->skipped ? "true" : "false");
    if (valid_loss) {
        mu_buf_adds(line, ", \"valid_loss\": ");
        mu_json_number(line, *valid_loss);
        mu_buf_adds(line, ", \"valid_ppl\": ");
        mu_json_number(line, exp(*valid_loss));
    }
    mu_buf_addf(line, ", \"time\": %.3f}\n", mu_wall_seconds());
    if (!mu_write_all(metrics->fd, line->data, line->len))
        return mu_fail(MU_IO, "%s: cannot write: %s", metrics->path, strerror(errno));
    return MU_OK;
}

void mu_metrics_close(mu_metrics_t *metrics)
{
    if (!metrics)
        return;
    close(metrics->fd);
    free(metrics->path);
    mu_buf_release(&metrics->line);
    free(metrics);
}
