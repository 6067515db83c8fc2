#include "launcher/track/points.h"
#include "common/file.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* gpt-neox's names where it has one; its times are in seconds. */
static const struct {
    const char *tag, *key;
    double scale;
} values[] = {
    {"train/lm_loss", "loss", 1},
    {"train/learning_rate", "lr", 1},
    {"train/loss_scale", "loss_scale", 1},
    {"train/grad_norm", "grad_norm", 1},
    {"runtime/iteration_time", "step_ms", 1e-3},
    {"runtime/tokens_per_sec", "tokens_per_s", 1},
    {"timers/data_wait", "data_wait_ms", 1e-3},
    {"timers/comm", "comm_ms", 1e-3},
    {"validation/lm_loss", "valid_loss", 1},
    {"validation/lm_loss_ppl", "valid_ppl", 1},
};
_Static_assert(sizeof values / sizeof *values + 2 <= MU_POINT_VALUES,
               "a point holds all values and two rates");

static void add(mu_track_point_t *point, const char *tag, double value)
{
    point->value[point->count++] = (mu_scalar_t){tag, value};
}

static void add_rate(mu_track_point_t *point, const char *tag, double rate)
{
    if (isfinite(rate))
        add(point, tag, rate);
}

bool mu_track_point_parse(const char *text, size_t n, mu_track_point_t *out)
{
    json_t *line = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    *out = (mu_track_point_t){.step = json_integer_value(json_object_get(line, "step")),
                              .samples = json_integer_value(json_object_get(line, "samples")),
                              .tokens = json_integer_value(json_object_get(line, "tokens")),
                              .time = json_number_value(json_object_get(line, "time"))};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        const json_t *value = json_object_get(line, values[i].key);
        if (json_is_number(value) || json_is_null(value))
            add(out, values[i].tag,
                json_is_null(value) ? (double)NAN : json_number_value(value) * values[i].scale);
    }
    add_rate(out, "runtime/steps_per_sec", 1000 / json_number_value(json_object_get(line, "step_ms")));
    add_rate(out, "runtime/samples_per_sec",
             json_number_value(json_object_get(line, "tokens_per_s")) * (double)out->samples /
                 (double)out->tokens);
    json_decref(line);
    return out->step > 0;
}

const mu_scalar_t *mu_track_point_find(const mu_track_point_t *point, const char *tag)
{
    for (int i = 0; i < point->count; i++)
        if (strcmp(point->value[i].tag, tag) == 0)
            return &point->value[i];
    return NULL;
}

/* ---- the file ---- */

int64_t mu_points_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

/* Cuts what follows the last newline: the line may not be whole yet. */
static mu_status_t keep_whole_lines(const char *path, int64_t from, mu_buf_t *out)
{
    char *last = out->len > 0 ? memrchr(out->data, '\n', out->len) : NULL;
    size_t keep = last ? (size_t)(last - out->data) + 1 : 0;
    if (keep == 0 && out->len >= MU_POINTS_AT_ONCE)
        return mu_fail(MU_DATA, "%s: byte %lld: a line of more than %d bytes", path, (long long)from,
                       MU_POINTS_AT_ONCE);
    out->len = keep;
    if (out->data)
        out->data[keep] = '\0';
    return MU_OK;
}

mu_status_t mu_points_read(const char *path, int64_t from, mu_buf_t *out)
{
    mu_buf_clear(out);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? MU_OK /* no step yet */
                               : mu_fail(MU_IO, "%s: cannot open: %s", path, strerror(errno));
    mu_status_t status = MU_OK;
    if (lseek(fd, from, SEEK_SET) < 0)
        status = mu_fail(MU_IO, "%s: cannot seek: %s", path, strerror(errno));
    else
        mu_fd_drain(fd, MU_POINTS_AT_ONCE, out);
    close(fd);
    return status == MU_OK ? keep_whole_lines(path, from, out) : status;
}

bool mu_points_next(const mu_buf_t *lines, size_t *at, const char **line, size_t *n)
{
    const char *end = *at < lines->len ? memchr(lines->data + *at, '\n', lines->len - *at) : NULL;
    if (!end)
        return false;
    *line = lines->data + *at;
    *n = (size_t)(end - *line);
    *at += *n + 1;
    return true;
}

/* ---- restarts ---- */

static void look_at_line(mu_course_t *course, const char *line, size_t n)
{
    mu_track_point_t point;
    if (mu_track_point_parse(line, n, &point)) {
        if (point.step <= course->step) {
            course->turn = mu_realloc(course->turn, (size_t)(course->count + 1) * sizeof *course->turn);
            course->turn[course->count].at = course->read;
            course->turn[course->count++].step = point.step;
        }
        course->step = point.step;
    }
    course->read += (int64_t)n + 1;
}

mu_status_t mu_course_follow(mu_course_t *course, const char *path)
{
    mu_buf_t lines = MU_BUF_INIT;
    const char *line;
    size_t n;
    mu_status_t status;
    if (mu_points_size(path) < course->read) /* another file */
        mu_course_release(course);
    while ((status = mu_points_read(path, course->read, &lines)) == MU_OK && lines.len > 0)
        for (size_t at = 0; mu_points_next(&lines, &at, &line, &n);)
            look_at_line(course, line, n);
    mu_buf_release(&lines);
    return status;
}

bool mu_course_replaced(const mu_course_t *course, int64_t at, int64_t step)
{
    for (int i = 0; i < course->count; i++)
        if (course->turn[i].at > at && course->turn[i].step <= step)
            return true;
    return false;
}

void mu_course_release(mu_course_t *course)
{
    free(course->turn);
    *course = (mu_course_t){0};
}
