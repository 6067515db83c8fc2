#include "launcher/track/track.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "launcher/track/mlflow.h"
#include "launcher/track/mlflow_address.h"
#include "launcher/track/prometheus.h"
#include "launcher/track/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SINKS = 2,
    SILENT_S = 30, /* a launcher without a lock that wrote no run.json for this long is gone (cmd_stop.c) */
    POLL_MS = 500,
    RETRY_MS = 1000,
    RETRY_MOST_MS = 30000,
    REPEAT_S = 600, /* the same failure is logged again after this long */
    CALL_MS = 10000,
    BODY_LIMIT = 4096,
    CONNECTIONS = 32,
    IDLE_S = 30
};

/* A destination, and when it is tried next. */
typedef struct lane {
    mu_sink_t sink;
    mu_status_t status; /* of the last try */
    bool ended;         /* its failure does not pass */
    int wait_ms;        /* after the next failure */
    int64_t next_ns, logged_ns;
    mu_buf_t logged; /* the reason that was logged last */
} lane_t;

typedef struct tracker {
    const mu_track_t *ask;
    char *lock_path;
    int lock;
    mu_sink_run_t run;
    lane_t lane[SINKS];
    int count;
    mu_prometheus_t *prometheus;
    mu_http_server_t *server;
    int64_t listen_ns;  /* when to try next to listen */
    mu_status_t failed; /* the first destination that could not be opened */
} tracker_t;

static bool is_stopped(const tracker_t *t)
{
    return t->ask->stop && *t->ask->stop;
}

/* ---- the run ---- */

static bool has_ended(const tracker_t *t)
{
    const mu_run_state_t *s = &t->run.state;
    if (t->ask->launcher > 0 && s->pid != t->ask->launcher) /* the next launcher has its own tracker */
        return true;
    return strcmp(s->state, "done") == 0 || strcmp(s->state, "failed") == 0 ||
           strcmp(s->state, "stopped") == 0 ||
           (!mu_rundir_is_claimed(t->run.dir) && mu_wall_seconds() - s->time > SILENT_S);
}

/* The state first: what a run wrote before it ended is there when its state says so. */
static mu_status_t look(tracker_t *t)
{
    MU_TRY(mu_run_state_read(t->run.dir, &t->run.state));
    t->run.over = has_ended(t);
    return mu_course_follow(&t->run.course, t->run.metrics);
}

/* A launcher starts its tracker before it wrote run.json. */
static mu_status_t wait_for_run(tracker_t *t)
{
    char *path = mu_path_join(t->run.dir, "run.json");
    for (;;) {
        bool there = mu_is_file(path) && mu_run_state_read(t->run.dir, &t->run.state) == MU_OK;
        if (t->ask->launcher == 0 || is_stopped(t) || (there && t->run.state.pid == t->ask->launcher))
            break;
        mu_sleep_ms(POLL_MS / 5);
    }
    free(path);
    return is_stopped(t) ? MU_STOPPED : mu_run_state_read(t->run.dir, &t->run.state);
}

/* ---- delivery ---- */

static bool may_pass(mu_status_t status)
{
    return status == MU_IO || status == MU_UNREADY || status == MU_AUTH;
}

/* A server that is down for a week must not fill the log. */
static void log_failure(lane_t *lane, bool last)
{
    const char *why = lane->sink.why.data;
    if (lane->sink.why.len == 0) /* it was logged */
        return;
    bool again = lane->logged.len > 0 && strcmp(lane->logged.data, why) == 0;
    if (again && mu_now_ns() - lane->logged_ns < (int64_t)REPEAT_S * 1000000000)
        return;
    mu_warn("%s: %s%s", lane->sink.kind->name, why, last ? "" : ": trying again");
    mu_buf_clear(&lane->logged);
    mu_buf_adds(&lane->logged, why);
    lane->logged_ns = mu_now_ns();
}

static void note_success(lane_t *lane)
{
    if (lane->logged.len > 0)
        mu_info("%s: %s takes points again", lane->sink.kind->name, lane->sink.target);
    mu_buf_clear(&lane->logged);
    lane->wait_ms = RETRY_MS;
    lane->next_ns = 0;
}

/* Everything that is there now. */
static void deliver(tracker_t *t, lane_t *lane)
{
    bool more = true;
    lane->status = MU_OK;
    while (more && lane->status == MU_OK && !is_stopped(t)) {
        mu_buf_clear(&lane->sink.why);
        lane->status = lane->sink.kind->deliver(&lane->sink, &t->run, &more);
    }
    if (lane->status == MU_OK) {
        note_success(lane);
        return;
    }
    if (!may_pass(lane->status)) {
        lane->ended = lane->status != MU_STOPPED;
        return;
    }
    log_failure(lane, t->ask->once || (t->run.over && t->ask->wait <= 0));
    lane->next_ns = mu_now_ns() + (int64_t)lane->wait_ms * 1000000;
    lane->wait_ms = lane->wait_ms * 2 < RETRY_MOST_MS ? lane->wait_ms * 2 : RETRY_MOST_MS;
}

/* Whether all destinations have everything, or never will. */
static bool deliver_all(tracker_t *t, bool last)
{
    bool finished = true;
    for (int i = 0; i < t->count; i++) {
        lane_t *lane = &t->lane[i];
        if (last && lane->wait_ms > RETRY_MS) { /* the long pauses are for a run that goes on */
            lane->wait_ms = RETRY_MS;
            lane->next_ns = 0;
        }
        if (!lane->ended && mu_now_ns() >= lane->next_ns)
            deliver(t, lane);
        finished &= lane->ended || lane->status == MU_OK;
    }
    return finished;
}

/* ---- Prometheus ---- */

static mu_status_t open_server(tracker_t *t)
{
    sigset_t all, old;
    if (!t->prometheus)
        mu_prometheus_open(t->run.dir, &t->prometheus);
    t->listen_ns = mu_now_ns() + (int64_t)RETRY_MOST_MS * 1000000;
    mu_http_server_options_t options = {.listen = t->ask->listen,
                                        .body_limit = BODY_LIMIT,
                                        .connections = CONNECTIONS,
                                        .idle_s = IDLE_S,
                                        .handle = mu_prometheus_handle,
                                        .arg = t->prometheus};
    sigfillset(&all); /* signals are this thread's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    mu_status_t status = mu_http_server_open(&options, &t->server);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (status == MU_OK)
        mu_info("metrics for Prometheus: http://%s/metrics", mu_http_server_address(t->server));
    return status;
}

/* ---- until the end ---- */

static bool all_lanes_ended(const tracker_t *t)
{
    for (int i = 0; i < t->count; i++)
        if (!t->lane[i].ended)
            return false;
    return !t->ask->listen;
}

static mu_status_t follow(tracker_t *t)
{
    int64_t end_ns = 0;
    while (!is_stopped(t)) {
        mu_status_t status = look(t);
        if (status != MU_OK && (status != MU_IO || t->ask->once))
            return status;
        if (status == MU_OK) {
            if (t->ask->listen && !t->server && mu_now_ns() > t->listen_ns)
                open_server(t); /* another program had the port */
            if (t->run.over && end_ns == 0)
                end_ns = mu_now_ns() + (int64_t)(t->ask->wait * 1e9);
            bool finished = deliver_all(t, t->run.over);
            if (t->ask->once || (t->run.over && (finished || mu_now_ns() >= end_ns)) || all_lanes_ended(t))
                return MU_OK;
        }
        mu_sleep_ms(POLL_MS);
    }
    return MU_STOPPED;
}

/* ---- what is left ---- */

/* Lines of metrics.jsonl from byte `at`; the first and the last step of them. */
static int64_t count_left(const tracker_t *t, int64_t at, int64_t *first, int64_t *last)
{
    mu_buf_t lines = MU_BUF_INIT;
    const char *line;
    size_t n;
    int64_t count = 0;
    *first = *last = 0;
    while (mu_points_read(t->run.metrics, at, &lines) == MU_OK && lines.len > 0) {
        for (size_t next = 0; mu_points_next(&lines, &next, &line, &n);) {
            mu_track_point_t point;
            if (!mu_track_point_parse(line, n, &point))
                continue;
            *first = count++ == 0 ? point.step : *first;
            *last = point.step;
        }
        at += (int64_t)lines.len;
    }
    mu_buf_release(&lines);
    return count;
}

static mu_status_t report(const tracker_t *t, const lane_t *lane)
{
    const mu_sink_t *sink = &lane->sink;
    bool server = strcmp(sink->kind->name, "mlflow") == 0;
    int64_t first, last, left = count_left(t, sink->metrics, &first, &last);
    if (sink->damaged > 0)
        mu_warn("%s: %lld lines are torn or damaged, and left out", t->run.metrics, (long long)sink->damaged);
    if (lane->status == MU_OK && left == 0) {
        mu_info("%s: %lld values %s", sink->target, (long long)sink->points, server ? "sent" : "written");
        return MU_OK;
    }
    char *steps = left > 0 ? mu_format("%lld steps (%lld to %lld) are", (long long)left, (long long)first,
                                       (long long)last)
                           : mu_strdup("the end of the run is");
    const char *folder_end = server ? NULL : strrchr(sink->target, '/');
    int shown = folder_end ? (int)(folder_end - sink->target) : (int)strlen(sink->target);
    mu_status_t status = lane->status != MU_OK ? lane->status : MU_STOPPED;
    mu_error("%s: %s not delivered%s%s; this command delivers them: muster track %s --%s %.*s",
             sink->kind->name, steps, sink->why.len > 0 ? ": " : "", sink->why.len > 0 ? sink->why.data : "",
             t->run.dir, sink->kind->name, shown, sink->target);
    free(steps);
    return status;
}

static mu_status_t report_all(const tracker_t *t)
{
    mu_status_t status = t->failed;
    for (int i = 0; i < t->count; i++) {
        mu_status_t one = report(t, &t->lane[i]);
        status = status == MU_OK || status == MU_STOPPED ? (one != MU_OK ? one : status) : status;
    }
    return status;
}

/* ---- start and end ---- */

/* One tracker a run: the lock goes with the process. */
static mu_status_t take_lock(tracker_t *t)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    t->lock = open(t->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (t->lock < 0)
        return mu_fail(MU_RUNDIR, "%s: cannot open: %s", t->lock_path, strerror(errno));
    if (fcntl(t->lock, F_OFD_SETLK, &whole) == 0)
        return MU_OK;
    if (errno == EAGAIN || errno == EACCES)
        return mu_fail(MU_RUNDIR, "%s: another muster track works on this run: end it first", t->lock_path);
    mu_warn("%s: this volume has no locks (%s): see to it that no second tracker uses it", t->lock_path,
            strerror(errno));
    return MU_OK;
}

static mu_status_t open_mlflow(tracker_t *t, mu_sink_t *out)
{
    const char *experiment, *slash = strrchr(t->run.dir, '/');
    MU_TRY(mu_mlflow_experiment_name(&experiment));
    mu_sink_mlflow_t options = {
        .http = {.base = t->ask->mlflow,
                 .timeout_ms = t->ask->call_ms > 0 ? t->ask->call_ms : CALL_MS,
                 .stop = t->ask->stop},
        .experiment = experiment,
        .run_name = slash && slash[1] ? slash + 1 : t->run.dir,
    };
    mu_mlflow_tls(&options.http);
    mu_mlflow_credentials(t->ask->secrets, &options.http);
    return mu_sink_mlflow(&options, out);
}

/* By hand one that cannot be opened is the end; a launcher's tracker serves the others. */
static mu_status_t open_destinations(tracker_t *t)
{
    mu_status_t status = MU_OK;
    if (t->ask->tensorboard)
        status = mu_sink_tensorboard(t->ask->tensorboard, &t->run.state, &t->lane[t->count].sink);
    t->count += status == MU_OK && t->ask->tensorboard;
    t->failed = status;
    if (t->ask->mlflow && (status == MU_OK || t->ask->launcher > 0)) {
        status = open_mlflow(t, &t->lane[t->count].sink);
        t->count += status == MU_OK;
        t->failed = t->failed == MU_OK ? status : t->failed;
    }
    for (int i = 0; i < t->count; i++)
        t->lane[i].wait_ms = RETRY_MS;
    if (t->ask->listen && (t->failed == MU_OK || t->ask->launcher > 0))
        status = open_server(t);
    if (t->ask->launcher > 0)
        return MU_OK;
    return t->failed != MU_OK ? t->failed : status;
}

static void release(tracker_t *t)
{
    mu_http_server_close(t->server);
    mu_prometheus_close(t->prometheus);
    for (int i = 0; i < SINKS; i++) {
        mu_sink_release(&t->lane[i].sink);
        mu_buf_release(&t->lane[i].logged);
    }
    if (t->lock >= 0)
        close(t->lock);
    mu_course_release(&t->run.course);
    free((char *)t->run.metrics);
    free((char *)t->run.cursor);
    free((char *)t->run.dir);
    free(t->lock_path);
}

/* The name of the run in MLflow and the command in messages should not depend on where the tracker was started. */
static char *whole_path(const char *dir)
{
    char *real = realpath(dir, NULL);
    return real ? real : mu_strdup(dir);
}

mu_status_t mu_track(const mu_track_t *track)
{
    tracker_t t = {.ask = track, .lock = -1, .run.dir = whole_path(track->run_dir)};
    mu_status_t status;
    t.run.metrics = mu_path_join(t.run.dir, "metrics.jsonl");
    t.run.cursor = mu_path_join(t.run.dir, "track.json");
    t.lock_path = mu_path_join(t.run.dir, "track.lock");
    MU_TRY_GOTO(status, wait_for_run(&t), end);
    MU_TRY_GOTO(status, take_lock(&t), end);
    MU_TRY_GOTO(status, open_destinations(&t), end);
    status = follow(&t);
    if (status == MU_OK || status == MU_STOPPED) {
        mu_status_t left = report_all(&t);
        status = left != MU_OK ? left : status == MU_STOPPED && t.run.over ? MU_OK : status;
    }
end:
    release(&t);
    return status;
}
