#include "launcher/track/track.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/rundir.h"
#include "launcher/track/tensorboard.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    AT_ONCE = 1 << 20, /* bytes of metrics.jsonl between two cursors; no line is longer */
    CURSOR_LIMIT = 1 << 20,
    SILENT_S = 30, /* a launcher without a lock that wrote no run.json for this long is gone (cmd_stop.c) */
    POLL_MS = 1000,
    RETRY_MOST_MS = 30000,
};

/* What track.json says of one event file. */
typedef struct cursor {
    int64_t length;  /* of the event file */
    int64_t metrics; /* bytes of metrics.jsonl that are in it */
    int64_t step;    /* the last one */
} cursor_t;

typedef struct tracker {
    const char *run_dir;
    char *metrics, *cursor_path, *events; /* paths */
    int lock;
    int64_t points, damaged; /* delivered by this process; lines that were no JSON */
} tracker_t;

/* ---- cursor ---- */

static mu_status_t load_cursors(const tracker_t *t, json_t **out)
{
    mu_buf_t text = MU_BUF_INIT;
    *out = NULL;
    if (!mu_is_file(t->cursor_path)) {
        *out = json_object();
        return MU_OK;
    }
    mu_status_t status = mu_file_read(t->cursor_path, CURSOR_LIMIT, &text);
    if (status == MU_OK) {
        json_error_t error;
        *out = json_loadb(text.data, text.len, 0, &error);
        if (!json_is_object(*out)) {
            status = mu_fail(MU_DATA, "%s:%d:%d: %s, wanted an object: remove it to write every point again",
                             t->cursor_path, *out ? 1 : error.line, *out ? 1 : error.column,
                             *out ? "no object" : error.text);
            json_decref(*out);
            *out = NULL;
        }
    }
    mu_buf_release(&text);
    return status;
}

static mu_status_t read_cursor(const tracker_t *t, cursor_t *out)
{
    json_t *all;
    MU_TRY(load_cursors(t, &all));
    json_t *mine = json_object_get(json_object_get(all, "tensorboard"), t->events);
    *out = (cursor_t){json_integer_value(json_object_get(mine, "length")),
                      json_integer_value(json_object_get(mine, "metrics")),
                      json_integer_value(json_object_get(mine, "step"))};
    json_decref(all);
    return MU_OK;
}

static mu_status_t write_cursor(const tracker_t *t, const cursor_t *cursor)
{
    json_t *all;
    MU_TRY(load_cursors(t, &all));
    json_t *files = json_object_get(all, "tensorboard");
    if (!json_is_object(files)) {
        files = json_object();
        json_object_set_new(all, "tensorboard", files);
    }
    json_object_set_new(files, t->events,
                        json_pack("{s:I, s:I, s:I}", "length", (json_int_t)cursor->length, "metrics",
                                  (json_int_t)cursor->metrics, "step", (json_int_t)cursor->step));
    char *text = json_dumps(all, JSON_INDENT(2));
    mu_status_t status = text ? mu_file_replace(t->cursor_path, text, strlen(text), 0600)
                              : mu_fail(MU_IO, "%s: cannot be written as JSON", t->cursor_path);
    free(text);
    json_decref(all);
    return status;
}

/* ---- one line of metrics.jsonl ---- */

typedef struct row {
    mu_tb_scalar_t scalars[16];
    int count;
} row_t;

/* A number, or null, which stands for one that is not finite. */
static void add_value(row_t *row, const char *tag, const json_t *value, double scale)
{
    if (json_is_number(value) || json_is_null(value))
        row->scalars[row->count++] =
            (mu_tb_scalar_t){tag, json_is_null(value) ? (double)NAN : json_number_value(value) * scale};
}

static void add_rate(row_t *row, const char *tag, double rate)
{
    if (isfinite(rate))
        row->scalars[row->count++] = (mu_tb_scalar_t){tag, rate};
}

static void fill_row(const json_t *line, row_t *row)
{
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
    row->count = 0;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        add_value(row, values[i].tag, json_object_get(line, values[i].key), values[i].scale);
    add_rate(row, "runtime/steps_per_sec", 1000 / json_number_value(json_object_get(line, "step_ms")));
    add_rate(row, "runtime/samples_per_sec",
             json_number_value(json_object_get(line, "tokens_per_s")) *
                 json_number_value(json_object_get(line, "samples")) /
                 json_number_value(json_object_get(line, "tokens")));
}

/* A line that a killed controller left torn is no JSON; the writer ended it, and wrote the step again. */
static void take_line(tracker_t *t, const char *text, size_t n, cursor_t *cursor, mu_buf_t *out)
{
    json_t *line = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    json_int_t step = json_integer_value(json_object_get(line, "step"));
    double time = json_number_value(json_object_get(line, "time"));
    row_t row;
    if (step <= 0) {
        t->damaged++;
        json_decref(line);
        return;
    }
    if (step <= cursor->step)
        mu_tb_restart(time, step, out);
    fill_row(line, &row);
    mu_tb_scalars(time, step, row.scalars, row.count, out);
    cursor->step = step;
    t->points += row.count;
    json_decref(line);
}

/* ---- delivery ---- */

static mu_status_t read_part(const tracker_t *t, int64_t from, mu_buf_t *out)
{
    int fd = open(t->metrics, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? MU_OK /* no step yet */
                               : mu_fail(MU_IO, "%s: cannot open: %s", t->metrics, strerror(errno));
    mu_status_t status = MU_OK;
    if (lseek(fd, from, SEEK_SET) < 0)
        status = mu_fail(MU_IO, "%s: cannot seek: %s", t->metrics, strerror(errno));
    else
        mu_fd_drain(fd, AT_ONCE, out);
    close(fd);
    return status;
}

/* How long the file is; 0 if it is missing. */
static int64_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
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

/* The file's first records: version, and run.json as a text. */
static void begin_file(const mu_run_state_t *state, mu_buf_t *out)
{
    mu_buf_t json = MU_BUF_INIT, text = MU_BUF_INIT;
    mu_run_state_json(state, &json);
    mu_buf_addf(&text, "```\n%s\n```\n", json.data);
    mu_tb_header(state->started, out);
    mu_tb_text(state->started, "run/text_summary", text.data, out);
    mu_buf_release(&json);
    mu_buf_release(&text);
}

/* Delivers one part of what is new; *more: there may be another. */
static mu_status_t deliver(tracker_t *t, const mu_run_state_t *state, bool *more)
{
    cursor_t cursor;
    mu_buf_t lines = MU_BUF_INIT, events = MU_BUF_INIT;
    mu_status_t status;
    int64_t points = t->points, damaged = t->damaged;
    *more = false;
    MU_TRY(read_cursor(t, &cursor));
    bool lost = size_of(t->events) < cursor.length, other = size_of(t->metrics) < cursor.metrics;
    if (lost || other || cursor.length < 0 || cursor.metrics < 0) {
        mu_warn("%s: shorter than %s says: every point is written again", lost ? t->events : t->metrics,
                t->cursor_path);
        cursor = (cursor_t){0};
    }
    MU_TRY_GOTO(status, read_part(t, cursor.metrics, &lines), end);
    size_t used = 0;
    int64_t length = cursor.length;
    if (length == 0)
        begin_file(state, &events);
    for (char *line;
         used < lines.len && (line = memchr(lines.data + used, '\n', lines.len - used)) != NULL;) {
        size_t n = (size_t)(line - lines.data) - used;
        take_line(t, lines.data + used, n, &cursor, &events);
        used += n + 1;
    }
    if (used == 0 && lines.len >= AT_ONCE) {
        status = mu_fail(MU_DATA, "%s: byte %lld: a line of more than %d bytes", t->metrics,
                         (long long)cursor.metrics, AT_ONCE);
        goto end;
    }
    if (used > 0 || length == 0) {
        MU_TRY_GOTO(status, append(t->events, length, &events), end);
        cursor.metrics += (int64_t)used;
        cursor.length = length + (int64_t)events.len;
        status = write_cursor(t, &cursor);
    }
    *more = used > 0;
end:
    if (status != MU_OK) { /* it comes again */
        t->points = points;
        t->damaged = damaged;
    }
    mu_buf_release(&lines);
    mu_buf_release(&events);
    return status;
}

/* Everything that is there now. */
static mu_status_t deliver_all(tracker_t *t, const mu_run_state_t *state)
{
    bool more = true;
    while (more)
        MU_TRY(deliver(t, state, &more));
    return MU_OK;
}

static bool has_ended(const char *dir, const mu_run_state_t *s)
{
    return strcmp(s->state, "done") == 0 || strcmp(s->state, "failed") == 0 ||
           strcmp(s->state, "stopped") == 0 ||
           (!mu_rundir_is_claimed(dir) && mu_wall_seconds() - s->time > SILENT_S);
}

static mu_status_t follow(tracker_t *t, bool once)
{
    for (int wait = POLL_MS;;) {
        mu_run_state_t state;
        /* The state first: what a run wrote before it ended is there when its state says so. */
        MU_TRY(mu_run_state_read(t->run_dir, &state));
        bool last = once || has_ended(t->run_dir, &state);
        mu_status_t status = deliver_all(t, &state);
        if (last || (status != MU_OK && status != MU_IO))
            return status;
        wait = status == MU_OK ? POLL_MS : wait * 2 < RETRY_MOST_MS ? wait * 2 : RETRY_MOST_MS;
        mu_sleep_ms(wait);
    }
}

/* ---- start and end ---- */

/* One tracker a run: the lock goes with the process. */
static mu_status_t take_lock(tracker_t *t)
{
    char *path = mu_path_join(t->run_dir, "track.lock");
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    mu_status_t status = MU_OK;
    t->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (t->lock < 0)
        status = mu_fail(MU_RUNDIR, "%s: cannot open: %s", path, strerror(errno));
    else if (fcntl(t->lock, F_OFD_SETLK, &whole) != 0) {
        if (errno == EAGAIN || errno == EACCES)
            status = mu_fail(MU_RUNDIR, "%s: another muster track works on this run: end it first", path);
        else
            mu_warn("%s: this volume has no locks (%s): see to it that no second tracker uses it", path,
                    strerror(errno));
    }
    free(path);
    return status;
}

/* The name follows from the run, so that a tracker without a cursor replaces its file and adds no second one. */
static mu_status_t name_file(tracker_t *t, const char *folder, const mu_run_state_t *state)
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
    t->events = mu_format("%s/events.out.tfevents.0000000000.muster.%s", real, token);
    free(real);
    return MU_OK;
}

mu_status_t mu_track(const mu_track_t *track)
{
    tracker_t t = {.run_dir = track->run_dir, .lock = -1};
    mu_run_state_t state;
    mu_status_t status;
    MU_TRY(mu_run_state_read(track->run_dir, &state));
    t.metrics = mu_path_join(track->run_dir, "metrics.jsonl");
    t.cursor_path = mu_path_join(track->run_dir, "track.json");
    MU_TRY_GOTO(status, take_lock(&t), end);
    MU_TRY_GOTO(status, name_file(&t, track->tensorboard, &state), end);
    status = follow(&t, track->once);
    if (t.damaged > 0)
        mu_warn("%s: %lld lines are torn or damaged, and left out", t.metrics, (long long)t.damaged);
    if (status == MU_OK)
        mu_info("%s: %lld values written", t.events, (long long)t.points);
end:
    if (t.lock >= 0)
        close(t.lock);
    free(t.metrics);
    free(t.cursor_path);
    free(t.events);
    return status;
}
