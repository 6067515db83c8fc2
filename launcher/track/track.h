/*
 * A tracker: takes the points of a run to where people look at them. It reads metrics.jsonl, run.json, config.yml and
 * checkpoint manifests of the run directory and writes there only its cursors, track.json, and its lock, track.lock,
 * so it cannot touch the training.
 *
 * Each point is delivered once (sink.h). A destination that does not answer is tried again, after twice as long each
 * time and 30 s at most; the others go on meanwhile.
 */
#ifndef MU_LAUNCHER_TRACK_H
#define MU_LAUNCHER_TRACK_H

#include "common/status.h"
#include "launcher/track/secrets.h"
#include <stdbool.h>
#include <signal.h>

/* Strings are NULL when they are not given. At least one destination is. */
typedef struct mu_track {
    const char *run_dir;
    const char *tensorboard; /* folder of the event file; made if it is missing */
    const char *mlflow;      /* address of a server, without credentials */
    const char *listen;      /* address for Prometheus (launcher/http/http_server.h) */
    bool once;               /* deliver what is there and return; else go on until the run has ended */
    double wait;             /* seconds for which destinations are still tried after the run's end */
    int64_t
        launcher; /* pid of the launcher that started this tracker; 0: none. Then run.json may still be of an
                                earlier launcher, or missing */
    int call_ms;  /* of one call to a server; 0: 10,000 */
    const mu_secrets_t *secrets;
    const volatile sig_atomic_t *stop; /* not 0: end at once; NULL: never */
} mu_track_t;

/* The signal by which a launcher ends its tracker: no scheduler sends it. */
#define MU_TRACK_END_SIGNAL (SIGRTMIN + 7)

/* Errors: MU_USAGE (MLFLOW_EXPERIMENT_NAME), MU_NOINPUT (no run there), MU_DATA (run.json, metrics.jsonl or track.json
 * damaged, or a server refused what was sent), MU_RUNDIR (another tracker has the run; a folder cannot be made), MU_IO
 * (storage), MU_UNREADY (a server does not answer, or the address to listen at cannot be had), MU_AUTH (a server
 * refused the credentials), MU_STOPPED (stop). MU_IO, MU_UNREADY and MU_AUTH of a destination only with `once` or
 * after the run's end: until then they are logged and tried again. What was not delivered is logged, with the command
 * that does. */
mu_status_t mu_track(const mu_track_t *track);

#endif
