/*
 * The points of a run as trackers show them: lines of metrics.jsonl with gpt-neox's names where it has one, times in
 * seconds.
 *
 *     mu_points_read(path, from, &lines)       the whole lines that follow byte `from`
 *     for (size_t at = 0; mu_points_next(&lines, &at, &line, &n);)      each of them
 *     mu_track_point_parse(line, n, &point)    as a point
 *     mu_course_follow(&course, path)          where training went back to an earlier step
 *     mu_course_replaced(&course, at, step)    whether a later line of the file stands for this one
 */
#ifndef MU_LAUNCHER_TRACK_POINTS_H
#define MU_LAUNCHER_TRACK_POINTS_H

#include "common/buf.h"
#include "common/status.h"
#include <stdbool.h>
#include <stdint.h>

enum { MU_POINT_VALUES = 24, MU_POINTS_AT_ONCE = 1 << 20 /* bytes that one read gives; no line is longer */ };

typedef struct mu_scalar {
    const char *tag; /* static */
    double value;    /* NaN stands for null, a number that is not finite */
} mu_scalar_t;

typedef struct mu_track_point {
    int64_t step, samples, tokens; /* step: updates done, from 1; samples and tokens up to then */
    double time;                   /* seconds since 1970 */
    mu_scalar_t value[MU_POINT_VALUES];
    int count;
} mu_track_point_t;

/* False for a line that is no point: a controller that was killed left it torn, the next one ended it and wrote the
 * step again. */
bool mu_track_point_parse(const char *line, size_t n, mu_track_point_t *out);
/* NULL: the point has no such value. */
const mu_scalar_t *mu_track_point_find(const mu_track_point_t *point, const char *tag);

/* Replaces `out` by whole lines, at most MU_POINTS_AT_ONCE bytes; none when nothing new is there or no file yet.
 * Errors: MU_IO; MU_DATA (a line that is too long). */
mu_status_t mu_points_read(const char *path, int64_t from, mu_buf_t *out);
/* The line at byte *at of what mu_points_read() gave, n bytes without the newline, NUL bytes included (a damaged line
 * can hold some). Moves *at to the next line. False: there is none. */
bool mu_points_next(const mu_buf_t *lines, size_t *at, const char **line, size_t *n);
/* Bytes of the file; 0 when it is missing. */
int64_t mu_points_size(const char *path);

/* Where a restart made training go on from an earlier step. Start from {0}. */
typedef struct mu_course {
    int64_t read, step; /* bytes that were looked at, and the last step in them */
    struct mu_course_turn {
        int64_t at, step;
    } * turn;
    int count;
} mu_course_t;

/* Looks at what is new. Errors: as mu_points_read(). */
mu_status_t mu_course_follow(mu_course_t *course, const char *path);
/* Whether the line of `step` at byte `at` is followed by another one of that step or by one of an earlier step. */
bool mu_course_replaced(const mu_course_t *course, int64_t at, int64_t step);
void mu_course_release(mu_course_t *course);

#endif
