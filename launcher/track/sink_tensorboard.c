/* Points are appended to the event file and synced, then the cursor says how long the event file is and how far
 * metrics.jsonl was read. What lies in the event file after that length was written by a tracker that was killed
 * before it wrote its cursor: it is cut off and written again. */
#include "common/file.h"
#include "common/log.h"
#include "launcher/track/cursor.h"
#include "launcher/track/sink.h"
#include "launcher/track/tensorboard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONFIG_LIMIT = 1 << 20 };

typedef struct cursor {
    int64_t length;  /* of the event file */
    int64_t metrics; /* bytes of metrics.jsonl that are in it */
    int64_t step;    /* the last one */
} cursor_t;

static mu_status_t read_cursor(const mu_sink_t *sink, const mu_sink_run_t *run, cursor_t *out)
{
    json_t *kept;
    MU_TRY(mu_cursor_get(run->cursor, sink->kind->name, sink->target, &kept));
    *out = (cursor_t){json_integer_value(json_object_get(kept, "length")),
                      json_integer_value(json_object_get(kept, "metrics")),
                      json_integer_value(json_object_get(kept, "step"))};
    json_decref(kept);
    bool lost = mu_points_size(sink->target) < out->length,
         other = mu_points_size(run->metrics) < out->metrics;
    if (lost || other || out->length < 0 || out->metrics < 0) {
        mu_warn("%s: shorter than %s says: every point is written again", lost ? sink->target : run->metrics,
                run->cursor);
        *out = (cursor_t){0};
    }
    return MU_OK;
}

static mu_status_t write_cursor(const mu_sink_t *sink, const mu_sink_run_t *run, const cursor_t *cursor)
{
    json_t *kept = json_pack("{s:I, s:I, s:I}", "length", (json_int_t)cursor->length, "metrics",
                             (json_int_t)cursor->metrics, "step", (json_int_t)cursor->step);
    mu_status_t status = mu_cursor_put(run->cursor, sink->kind->name, sink->target, kept);
    json_decref(kept);
    return status;
}

static void take_line(mu_sink_t *sink, const char *text, size_t n, cursor_t *cursor, mu_buf_t *out)
{
    mu_track_point_t point;
    if (!mu_track_point_parse(text, n, &point)) {
        sink->damaged++;
        return;
    }
    if (point.step <= cursor->step)
        mu_tb_restart(point.time, point.step, out);
    mu_tb_scalars(point.time, point.step, point.value, point.count, out);
    cursor->step = point.step;
    sink->points += point.count;
}

/* Cuts the event file to `length`, appends, syncs. */
static mu_status_t append(const char *path, int64_t length, const mu_buf_t *bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return mu_fail(MU_IO, "%s: cannot open: %s", path, strerror(errno));
    bool good =
        ftruncate(fd, length) == 0 && mu_pwrite_all(fd, bytes->data, bytes->len, length) && fsync(fd) == 0;
    mu_status_t status = good ? MU_OK : mu_fail(MU_IO, "%s: cannot write: %s", path, strerror(errno));
    close(fd);
    return status;
}

static void add_text(double time, const char *tag, const char *kind, const mu_buf_t *text, mu_buf_t *out)
{
    char *markdown = mu_format("```%s\n%s\n```\n", kind, text->data ? text->data : "");
    mu_tb_text(time, tag, markdown, out);
    free(markdown);
}

/* The file's first records: version, then run.json and the config as texts. */
static void begin_file(const mu_sink_run_t *run, mu_buf_t *out)
{
    mu_buf_t json = MU_BUF_INIT, config = MU_BUF_INIT;
    char *path = mu_path_join(run->dir, "config.yml");
    mu_run_state_json(&run->state, &json);
    mu_tb_header(run->state.started, out);
    add_text(run->state.started, "run/text_summary", "json", &json, out);
    if (mu_is_file(path) && mu_file_read(path, CONFIG_LIMIT, &config) == MU_OK)
        add_text(run->state.started, "config/text_summary", "yaml", &config, out);
    mu_buf_release(&json);
    mu_buf_release(&config);
    free(path);
}

static mu_status_t deliver(mu_sink_t *sink, const mu_sink_run_t *run, bool *more)
{
    cursor_t cursor;
    mu_buf_t lines = MU_BUF_INIT, events = MU_BUF_INIT;
    const char *line;
    size_t n;
    mu_status_t status;
    int64_t points = sink->points, damaged = sink->damaged;
    *more = false;
    MU_TRY(read_cursor(sink, run, &cursor));
    sink->metrics = cursor.metrics;
    MU_TRY_GOTO(status, mu_points_read(run->metrics, cursor.metrics, &lines), end);
    int64_t length = cursor.length;
    if (length == 0)
        begin_file(run, &events);
    for (size_t at = 0; mu_points_next(&lines, &at, &line, &n);)
        take_line(sink, line, n, &cursor, &events);
    if (lines.len > 0 || length == 0) {
        MU_TRY_GOTO(status, append(sink->target, length, &events), end);
        cursor.metrics += (int64_t)lines.len;
        cursor.length = length + (int64_t)events.len;
        MU_TRY_GOTO(status, write_cursor(sink, run, &cursor), end);
        sink->metrics = cursor.metrics;
    }
    *more = lines.len > 0;
end:
    if (status != MU_OK) { /* it comes again */
        sink->points = points;
        sink->damaged = damaged;
    }
    mu_buf_release(&lines);
    mu_buf_release(&events);
    return status;
}

static void release(mu_sink_t *sink)
{
    (void)sink;
}

static const mu_sink_kind_t kind = {"tensorboard", deliver, release};

/* The name follows from the run, so that a tracker without a cursor replaces its file and adds no second one. */
mu_status_t mu_sink_tensorboard(const char *folder, const mu_run_state_t *state, mu_sink_t *out)
{
    MU_TRY(mu_make_dirs(folder, 0755));
    char *real = realpath(folder, NULL);
    if (!real)
        return mu_fail(MU_RUNDIR, "%s: %s", folder, strerror(errno));
    char token[sizeof state->token];
    snprintf(token, sizeof token, "%s", *state->token ? state->token : "run");
    for (char *p = token; *p; p++)
        if (*p == '/' || *p < '!' || *p > '~')
            *p = '_';
    *out = (mu_sink_t){.kind = &kind,
                       .target = mu_format("%s/events.out.tfevents.0000000000.muster.%s", real, token)};
    free(real);
    return MU_OK;
}

void mu_sink_release(mu_sink_t *sink)
{
    if (sink->kind)
        sink->kind->release(sink);
    free(sink->target);
    mu_buf_release(&sink->why);
    *sink = (mu_sink_t){0};
}
