/*
 * A destination of a run's points. track.c calls deliver() again and again; what a sink has delivered it keeps in
 * track.json, so that another process goes on from there and each point is delivered once.
 */
#ifndef MU_LAUNCHER_TRACK_SINK_H
#define MU_LAUNCHER_TRACK_SINK_H

#include "common/run/rundir.h"
#include "launcher/http/http_client.h"
#include "launcher/track/points.h"

typedef struct mu_sink mu_sink_t;

/* What a sink sees of the run. Paths are of files in the run directory. */
typedef struct mu_sink_run {
    const char *dir, *metrics, *cursor;
    mu_run_state_t state;
    bool over;          /* nothing is added to metrics.jsonl any more */
    mu_course_t course; /* of metrics.jsonl, up to date */
} mu_sink_run_t;

typedef struct mu_sink_kind {
    const char *name;
    /* Delivers one part of what is new; *more: there may be another. Errors: MU_IO and MU_UNREADY (another try may
     * help), MU_STOPPED, and others, which end the sink. `why` is filled where nothing was logged. */
    mu_status_t (*deliver)(mu_sink_t *sink, const mu_sink_run_t *run, bool *more);
    void (*release)(mu_sink_t *sink);
} mu_sink_kind_t;

struct mu_sink {
    const mu_sink_kind_t *kind;
    char *target;            /* path or address, for messages and for the command that delivers the rest */
    int64_t metrics;         /* bytes of metrics.jsonl that are delivered, once deliver() was called */
    int64_t points, damaged; /* by this process: values delivered, lines that were no points */
    mu_buf_t why;            /* of the newest failure */
    void *own;
};

/* An event file in `folder`, which is made if it is missing; named after the run. Errors: MU_RUNDIR, MU_IO. */
mu_status_t mu_sink_tensorboard(const char *folder, const mu_run_state_t *state, mu_sink_t *out);

typedef struct mu_sink_mlflow {
    mu_http_client_options_t http; /* borrowed while the sink lives */
    const char *experiment, *run_name;
} mu_sink_mlflow_t;
/* A run of an MLflow server; nothing is asked of the server before deliver(). Errors: MU_BUG. */
mu_status_t mu_sink_mlflow(const mu_sink_mlflow_t *options, mu_sink_t *out);

void mu_sink_release(mu_sink_t *sink);

#endif
