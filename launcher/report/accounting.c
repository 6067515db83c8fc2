#include "launcher/report/accounting.h"

#include <math.h>
#include <stdlib.h>

typedef enum mode {
    AWAY,
    STARTING,
    STEPPING,
    BETWEEN
} walk_mode_t; /* no launcher; before a step; after one; failed */

typedef struct walk {
    mu_account_t *a;
    walk_mode_t mode;
    double cursor;     /* accounted for up to here */
    double checkpoint; /* of the points of this attempt, seconds */
    int64_t durable;   /* steps after it are lost if no later point has them; INT64_MAX: none are */
} walk_t;

static double positive(double value)
{
    return value > 0 ? value : 0; /* NAN as well */
}

/* At most `ms` of what is left of an interval goes to a part. */
static void take(walk_t *w, mu_part_t part, double seconds, double *left)
{
    double amount = fmin(positive(seconds), *left);
    w->a->part[part] += amount;
    *left -= amount;
}

static void spend(walk_t *w, mu_part_t part, double until)
{
    if (until > w->cursor) {
        w->a->part[part] += until - w->cursor;
        w->cursor = until;
    }
}

static bool counts(const walk_t *w, const mu_point_t *p)
{
    return !p->replaced && p->step <= w->durable;
}

static void take_point(walk_t *w, const mu_point_t *p)
{
    double step = positive(p->step_ms) / 1e3, evaluation = positive(p->eval_ms) / 1e3;
    double saving = positive(p->checkpoint_ms) / 1e3, copying = positive(p->copy_ms) / 1e3;
    if (w->mode == AWAY) /* a record without its launcher: an old run, or a lost entry */
        w->cursor = p->time - step - evaluation - saving - copying;
    if (w->mode != STEPPING) {
        w->checkpoint = 0;
        spend(w, MU_PART_start, p->time - step - evaluation - saving - copying);
    }
    double left = positive(p->time - w->cursor);
    w->cursor = fmax(w->cursor, p->time);
    w->mode = STEPPING;
    w->checkpoint += saving;
    w->a->saves += saving > 0;
    take(w, MU_PART_checkpoint, saving, &left);
    take(w, MU_PART_copies, copying, &left);
    if (!counts(w, p)) {
        w->a->lost_steps++;
        take(w, MU_PART_lost, left, &left);
        return;
    }
    double exchange = positive(p->comm_ms - positive(p->peer_wait_ms)) / 1e3,
           wait = positive(p->data_wait_ms) / 1e3;
    w->a->steps++;
    take(w, MU_PART_evaluation, evaluation, &left);
    take(w, MU_PART_data_wait, wait, &left);
    take(w, MU_PART_communication, exchange, &left);
    take(w, MU_PART_compute, step - wait - exchange, &left);
    take(w, MU_PART_other, left, &left);
}

/* The end of an attempt: what came after its last step. */
static void take_over(walk_t *w, const mu_event_t *e)
{
    bool failed = e->status != 0 && e->status != 75;
    w->a->failures += failed;
    if (w->mode == STEPPING) {
        double left = positive(e->time - w->cursor);
        w->cursor = fmax(w->cursor, e->time);
        w->a->saves += e->checkpoint_s - w->checkpoint > 1e-3; /* after its last step */
        take(w, MU_PART_checkpoint, e->checkpoint_s - w->checkpoint, &left);
        take(w, failed ? MU_PART_lost : MU_PART_other, left, &left);
    } else {
        spend(w, MU_PART_start, e->time);
    }
    w->mode = BETWEEN;
}

static void take_event(walk_t *w, const mu_event_t *e)
{
    if (strcmp(e->kind, "stall") == 0)
        w->a->stalls++;
    if (strcmp(e->kind, "launcher") == 0 || (strcmp(e->kind, "attempt") == 0 && w->mode == AWAY)) {
        w->mode = STARTING;
        w->cursor = fmax(w->cursor, e->time);
    }
    if (strcmp(e->kind, "attempt") == 0) {
        w->a->attempts++;
        spend(w, w->mode == STEPPING ? MU_PART_lost : MU_PART_start, e->time);
        w->mode = STARTING;
    } else if (strcmp(e->kind, "over") == 0) {
        take_over(w, e);
    } else if (strcmp(e->kind, "end") == 0 && w->mode != AWAY) {
        spend(w, w->mode == STARTING ? MU_PART_start : MU_PART_other, e->time);
        w->mode = AWAY;
    } else if (w->mode == STARTING || w->mode == BETWEEN) {
        spend(w, MU_PART_start, e->time); /* the last sign of a launcher, should it be killed */
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void step_times(const walk_t *w, const mu_point_t *point, size_t n)
{
    double *ms = mu_alloc((n ? n : 1) * sizeof *ms);
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (counts(w, &point[i]) && point[i].step_ms > 0)
            ms[count++] = point[i].step_ms;
    qsort(ms, count, sizeof *ms, by_value);
    if (count > 0) {
        w->a->step_ms_min = ms[0];
        w->a->step_ms_median = count % 2 ? ms[count / 2] : (ms[count / 2 - 1] + ms[count / 2]) / 2;
        w->a->step_ms_max = ms[count - 1];
    }
    free(ms);
}

/* The step up to which nothing must be done again: all of them while an attempt steps, and after one that came to its
 * end; else the newest checkpoint. */
static int64_t durable_step(const mu_history_t *h)
{
    size_t points, events;
    const mu_point_t *point = mu_history_points(h, &points);
    const mu_event_t *event = mu_history_events(h, &events), *newest = NULL;
    for (size_t i = events; i-- > 0 && !newest;)
        if (strcmp(event[i].kind, "attempt") == 0 || strcmp(event[i].kind, "over") == 0)
            newest = &event[i];
    bool over = newest && strcmp(newest->kind, "over") == 0;
    bool stepping = points > 0 && newest && !over && point[points - 1].time > newest->time;
    if ((over && newest->status == 0) || (stepping && mu_history_alive(h)))
        return INT64_MAX;
    return over ? newest->saved : mu_history_state(h)->last_checkpoint;
}

void mu_accounting(const mu_history_t *h, mu_account_t *out)
{
    size_t points, events, p = 0, e = 0;
    const mu_point_t *point = mu_history_points(h, &points);
    const mu_event_t *event = mu_history_events(h, &events);
    const mu_run_state_t *state = mu_history_state(h);
    walk_t w = {.a = out, .durable = durable_step(h)};
    *out = (mu_account_t){.wall = 0};
    while (p < points || e < events) {
        if (e == events || (p < points && point[p].time <= event[e].time))
            take_point(&w, &point[p++]);
        else
            take_event(&w, &event[e++]);
    }
    if (mu_history_alive(h) && !mu_history_ended(h) && (w.mode == STARTING || w.mode == BETWEEN))
        spend(&w, MU_PART_start, state->time); /* it is written once a second */
    for (int i = 0; i < MU_PARTS; i++)
        out->wall += out->part[i];
    step_times(&w, point, points);
}

mu_status_t mu_accounting_of(const char *run_dir, mu_account_t *out)
{
    mu_history_t *history;
    MU_TRY(mu_history_open(run_dir, &history));
    mu_accounting(history, out);
    mu_history_close(history);
    return MU_OK;
}
