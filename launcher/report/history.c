#include "launcher/report/history.h"
#include "common/file.h"
#include "common/log.h"
#include "launcher/report/lines.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stddef.h>

struct mu_history {
    char *dir;
    mu_run_state_t state;
    bool alive;
    mu_lines_t metrics, events;
    mu_point_t *point;
    size_t points, points_room;
    mu_event_t *event;
    size_t events_count, events_room;
    int64_t damaged_points, damaged_events; /* lines of each file */
};

/* ---- a line of metrics.jsonl ---- */

static const struct {
    const char *name;
    size_t offset;
} figures[] = {
#define FIGURE(name) {#name, offsetof(mu_point_t, name)},
    MU_POINT_TABLE(FIGURE)
#undef FIGURE
};

static const char *after_spaces(const char *p)
{
    return p + strspn(p, " \t\r");
}

static void set_figure(mu_point_t *point, const char *key, size_t n, double value)
{
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        if (strlen(figures[i].name) == n && memcmp(figures[i].name, key, n) == 0) {
            memcpy((char *)point + figures[i].offset, &value, sizeof value);
            return;
        }
}

/* The value at *p as a number: null is NAN, a boolean or a text counts as none. False: no JSON. */
static bool take_value(const char **p, double *out)
{
    static const char *const words[] = {"null", "true", "false"};
    char *end;
    *out = (double)NAN;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strncmp(*p, words[i], strlen(words[i])) == 0) {
            *p += strlen(words[i]);
            return true;
        }
    if (**p == '"') {
        const char *close = *p + 1;
        while (*close && *close != '"')
            close += *close == '\\' && close[1] ? 2 : 1;
        *p = close + (*close == '"');
        return *close == '"';
    }
    if (**p != '-' && (**p < '0' || **p > '9'))
        return false;
    *out = strtod(*p, &end);
    *p = end;
    return true;
}

/* One flat object, as the controller writes it. A million lines are read so in a second; jansson takes ten. */
bool mu_point_parse(const char *line, mu_point_t *out)
{
    const char *p = after_spaces(line);
    double step = (double)NAN;
    *out = (mu_point_t){.step = 0};
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        set_figure(out, figures[i].name, strlen(figures[i].name), (double)NAN);
    if (*p++ != '{')
        return false;
    for (;;) {
        double value;
        p = after_spaces(p);
        if (*p != '"')
            return false;
        const char *key = p + 1, *close = strchr(key, '"');
        if (!close)
            return false;
        p = after_spaces(close + 1);
        if (*p++ != ':')
            return false;
        p = after_spaces(p);
        if (!take_value(&p, &value))
            return false;
        if (close - key == 4 && memcmp(key, "step", 4) == 0)
            step = value;
        else
            set_figure(out, key, (size_t)(close - key), value);
        p = after_spaces(p);
        if (*p == '}')
            break;
        if (*p++ != ',')
            return false;
    }
    if (!(step >= 1 && step <= 9e15) || !(out->time > 0) || *after_spaces(p + 1))
        return false;
    out->step = (int64_t)step;
    return true;
}

/* ---- growing arrays ---- */

static void *grown(void *old, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return old;
    *room = *room ? 2 * *room : 256;
    return mu_realloc(old, *room * size);
}

static void take_point(void *arg, const char *line, size_t n)
{
    mu_history_t *h = arg;
    mu_point_t point;
    (void)n;
    if (!mu_point_parse(line, &point)) {
        h->damaged_points++;
        return;
    }
    for (size_t i = h->points; i > 0 && h->point[i - 1].step >= point.step; i--)
        h->point[i - 1].replaced = true;
    h->point = grown(h->point, h->points, &h->points_room, sizeof *h->point);
    h->point[h->points++] = point;
}

static void copy_text(const json_t *json, const char *key, char *out, size_t size)
{
    const char *text = json_string_value(json_object_get(json, key));
    snprintf(out, size, "%s", text ? text : "");
}

static void take_event(void *arg, const char *line, size_t n)
{
    mu_history_t *h = arg;
    json_t *json = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
    double time = json_number_value(json_object_get(json, "time"));
    if (!(time > 0)) {
        h->damaged_events++;
        json_decref(json);
        return;
    }
    const json_t *rank = json_object_get(json, "rank"), *saved = json_object_get(json, "checkpoint_s"),
                 *status = json_object_get(json, "exit_code"),
                 *step = json_object_get(json, "last_checkpoint");
    const char *text = json_string_value(json_object_get(json, "text"));
    mu_event_t event = {.time = time,
                        .rank = json_is_integer(rank) ? json_integer_value(rank) : -1,
                        .text = mu_strdup(text ? text : ""),
                        .checkpoint_s = json_is_number(saved) ? json_number_value(saved) : (double)NAN,
                        .status = json_is_integer(status) ? json_integer_value(status) : -1,
                        .saved = json_is_integer(step) ? json_integer_value(step) : -1};
    copy_text(json, "kind", event.kind, sizeof event.kind);
    copy_text(json, "host", event.host, sizeof event.host);
    h->event = grown(h->event, h->events_count, &h->events_room, sizeof *h->event);
    h->event[h->events_count++] = event;
    json_decref(json);
}

static void forget_events(mu_history_t *h)
{
    for (size_t i = 0; i < h->events_count; i++)
        free(h->event[i].text);
    h->events_count = 0;
    h->damaged_events = 0;
}

/* ---- the whole ---- */

mu_status_t mu_history_update(mu_history_t *h)
{
    bool again;
    MU_TRY(mu_run_state_read(h->dir, &h->state));
    h->alive = mu_rundir_is_claimed(h->dir);
    do {
        MU_TRY(mu_lines_read(&h->metrics, take_point, h, &again));
        if (again) {
            h->points = 0;
            h->damaged_points = 0;
        }
    } while (again);
    do {
        MU_TRY(mu_lines_read(&h->events, take_event, h, &again));
        if (again)
            forget_events(h);
    } while (again);
    return MU_OK;
}

mu_status_t mu_history_open(const char *dir, mu_history_t **out)
{
    mu_history_t *h = mu_calloc(1, sizeof *h);
    h->dir = mu_strdup(dir);
    h->metrics.path = mu_path_join(dir, "metrics.jsonl");
    h->events.path = mu_path_join(dir, "events.jsonl");
    mu_status_t status = mu_history_update(h);
    if (status != MU_OK) {
        mu_history_close(h);
        return status;
    }
    *out = h;
    return MU_OK;
}

void mu_history_close(mu_history_t *h)
{
    if (!h)
        return;
    forget_events(h);
    free(h->event);
    free(h->point);
    free(h->metrics.path);
    free(h->events.path);
    free(h->dir);
    free(h);
}

const char *mu_history_dir(const mu_history_t *h)
{
    return h->dir;
}

const mu_run_state_t *mu_history_state(const mu_history_t *h)
{
    return &h->state;
}

bool mu_history_alive(const mu_history_t *h)
{
    return h->alive;
}

bool mu_history_ended(const mu_history_t *h)
{
    return strcmp(h->state.state, "done") == 0 || strcmp(h->state.state, "failed") == 0 ||
           strcmp(h->state.state, "stopped") == 0;
}

const mu_point_t *mu_history_points(const mu_history_t *h, size_t *count)
{
    *count = h->points;
    return h->point;
}

const mu_event_t *mu_history_events(const mu_history_t *h, size_t *count)
{
    *count = h->events_count;
    return h->event;
}

int64_t mu_history_damaged(const mu_history_t *h)
{
    return h->damaged_points + h->damaged_events;
}
