/* A run of MLflow. The cursor holds the ids of experiment and run, the mark of the run directory, bytes of
 * metrics.jsonl that the server has, the config whose parameters it has, and the status it was given. A batch is sent,
 * then the cursor is written. A batch that is sent again (no answer came, or the tracker was killed in between) is the
 * same points, which MLflow keeps once: same name, step, time and value. */
#include "common/file.h"
#include "common/log.h"
#include "launcher/track/cursor.h"
#include "launcher/track/mlflow.h"
#include "launcher/track/run_facts.h"
#include "launcher/track/sink.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct own {
    mu_mlflow_t *mlflow;
    char *experiment, *run_name;
    char facts[MU_DIGEST_HEX]; /* of the tags that were set by this process */
    bool lineage;              /* was sent */
} own_t;

/* ---- cursor ---- */

static const char *text_of(const json_t *kept, const char *key)
{
    const char *text = json_string_value(json_object_get(kept, key));
    return text ? text : "";
}

static int64_t bytes_of(const json_t *kept)
{
    return json_integer_value(json_object_get(kept, "metrics"));
}

static mu_status_t keep(const mu_sink_t *sink, const mu_sink_run_t *run, json_t *kept)
{
    return mu_cursor_put(run->cursor, sink->kind->name, sink->target, kept);
}

/* The reason of a call that failed, for whoever logs it. */
static mu_status_t because(mu_sink_t *sink, mu_status_t status)
{
    const own_t *own = sink->own;
    if (status != MU_OK) {
        mu_buf_clear(&sink->why);
        mu_buf_adds(&sink->why, mu_mlflow_why(own->mlflow));
    }
    return status;
}

/* ---- the run of MLflow ---- */

/* One that a tracker made and did not write down is found by its tag. */
static mu_status_t find_or_create(mu_sink_t *sink, const mu_sink_run_t *run, json_t *kept)
{
    const own_t *own = sink->own;
    char experiment[MU_MLFLOW_ID], id[MU_MLFLOW_ID];
    MU_TRY(because(sink, mu_mlflow_experiment(own->mlflow, own->experiment, experiment)));
    MU_TRY(
        because(sink, mu_mlflow_find_run(own->mlflow, experiment, MU_MLFLOW_RUN_TAG, run->state.token, id)));
    if (!*id)
        MU_TRY(because(sink, mu_mlflow_create_run(own->mlflow, experiment, own->run_name,
                                                  (int64_t)llround(run->state.started * 1000),
                                                  MU_MLFLOW_RUN_TAG, run->state.token, id)));
    json_object_clear(kept);
    json_object_set_new(kept, "experiment", json_string(experiment));
    json_object_set_new(kept, "run", json_string(id));
    json_object_set_new(kept, "token", json_string(run->state.token));
    json_object_set_new(kept, "metrics", json_integer(0));
    return keep(sink, run, kept);
}

/* The part of `list` from `from`, of `most` entries. */
static json_t *part(json_t *list, size_t from, size_t most)
{
    json_t *out = json_array();
    for (size_t i = from; i < json_array_size(list) && i < from + most; i++)
        json_array_append(out, json_array_get(list, i));
    return out;
}

/* Parameters that the run has not; MLflow refuses to change one, so a changed one becomes a tag. */
static void split_params(json_t *config, const json_t *there, json_t *params, json_t *tags)
{
    size_t i;
    json_t *pair;
    json_array_foreach(config, i, pair)
    {
        const char *key = text_of(pair, "key");
        const char *old = json_string_value(json_object_get(there, key));
        if (!old)
            json_array_append(params, pair);
        else if (strcmp(old, text_of(pair, "value")) != 0) {
            char *name = mu_format("config.%s", key);
            mu_mlflow_add_pair(tags, name, text_of(pair, "value"));
            free(name);
        }
    }
}

static mu_status_t send_params(mu_sink_t *sink, const mu_sink_run_t *run, json_t *kept)
{
    const own_t *own = sink->own;
    const char *id = text_of(kept, "run");
    json_t *config = json_array(), *there = NULL, *params = json_array(), *tags = json_array();
    mu_status_t status;
    if (strcmp(text_of(kept, "config"), run->state.config_digest) == 0)
        goto skip;
    mu_run_config(run->dir, config);
    MU_TRY_GOTO(status, because(sink, mu_mlflow_params(own->mlflow, id, &there)), end);
    split_params(config, there, params, tags);
    for (size_t i = 0; i < json_array_size(params) || i < json_array_size(tags); i += MU_MLFLOW_PARAMS) {
        json_t *some = part(params, i, MU_MLFLOW_PARAMS), *others = part(tags, i, MU_MLFLOW_PARAMS);
        status = because(sink, mu_mlflow_log(own->mlflow, id, NULL, some, others));
        json_decref(some);
        json_decref(others);
        if (status != MU_OK)
            goto end;
    }
    json_object_set_new(kept, "config", json_string(run->state.config_digest));
    status = keep(sink, run, kept);
    goto end;
skip:
    status = MU_OK;
end:
    json_decref(config);
    json_decref(there);
    json_decref(params);
    json_decref(tags);
    return status;
}

/* Tags say how the run is; they are set when one of them has changed. */
static mu_status_t send_tags(mu_sink_t *sink, const mu_sink_run_t *run, const json_t *kept)
{
    own_t *own = sink->own;
    json_t *tags = json_array();
    char digest[MU_DIGEST_HEX];
    mu_status_t status = MU_OK;
    mu_run_facts(&run->state, tags);
    char *text = json_dumps(tags, JSON_COMPACT);
    mu_digest_bytes(text ? text : "", text ? strlen(text) : 0, digest);
    if (strcmp(digest, own->facts) != 0) {
        bool lineage = own->lineage || mu_run_lineage(run->dir, run->state.last_checkpoint, tags);
        status = because(sink, mu_mlflow_log(own->mlflow, text_of(kept, "run"), NULL, NULL, tags));
        if (status == MU_OK) {
            memcpy(own->facts, digest, sizeof digest);
            own->lineage = lineage;
        }
    }
    free(text);
    json_decref(tags);
    return status;
}

static mu_status_t send_status(mu_sink_t *sink, const mu_sink_run_t *run, json_t *kept)
{
    const own_t *own = sink->own;
    const char *state = run->state.state, *word = "RUNNING";
    if (run->over) /* a launcher that was killed leaves another state */
        word = strcmp(state, "done") == 0 ? "FINISHED" : strcmp(state, "stopped") == 0 ? "KILLED" : "FAILED";
    if (strcmp(text_of(kept, "status"), word) == 0)
        return MU_OK;
    int64_t end = run->over ? (int64_t)llround(run->state.time * 1000) : 0;
    MU_TRY(because(sink, mu_mlflow_set_status(own->mlflow, text_of(kept, "run"), word, end)));
    json_object_set_new(kept, "status", json_string(word));
    return keep(sink, run, kept);
}

/* ---- points ---- */

static void add_point(const mu_track_point_t *point, json_t *metrics)
{
    for (int i = 0; i < point->count; i++) {
        double value = point->value[i].value;
        json_array_append_new(metrics, json_pack("{s:s, s:o, s:I, s:I}", "key", point->value[i].tag, "value",
                                                 isfinite(value) ? json_real(value) : json_string("NaN"),
                                                 "timestamp", (json_int_t)llround(point->time * 1000), "step",
                                                 (json_int_t)point->step));
    }
}

/* One call's worth of lines. Lines that a restart made void before they were sent are not sent. */
static mu_status_t send_points(mu_sink_t *sink, const mu_sink_run_t *run, json_t *kept, bool *more)
{
    const own_t *own = sink->own;
    mu_buf_t lines = MU_BUF_INIT;
    json_t *metrics = json_array();
    int64_t at = bytes_of(kept), damaged = 0;
    const char *line;
    size_t n;
    mu_status_t status = mu_points_read(run->metrics, at, &lines);
    for (size_t next = 0; status == MU_OK && mu_points_next(&lines, &next, &line, &n);) {
        mu_track_point_t point;
        if (!mu_track_point_parse(line, n, &point))
            damaged++;
        else if (!mu_course_replaced(&run->course, at, point.step)) {
            if (json_array_size(metrics) + (size_t)point.count > MU_MLFLOW_METRICS)
                break;
            add_point(&point, metrics);
        }
        at += (int64_t)n + 1;
    }
    *more = status == MU_OK && at > bytes_of(kept);
    if (*more) {
        if (json_array_size(metrics) > 0)
            status = because(sink, mu_mlflow_log(own->mlflow, text_of(kept, "run"), metrics, NULL, NULL));
        if (status == MU_OK) {
            json_object_set_new(kept, "metrics", json_integer((json_int_t)at));
            status = keep(sink, run, kept);
        }
        if (status == MU_OK) {
            sink->metrics = at;
            sink->points += (int64_t)json_array_size(metrics);
            sink->damaged += damaged;
        }
    }
    mu_buf_release(&lines);
    json_decref(metrics);
    return status;
}

static mu_status_t deliver_to(mu_sink_t *sink, const mu_sink_run_t *run, json_t *kept, bool *more)
{
    if (!*text_of(kept, "run") || strcmp(text_of(kept, "token"), run->state.token) != 0)
        MU_TRY(find_or_create(sink, run, kept));
    if (mu_points_size(run->metrics) < bytes_of(kept)) {
        mu_warn("%s: shorter than %s says: every point is sent again", run->metrics, run->cursor);
        json_object_set_new(kept, "metrics", json_integer(0));
    }
    sink->metrics = bytes_of(kept);
    MU_TRY(send_params(sink, run, kept));
    MU_TRY(send_tags(sink, run, kept));
    if (!run->over)
        MU_TRY(send_status(sink, run, kept));
    MU_TRY(send_points(sink, run, kept, more));
    return run->over && !*more ? send_status(sink, run, kept) : MU_OK;
}

static mu_status_t deliver(mu_sink_t *sink, const mu_sink_run_t *run, bool *more)
{
    json_t *kept;
    *more = false;
    mu_buf_clear(&sink->why);
    MU_TRY(mu_cursor_get(run->cursor, sink->kind->name, sink->target, &kept));
    bool same = strcmp(text_of(kept, "token"), run->state.token) == 0;
    sink->metrics = same ? bytes_of(kept) : 0;
    mu_status_t status = deliver_to(sink, run, kept, more);
    if (status == MU_NOINPUT && sink->why.len > 0) { /* the server forgot the run: it gets another one */
        own_t *own = sink->own;
        json_object_clear(kept);
        own->facts[0] = '\0';
        own->lineage = false;
        status = keep(sink, run, kept);
        if (status == MU_OK)
            status = MU_UNREADY;
    }
    json_decref(kept);
    return status;
}

static void release(mu_sink_t *sink)
{
    own_t *own = sink->own;
    mu_mlflow_close(own->mlflow);
    free(own->experiment);
    free(own->run_name);
    free(own);
}

static const mu_sink_kind_t kind = {"mlflow", deliver, release};

mu_status_t mu_sink_mlflow(const mu_sink_mlflow_t *options, mu_sink_t *out)
{
    mu_mlflow_t *mlflow;
    MU_TRY(mu_mlflow_open(&options->http, &mlflow));
    own_t *own = mu_calloc(1, sizeof *own);
    own->mlflow = mlflow;
    own->experiment = mu_strdup(options->experiment);
    own->run_name = mu_strdup(options->run_name);
    *out = (mu_sink_t){.kind = &kind, .target = mu_strdup(options->http.base), .own = own};
    return MU_OK;
}
